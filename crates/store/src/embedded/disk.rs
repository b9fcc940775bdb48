//! Room on the disk, so that the engine itself never meets a full one.
//!
//! fjall poisons itself when its journal or a background flush meets ENOSPC, and writes stop until it
//! is opened again. So writes are refused while some room is still left: for what the engine does
//! in the background, and for the deletions that make room.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::statvfs::statvfs;

/// Least part of a volume that stays usable: a reserve made for a server must not close a small disk.
const LARGEST_SHARE: u64 = 8;

/// How far the reserve grows when the engine failed in spite of it: a compaction may need several
/// tables (64 MiB each) at once.
const LARGEST_GROWTH: u64 = 16;

/// How long without another failure until the reserve is what it was.
const CALM: Duration = Duration::from_secs(60);

/// What may be written now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Everything,
    /// Below the reserve: only what makes room in the end.
    Deletions,
    Nothing,
}

/// The volume as everybody may ask for it.
#[derive(Debug)]
pub(super) struct Volume {
    path: PathBuf,
    reserve: u64,
    /// By how much the reserve has grown.
    growth: AtomicU64,
}

impl Volume {
    pub(super) fn new(path: &Path, reserve: u64) -> Self {
        Self { path: path.to_owned(), reserve, growth: AtomicU64::new(1) }
    }

    pub(super) fn free(&self) -> io::Result<u64> {
        let volume = statvfs(&self.path)?;
        Ok(volume.blocks_available().saturating_mul(volume.fragment_size()))
    }

    /// Asks the file system: about a microsecond, once a commit.
    pub(super) fn room(&self) -> io::Result<Room> {
        let volume = statvfs(&self.path)?;
        let block = volume.fragment_size();
        let total = volume.blocks().saturating_mul(block);
        let free = volume.blocks_available().saturating_mul(block);
        let base = self.reserve.min(total / LARGEST_SHARE);
        let growth = self.growth.load(Ordering::Relaxed);
        let reserve = base.saturating_mul(growth).min((total / 4).max(base));
        Ok(match free {
            free if free >= reserve => Room::Everything,
            free if free >= base / 2 => Room::Deletions,
            _ => Room::Nothing,
        })
    }
}

/// The volume as the committer uses it.
#[derive(Debug)]
pub(super) struct Disk {
    volume: Arc<Volume>,
    failed: Option<Instant>,
}

impl Disk {
    pub(super) fn new(volume: Arc<Volume>) -> Self {
        Self { volume, failed: None }
    }

    pub(super) fn free(&self) -> io::Result<u64> {
        self.volume.free()
    }

    pub(super) fn room(&self) -> io::Result<Room> {
        self.volume.room()
    }

    /// The engine failed: ask for more room before the next write.
    pub(super) fn failed(&mut self) {
        let growth = self.volume.growth.load(Ordering::Relaxed);
        self.volume.growth.store((growth * 2).min(LARGEST_GROWTH), Ordering::Relaxed);
        self.failed = Some(Instant::now());
    }

    /// A commit went through.
    pub(super) fn succeeded(&mut self) {
        if self.failed.is_some_and(|at| at.elapsed() >= CALM) {
            self.volume.growth.store(1, Ordering::Relaxed);
            self.failed = None;
        }
    }
}
