//! fids: a Firebase installation, and where its registration is.

use bytes::Bytes;
use cresset_message::Fid;

use super::registrations::RegistrationRef;
use crate::{RowKey, StoreError, Table};

#[derive(Clone, PartialEq, prost::Message)]
pub struct FidRecord {
    #[prost(uint64, tag = "1")]
    pub project: u64,
    #[prost(string, tag = "2")]
    pub app_id: String,
    #[prost(uint64, tag = "3")]
    pub created_millis: u64,
    #[prost(message, optional, tag = "4")]
    pub registration: Option<RegistrationRef>,
}

pub fn key(fid: &Fid) -> RowKey {
    RowKey::new(Table::Fids, fid.as_str().as_bytes().to_vec(), Bytes::new())
}

impl FidRecord {
    pub fn to_bytes(&self) -> Vec<u8> {
        super::encode(self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        super::decode("fids", bytes)
    }
}
