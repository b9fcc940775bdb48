//! Ids of messages: they rise strictly, whatever the clock does, and from one run to the next.
//! Without that, a message could overtake older ones in its inbox after the clock was set back.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use cresset_message::{MessageId, Timestamp};
use cresset_store::tables::counters;
use cresset_store::{Batch, Store, StoreError};

/// How far ids run ahead of the durable mark before it is written again: one small row a second.
const GRAIN: u64 = 1_000_000;

/// Where ids go on after a restart: beyond the mark by the grain, and once more by as much for
/// writes that crossed each other.
const MARGIN: u64 = 2 * GRAIN;

/// A mark so far ahead was made while the clock was wrong, and would keep ids wrong for ever.
const MAX_AHEAD: u64 = 86_400 * 1_000_000;

/// In microseconds: the id given out last, and the mark that is durable.
pub(crate) struct Ids {
    last: AtomicU64,
    marked: AtomicU64,
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
        let last = mark.map_or(0, |mark| mark.saturating_add(MARGIN));
        Ok(Self { last: AtomicU64::new(last), marked: AtomicU64::new(mark.unwrap_or(0)) })
    }

    /// Microseconds for a new id.
    pub(crate) fn next(&self, now: Timestamp) -> u64 {
        let rise = |last: u64| now.as_micros().max(last.saturating_add(1));
        let last = self.last.fetch_update(Relaxed, Relaxed, |last| Some(rise(last)));
        rise(last.unwrap_or_else(|last| last))
    }

    /// Adds to the batch that stores a message, when it is time, that its id was given out.
    pub(crate) fn mark(&self, batch: &mut Batch, id: MessageId) {
        let marked = self.marked.load(Relaxed);
        if id.micros.abs_diff(marked) >= GRAIN {
            batch.put(counters::last_message(), counters::to_bytes(id.micros), None);
        }
    }

    /// The batch is durable.
    pub(crate) fn marked(&self, id: MessageId) {
        if id.micros.abs_diff(self.marked.load(Relaxed)) >= GRAIN {
            self.marked.store(id.micros, Relaxed);
        }
    }
}
