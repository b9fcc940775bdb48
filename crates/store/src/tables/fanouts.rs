//! fan-outs: partition (project, bucket), sort message id; the set of slots that still want the
//! message. This one row is the queued deliveries of a bucket, up to 65,536 of them.

use cresset_message::{MessageId, ProjectNumber, SlotSet};

use super::VERSION;
use crate::{RowKey, StoreError, Table};

pub fn key(project: ProjectNumber, bucket: u32, id: MessageId) -> RowKey {
    let partition = super::registrations::partition(project, bucket);
    RowKey::new(Table::FanOuts, partition, id.to_bytes().to_vec())
}

pub fn to_bytes(set: &SlotSet) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend(set.to_bytes());
    bytes
}

pub fn from_bytes(bytes: &[u8]) -> Result<SlotSet, StoreError> {
    let set = match bytes {
        [VERSION, set @ ..] => SlotSet::from_bytes(set),
        _ => None,
    };
    set.ok_or_else(|| StoreError::Damaged("a row of fanouts cannot be read".into()))
}
