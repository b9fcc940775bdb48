//! devices: check-in identities; and, by device, the registrations made from it.

use bytes::Bytes;
use cresset_message::DeviceId;

use super::registrations::RegistrationRef;
use crate::{RowKey, StoreError, Table};

#[derive(Clone, PartialEq, prost::Message)]
pub struct DeviceRecord {
    /// SHA-256 of the security token.
    #[prost(bytes = "vec", tag = "1")]
    pub token_hash: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub created_millis: u64,
    #[prost(uint64, tag = "3")]
    pub last_seen_millis: u64,
}

pub fn key(device: DeviceId) -> RowKey {
    RowKey::new(Table::Devices, partition(device), Bytes::new())
}

pub fn partition(device: DeviceId) -> Bytes {
    device.get().to_be_bytes().to_vec().into()
}

/// The device, or what stands for one, whose partition this is.
pub fn device_of(partition: &[u8]) -> Result<DeviceId, StoreError> {
    let bytes = partition.try_into().ok();
    let id = bytes.map(u64::from_be_bytes).and_then(DeviceId::stored);
    id.ok_or_else(|| StoreError::Damaged("a partition is that of no device".into()))
}

/// Sort key of a device's registration. Parts are separated by a zero byte, which no form value
/// may hold, so that all registrations of an app and subtype stand together.
pub fn registration_key(device: DeviceId, app: &str, subtype: &str, sender: &str, scope: &str) -> RowKey {
    let sort = [app, subtype, sender, scope].join("\0");
    RowKey::new(Table::DeviceRegistrations, partition(device), sort.into_bytes())
}

/// What all sort keys of one app and subtype begin with.
pub fn registrations_prefix(app: &str, subtype: &str) -> Vec<u8> {
    format!("{app}\0{subtype}\0").into_bytes()
}

impl DeviceRecord {
    pub fn to_bytes(&self) -> Vec<u8> {
        super::encode(self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        super::decode("devices", bytes)
    }
}

impl RegistrationRef {
    pub fn to_bytes(&self) -> Vec<u8> {
        super::encode(self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        super::decode("device_registrations", bytes)
    }
}
