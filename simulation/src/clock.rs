//! Two clocks: the one of the simulation, which only goes forward, and the one on the server's wall,
//! which somebody sets now and then.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use cresset_message::Timestamp;

pub(crate) const SECOND: u64 = 1_000_000;
pub(crate) const MINUTE: u64 = 60 * SECOND;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;

/// Where the wall clock begins, in microseconds: far enough from zero to be set back by weeks.
const BEGIN: u64 = 1_800_000_000 * SECOND;

#[derive(Debug)]
pub(crate) struct Clock {
    /// Microseconds since the run began.
    run: AtomicU64,
    /// What the wall shows is that much more.
    offset: AtomicU64,
    /// When it was set, and what it showed directly before.
    set: Mutex<Vec<(u64, u64)>>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { run: AtomicU64::new(0), offset: AtomicU64::new(BEGIN), set: Mutex::default() }
    }

    /// Microseconds since the run began.
    pub(crate) fn run(&self) -> u64 {
        self.run.load(Relaxed)
    }

    pub(crate) fn go_to(&self, run: u64) {
        self.run.fetch_max(run, Relaxed);
    }

    /// What the server is told.
    pub(crate) fn wall(&self) -> Timestamp {
        Timestamp::from_micros(self.run() + self.offset.load(Relaxed))
    }

    pub(crate) fn set_by(&self, micros: i64) {
        self.lock().push((self.run(), self.wall().as_micros()));
        let offset = self.offset.load(Relaxed).saturating_add_signed(micros);
        self.offset.store(offset.max(BEGIN / 2), Relaxed);
    }

    /// The latest moment that the wall has shown since `from`.
    pub(crate) fn latest_since(&self, from: u64) -> u64 {
        self.latest_between(from, self.run())
    }

    /// The same, until `to`.
    pub(crate) fn latest_between(&self, from: u64, to: u64) -> u64 {
        let set = self.lock();
        let before = set.iter().filter(|(at, _)| (from..=to).contains(at)).map(|(_, wall)| *wall).max();
        let (at, wall) = set
            .iter()
            .find(|(at, _)| *at > to)
            .copied()
            .unwrap_or_else(|| (self.run(), self.wall().as_micros()));
        before.unwrap_or(0).max(wall - (at - to))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(u64, u64)>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
