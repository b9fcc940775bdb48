//! Engines to test, and short words for rows.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use cresset_message::Timestamp;
use cresset_store::embedded::{EmbeddedEngine, Options};
use cresset_store::memory::MemoryEngine;
use cresset_store::{Batch, Condition, Engine, Page, RowKey, Store, Table};
use tempfile::TempDir;

/// A store and what must outlive it.
pub(crate) struct Subject {
    pub(crate) store: Store,
    _folder: Option<TempDir>,
}

pub(crate) fn memory() -> Subject {
    Subject { store: Arc::new(MemoryEngine::new()), _folder: None }
}

pub(crate) fn embedded() -> Subject {
    let folder = tempfile::tempdir().unwrap();
    Subject { store: Arc::new(open(folder.path())), _folder: Some(folder) }
}

/// An engine of modest size: many of them run at the same time.
pub(crate) fn open(path: &Path) -> EmbeddedEngine {
    EmbeddedEngine::open(path, modest()).unwrap()
}

pub(crate) fn modest() -> Options {
    Options { cache_bytes: 1 << 20, reserve_bytes: 1 << 20, ..Options::default() }
}

/// Runs each named function for every engine.
macro_rules! for_every_engine {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let subject = crate::support::memory();
                super::$name(&subject.store).await;
            })*
        }
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let subject = crate::support::embedded();
                super::$name(&subject.store).await;
            })*
        }
    };
}
pub(crate) use for_every_engine;

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_000);

pub(crate) fn key(partition: &str, sort: &str) -> RowKey {
    RowKey::new(Table::Inbox, partition.as_bytes().to_vec(), sort.as_bytes().to_vec())
}

pub(crate) fn put(partition: &str, sort: &str, value: &str) -> Batch {
    let mut batch = Batch::default();
    batch.put(key(partition, sort), value.as_bytes().to_vec(), None);
    batch
}

pub(crate) fn put_until(partition: &str, sort: &str, value: &str, expires: Timestamp) -> Batch {
    let mut batch = Batch::default();
    batch.put(key(partition, sort), value.as_bytes().to_vec(), Some(expires));
    batch
}

pub(crate) fn delete(partition: &str, sort: &str) -> Batch {
    let mut batch = Batch::default();
    batch.delete(key(partition, sort));
    batch
}

pub(crate) fn only_if(mut batch: Batch, key: RowKey, expected: Option<&str>) -> Batch {
    batch.condition =
        Some(Condition { key, expected: expected.map(|value| Bytes::copy_from_slice(value.as_bytes())) });
    batch
}

pub(crate) async fn write(store: &dyn Engine, batch: Batch) {
    assert!(store.write(batch, NOW).await.unwrap());
}

pub(crate) async fn value(store: &dyn Engine, partition: &str, sort: &str, now: Timestamp) -> Option<String> {
    let key = key(partition, sort);
    store.get(&key, now).await.unwrap().map(|row| String::from_utf8(row.value.to_vec()).unwrap())
}

pub(crate) async fn page(store: &dyn Engine, partition: &str, from: &[u8], limit: usize) -> Page {
    store.scan(Table::Inbox, partition.as_bytes(), from, limit, NOW).await.unwrap()
}

/// The sort keys of a whole partition.
pub(crate) async fn sorts(store: &dyn Engine, partition: &str, now: Timestamp) -> Vec<String> {
    let page = store.scan(Table::Inbox, partition.as_bytes(), b"", 1_000, now).await.unwrap();
    assert_eq!(page.next, None);
    page.rows.iter().map(|row| String::from_utf8(row.sort.to_vec()).unwrap()).collect()
}

/// Sweeps a table to its end; how many rows were dropped.
pub(crate) async fn sweep_all(store: &dyn Engine, table: Table, limit: usize, now: Timestamp) -> usize {
    let (mut cursor, mut dropped) = (Bytes::new(), 0);
    loop {
        let step = store.sweep(table, &cursor, limit, now).await.unwrap();
        assert!(step.examined <= limit && step.dropped <= step.examined);
        dropped += step.dropped;
        match step.next {
            Some(next) => cursor = next,
            None => return dropped,
        }
    }
}
