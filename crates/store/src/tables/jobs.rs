//! jobs: fan-outs that are still being spread, all of them in one partition, by message id. A job
//! and its body are what a sender's answer rests on.

use cresset_message::MessageId;

use crate::{RowKey, StoreError, Table};

pub const PARTITION: &[u8] = b"jobs";

#[derive(Clone, PartialEq, prost::Message)]
pub struct JobRecord {
    #[prost(uint64, tag = "1")]
    pub project: u64,
    /// The first bucket that has not been spread to.
    #[prost(uint32, tag = "2")]
    pub next_bucket: u32,
    /// Buckets beyond it that have been, because a younger message wanted to follow there.
    #[prost(uint32, repeated, tag = "3")]
    pub ahead: Vec<u32>,
}

pub fn key(id: MessageId) -> RowKey {
    RowKey::new(Table::Jobs, PARTITION, id.to_bytes().to_vec())
}

impl JobRecord {
    pub fn to_bytes(&self) -> Vec<u8> {
        super::encode(self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        super::decode("jobs", bytes)
    }
}
