//! fjall, as this engine uses it: one keyspace per table, `clear()` never.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use cresset_message::Timestamp;
use fjall::compaction::Leveled;
use fjall::compaction::filter::Factory;
use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};

use super::expire::{DropExpired, LatestNow};
use super::keys::{self, Stored};
use super::{Options, change::Change};
use crate::{MAX_PARTITION, Page, Partitions, Row, RowKey, StoreError, Table};

/// Half of fjall's default: the tables share the memory, and the journal that a start replays is
/// as long as what the memtables hold. Fixed when a table is created: fjall keeps its options.
const MEMTABLE_BYTES: u64 = 32 << 20;

/// Size of a file of a table whose rows come in the order of their keys, and go again; twice that is the
/// first level below the newest files. See [`Rows::settle`].
const ORDERED_FILE_BYTES: u64 = 32 << 20;
const ORDERED_LEVEL0_FILES: u8 = 2;

/// Fewer deletions than these are left to themselves.
const MANY_DELETIONS: u64 = 100_000;

/// A table of this size is written anew within seconds.
const SOON_REWRITTEN_BYTES: u64 = 256 << 20;

/// Levels below the first are to hold next to nothing: fjall's default is ten times the one above.
const RATIO_WHEN_SETTLING: f32 = 0.01;

/// Steps of one settling, each of some 200 MB: what is left the next one goes on with.
const MOST_STEPS: usize = 64;

/// fjall stops a writer in the middle of its commit, for as long as it takes, at 4 sealed memtables
/// or 30 runs in level 0 of a table, and never wakes it when the background workers have died of a
/// full disk. So we stop before: while a commit runs, one memtable of a table may be sealed more, and
/// those that are sealed may each become a run.
const SEALED_MEMTABLES: usize = 2;
const LEVEL0_RUNS: usize = 25;

/// An open database.
pub(super) struct Rows {
    db: Database,
    tables: [Keyspace; Table::ALL.len()],
    durability: PersistMode,
    /// Held by whoever reads through a snapshot, which is never for long.
    snapshots: RwLock<()>,
}

impl Rows {
    pub(super) fn open(path: &Path, options: &Options, latest: &Arc<LatestNow>) -> fjall::Result<Self> {
        let latest = Arc::clone(latest);
        let filter = move |_: &str| Some(Arc::new(DropExpired(Arc::clone(&latest))) as Arc<dyn Factory>);
        let db = Database::builder(path)
            .cache_size(options.cache_bytes)
            .with_compaction_filter_factories(Arc::new(filter))
            .open()?;
        let table = |table: Table| db.keyspace(table.name(), || options_of(table));
        let tables = Table::ALL.into_iter().map(table).collect::<fjall::Result<Vec<_>>>()?;
        let tables = tables.try_into().unwrap_or_else(|_| unreachable!("one keyspace per table"));
        // fdatasync is enough: it writes whatever metadata is needed to read the data back (the length,
        // new blocks); what it leaves out is the time stamps, at the price of a journal commit of the
        // file system.
        let durability = if options.fsync { PersistMode::SyncData } else { PersistMode::Buffer };
        Ok(Self { db, tables, durability, snapshots: RwLock::default() })
    }

    fn table(&self, table: Table) -> &Keyspace {
        &self.tables[table as usize]
    }

    /// The stored bytes of one row, expired or not.
    pub(super) fn raw(&self, table: Table, key: &[u8]) -> Result<Option<fjall::Slice>, StoreError> {
        self.table(table).get(key).map_err(failed)
    }

    pub(super) fn get(&self, key: &RowKey, now: Timestamp) -> Result<Option<Row>, StoreError> {
        if key.check().is_err() {
            return Ok(None); // no row can stand there
        }
        let Some(bytes) = self.raw(key.table, &keys::row_key(key))? else { return Ok(None) };
        let stored = Stored::read(&bytes)?;
        Ok(stored.is_live(now).then(|| stored.row(key.sort.clone())))
    }

    /// Reads through a snapshot: a commit becomes visible row by row otherwise, and a batch inside one
    /// partition must appear at once.
    pub(super) fn scan(
        &self,
        table: Table,
        partition: &[u8],
        from: &[u8],
        limit: usize,
        now: Timestamp,
    ) -> Result<Page, StoreError> {
        if partition.len() > MAX_PARTITION {
            return Ok(Page::default());
        }
        let start = keys::key_of(partition, from);
        let end = keys::after_partition(partition);
        let (_guard, snapshot) = self.snapshot();
        let range = match end {
            Some(end) => snapshot.range(self.table(table), start..end),
            None => snapshot.range(self.table(table), start..),
        };
        let mut page = Page::default();
        for guard in range {
            let (key, bytes) = guard.into_inner().map_err(failed)?;
            let stored = Stored::read(&bytes)?;
            if !stored.is_live(now) {
                continue;
            }
            let sort = keys::sort_of(&key)?;
            if page.rows.len() == limit {
                page.next = Some(sort);
                break;
            }
            page.rows.push(stored.row(sort));
        }
        Ok(page)
    }

