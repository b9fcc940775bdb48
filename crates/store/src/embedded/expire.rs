//! Expired rows leave with the compactions that rewrite them anyway.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cresset_message::Timestamp;
use fjall::compaction::filter::{
    CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict,
};

use super::keys::Stored;

/// How long a row outlives its expiry here. Readers decide by their own `now`, compactions by the
/// latest they heard of: a clock that is set back by less than this finds its rows again.
const GRACE: Duration = Duration::from_secs(3_600);

/// The latest `now` that any caller brought: nothing below the server reads a clock.
#[derive(Debug, Default)]
pub(super) struct LatestNow(AtomicU64);

impl LatestNow {
    pub(super) fn heard(&self, now: Timestamp) {
        self.0.fetch_max(now.as_micros(), Ordering::Relaxed);
    }

    /// What had expired by then may be dropped.
    fn horizon(&self) -> Timestamp {
        let grace = u64::try_from(GRACE.as_micros()).unwrap_or(u64::MAX);
        Timestamp::from_micros(self.0.load(Ordering::Relaxed).saturating_sub(grace))
    }
}

#[derive(Debug)]
pub(super) struct DropExpired(pub(super) Arc<LatestNow>);

impl Factory for DropExpired {
    fn name(&self) -> &str {
        "expired"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(Horizon(self.0.horizon()))
    }
}

struct Horizon(Timestamp);

impl CompactionFilter for Horizon {
    /// `Remove` leaves a tombstone, so an older version below cannot come back. A row that cannot be
    /// read is kept: whoever reads it reports it.
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        let value = item.value()?;
        let expired = Stored::read(&value).is_ok_and(|stored| !stored.is_live(self.0));
        Ok(if expired { Verdict::Remove } else { Verdict::Keep })
    }
}

#[cfg(test)]
mod tests {
    use super::super::change::Change;
    use super::super::rows::Rows;
    use super::super::{Options, keys};
    use super::*;
    use crate::{Batch, RowKey, Table};

    const START: Timestamp = Timestamp::from_secs(1_000_000);

    fn key(sort: &'static str) -> RowKey {
        RowKey::new(Table::Inbox, "p", sort)
    }

    fn put(rows: &Rows, sort: &'static str, expires: Option<Timestamp>) {
        let mut batch = Batch::default();
        batch.put(key(sort), "v", expires);
        let mut change = Change::new(rows);
        assert_eq!(change.add(&batch, START), Ok(true));
        rows.commit(change).unwrap();
    }

    fn is_stored(rows: &Rows, sort: &'static str) -> bool {
        rows.raw(Table::Inbox, &keys::row_key(&key(sort))).unwrap().is_some()
    }

    #[test]
    fn a_compaction_drops_what_expired_long_ago_and_nothing_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let latest = Arc::new(LatestNow::default());
        let rows = Rows::open(folder.path(), &Options::default(), &latest).unwrap();
        let soon = START + Duration::from_secs(1);
        put(&rows, "replaced", None);
        rows.compact(Table::Inbox);
        put(&rows, "kept", None);
        put(&rows, "replaced", Some(soon));
        put(&rows, "later", Some(soon + GRACE));
        latest.heard(soon + GRACE);
        rows.compact(Table::Inbox);
        assert_eq!(["kept", "replaced", "later"].map(|sort| is_stored(&rows, sort)), [true, false, true]);
        drop(rows);
        let rows = Rows::open(folder.path(), &Options::default(), &latest).unwrap();
        assert_eq!(["kept", "replaced", "later"].map(|sort| is_stored(&rows, sort)), [true, false, true]);
    }
}
