//! The engine of a single machine: fjall, with one committer in front of it.
//!
//! - Nothing is answered before its fsync; one fsync serves everybody who waits.
//! - A full disk refuses writes while there is still room for the engine itself; they resume by
//!   themselves. An engine that failed all the same is opened again by the committer.
//! - fjall's `clear()` is never used (recovery has undone it before: fjall issue 241).

mod change;
mod commit;
mod counters;
mod disk;
mod expire;
mod folder;
mod journal;
mod keys;
mod rows;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

use cresset_message::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use self::commit::{Answer, Committer, Job};
use self::counters::Counters;
pub use self::counters::{COMMIT_MICROS, Snapshot, Writes};
use self::disk::{Disk, Room, Volume};
use self::expire::LatestNow;
use self::folder::Folder;
pub use self::folder::OpenError;
use self::rows::Rows;
use crate::committer::{Bounds, Queue};
use crate::{
    Batch, Engine, MAX_BATCH_BYTES, Page, Partitions, Pending, Row, RowKey, StoreError, Swept, Table,
};

/// The most writes that share a commit: beyond it the rate no longer grows, the wait does (measured:
/// 65,000 a second at 256).
const WRITES_PER_COMMIT: usize = 256;

/// Scans of up to this many rows run where they are called: an inbox holds at most 100 messages and
/// takes 35 µs, about what the hop to another thread and back costs. Longer ones would hold up the
/// other tasks of that thread.
const SHORT_SCAN: usize = 128;

/// How an embedded engine is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Memory for blocks that were read.
    pub cache_bytes: u64,
    /// `false` answers before the disk has anything: for the crash test, which must then find losses.
    pub fsync: bool,
    /// Writes that may wait; the next one is answered [`StoreError::Overloaded`].
    pub max_waiting: usize,
    /// Bytes that may wait.
    pub max_waiting_bytes: usize,
    /// Room on the disk below which writes are refused; at most an eighth of the volume counts.
    pub reserve_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 128 << 20,
            fsync: true,
            // 60 ms of work at 65,000 writes a second.
            max_waiting: 4_096,
            max_waiting_bytes: 64 << 20,
            // Two memtables being flushed (32 MiB each) and two tables being compacted.
            reserve_bytes: 128 << 20,
        }
    }
}

/// Rows in a data folder. Needs a tokio runtime only for long scans and sweeps, and does without:
/// they then run where they are called.
pub struct EmbeddedEngine {
    shared: Arc<Shared>,
    finished: watch::Receiver<bool>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

/// What the callers and the committer share.
struct Shared {
    queue: Queue<Job>,
    rows: RwLock<Option<Arc<Rows>>>,
    latest: Arc<LatestNow>,
    volume: Arc<Volume>,
    counters: Counters,
}

impl EmbeddedEngine {
    /// Opens the folder, making it if it is not there. Blocks while the journal is replayed.
    pub fn open(path: &Path, options: Options) -> Result<Self, OpenError> {
        let folder = Folder::open(path)?;
        let latest = Arc::new(LatestNow::default());
        let rows = Arc::new(open_rows(&folder, &options, &latest)?);
        let bounds = Bounds {
            waiting: options.max_waiting,
            waiting_bytes: options.max_waiting_bytes,
            commit: WRITES_PER_COMMIT,
            commit_bytes: MAX_BATCH_BYTES,
        };
        let shared = Arc::new(Shared {
            queue: Queue::new(bounds),
            rows: RwLock::new(Some(Arc::clone(&rows))),
            latest,
            volume: Arc::new(Volume::new(path, options.reserve_bytes)),
            counters: Counters::default(),
        });
        let (finished, watcher) = watch::channel(false);
        let disk = Disk::new(Arc::clone(&shared.volume));
        let committer = Committer {
            shared: Arc::clone(&shared),
            rows: Some(rows),
            read_only: false,
            disk,
            room: Room::Everything,
            options,
            folder,
            finished,
        };
        let thread = thread::Builder::new()
            .name("store-committer".into())
            .spawn({
                let last_answer = LastAnswer(Arc::clone(&shared));
                move || {
                    let _last_answer = last_answer;
                    committer.run();
                }
            })
            .map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        Ok(Self { shared, finished: watcher, committer: Mutex::new(Some(thread)) })
    }

    /// The counters, and how it is with the disk now: it says that there is room again also when
    /// nobody has written since.
    pub fn snapshot(&self) -> Snapshot {
        let (waiting, waiting_bytes) = self.shared.queue.waiting();
        Snapshot {
            waiting: waiting as u64,
            waiting_bytes: waiting_bytes as u64,
            free_bytes: self.shared.volume.free().ok(),
            state: self.shared.writes(),
            ..self.shared.counters.snapshot()
        }
    }

    /// Whether writes are taken now.
    pub fn writes(&self) -> Writes {
        self.shared.writes()
    }

    /// Queues a job and waits for its answer.
    async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.shared.queue.push(job(answer)).inspect_err(|e| {
            if *e == StoreError::Overloaded {
                Counters::add(&self.shared.counters.overloaded, 1);
            }
        })?;
        answered.await.unwrap_or_else(|_| Err(StoreError::Damaged("the committer is gone".into())))
    }
}

