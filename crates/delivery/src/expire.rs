//! Or never: rows whose time is over are dropped when they are read, and by a slow walk.

use bytes::Bytes;
use cresset_message::Timestamp;
use cresset_store::{Store, StoreError, Table};

/// Rows looked at in one step: a few milliseconds of one core.
const STEP: usize = 2_000;

/// Tables whose rows expire.
const TABLES: [Table; 8] = [
    Table::Inbox,
    Table::Outbox,
    Table::FanOuts,
    Table::Bodies,
    Table::Jobs,
    Table::Events,
    Table::Devices,
    Table::Upstream,
];

/// Walks the tables whose rows expire, a bounded step at a time; safe to stop anywhere.
pub struct Sweeper {
    store: Store,
    /// Index of the table where the walk is.
    table: usize,
    from: Bytes,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more: go on soon.
    Busy { dropped: usize },
    /// The end was reached: begin again later.
    Idle { dropped: usize },
}

impl Sweeper {
    pub fn new(store: Store) -> Self {
        Self { store, table: 0, from: Bytes::new() }
    }

    pub async fn step(&mut self, now: Timestamp) -> Result<Step, StoreError> {
        let swept = self.store.sweep(TABLES[self.table], &self.from, STEP, now).await?;
        let dropped = swept.dropped;
        match swept.next {
            Some(next) => {
                self.from = next;
                Ok(Step::Busy { dropped })
            }
            None => {
                self.from = Bytes::new();
                self.table = (self.table + 1) % TABLES.len();
                if self.table == 0 { Ok(Step::Idle { dropped }) } else { Ok(Step::Busy { dropped }) }
            }
        }
    }
}
