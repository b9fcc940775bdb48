//! An engine in memory: for tests and simulation, and the model that the others are compared with.
//! It is written to be obviously right, not to be fast.

use std::collections::BTreeMap;
use std::future;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cresset_message::Timestamp;

use crate::{Batch, Engine, Op, Page, Partitions, Pending, Row, RowKey, StoreError, Swept, Table};

/// Rows in a map. Needs no runtime: every future is ready at its first poll.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    state: Mutex<State>,
}

impl MemoryEngine {
    pub fn new() -> Self {
        Self::default()
    }

    /// The state, or the reason why there is none. A panic elsewhere cannot leave it half written:
    /// nothing in here panics between two changes of one batch.
    fn open(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed { Err(StoreError::Closed) } else { Ok(state) }
    }
}

impl Engine for MemoryEngine {
    fn get<'a>(&'a self, key: &'a RowKey, now: Timestamp) -> Pending<'a, Option<Row>> {
        ready(self.open().map(|state| state.live(key, now).map(|cell| cell.row(&key.sort))))
    }

    fn scan<'a>(
        &'a self,
        table: Table,
        partition: &'a [u8],
        from: &'a [u8],
        limit: usize,
        now: Timestamp,
    ) -> Pending<'a, Page> {
        ready(self.open().map(|state| state.scan(table, partition, from, limit, now)))
    }

    fn partitions<'a>(&'a self, table: Table, from: &'a [u8], limit: usize) -> Pending<'a, Partitions> {
        ready(self.open().map(|state| state.partitions(table, from, limit)))
    }

    fn keeps_batches_whole(&self) -> bool {
        true
    }

    fn write(&self, batch: Batch, now: Timestamp) -> Pending<'_, bool> {
        ready(batch.check().and_then(|()| self.open()).map(|mut state| state.write(batch, now)))
    }

    fn sweep<'a>(&'a self, table: Table, from: &'a [u8], limit: usize, now: Timestamp) -> Pending<'a, Swept> {
        ready(self.open().map(|mut state| state.sweep(table, from, limit, now)))
    }

    fn close(&self) -> Pending<'_, ()> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        ready(Ok(()))
    }
}

fn ready<'a, T: Send + 'a>(result: Result<T, StoreError>) -> Pending<'a, T> {
    Box::pin(future::ready(result))
}

#[derive(Debug, Default)]
struct State {
    rows: BTreeMap<RowKey, Cell>,
    closed: bool,
}

#[derive(Debug)]
struct Cell {
    value: Bytes,
    expires: Option<Timestamp>,
}

impl Cell {
    fn is_live(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    fn row(&self, sort: &Bytes) -> Row {
        Row { sort: sort.clone(), value: self.value.clone(), expires: self.expires }
    }
}

impl State {
    fn live(&self, key: &RowKey, now: Timestamp) -> Option<&Cell> {
        self.rows.get(key).filter(|cell| cell.is_live(now))
    }

    fn scan(&self, table: Table, partition: &[u8], from: &[u8], limit: usize, now: Timestamp) -> Page {
        let start = RowKey::new(table, partition.to_vec(), from.to_vec());
        let mut rows = self
            .rows
            .range(start..)
            .take_while(|(key, _)| key.table == table && key.partition == partition)
            .filter(|(_, cell)| cell.is_live(now));
        Page {
            rows: rows.by_ref().take(limit).map(|(key, cell)| cell.row(&key.sort)).collect(),
            next: rows.next().map(|(key, _)| key.sort.clone()),
        }
    }

    fn partitions(&self, table: Table, from: &[u8], limit: usize) -> Partitions {
        let start = RowKey::new(table, from.to_vec(), Bytes::new());
        let of_table = self.rows.range(start..).take_while(|(key, _)| key.table == table);
        let mut found: Vec<Bytes> = of_table.map(|(key, _)| key.partition.clone()).collect();
        found.dedup();
        let next = found.get(limit).cloned();
        found.truncate(limit);
        Partitions { found, next }
    }

    fn write(&mut self, batch: Batch, now: Timestamp) -> bool {
        let refused = batch.condition.as_ref().is_some_and(|condition| {
            !condition.holds(self.live(&condition.key, now).map(|cell| cell.value.as_ref()))
        });
        if refused {
            return false;
        }
        for op in batch.ops {
            match op {
                Op::Put { key, value, expires } => drop(self.rows.insert(key, Cell { value, expires })),
                Op::Delete { key } => drop(self.rows.remove(&key)),
            }
        }
        true
    }

    fn sweep(&mut self, table: Table, from: &[u8], limit: usize, now: Timestamp) -> Swept {
        let start = Cursor::decode(table, from);
        let mut rows = self
            .rows
            .range((Bound::Included(start), Bound::Unbounded))
            .take_while(|(key, _)| key.table == table);
        let examined: Vec<_> =
            rows.by_ref().take(limit).map(|(key, cell)| (key.clone(), cell.is_live(now))).collect();
        let next = rows.next().map(|(key, _)| Cursor::encode(key));
        let expired: Vec<_> = examined.iter().filter(|(_, live)| !live).map(|(key, _)| key).collect();
        for key in &expired {
            self.rows.remove(*key);
        }
        Swept { examined: examined.len(), dropped: expired.len(), next }
    }
}

/// Where a sweep goes on: the partition's length, the partition, the sort key.
struct Cursor;

impl Cursor {
    fn encode(key: &RowKey) -> Bytes {
        let length = u8::try_from(key.partition.len()).expect("checked when the row was written");
        [&[length], &key.partition[..], &key.sort[..]].concat().into()
    }

    fn decode(table: Table, cursor: &[u8]) -> RowKey {
        let (partition, sort) = cursor
            .split_first()
            .and_then(|(length, rest)| rest.split_at_checked(usize::from(*length)))
            .unwrap_or_default();
        RowKey::new(table, partition.to_vec(), sort.to_vec())
    }
}
