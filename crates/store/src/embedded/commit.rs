//! The one committer: a thread that gathers what waits, writes it as one commit with one fsync, and
//! only then answers. It also puts the engine back on its feet when the disk failed it.

use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cresset_message::Timestamp;
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

use super::change::Change;
use super::counters::Counters;
use super::disk::{Disk, Room};
use super::folder::Folder;
use super::rows::Rows;
use super::{Options, Shared, journal};
use crate::committer::Weigh;
use crate::{Batch, Op, StoreError, Table};

/// How long to let the background catch up between two looks: a flush of one memtable takes some
/// tenths of a second.
const CATCH_UP: Duration = Duration::from_millis(5);

/// Between two attempts to open the engine again.
const RETRY: Duration = Duration::from_millis(500);

/// Work for the committer, and who waits for it.
pub(super) enum Job {
    Write { batch: Batch, now: Timestamp, answer: Answer<bool> },
    DropExpired { table: Table, keys: Vec<Vec<u8>>, now: Timestamp, answer: Answer<usize> },
}

pub(super) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

impl Weigh for Job {
    fn bytes(&self) -> usize {
        match self {
            Self::Write { batch, .. } => batch.bytes(),
            Self::DropExpired { keys, .. } => keys.iter().map(Vec::len).sum(),
        }
    }
}

impl Job {
    fn only_deletes(&self) -> bool {
        match self {
            Self::Write { batch, .. } => batch.ops.iter().all(|op| matches!(op, Op::Delete { .. })),
            Self::DropExpired { .. } => true,
        }
    }

    fn now(&self) -> Timestamp {
        match self {
            Self::Write { now, .. } | Self::DropExpired { now, .. } => *now,
        }
    }

    fn refuse(self, error: StoreError) {
        match self {
            Self::Write { answer, .. } => tell(answer, Err(error)),
            Self::DropExpired { answer, .. } => tell(answer, Err(error)),
        }
    }

    /// Puts the job into the commit; what it will be answered once that is durable.
    fn stage(self, change: &mut Change<'_>) -> Option<Staged> {
        match self {
            Self::Write { batch, now, answer } => match change.add(&batch, now) {
                Ok(written) => Some(Staged::Write(answer, written)),
                Err(e) => decline(answer, e),
            },
            Self::DropExpired { table, keys, now, answer } => match change.drop_expired(table, keys, now) {
                Ok(dropped) => Some(Staged::DropExpired(answer, dropped)),
                Err(e) => decline(answer, e),
            },
        }
    }
}

fn decline<T>(answer: Answer<T>, error: StoreError) -> Option<Staged> {
    tell(answer, Err(error));
    None
}

enum Staged {
    Write(Answer<bool>, bool),
    DropExpired(Answer<usize>, usize),
}

impl Staged {
    fn answer(self, outcome: &Result<(), StoreError>) {
        match self {
            Self::Write(answer, written) => tell(answer, outcome.clone().map(|()| written)),
            Self::DropExpired(answer, dropped) => tell(answer, outcome.clone().map(|()| dropped)),
        }
    }
}

/// Whoever no longer waits for an answer does not get one.
fn tell<T>(answer: Answer<T>, result: Result<T, StoreError>) {
    let _ = answer.send(result);
}

pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    /// `None` while the engine is broken and could not be opened again yet.
    pub(super) rows: Option<Arc<Rows>>,
    /// The engine was opened without room to settle its journal.
    pub(super) read_only: bool,
    pub(super) disk: Disk,
    /// As it was at the last commit.
    pub(super) room: Room,
    pub(super) options: Options,
    /// Keeps the folder locked until everything is closed.
    pub(super) folder: Folder,
    /// Becomes `true` when everything is closed.
    pub(super) finished: watch::Sender<bool>,
}

impl Committer {
    pub(super) fn run(mut self) {
        while let Some(jobs) = self.next_jobs() {
            let admitted = self.admit(jobs);
            if admitted.is_empty() && self.is_writable() {
                continue;
            }
            match self.ready_rows() {
                Some(rows) => self.commit(&rows, admitted),
                None => {
                    Counters::add(&self.shared.counters.failed, admitted.len());
                    refuse_all(admitted, &unavailable("the engine failed and is being opened again"));
                }
            }
        }
        self.finish();
    }

    /// Waits for work; while the engine takes no writes, no longer than until the next attempt.
    fn next_jobs(&self) -> Option<Vec<Job>> {
        if self.is_writable() { self.shared.queue.take() } else { self.shared.queue.take_within(RETRY) }
    }

    fn is_writable(&self) -> bool {
        self.rows.is_some() && !self.read_only
    }

