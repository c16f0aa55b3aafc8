//! Measures what counting stages costs: in a build with the feature `stages-in-turns` a core counts them in some slices of time and not in others, as chance
//! has it, and says at its end how much processor time a request took in each. Both kinds of slices are of one process, on the same data, with the same
//! load, some milliseconds apart; so differences far smaller than those between two processes are seen. Without the feature stages are always counted.

use std::cell::{Cell, RefCell};

use rustix::time::{ClockId, clock_gettime};

/// How long a slice is, nanoseconds.
const SLICE_NS: u64 = 20_000_000;

#[derive(Default)]
struct Slices {
    count: u64,
    requests: u64,
    processor_ns: u64,
}

/// Which slices count stages, and what requests took in them.
pub(super) struct Alternation {
    is_counting: Cell<bool>,
    progress: RefCell<Progress>,
}

#[derive(Default)]
struct Progress {
    slice: u64,
    requests: u64,
    processor_ns: u64,
    without: Slices,
    with: Slices,
}

impl Default for Alternation {
    fn default() -> Self {
        Self { is_counting: Cell::new(true), progress: RefCell::default() }
    }
}

impl Alternation {
    /// Whether stages are counted now.
    pub(super) fn is_counting(&self) -> bool {
        !cfg!(feature = "stages-in-turns") || self.is_counting.get()
    }

    /// A turn begins, after so many requests in all.
    pub(super) fn turn(&self, now_ns: u64, requests: u64) {
        if !cfg!(feature = "stages-in-turns") {
            return;
        }
        let slice = now_ns / SLICE_NS;
        let mut progress = self.progress.borrow_mut();
        if slice == progress.slice {
            return;
        }
        let processor_ns = thread_processor_ns();
        let (made, took) = (requests - progress.requests, processor_ns - progress.processor_ns);
        // One that was mostly idle says nothing of a busy core.
        if took > SLICE_NS / 2 && slice == progress.slice + 1 {
            let slices = if self.is_counting.get() { &mut progress.with } else { &mut progress.without };
            slices.count += 1;
            slices.requests += made;
            slices.processor_ns += took;
        }
        (progress.slice, progress.requests, progress.processor_ns) = (slice, requests, processor_ns);
        // Chance, so that nothing else that comes and goes keeps step with it.
        self.is_counting.set((slice.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 63) == 1);
    }

    /// Says what was found.
    pub(super) fn report(&self) {
        if !cfg!(feature = "stages-in-turns") {
            return;
        }
        let progress = self.progress.borrow();
        let each = |slices: &Slices| slices.processor_ns as f64 / slices.requests.max(1) as f64;
        let (with_ns, without_ns) = (each(&progress.with), each(&progress.without));
        tracing::info!(
            slices_with = progress.with.count,
            slices_without = progress.without.count,
            with_ns,
            without_ns,
            ratio = with_ns / without_ns,
            "processor time of a request with and without stages"
        );
    }
}

fn thread_processor_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).expect("time is not negative")
}
