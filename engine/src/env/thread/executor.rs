//! The executor of a maintenance thread: tasks in lanes, the more urgent first.
//!
//! The operations of [`ThreadEnvironment`](super::ThreadEnvironment) block and are complete at their first poll, so that a task
//! gives way only where it calls `yield_now`. There a task of a more urgent lane goes first, so that a long job holds up an
//! urgent one for a single chunk of its work. It never grows by itself: what spawns bounds it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::thread;

use crate::env::tasks::{ReadyTask, Tasks};

/// How soon a task runs when several are ready.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Lane {
    /// Work that writers wait for: flushes, log segments, the manifest.
    Urgent,
    /// Work that may fall behind for a while: compaction.
    Bulk,
    /// Work that nobody waits for: scrubbing.
    Background,
}

impl Lane {
    /// All lanes, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Urgent, Self::Bulk, Self::Background];

    /// The position in [`ALL`](Self::ALL).
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// One turn in so many goes to the least urgent lane that has work, so that no job stands still for good while it holds files.
const TURNS_PER_LEAST_URGENT: u64 = 32;

/// Runs the tasks of one thread.
pub(crate) struct Executor {
    tasks: Tasks<Lane>,
    /// The lane of the task being polled, which its own tasks inherit.
    lane_current: Cell<Lane>,
    turn: Cell<u64>,
}

impl Executor {
    pub(crate) fn new() -> Self {
        Self { tasks: Tasks::new(), lane_current: Cell::new(Lane::Urgent), turn: Cell::new(0) }
    }

    /// Starts a task in a lane.
    pub(crate) fn spawn(&self, lane: Lane, future: impl Future<Output = ()> + 'static) {
        self.tasks.insert(lane, future);
    }

    /// The lane of the task that is running.
    pub(crate) fn lane_current(&self) -> Lane {
        self.lane_current.get()
    }

    /// Polls one task that is ready; false says that none was.
    pub(crate) fn run_one(&self) -> bool {
        let Some(task) = self.take_ready() else { return false };
        self.tasks.poll(task.number);
        true
    }

    /// How many tasks have not finished.
    pub(crate) fn task_count(&self) -> usize {
        self.tasks.len()
    }

    /// Drops all tasks.
    pub(crate) fn clear(&self) {
        self.tasks.remove_where(|_| true);
    }

    /// Runs `future` and whatever is spawned until `future` is done. Tasks that are left over wait for the next call.
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let main = self.tasks.insert_foreign(Lane::Urgent);
        loop {
            match self.take_ready() {
                Some(task) if main.is(task) => {
                    if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&main.start_poll())) {
                        return output;
                    }
                }
                Some(task) => self.tasks.poll(task.number),
                None => thread::park(),
            }
        }
    }

    fn take_ready(&self) -> Option<ReadyTask<Lane>> {
        let task = self.tasks.take_ready(|queue| pick(queue, self.turn.get()))?;
        self.turn.set(self.turn.get().wrapping_add(1));
        self.lane_current.set(task.tag);
        Some(task)
    }
}

/// The position of the task to run: the oldest of the most urgent lane, but every so often of the least urgent one.
fn pick(queue: &VecDeque<ReadyTask<Lane>>, turn: u64) -> usize {
    let lanes = queue.iter().map(|task| task.tag);
    let lane = if turn % TURNS_PER_LEAST_URGENT == TURNS_PER_LEAST_URGENT - 1 { lanes.max() } else { lanes.min() };
    queue.iter().position(|task| Some(task.tag) == lane).unwrap_or(0)
}

/// A future that lets the other ready tasks go first, once.
#[derive(Default)]
pub(crate) struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    /// Runs one task a lane, each of `chunks` chunks, and says in which order the chunks ran.
    fn order_of_chunks(chunks: usize) -> Vec<Lane> {
        let executor = Executor::new();
        let order = Rc::new(RefCell::new(Vec::new()));
        for lane in Lane::ALL.into_iter().rev() {
            let order = Rc::clone(&order);
            executor.spawn(lane, async move {
                for _ in 0..chunks {
                    order.borrow_mut().push(lane);
                    YieldNow::default().await;
                }
            });
        }
        while executor.run_one() {}
        order.take()
    }

    #[test]
    fn a_more_urgent_lane_goes_first_at_every_yield() {
        let order = order_of_chunks(4);
        assert!(order.is_sorted(), "{order:?}");
    }

    #[test]
    fn the_least_urgent_lane_is_never_starved() {
        let order = order_of_chunks(200);
        let background = order[..200].iter().filter(|&&lane| lane == Lane::Background).count();
        assert_eq!(background, 6, "one turn in 32");
    }

    #[test]
    fn a_task_woken_twice_is_polled_once_and_a_wake_from_another_thread_ends_the_park() {
        let executor = Executor::new();
        let polls = Rc::new(Cell::new(0));
        let done = executor.block_on(std::future::poll_fn(|context| {
            polls.set(polls.get() + 1);
            if polls.get() == 2 {
                return Poll::Ready("done");
            }
            let waker = context.waker().clone();
            thread::spawn(move || {
                waker.wake_by_ref();
                waker.wake();
            });
            Poll::Pending
        }));
        assert_eq!((done, polls.get()), ("done", 2));
    }
}
