//! The time of day that the server sees: libfaketime reads how far it is ahead of ours from a file.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use cresset_e2e::{Outcome, now};
use cresset_message::Timestamp;

/// Debian's `libfaketime`, for programs of several threads.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// How far the server's clock is ahead. Without a file it is ours, and cannot be set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    ahead_seconds: Arc<AtomicI64>,
    jumped: Arc<AtomicBool>,
    file: Option<PathBuf>,
}

impl Clock {
    /// A clock that can be set, and what the server is to be started with; an error says why there is
    /// none.
    pub(crate) fn open(folder: &Path) -> Outcome<(Self, Vec<(OsString, OsString)>)> {
        let library = library().ok_or("libfaketime is not installed (Debian: faketime)")?;
        let file = folder.join("clock");
        let clock = Self { file: Some(file.clone()), ..Self::default() };
        clock.set(0)?;
        let variables = [
            ("LD_PRELOAD", library.into_os_string()),
            ("FAKETIME_TIMESTAMP_FILE", file.into_os_string()),
            ("FAKETIME_NO_CACHE", "1".into()),
            // What measures durations does not jump on real machines either.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ];
        Ok((clock, variables.map(|(name, value)| (name.into(), value)).to_vec()))
    }

    pub(crate) fn set(&self, ahead_seconds: i64) -> Outcome<()> {
        let file = self.file.as_ref().ok_or("this clock cannot be set")?;
        // In one step: the server may read at any moment.
        let next = file.with_extension("next");
        fs::write(&next, format!("{ahead_seconds:+}\n"))?;
        fs::rename(next, file)?;
        self.ahead_seconds.store(ahead_seconds, Ordering::Relaxed);
        self.jumped.fetch_or(ahead_seconds != 0, Ordering::Relaxed);
        Ok(())
    }

    /// As the server sees it.
    pub(crate) fn now(&self) -> Timestamp {
        let ahead = self.ahead_seconds.load(Ordering::Relaxed);
        Timestamp::from_secs(now().as_secs().saturating_add_signed(ahead))
    }

    /// Whether it was ever set to another time than ours.
    pub(crate) fn has_jumped(&self) -> bool {
        self.jumped.load(Ordering::Relaxed)
    }
}

fn library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok).map(|entry| entry.path());
    folders.map(|folder| folder.join(LIBRARY)).find(|library| library.exists())
}
