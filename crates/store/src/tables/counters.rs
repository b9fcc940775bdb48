//! counters: numbers that only rise, reserved in blocks by compare-and-set.

use bytes::Bytes;
use cresset_message::ProjectNumber;

use crate::{RowKey, StoreError, Table};

/// The next registration of a project that nobody has reserved, as `bucket * 65,536 + slot`.
pub fn next_registration(project: ProjectNumber) -> RowKey {
    RowKey::new(Table::Counters, project.0.to_be_bytes().to_vec(), &b"registrations"[..])
}

/// About the microseconds of the message id that was given out last; ids go on above it.
pub fn last_message() -> RowKey {
    RowKey::new(Table::Counters, &b"messages"[..], Bytes::new())
}

pub fn to_bytes(value: u64) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

pub fn from_bytes(bytes: &[u8]) -> Result<u64, StoreError> {
    let bytes = bytes.try_into().map_err(|_| StoreError::Damaged("a counter has another length".into()))?;
    Ok(u64::from_be_bytes(bytes))
}
