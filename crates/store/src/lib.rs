//! Partitions of ordered rows behind one trait, with typed tables on top.
//!
//! The seam is low and shaped like the engines that scale: a row is
//! `(table, partition, sort) -> value`, with an optional expiry. Nothing above it may assume
//! secondary indexes, joins, or transactions across partitions.

mod committer;
pub mod embedded;
mod engine;
pub mod memory;
mod pages;
pub mod tables;

pub use engine::{
    Batch, Condition, Engine, MAX_BATCH_BYTES, MAX_BATCH_OPS, MAX_PARTITION, MAX_SORT, Op, Page, Partitions,
    Pending, Row, RowKey, Store, StoreError, Swept, Table,
};
pub use pages::Pages;
