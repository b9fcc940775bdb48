//! carried: partition device, sort registration; whose messages its connection carries, those of
//! web apps over its subscriptions included.

use bytes::Bytes;
use cresset_message::{DeviceId, ProjectNumber, RegistrationId};

use crate::{RowKey, StoreError, Table};

pub fn key(device: DeviceId, id: RegistrationId) -> RowKey {
    let mut sort = Vec::with_capacity(14);
    sort.extend_from_slice(&id.project.0.to_be_bytes());
    sort.extend_from_slice(&id.bucket.to_be_bytes());
    sort.extend_from_slice(&id.slot.to_be_bytes());
    RowKey::new(Table::Carried, partition(device), sort)
}

pub fn partition(device: DeviceId) -> Bytes {
    super::devices::partition(device)
}

pub fn registration_of(sort: &[u8]) -> Result<RegistrationId, StoreError> {
    let parse = || {
        let (project, rest) = sort.split_first_chunk::<8>()?;
        let (bucket, rest) = rest.split_first_chunk::<4>()?;
        Some(RegistrationId {
            project: ProjectNumber(u64::from_be_bytes(*project)),
            bucket: u32::from_be_bytes(*bucket),
            slot: u16::from_be_bytes(rest.try_into().ok()?),
        })
    };
    parse().ok_or_else(|| StoreError::Damaged("a row of carried has a key of another length".into()))
}
