//! What the engine has done, for metrics.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the classes of commits by how long they took, in microseconds. An fsync takes
/// 0.1 ms on a fast disk and 30 ms on a slow one.
pub const COMMIT_MICROS: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 2_000_000];

/// Whether writes are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writes {
    #[default]
    Taken,
    DiskFull,
    /// The engine failed, and is being opened again.
    Failed,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) writes: AtomicU64,
    pub(super) rows: AtomicU64,
    pub(super) overloaded: AtomicU64,
    pub(super) disk_full: AtomicU64,
    pub(super) failed: AtomicU64,
    commits: [AtomicU64; COMMIT_MICROS.len() + 1],
    commit_micros: AtomicU64,
    /// Whether the engine has failed; a full disk is seen by looking at it.
    broken: AtomicBool,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Batches that are durable, or were not written because their condition did not hold.
    pub writes: u64,
    /// Rows that were put or deleted.
    pub rows: u64,
    /// Commits by how long they took: as many classes as [`COMMIT_MICROS`], and longer ones.
    pub commits: [u64; COMMIT_MICROS.len() + 1],
    /// All commits together.
    pub commit_micros: u64,
    /// Writes that wait now, and their bytes.
    pub waiting: u64,
    pub waiting_bytes: u64,
    /// Writes refused because too many waited.
    pub overloaded: u64,
    /// Writes refused for want of room on the disk.
    pub disk_full: u64,
    /// Writes that failed, or came while the engine was being opened again.
    pub failed: u64,
    /// Free room on the disk, if the file system tells.
    pub free_bytes: Option<u64>,
    pub state: Writes,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn committed(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let class = COMMIT_MICROS.partition_point(|bound| *bound < micros);
        self.commits[class].fetch_add(1, Ordering::Relaxed);
        self.commit_micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(super) fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::Relaxed);
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// All but what others know.
    pub(super) fn snapshot(&self) -> Snapshot {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            writes: get(&self.writes),
            rows: get(&self.rows),
            commits: std::array::from_fn(|class| get(&self.commits[class])),
            commit_micros: get(&self.commit_micros),
            overloaded: get(&self.overloaded),
            disk_full: get(&self.disk_full),
            failed: get(&self.failed),
            ..Snapshot::default()
        }
    }
}
