//! upstream: what app instances have sent to the app servers of a project, and receipts for what reached
//! them, in the order of acceptance; until an app server has acknowledged it, or its time is over.

use bytes::Bytes;
use cresset_message::{MessageId, ProjectNumber};

use crate::{RowKey, StoreError, Table};

#[derive(Clone, PartialEq, prost::Message)]
pub struct UpstreamRecord {
    /// The token of the app instance.
    #[prost(string, tag = "1")]
    pub registration: String,
    #[prost(string, tag = "2")]
    pub category: String,
    /// As the app instance chose it; of a receipt, as the app server chose that of its message.
    #[prost(string, tag = "3")]
    pub message_id: String,
    #[prost(message, repeated, tag = "4")]
    pub data: Vec<Pair>,
    #[prost(uint32, tag = "5")]
    pub ttl_seconds: u32,
    /// Of a receipt: when its message was accepted.
    #[prost(uint64, optional, tag = "6")]
    pub receipt_sent_millis: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Pair {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

pub fn partition(project: ProjectNumber) -> Bytes {
    project.0.to_be_bytes().to_vec().into()
}

pub fn key(project: ProjectNumber, id: MessageId) -> RowKey {
    RowKey::new(Table::Upstream, partition(project), id.to_bytes().to_vec())
}

/// The id in a sort key.
pub fn id_of(sort: &[u8]) -> Result<MessageId, StoreError> {
    let bytes = sort
        .try_into()
        .map_err(|_| StoreError::Damaged("a row of upstream has a key of another length".into()))?;
    Ok(MessageId::from_bytes(bytes))
}

impl UpstreamRecord {
    pub fn to_bytes(&self) -> Vec<u8> {
        super::encode(self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        super::decode("upstream", bytes)
    }
}
