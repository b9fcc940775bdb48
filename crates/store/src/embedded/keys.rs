//! Rows as bytes. Both formats are on disk: they change only together with the folder's version.
//!
//! ```text
//! key    = length of the partition (1 byte) · partition · sort key
//! value  = expiry in microseconds, big-endian (8 bytes, 0 = never) · value
//! ```
//!
//! The length first makes keys prefix-free between partitions, so a partition is one range and its
//! rows stand in the order of their sort keys. The expiry stands in the value because an expiry
//! index doubles the rows of every enqueue and every acknowledgement.

use bytes::Bytes;
use cresset_message::Timestamp;

use crate::{Row, RowKey, StoreError};

const EXPIRY: usize = 8;

pub(super) fn row_key(key: &RowKey) -> Vec<u8> {
    key_of(&key.partition, &key.sort)
}

/// The key of a row, and of a partition's first one (an empty sort key).
pub(super) fn key_of(partition: &[u8], sort: &[u8]) -> Vec<u8> {
    debug_assert!(partition.len() <= crate::MAX_PARTITION, "checked when a batch is taken");
    let mut key = Vec::with_capacity(1 + partition.len() + sort.len());
    key.push(partition.len() as u8);
    key.extend_from_slice(partition);
    key.extend_from_slice(sort);
    key
}

pub(super) fn sort_of(key: &[u8]) -> Result<Bytes, StoreError> {
    key.split_first()
        .and_then(|(length, rest)| rest.get(usize::from(*length)..))
        .map(Bytes::copy_from_slice)
        .ok_or_else(|| StoreError::Damaged("a row's key is shorter than its partition".into()))
}

pub(super) fn partition_of(key: &[u8]) -> Result<Bytes, StoreError> {
    key.split_first()
        .and_then(|(length, rest)| rest.get(..usize::from(*length)))
        .map(Bytes::copy_from_slice)
        .ok_or_else(|| StoreError::Damaged("a row's key is shorter than its partition".into()))
}

pub(super) fn value(expires: Option<Timestamp>, value: &[u8]) -> Vec<u8> {
    // An expiry at the epoch itself must not read as "never"; a microsecond later is as long gone.
    let micros = expires.map_or(0, |at| at.as_micros().max(1));
    let mut bytes = Vec::with_capacity(EXPIRY + value.len());
    bytes.extend_from_slice(&micros.to_be_bytes());
    bytes.extend_from_slice(value);
    bytes
}

/// A row's value as it stands on disk, read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored<'a> {
    pub(super) expires: Option<Timestamp>,
    pub(super) value: &'a [u8],
}

impl<'a> Stored<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, StoreError> {
        let (expiry, value) = bytes
            .split_first_chunk::<EXPIRY>()
            .ok_or_else(|| StoreError::Damaged("a row is shorter than its expiry".into()))?;
        let micros = u64::from_be_bytes(*expiry);
        Ok(Self { expires: (micros != 0).then(|| Timestamp::from_micros(micros)), value })
    }

    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    pub(super) fn row(&self, sort: Bytes) -> Row {
        Row { sort, value: Bytes::copy_from_slice(self.value), expires: self.expires }
    }
}

/// The first key after every row of a partition; `None` when only the end of the table is.
pub(super) fn after_partition(partition: &[u8]) -> Option<Vec<u8>> {
    let mut end = key_of(partition, &[]);
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_is_a_prefix_of_another_has_a_range_of_its_own() {
        let end = after_partition(b"a").unwrap();
        assert!(key_of(b"a", &[0xff; 20]) < end);
        assert!(key_of(b"ab", b"") > end);
        assert_eq!(after_partition(&[0xff; 255]), None);
    }

    #[test]
    fn expiry_at_the_epoch_is_not_never() {
        let bytes = value(Some(Timestamp::from_micros(0)), b"v");
        assert!(!Stored::read(&bytes).unwrap().is_live(Timestamp::from_micros(1)));
    }
}