/// However the committer ends, nobody waits for it for ever: jobs that it left are dropped, which
/// their authors see.
struct LastAnswer(Arc<Shared>);

impl Drop for LastAnswer {
    fn drop(&mut self) {
        self.0.queue.close();
        while self.0.queue.take().is_some() {}
    }
}

/// Opens the rows of a folder; a new folder's are made aside and named when they are whole.
fn open_rows(folder: &Folder, options: &Options, latest: &Arc<LatestNow>) -> Result<Rows, OpenError> {
    let open = |path: &Path| {
        Rows::open(path, options, latest)
            .map_err(|e| OpenError::Engine { path: folder.path().to_owned(), reason: e.to_string() })
    };
    if folder.is_new() {
        drop(open(&folder.unfinished())?);
        folder.finish()?;
    }
    let rows = open(&folder.rows())?;
    folder.mark()?;
    Ok(rows)
}

impl Shared {
    fn writes(&self) -> Writes {
        match self.volume.room() {
            _ if self.counters.is_broken() => Writes::Failed,
            // Who cannot be asked is taken to have room, as by the committer.
            Ok(Room::Everything) | Err(_) => Writes::Taken,
            Ok(Room::Deletions | Room::Nothing) => Writes::DiskFull,
        }
    }

    fn rows(&self) -> Result<Arc<Rows>, StoreError> {
        match &*self.rows.read().unwrap_or_else(PoisonError::into_inner) {
            Some(rows) => Ok(Arc::clone(rows)),
            None if self.queue.is_closed() => Err(StoreError::Closed),
            None => Err(StoreError::Unavailable("the engine failed and is being opened again".into())),
        }
    }
}

impl Engine for EmbeddedEngine {
    /// Runs where it is called: two of them stand in the way of every send, 16 µs each from the
    /// cache, and a read of one block is the worst.
    fn get<'a>(&'a self, key: &'a RowKey, now: Timestamp) -> Pending<'a, Option<Row>> {
        Box::pin(async move { self.shared.rows()?.get(key, now) })
    }

    fn scan<'a>(
        &'a self,
        table: Table,
        partition: &'a [u8],
        from: &'a [u8],
        limit: usize,
        now: Timestamp,
    ) -> Pending<'a, Page> {
        Box::pin(async move {
            let rows = self.shared.rows()?;
            if limit <= SHORT_SCAN {
                return rows.scan(table, partition, from, limit, now);
            }
            let (partition, from) = (partition.to_vec(), from.to_vec());
            aside(move || rows.scan(table, &partition, &from, limit, now)).await
        })
    }

    fn partitions<'a>(&'a self, table: Table, from: &'a [u8], limit: usize) -> Pending<'a, Partitions> {
        Box::pin(async move {
            let rows = self.shared.rows()?;
            let from = from.to_vec();
            aside(move || rows.partitions(table, from, limit)).await
        })
    }

    /// All of it stands in one batch of fjall's journal, which is read back whole or not at all.
    fn keeps_batches_whole(&self) -> bool {
        true
    }

    fn write(&self, batch: Batch, now: Timestamp) -> Pending<'_, bool> {
        Box::pin(async move {
            batch.check()?;
            self.ask(|answer| Job::Write { batch, now, answer }).await
        })
    }

    fn sweep<'a>(&'a self, table: Table, from: &'a [u8], limit: usize, now: Timestamp) -> Pending<'a, Swept> {
        Box::pin(async move {
            let rows = self.shared.rows()?;
            let from = from.to_vec();
            let found = aside(move || rows.expired(table, &from, limit, now)).await?;
            let dropped = if found.keys.is_empty() {
                0
            } else {
                self.ask(|answer| Job::DropExpired { table, keys: found.keys, now, answer }).await?
            };
            if found.next.is_none() {
                let (rows, shared) = (self.shared.rows()?, Arc::clone(&self.shared));
                let go_on = move || shared.writes() == Writes::Taken && !shared.queue.is_closed();
                aside(move || rows.settle(table, go_on)).await?;
            }
            Ok(Swept { examined: found.examined, dropped, next: found.next })
        })
    }

    fn close(&self) -> Pending<'_, ()> {
        self.shared.queue.close();
        Box::pin(async move {
            // An error means that the committer's thread is gone, and its lock with it.
            let _ = self.finished.clone().wait_for(|finished| *finished).await;
            Ok(())
        })
    }
}

/// Runs something long where it holds nobody up, if there is such a place.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match Handle::try_current() {
        Ok(runtime) => runtime
            .spawn_blocking(work)
            .await
            .unwrap_or_else(|e| Err(StoreError::Damaged(format!("a read was cut short: {e}")))),
        Err(_) => work(),
    }
}

impl Drop for EmbeddedEngine {
    /// Waits for what was written and for the folder's lock, so that the folder can be opened again.
    fn drop(&mut self) {
        self.shared.queue.close();
        let committer = self.committer.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if committer.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the committer ended with a panic");
        }
    }
}