    /// From partition to partition, without a look at the rows in between.
    pub(super) fn partitions(
        &self,
        table: Table,
        from: Vec<u8>,
        limit: usize,
    ) -> Result<Partitions, StoreError> {
        let (_guard, snapshot) = self.snapshot();
        let mut page = Partitions::default();
        let mut from = Some(from);
        while let Some(start) = from {
            let Some(first) = snapshot.range(self.table(table), start..).next() else { break };
            let key = first.key().map_err(failed)?;
            let partition = keys::partition_of(&key)?;
            if page.found.len() == limit {
                page.next = Some(keys::key_of(&partition, &[]).into());
                break;
            }
            from = keys::after_partition(&partition);
            page.found.push(partition);
        }
        Ok(page)
    }

    /// Looks at `limit` rows of a table from a cursor on, for those that have expired.
    pub(super) fn expired(
        &self,
        table: Table,
        from: &[u8],
        limit: usize,
        now: Timestamp,
    ) -> Result<Expired, StoreError> {
        let mut found = Expired::default();
        let (_guard, snapshot) = self.snapshot();
        for row in snapshot.range(self.table(table), from..) {
            let (key, bytes) = row.into_inner().map_err(failed)?;
            if found.examined == limit {
                found.next = Some(Bytes::copy_from_slice(&key));
                break;
            }
            found.examined += 1;
            if !Stored::read(&bytes)?.is_live(now) {
                found.keys.push(key.to_vec());
            }
        }
        Ok(found)
    }

    /// Brings deletions to what they delete, so that the space of both comes back. Left to itself fjall moves
    /// new files of a table in the order of its keys down as they are, past those that tell of deletions, until
    /// a level holds nothing else; and what was put and deleted before it came to the disk is moved to the last
    /// level without being merged with anything, stays there, and is read by whoever reads the table.
    pub(super) fn settle(&self, table: Table, go_on: impl Fn() -> bool) -> Result<(), StoreError> {
        let tree = &self.table(table).tree;
        let (deletions, rows) = (tree.tombstone_count(), tree.approximate_len() as u64);
        if deletions < MANY_DELETIONS || !go_on() {
            return Ok(());
        }
        tracing::debug!(table = table.name(), deletions, rows, "deletions are brought to what they delete");
        if deletions > rows / 2 && tree.disk_space() <= SOON_REWRITTEN_BYTES {
            return self.table(table).major_compact().map_err(not_settled);
        }
        let strategy = Arc::new(
            Leveled::default()
                .with_table_target_size(ORDERED_FILE_BYTES)
                .with_l0_threshold(1)
                .with_level_ratio_policy(vec![RATIO_WHEN_SETTLING]),
        );
        let shape =
            || (std::array::from_fn::<_, 7, _>(|n| tree.level_table_count(n)), tree.tombstone_count());
        let mut before = shape();
        for _ in 0..MOST_STEPS {
            let unread = self.nobody_reads_before();
            tree.compact(strategy.clone(), unread).map_err(|e| not_settled(e.into()))?;
            let after = shape();
            if after == before || !go_on() {
                break;
            }
            before = after;
        }
        Ok(())
    }

    /// A sequence number that no snapshot is older than, now or later: what it hides is needed by nobody.
    fn nobody_reads_before(&self) -> u64 {
        let _nobody = self.snapshots.write().unwrap_or_else(PoisonError::into_inner);
        self.db.visible_seqno().saturating_sub(1)
    }

    fn snapshot(&self) -> (RwLockReadGuard<'_, ()>, fjall::Snapshot) {
        let guard = self.snapshots.read().unwrap_or_else(PoisonError::into_inner);
        (guard, self.db.snapshot())
    }

    /// Whether the engine has given up: a failed write, fsync, flush or compaction poisons it for good.
    pub(super) fn is_broken(&self) -> bool {
        self.db.persist(PersistMode::Buffer).is_err()
    }

    /// Whether the background has fallen so far behind that a commit could be stopped inside fjall.
    pub(super) fn is_behind(&self) -> bool {
        self.tables.iter().any(|table| {
            table.sealed_memtable_count() > SEALED_MEMTABLES || table.tree.l0_run_count() > LEVEL0_RUNS
        })
    }

    /// Writes the change in key order, all of it or nothing, and returns when it is durable. Nobody
    /// sees a row of it before.
    pub(super) fn commit(&self, change: Change<'_>) -> fjall::Result<()> {
        let mut batch = self.db.batch().durability(Some(self.durability));
        for ((table, key), value) in change.into_rows() {
            match value {
                Some(value) => batch.insert(self.table(table), key, value),
                None => batch.remove(self.table(table), key),
            }
        }
        batch.commit()
    }

    /// Everything that was written, on disk: before the folder is given up.
    pub(super) fn sync(&self) -> fjall::Result<()> {
        self.db.persist(PersistMode::SyncAll)
    }
}

#[cfg(test)]
impl Rows {
    /// What is in memory comes to the disk.
    pub(super) fn flush(&self, table: Table) {
        self.table(table).rotate_memtable_and_wait().expect("a flush");
    }