    /// Refuses what there is no room for.
    fn admit(&mut self, jobs: Vec<Job>) -> Vec<Job> {
        let room = self.disk.room().unwrap_or_else(|e| {
            warn!("cannot ask the file system of {} for its free space: {e}", self.folder);
            Room::Everything
        });
        self.tell(room);
        let (admitted, refused): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| match room {
            Room::Everything => true,
            Room::Deletions => job.only_deletes(),
            Room::Nothing => false,
        });
        Counters::add(&self.shared.counters.disk_full, refused.len());
        refuse_all(refused, &unavailable("the disk is full"));
        admitted
    }

    /// Tells the operator when room runs out, and when it is back; not for each write.
    fn tell(&mut self, room: Room) {
        if std::mem::replace(&mut self.room, room) == room {
            return;
        }
        let free_mb = self.disk.free().unwrap_or(0) >> 20;
        match room {
            Room::Everything => {
                info!(free_mb, "the disk of {} has room again: writes are taken", self.folder)
            }
            Room::Deletions | Room::Nothing => warn!(
                free_mb,
                "the disk of {} is full: writes are refused until there is room again", self.folder
            ),
        }
    }

    /// The engine, fit to take a commit; opened again first if it has given up.
    fn ready_rows(&mut self) -> Option<Arc<Rows>> {
        if self.needs_reopening() {
            self.reopen();
        }
        let rows = self.rows.clone().filter(|_| !self.read_only)?;
        while !rows.is_broken() {
            if !rows.is_behind() {
                return Some(rows);
            }
            thread::sleep(CATCH_UP);
        }
        None
    }

    fn needs_reopening(&self) -> bool {
        match &self.rows {
            None => true,
            Some(_) if self.read_only => self.has_room_to_settle(),
            Some(rows) => rows.is_broken(),
        }
    }

    fn has_room_to_settle(&self) -> bool {
        let needed = journal::room_to_settle(&self.folder.rows());
        matches!((self.disk.free(), needed), (Ok(free), Ok(needed)) if free > needed)
    }

    fn commit(&mut self, rows: &Arc<Rows>, jobs: Vec<Job>) {
        let mut change = Change::new(rows);
        let mut staged = Vec::with_capacity(jobs.len());
        for job in jobs {
            self.shared.latest.heard(job.now());
            staged.extend(job.stage(&mut change));
        }
        let outcome = if change.is_empty() { Ok(()) } else { self.write(rows, change) };
        let outcome = outcome.map_err(|e| {
            error!("a commit in {} failed: {e}", self.folder);
            unavailable(&e.to_string())
        });
        let counters = &self.shared.counters;
        match &outcome {
            Ok(()) => {
                Counters::add(&counters.writes, staged.len());
                self.disk.succeeded();
            }
            Err(_) => {
                Counters::add(&counters.failed, staged.len());
                // The next round finds the engine broken; what is in doubt is settled before it opens.
                debug_assert!(rows.is_broken(), "fjall poisons itself when a commit fails");
            }
        }
        staged.into_iter().for_each(|staged| staged.answer(&outcome));
    }

    fn write(&self, rows: &Rows, change: Change<'_>) -> fjall::Result<()> {
        let (started, count) = (Instant::now(), change.len());
        rows.commit(change)?;
        self.shared.counters.committed(started.elapsed());
        Counters::add(&self.shared.counters.rows, count);
        Ok(())
    }

    /// Drops the engine once the readers who are inside have left; nobody enters meanwhile.
    fn withdraw(&mut self) {
        drop(self.shared.replace(None));
        if let Some(mut rows) = self.rows.take() {
            while let Err(shared) = Arc::try_unwrap(rows).map(drop) {
                rows = shared;
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Opens the engine anew, which also removes what failed compactions left on the disk. Without
    /// room to settle the journal it serves readers only: nothing may be appended to it yet.
    fn reopen(&mut self) {
        let started = Instant::now();
        if self.is_writable() {
            error!("the engine in {} failed, opening it again", self.folder);
            self.disk.failed();
        }
        self.withdraw();
        let settled = journal::settle(self.folder.path(), &self.folder.rows());
        self.read_only = settled.is_err();
        match Rows::open(&self.folder.rows(), &self.options, &self.shared.latest) {
            Ok(rows) => {
                let reopened_in_ms = started.elapsed().as_millis() as u64;
                info!(
                    reopened_in_ms,
                    read_only = self.read_only,
                    "the engine in {} is open again",
                    self.folder
                );
                let rows = Arc::new(rows);
                self.shared.replace(Some(Arc::clone(&rows)));
                self.rows = Some(rows);
            }
            Err(e) => warn!("the engine in {} cannot be opened yet: {e}", self.folder),
        }
        self.shared.counters.set_broken(!self.is_writable());
    }

    fn finish(mut self) {
        if let Some(rows) = &self.rows
            && let Err(e) = rows.sync()
        {
            warn!("the last sync of {} failed: {e}", self.folder);
        }
        self.withdraw();
        drop(self.folder);
        self.finished.send_replace(true);
    }
}

fn refuse_all(jobs: Vec<Job>, error: &StoreError) {
    jobs.into_iter().for_each(|job| job.refuse(error.clone()));
}

fn unavailable(reason: &str) -> StoreError {
    StoreError::Unavailable(reason.to_owned())
}

impl Shared {
    /// Puts another engine before the readers.
    fn replace(&self, rows: Option<Arc<Rows>>) -> Option<Arc<Rows>> {
        std::mem::replace(&mut *self.rows.write().unwrap_or_else(PoisonError::into_inner), rows)
    }
}
