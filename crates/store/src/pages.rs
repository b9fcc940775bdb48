//! A partition, read page by page.

use bytes::Bytes;
use cresset_message::Timestamp;

use crate::{Row, Store, StoreError, Table};

/// Reads a partition from its beginning, so many rows at a time. The first page is there even if it is
/// empty.
pub struct Pages<'a> {
    store: &'a Store,
    table: Table,
    partition: &'a [u8],
    limit: usize,
    from: Option<Bytes>,
}

impl<'a> Pages<'a> {
    pub fn of(store: &'a Store, table: Table, partition: &'a [u8], limit: usize) -> Self {
        Self { store, table, partition, limit, from: Some(Bytes::new()) }
    }

    /// The same, from a sort key on.
    pub fn starting_at(self, from: impl Into<Bytes>) -> Self {
        Self { from: Some(from.into()), ..self }
    }

    /// The next page; `None` after the last one.
    pub async fn next(&mut self, now: Timestamp) -> Result<Option<Vec<Row>>, StoreError> {
        let Some(from) = &self.from else { return Ok(None) };
        let page = self.store.scan(self.table, self.partition, from, self.limit, now).await?;
        self.from = page.next;
        Ok(Some(page.rows))
    }

    /// Whether the page that was given last was the last one.
    pub fn is_over(&self) -> bool {
        self.from.is_none()
    }
}