    /// Rewrites a whole table, as compactions do in the course of time.
    pub(super) fn compact(&self, table: Table) {
        self.flush(table);
        self.table(table).major_compact().expect("a compaction");
    }

    pub(super) fn stored(&self, table: Table) -> usize {
        self.table(table).approximate_len()
    }
}

fn options_of(table: Table) -> KeyspaceCreateOptions {
    let options = KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
    match table {
        Table::Events => {
            let leveled = Leveled::default()
                .with_table_target_size(ORDERED_FILE_BYTES)
                .with_l0_threshold(ORDERED_LEVEL0_FILES);
            options.compaction_strategy(Arc::new(leveled))
        }
        _ => options,
    }
}

/// What one step of a sweep found.
#[derive(Debug, Default)]
pub(super) struct Expired {
    pub(super) examined: usize,
    pub(super) keys: Vec<Vec<u8>>,
    pub(super) next: Option<Bytes>,
}

fn not_settled(error: fjall::Error) -> StoreError {
    StoreError::Damaged(format!("a compaction failed: {error}"))
}

fn failed(error: fjall::Error) -> StoreError {
    StoreError::Damaged(format!("a read failed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, MAX_BATCH_OPS};

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn write(rows: &Rows, batch: &Batch) {
        let mut change = Change::new(rows);
        assert_eq!(change.add(batch, NOW), Ok(true));
        rows.commit(change).unwrap();
    }

    fn numbered(table: Table, n: u64) -> RowKey {
        RowKey::new(table, "p", n.to_be_bytes().to_vec())
    }

    /// Puts rows, or deletes them, as many at a time as may be.
    fn change_all(rows: &Rows, table: Table, numbers: std::ops::Range<u64>, there: bool) {
        let numbers: Vec<u64> = numbers.collect();
        for numbers in numbers.chunks(MAX_BATCH_OPS) {
            let mut batch = Batch::default();
            for n in numbers {
                match there {
                    true => batch.put(numbered(table, *n), "v", None),
                    false => batch.delete(numbered(table, *n)),
                }
            }
            write(rows, &batch);
        }
    }

    #[test]
    fn a_table_that_holds_little_but_deletions_is_rid_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let rows = Rows::open(folder.path(), &Options::default(), &Arc::default()).unwrap();
        for there in [true, false] {
            change_all(&rows, Table::Jobs, 0..MANY_DELETIONS, there);
        }
        change_all(&rows, Table::Jobs, MANY_DELETIONS..MANY_DELETIONS + 1, true);
        rows.flush(Table::Jobs);
        assert!(rows.stored(Table::Jobs) as u64 > MANY_DELETIONS);
        rows.settle(Table::Jobs, || false).unwrap();
        assert!(rows.stored(Table::Jobs) as u64 > MANY_DELETIONS, "who is to end does not begin it");
        rows.settle(Table::Jobs, || true).unwrap();
        assert_eq!(rows.stored(Table::Jobs), 1);
        assert!(rows.get(&numbered(Table::Jobs, MANY_DELETIONS), NOW).unwrap().is_some());
    }

    #[test]
    fn deletions_are_brought_to_what_they_delete() {
        let folder = tempfile::tempdir().unwrap();
        let rows = Rows::open(folder.path(), &Options::default(), &Arc::default()).unwrap();
        // A last level, then deletions of a part of it in files of their own.
        change_all(&rows, Table::Events, 0..3 * MANY_DELETIONS, true);
        rows.compact(Table::Events);
        change_all(&rows, Table::Events, 0..MANY_DELETIONS, false);
        rows.flush(Table::Events);
        rows.settle(Table::Events, || true).unwrap();
        assert_eq!(rows.stored(Table::Events) as u64, 2 * MANY_DELETIONS);
        for (n, there) in [(0, false), (MANY_DELETIONS, true), (3 * MANY_DELETIONS - 1, true)] {
            assert_eq!(rows.get(&numbered(Table::Events, n), NOW).unwrap().is_some(), there, "{n}");
        }
    }

    /// What a reader began to read stays whole, however often it is written anew meanwhile.
    #[test]
    fn who_reads_meanwhile_misses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let rows = Rows::open(folder.path(), &Options::default(), &Arc::default()).unwrap();
        let kept = 2 * MANY_DELETIONS..2 * MANY_DELETIONS + 1_000;
        change_all(&rows, Table::Events, kept.clone(), true);
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut read = 0;
                while read == 0 || !over.load(std::sync::atomic::Ordering::Relaxed) {
                    let from = kept.start.to_be_bytes();
                    let page = rows.scan(Table::Events, b"p", &from, 2_000, NOW).unwrap();
                    assert_eq!(page.rows.len(), 1_000);
                    read += 1;
                }
            });
            for _ in 0..3 {
                for there in [true, false] {
                    change_all(&rows, Table::Events, 0..MANY_DELETIONS, there);
                    change_all(&rows, Table::Events, kept.clone(), true);
                    rows.flush(Table::Events);
                }
                rows.settle(Table::Events, || true).unwrap();
            }
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            reader.join().unwrap();
        });
    }
}
