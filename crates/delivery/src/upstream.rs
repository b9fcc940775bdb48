//! The way back: what app instances send to the app servers of their project, and receipts for what has
//! reached them. A row first; only then is the device told that it was taken. App servers attach, read
//! as much as they have room for, and acknowledge; a row that is acknowledged is gone.

mod queue;
mod receipts;
mod recent;
mod taking;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cresset_message::{MessageId, ProjectNumber, Timestamp};
use cresset_store::tables::upstream::{self, UpstreamRecord};
use cresset_store::{Batch, StoreError};

use crate::Dispatcher;
use queue::Queue;
pub(crate) use receipts::marked;
use recent::Recent;
pub use taking::{FromDevice, NotTaken, Taken, UpstreamError, Why};

/// What an app server may have and not have acknowledged on one line (`protocol/xmpp.md` §9).
pub const WINDOW: usize = 100;

/// Something for an app server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Ours; the order of the queue.
    pub id: MessageId,
    /// The token of the app instance.
    pub registration: String,
    pub category: String,
    /// As the app instance chose it; of a receipt, as the app server chose that of its message.
    pub message_id: String,
    pub data: Vec<(String, String)>,
    pub ttl_seconds: u32,
    /// It is a receipt, for a message that was accepted then.
    pub receipt_for: Option<Timestamp>,
}

/// A connection of an app server, as it is told that there is something to pull.
pub trait AppServer: Send + Sync + 'static {
    fn wake(&self);
}

/// A line that is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Line {
    pub project: ProjectNumber,
    number: u64,
}

/// The queues of all projects that had something to do with them since the start.
#[derive(Default)]
pub(crate) struct Queues {
    queues: Mutex<HashMap<ProjectNumber, Arc<Queue>>>,
    recent: Mutex<Recent>,
    counters: Counters,
}

impl Queues {
    fn count_receipts(&self, count: usize) {
        self.counters.receipts.fetch_add(count as u64, Ordering::Relaxed);
    }

    fn of(&self, project: ProjectNumber) -> Arc<Queue> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.entry(project).or_default().clone()
    }
}

impl Dispatcher {
    /// An app server of the project is there. It pulls at once, and whenever it is woken.
    pub fn attach(&self, project: ProjectNumber, app_server: Arc<dyn AppServer>) -> Line {
        Line { project, number: self.upstream.of(project).attach(app_server) }
    }

    /// It is gone, with these unacknowledged: others get them.
    pub fn detach(&self, line: Line, unacknowledged: &[MessageId]) {
        self.upstream.of(line.project).detach(line.number, unacknowledged);
    }

    /// It was woken and cannot pull now; somebody else may. It is back when it pulls.
    pub fn pass(&self, line: Line) {
        self.upstream.of(line.project).pass(line.number);
    }

    /// The next ones for an app server, `room` at most. Those of a project with several lines come in
    /// small portions, so that all get some; whoever got any asks again.
    pub async fn pull(&self, line: Line, room: usize, now: Timestamp) -> Result<Vec<Upstream>, StoreError> {
        let queue = self.upstream.of(line.project);
        let pulled = queue.pull(&self.store, line, room, || self.next_id(now), now).await?;
        self.upstream.counters.sent.fetch_add(pulled.len() as u64, Ordering::Relaxed);
        Ok(pulled)
    }

    /// These once more, for they were not acknowledged for long. Those whose time is over are left out,
    /// and do not count against the line any more.
    pub async fn again(
        &self,
        line: Line,
        ids: &[MessageId],
        now: Timestamp,
    ) -> Result<Vec<Upstream>, StoreError> {
        let found = queue::rows(&self.store, line.project, ids, now).await?;
        let gone = ids.len() - found.len();
        self.upstream.of(line.project).freed(line.number, gone);
        self.upstream.counters.resent.fetch_add(found.len() as u64, Ordering::Relaxed);
        Ok(found)
    }

    /// The app server has these: nobody gets them from now on. If that cannot be made durable they come
    /// again, to any line.
    pub fn acknowledge_upstream(
        self: &Arc<Self>,
        line: Line,
        ids: Vec<MessageId>,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        let (this, queue) = (self.clone(), self.upstream.of(line.project));
        queue.acknowledging(&ids);
        async move {
            let mut batch = Batch::default();
            ids.iter().for_each(|id| batch.delete(upstream::key(line.project, *id)));
            let deleted = this.store.write(batch, now).await;
            queue.freed(line.number, ids.len());
            queue.acknowledged(&ids, deleted.is_ok());
            deleted?;
            this.upstream.counters.acknowledged.fetch_add(ids.len() as u64, Ordering::Relaxed);
            Ok(())
        }
    }

    /// The counters now, for metrics.
    pub fn upstream_snapshot(&self) -> UpstreamSnapshot {
        let counters = &self.upstream.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        UpstreamSnapshot {
            taken: get(&counters.taken),
            duplicates: get(&counters.duplicates),
            dropped: std::array::from_fn(|why| get(&counters.dropped[why])),
            refused: get(&counters.refused),
            receipts: get(&counters.receipts),
            sent: get(&counters.sent),
            resent: get(&counters.resent),
            acknowledged: get(&counters.acknowledged),
        }
    }
}

impl Upstream {
    fn from_row(id: MessageId, value: &[u8]) -> Result<Self, StoreError> {
        let record = UpstreamRecord::from_bytes(value)?;
        Ok(Self {
            id,
            registration: record.registration,
            category: record.category,
            message_id: record.message_id,
            data: record.data.into_iter().map(|pair| (pair.key, pair.value)).collect(),
            ttl_seconds: record.ttl_seconds,
            receipt_for: record.receipt_sent_millis.map(Timestamp::from_millis),
        })
    }

    fn record(&self) -> UpstreamRecord {
        let pair =
            |(key, value): &(String, String)| upstream::Pair { key: key.clone(), value: value.clone() };
        UpstreamRecord {
            registration: self.registration.clone(),
            category: self.category.clone(),
            message_id: self.message_id.clone(),
            data: self.data.iter().map(pair).collect(),
            ttl_seconds: self.ttl_seconds,
            receipt_sent_millis: self.receipt_for.map(Timestamp::as_millis),
        }
    }

    fn put(&self, batch: &mut Batch, project: ProjectNumber, now: Timestamp) {
        let expires = now + Duration::from_secs(self.ttl_seconds.into()).max(taking::NOW);
        batch.put(upstream::key(project, self.id), self.record().to_bytes(), Some(expires));
    }
}

#[derive(Default)]
struct Counters {
    taken: AtomicU64,
    duplicates: AtomicU64,
    dropped: [AtomicU64; Why::ALL.len()],
    refused: AtomicU64,
    receipts: AtomicU64,
    sent: AtomicU64,
    resent: AtomicU64,
    acknowledged: AtomicU64,
}

/// What has happened on the way back. All numbers only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpstreamSnapshot {
    /// Messages of devices that were made durable.
    pub taken: u64,
    /// Messages that a device sent again, and that were there.
    pub duplicates: u64,
    /// Messages that nobody will get, in the order of [`Why::ALL`].
    pub dropped: [u64; Why::ALL.len()],
    /// Messages that were not taken for now, for their queue is full.
    pub refused: u64,
    pub receipts: u64,
    /// What was given to app servers.
    pub sent: u64,
    /// What was given to the same connection again.
    pub resent: u64,
    pub acknowledged: u64,
}
