//! Ids of messages: they rise strictly, whatever the clock does, and from one run to the next.
//! Without that, a message could overtake older ones in its inbox after the clock was set back.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use cresset_message::{MessageId, Timestamp};
use cresset_store::tables::counters;
use cresset_store::{Batch, Store, StoreError};
use tokio::sync::{Mutex, MutexGuard};

/// Microseconds by which the durable mark is ahead of ids when it is written: one small row a second.
const AHEAD: u64 = 2_000_000;

/// Less than that much ahead, it is written again, by one of those who are still covered.
const ENOUGH: u64 = AHEAD / 2;

/// A mark so far ahead was made while the clock was wrong, and would keep ids wrong for ever.
const MAX_AHEAD: u64 = 86_400 * 1_000_000;

/// In microseconds: the id given out last, and the mark that is durable. No id is stored beyond the mark, and
/// the next run begins there.
pub(crate) struct Ids {
    last: AtomicU64,
    mark: AtomicU64,
    /// Held while a mark is written: of two that crossed each other the lower one could stay, however far the
    /// clock had leapt between them.
    writing: Mutex<()>,
}

impl Ids {
    pub(crate) async fn open(store: &Store, now: Timestamp) -> Result<Self, StoreError> {
        let row = store.get(&counters::last_message(), now).await?;
        let mark = row.map(|row| counters::from_bytes(&row.value)).transpose()?;
        let mark = mark.filter(|mark| {
            let usable = *mark <= now.as_micros().saturating_add(MAX_AHEAD);
            if !usable {
                tracing::warn!("message ids were given out for more than a day ahead of the clock");
            }
            usable
        });
        let mark = mark.unwrap_or(0);
        Ok(Self { last: AtomicU64::new(mark), mark: AtomicU64::new(mark), writing: Mutex::default() })
    }

    /// Microseconds for a new id.
    pub(crate) fn next(&self, now: Timestamp) -> u64 {
        let rise = |last: u64| now.as_micros().max(last.saturating_add(1));
        let last = self.last.fetch_update(Relaxed, Relaxed, |last| Some(rise(last)));
        rise(last.unwrap_or_else(|last| last))
    }

    /// Writes a batch with rows of new ids, of which `newest` is the last. Rows and mark stand in several
    /// partitions: of a batch that a crash tore apart, rows might stay without the mark that covers them, and
    /// the next run would give out their ids again.
    pub(crate) async fn write(
        &self,
        store: &Store,
        mut batch: Batch,
        newest: Option<MessageId>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if let Some(id) = newest
            && !self.covers(id.micros)
            && !store.keeps_batches_whole()
        {
            self.write_mark(store, id.micros, now).await?;
        }
        let next = match newest {
            Some(id) => self.next_mark(id.micros).await,
            None => None,
        };
        if let Some((mark, _)) = &next {
            batch.put(counters::last_message(), counters::to_bytes(*mark), None);
        }
        let written = store.write(batch, now).await?;
        if let (Some((mark, _writing)), true) = (next, written) {
            self.mark.store(mark, Relaxed);
        }
        Ok(written)
    }

    /// The mark alone, before rows beyond the last one.
    async fn write_mark(&self, store: &Store, id: u64, now: Timestamp) -> Result<(), StoreError> {
        let _writing = self.writing.lock().await;
        if self.covers(id) {
            return Ok(());
        }
        let mark = self.mark_beyond(id);
        let mut batch = Batch::default();
        batch.put(counters::last_message(), counters::to_bytes(mark), None);
        store.write(batch, now).await?;
        self.mark.store(mark, Relaxed);
        Ok(())
    }

    /// The mark to write with this id, if it is time.
    async fn next_mark(&self, id: u64) -> Option<(u64, MutexGuard<'_, ()>)> {
        if self.covers(id.saturating_add(ENOUGH)) {
            return None;
        }
        let writing = match self.covers(id) {
            true => self.writing.try_lock().ok()?,
            false => self.writing.lock().await,
        };
        let is_time = !self.covers(id.saturating_add(ENOUGH));
        is_time.then(|| (self.mark_beyond(id), writing))
    }

    fn covers(&self, id: u64) -> bool {
        id <= self.mark.load(Relaxed)
    }

    fn mark_beyond(&self, id: u64) -> u64 {
        self.last.load(Relaxed).max(id).saturating_add(AHEAD)
    }
}
