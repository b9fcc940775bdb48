//! The seam: what every engine must do. One contract suite (`tests/contract`) holds them all to it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use cresset_message::Timestamp;

/// The closed list of tables. Order and names are part of the data format: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    Projects,
    Registrations,
    Fids,
    Devices,
    DeviceRegistrations,
    Inbox,
    Counters,
    TopicMembers,
    MemberTopics,
    Topics,
    Carried,
    Groups,
    GroupNames,
    FanOuts,
    Jobs,
    Bodies,
    Events,
    Outbox,
    ApnsTokens,
    Upstream,
}

impl Table {
    pub const ALL: [Self; 20] = [
        Self::Projects,
        Self::Registrations,
        Self::Fids,
        Self::Devices,
        Self::DeviceRegistrations,
        Self::Inbox,
        Self::Counters,
        Self::TopicMembers,
        Self::MemberTopics,
        Self::Topics,
        Self::Carried,
        Self::Groups,
        Self::GroupNames,
        Self::FanOuts,
        Self::Jobs,
        Self::Bodies,
        Self::Events,
        Self::Outbox,
        Self::ApnsTokens,
        Self::Upstream,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Projects => "projects",
            Self::Registrations => "registrations",
            Self::Fids => "fids",
            Self::Devices => "devices",
            Self::DeviceRegistrations => "device_registrations",
            Self::Inbox => "inbox",
            Self::Counters => "counters",
            Self::TopicMembers => "topic_members",
            Self::MemberTopics => "member_topics",
            Self::Topics => "topics",
            Self::Carried => "carried",
            Self::Groups => "groups",
            Self::GroupNames => "group_names",
            Self::FanOuts => "fanouts",
            Self::Jobs => "jobs",
            Self::Bodies => "bodies",
            Self::Events => "events",
            Self::Outbox => "outbox",
            Self::ApnsTokens => "apns_tokens",
            Self::Upstream => "upstream",
        }
    }
}

/// The longest partition key. Its length is one byte of an embedded row's key.
pub const MAX_PARTITION: usize = 255;

/// The longest sort key. Together with a partition it stays far below the 65,536 bytes of a key
/// in fjall and in CQL.
pub const MAX_SORT: usize = 1_024;

/// What one batch may carry. A fan-out writes one bucket at a time: 65,536 slots, a set of 8 KiB
/// and at most some thousand rows; everything larger is split by its author.
pub const MAX_BATCH_OPS: usize = 10_000;
pub const MAX_BATCH_BYTES: usize = 16 << 20;

/// Where a row stands. A partition is at most [`MAX_PARTITION`] bytes, a sort key at most [`MAX_SORT`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    pub table: Table,
    pub partition: Bytes,
    pub sort: Bytes,
}

impl RowKey {
    pub fn new(table: Table, partition: impl Into<Bytes>, sort: impl Into<Bytes>) -> Self {
        Self { table, partition: partition.into(), sort: sort.into() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Put { key: RowKey, value: Bytes, expires: Option<Timestamp> },
    Delete { key: RowKey },
}

/// What must hold of one row for a batch to be written: compare-and-set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub key: RowKey,
    /// The value the row must have; `None`: it must not exist.
    pub expected: Option<Bytes>,
}

/// Rows written together. Those of one partition appear at once or not at all; across partitions
/// all of them appear in the end, so they must be safe to write again. A condition guards the
/// whole batch, and must be on the partition of its first row.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Batch {
    pub ops: Vec<Op>,
    pub condition: Option<Condition>,
}

impl Op {
    pub fn key(&self) -> &RowKey {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    fn bytes(&self) -> usize {
        let value = match self {
            Self::Put { value, .. } => value.len(),
            Self::Delete { .. } => 0,
        };
        self.key().partition.len() + self.key().sort.len() + value
    }
}

impl RowKey {
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        if self.partition.len() > MAX_PARTITION {
            return Err(StoreError::Invalid(format!("a partition key is longer than {MAX_PARTITION} bytes")));
        }
        if self.sort.len() > MAX_SORT {
            return Err(StoreError::Invalid(format!("a sort key is longer than {MAX_SORT} bytes")));
        }
        Ok(())
    }
}

impl Condition {
    /// Whether the row that stands there now, if any does, is the expected one.
    pub(crate) fn holds(&self, current: Option<&[u8]>) -> bool {
        self.expected.as_deref() == current
    }
}

impl Batch {
    /// Keys and values, which is about what the batch will occupy while it waits and on disk.
    pub fn bytes(&self) -> usize {
        self.ops.iter().map(Op::bytes).sum()
    }

