//! inbox: the durable queue of deliveries of one destination, in the order of acceptance.

use cresset_message::{DeviceId, MessageId, RawPush};

use super::registrations::RegistrationRef;
use crate::{RowKey, StoreError, Table};

#[derive(Clone, PartialEq, prost::Message)]
pub struct InboxRecord {
    #[prost(message, optional, tag = "1")]
    pub registration: Option<RegistrationRef>,
    #[prost(string, optional, tag = "2")]
    pub collapse_key: Option<String>,
    #[prost(bool, tag = "3")]
    pub high_priority: bool,
    /// As the sender gave it; devices are told the original.
    #[prost(uint32, tag = "4")]
    pub ttl_seconds: u32,
    /// The message itself (`tables::message`), as a single send holds its only copy.
    #[prost(bytes = "vec", tag = "5")]
    pub message: Vec<u8>,
    /// Instead of a message: how many were dropped, which the app has not been told yet.
    #[prost(uint32, tag = "6")]
    pub deleted: u32,
    /// Instead of a message: where it stands, once for all who receive it (`tables::bodies`).
    #[prost(bytes = "vec", tag = "7")]
    pub body: Vec<u8>,
    /// Instead of a message: what an application server encrypted.
    #[prost(message, optional, tag = "8")]
    pub push: Option<PushRecord>,
}

/// A Web Push, as it came.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PushRecord {
    /// 0 no data, 1 `aes128gcm`, 2 `aesgcm`.
    #[prost(uint32, tag = "1")]
    pub coding: u32,
    #[prost(bytes = "vec", tag = "2")]
    pub body: Vec<u8>,
    /// Of `aesgcm`.
    #[prost(string, tag = "3")]
    pub encryption: String,
    #[prost(string, tag = "4")]
    pub crypto_key: String,
}

impl From<&RawPush> for PushRecord {
    fn from(push: &RawPush) -> Self {
        let body = push.body().to_vec();
        match push {
            RawPush::Empty => Self::default(),
            RawPush::Aes128gcm(_) => Self { coding: 1, body, ..Self::default() },
            RawPush::Aesgcm { encryption, crypto_key, .. } => {
                Self { coding: 2, body, encryption: encryption.clone(), crypto_key: crypto_key.clone() }
            }
        }
    }
}

impl PushRecord {
    pub fn into_push(self) -> Result<RawPush, StoreError> {
        let Self { coding, body, encryption, crypto_key } = self;
        match coding {
            0 => Ok(RawPush::Empty),
            1 => Ok(RawPush::Aes128gcm(body)),
            2 => Ok(RawPush::Aesgcm { body, encryption, crypto_key }),
            other => Err(StoreError::Damaged(format!("a push has the unknown coding {other}"))),
        }
    }
}

/// Where a destination's queue stands. Those of push services have a table of their own: a start must find
/// whom they have something for.
pub fn table_of(device: DeviceId) -> Table {
    if device.is_outside() { Table::Outbox } else { Table::Inbox }
}

pub fn key(device: DeviceId, id: MessageId) -> RowKey {
    RowKey::new(table_of(device), super::devices::partition(device), id.to_bytes().to_vec())
}

/// The id in a sort key.
pub fn id_of(sort: &[u8]) -> Result<MessageId, StoreError> {
    let bytes = sort
        .try_into()
        .map_err(|_| StoreError::Damaged("a row of inbox has a key of another length".into()))?;
    Ok(MessageId::from_bytes(bytes))
}

impl InboxRecord {
    pub fn to_bytes(&self) -> Vec<u8> {
        super::encode(self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        super::decode("inbox", bytes)
    }
}
