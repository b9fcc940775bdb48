//! bodies: a message for many, once, however many receive it.

use bytes::Bytes;
use cresset_message::MessageId;

use crate::{RowKey, StoreError, Table};

#[derive(Clone, PartialEq, prost::Message)]
pub struct BodyRecord {
    #[prost(uint64, tag = "1")]
    pub project: u64,
    /// The message (`tables::message`).
    #[prost(bytes = "vec", tag = "2")]
    pub message: Vec<u8>,
}

pub fn key(id: MessageId) -> RowKey {
    RowKey::new(Table::Bodies, id.to_bytes().to_vec(), Bytes::new())
}

impl BodyRecord {
    pub fn to_bytes(&self) -> Vec<u8> {
        super::encode(self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        super::decode("bodies", bytes)
    }
}