    /// The rules that every engine enforces before it takes a batch.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        if self.ops.len() > MAX_BATCH_OPS {
            return Err(StoreError::Invalid(format!("a batch has more than {MAX_BATCH_OPS} rows")));
        }
        if self.bytes() > MAX_BATCH_BYTES {
            return Err(StoreError::Invalid(format!("a batch is larger than {MAX_BATCH_BYTES} bytes")));
        }
        self.ops.iter().try_for_each(|op| op.key().check())?;
        self.condition.as_ref().map_or(Ok(()), |condition| self.check_condition(condition))
    }

    fn check_condition(&self, condition: &Condition) -> Result<(), StoreError> {
        condition.key.check()?;
        match self.ops.first().map(Op::key) {
            Some(first)
                if first.table != condition.key.table || first.partition != condition.key.partition =>
            {
                Err(StoreError::Invalid(
                    "a condition is not on the partition of its batch's first row".into(),
                ))
            }
            _ => Ok(()),
        }
    }

    pub fn put(&mut self, key: RowKey, value: impl Into<Bytes>, expires: Option<Timestamp>) {
        self.ops.push(Op::Put { key, value: value.into(), expires });
    }

    pub fn delete(&mut self, key: RowKey) {
        self.ops.push(Op::Delete { key });
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub sort: Bytes,
    pub value: Bytes,
    pub expires: Option<Timestamp>,
}

/// A page of a scan. `next` is where to go on; `None` at the end of the partition.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Page {
    pub rows: Vec<Row>,
    pub next: Option<Bytes>,
}

/// A page of the partitions of a table. `next` is where to go on, which means something only to the engine
/// that gave it; `None` at the end.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Partitions {
    pub found: Vec<Bytes>,
    pub next: Option<Bytes>,
}

/// What one step of the slow walk over a table found: rows dropped because they had expired, and
/// where the next step begins (`None`: the table's end was reached).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Swept {
    pub examined: usize,
    pub dropped: usize,
    pub next: Option<Bytes>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The write is not acknowledged; try again later. Met when the disk is full: service resumes by
    /// itself when there is room again. Usually nothing was written; after a device error the batch
    /// may still appear, whole, as after any answer that was lost.
    #[error("the store cannot write now: {0}")]
    Unavailable(String),
    /// More writes wait than the store admits; nothing of this one was written.
    #[error("the store is overloaded")]
    Overloaded,
    /// The batch breaks a rule of the seam; trying again cannot help. Nothing was written.
    #[error("the write is not allowed: {0}")]
    Invalid(String),
    /// The store is closed, or closing.
    #[error("the store is closed")]
    Closed,
    /// A row cannot be read as what it should be, or the engine failed.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// An engine. `now` decides which rows have expired: an expired row does not exist, for any method.
pub trait Engine: Send + Sync + 'static {
    fn get<'a>(&'a self, key: &'a RowKey, now: Timestamp) -> Pending<'a, Option<Row>>;

    /// Rows of one partition in the order of their sort keys, from `from` (inclusive), at most `limit`.
    fn scan<'a>(
        &'a self,
        table: Table,
        partition: &'a [u8],
        from: &'a [u8],
        limit: usize,
        now: Timestamp,
    ) -> Pending<'a, Page>;

    /// Partitions of a table in which there are rows, at most `limit`, in the engine's own order from `from`
    /// on (what the last call gave as `next`; empty at the start). One whose rows have all expired, or one
    /// that changes meanwhile, may be among them or not.
    fn partitions<'a>(&'a self, table: Table, from: &'a [u8], limit: usize) -> Pending<'a, Partitions>;

    /// Resolves when the batch is durable (`true`), or its condition did not hold (`false`).
    /// Dropping the future does not take back a batch that is already on its way.
    fn write(&self, batch: Batch, now: Timestamp) -> Pending<'_, bool>;

    /// One step of the slow walk that drops expired rows: examines at most `limit` rows from `from`
    /// (a cursor of the last step; empty at the start). A cursor means something only to the engine
    /// that gave it.
    fn sweep<'a>(&'a self, table: Table, from: &'a [u8], limit: usize, now: Timestamp) -> Pending<'a, Swept>;

    /// Whether a batch appears as a whole, however many partitions it touches, whenever the process ends.
    /// What must not depend on that is written in two batches where it does not hold.
    fn keeps_batches_whole(&self) -> bool {
        false
    }

    /// Waits for what was written, refuses what comes after.
    fn close(&self) -> Pending<'_, ()>;
}

/// The engine everyone shares.
pub type Store = Arc<dyn Engine>;
