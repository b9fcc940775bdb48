//! What one commit is about to write, and what a condition sees meanwhile.

use std::collections::BTreeMap;

use cresset_message::Timestamp;

use super::keys::{self, Stored};
use super::rows::Rows;
use crate::{Batch, Condition, Op, StoreError, Table};

type Spot = (Table, Vec<u8>);

/// The rows of one commit in key order, each as it will stand: `None` is a deletion. One entry a row,
/// however many batches touch it: they share a sequence number, and fjall could not tell which of
/// two came last.
pub(super) struct Change<'a> {
    rows: &'a Rows,
    pending: BTreeMap<Spot, Option<Vec<u8>>>,
}

impl<'a> Change<'a> {
    pub(super) fn new(rows: &'a Rows) -> Self {
        Self { rows, pending: BTreeMap::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Adds a batch, unless its condition does not hold.
    pub(super) fn add(&mut self, batch: &Batch, now: Timestamp) -> Result<bool, StoreError> {
        if let Some(condition) = &batch.condition
            && !self.holds(condition, now)?
        {
            return Ok(false);
        }
        for op in &batch.ops {
            let key = op.key();
            let value = match op {
                Op::Put { value, expires, .. } => Some(keys::value(*expires, value)),
                Op::Delete { .. } => None,
            };
            self.pending.insert((key.table, keys::row_key(key)), value);
        }
        Ok(true)
    }

    /// Adds the deletion of those rows that have expired: a row may have been written anew since it
    /// was found.
    pub(super) fn drop_expired(
        &mut self,
        table: Table,
        keys: Vec<Vec<u8>>,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let mut dropped = 0;
        for key in keys {
            let spot = (table, key);
            if self.current(&spot, |row| row.is_some_and(|row| !row.is_live(now)))? {
                self.pending.insert(spot, None);
                dropped += 1;
            }
        }
        Ok(dropped)
    }

    pub(super) fn into_rows(self) -> BTreeMap<Spot, Option<Vec<u8>>> {
        self.pending
    }

    fn holds(&self, condition: &Condition, now: Timestamp) -> Result<bool, StoreError> {
        let spot = (condition.key.table, keys::row_key(&condition.key));
        self.current(&spot, |row| condition.holds(row.filter(|row| row.is_live(now)).map(|row| row.value)))
    }

    /// Looks at a row as it will stand after what is already in this commit.
    fn current<T>(&self, spot: &Spot, look: impl FnOnce(Option<Stored<'_>>) -> T) -> Result<T, StoreError> {
        let stored;
        let bytes: Option<&[u8]> = match self.pending.get(spot) {
            Some(pending) => pending.as_deref(),
            None => {
                stored = self.rows.raw(spot.0, &spot.1)?;
                stored.as_deref()
            }
        };
        bytes.map(Stored::read).transpose().map(look)
    }
}
