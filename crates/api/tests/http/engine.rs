//! The memory engine, made to show what concurrency and a broken disk do.

use std::sync::Mutex;

use cresset_message::Timestamp;
use cresset_store::memory::MemoryEngine;
use cresset_store::{Batch, Page, Partitions, Pending, Row, RowKey, StoreError, Swept, Table};

/// Gives way before each operation, so that requests that run together meet in the middle.
#[derive(Default)]
pub(crate) struct Engine {
    inner: MemoryEngine,
    /// Tables whose writes are refused, as on a full disk.
    full: Mutex<Vec<Table>>,
    /// Tables whose writes take long.
    slow: Mutex<Vec<Table>>,
}

impl Engine {
    pub(crate) fn refuse_writes(&self, tables: &[Table]) {
        *self.full.lock().unwrap() = tables.to_vec();
    }

    pub(crate) fn slow_writes(&self, tables: &[Table]) {
        *self.slow.lock().unwrap() = tables.to_vec();
    }

    pub(crate) async fn rows(&self, table: Table, partition: &[u8]) -> usize {
        let now = Timestamp::from_micros(0);
        cresset_store::Engine::scan(&self.inner, table, partition, b"", 1_000, now).await.unwrap().rows.len()
    }
}

impl cresset_store::Engine for Engine {
    fn get<'a>(&'a self, key: &'a RowKey, now: Timestamp) -> Pending<'a, Option<Row>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.inner.get(key, now).await
        })
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
            tokio::task::yield_now().await;
            self.inner.scan(table, partition, from, limit, now).await
        })
    }

    fn write(&self, batch: Batch, now: Timestamp) -> Pending<'_, bool> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            let first = batch.ops.first().map(|op| op.key().table);
            if first.is_some_and(|table| self.full.lock().unwrap().contains(&table)) {
                return Err(StoreError::Unavailable("the disk is full".into()));
            }
            if first.is_some_and(|table| self.slow.lock().unwrap().contains(&table)) {
                for _ in 0..8 {
                    tokio::task::yield_now().await;
                }
            }
            self.inner.write(batch, now).await
        })
    }

    fn partitions<'a>(&'a self, table: Table, from: &'a [u8], limit: usize) -> Pending<'a, Partitions> {
        self.inner.partitions(table, from, limit)
    }

    fn sweep<'a>(&'a self, table: Table, from: &'a [u8], limit: usize, now: Timestamp) -> Pending<'a, Swept> {
        self.inner.sweep(table, from, limit, now)
    }

    fn close(&self) -> Pending<'_, ()> {
        self.inner.close()
    }
}
