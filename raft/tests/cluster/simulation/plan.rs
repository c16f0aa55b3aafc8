//! What a seed decides: numbers, how bad things get, and what is done how often.

use corelode_raft::Time;

pub(crate) const MILLISECOND: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1000 * MILLISECOND;

/// SplitMix64, as in the core, but of the test's own.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(crate) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from)
    }

    /// True with so many percent.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Copy>(&mut self, items: &[T]) -> Option<T> {
        (!items.is_empty()).then(|| items[usize::try_from(self.below(items.len() as u64)).unwrap()])
    }
}

/// A clock that begins anywhere at each start and runs a little fast or slow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) started: u64,
    pub(crate) base: u64,
    /// Millionths.
    pub(crate) rate: u64,
}

impl Clock {
    pub(crate) fn local(&self, now: u64) -> Time {
        Time(self.base + (now - self.started) * (self.rate / 1000) / 1000)
    }

    /// The first moment at which the clock shows `local` or more.
    pub(crate) fn global(&self, local: Time) -> u64 {
        self.started + (local.0.saturating_sub(self.base) * 1000).div_ceil(self.rate / 1000)
    }
}

/// How bad the network is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) lost_percent: u64,
    pub(crate) doubled_percent: u64,
    pub(crate) late_percent: u64,
    pub(crate) delay_ms_max: u64,
    pub(crate) late_ms_max: u64,
}

pub(crate) const CALM: Weather =
    Weather { lost_percent: 0, doubled_percent: 0, late_percent: 0, delay_ms_max: 2, late_ms_max: 2 };

/// What clients, operators and bad luck do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Propose,
    Read,
    Truncate,
    Transfer,
    Campaign,
    Change,
    Crash,
    Start,
    Cut,
    Isolate,
    Coup,
    Heal,
    Pause,
    Weather,
    Disk,
    Unreachable,
    Snapshot,
    Suspect,
}

/// How often each is done, about.
pub(crate) const ACTS: &[(Act, u64)] = &[
    (Act::Propose, 30),
    (Act::Read, 25),
    (Act::Truncate, 4),
    (Act::Transfer, 3),
    (Act::Campaign, 2),
    (Act::Change, 4),
    (Act::Crash, 4),
    (Act::Start, 7),
    (Act::Cut, 3),
    (Act::Isolate, 2),
    (Act::Coup, 3),
    (Act::Heal, 4),
    (Act::Pause, 2),
    (Act::Weather, 2),
    (Act::Disk, 2),
    (Act::Unreachable, 1),
    (Act::Snapshot, 1),
    (Act::Suspect, 2),
];

/// What a seed decides for the whole run.
pub(crate) struct Plan {
    pub(crate) lease: bool,
    pub(crate) silence: bool,
    pub(crate) act_ms_max: u64,
    /// Each seed does some things often and others never: what is rare beside everything else is found where it is alone.
    pub(crate) weights: Vec<(Act, u64)>,
    pub(crate) duration: u64,
}
