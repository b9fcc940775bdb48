//! events: what became of a message, by the microseconds of its id. A single delivery is one row; a
//! message for many has a head, and for each bucket sets of slots: one row for each thing that can
//! happen to a delivery, whoever it happened to.

use bytes::Bytes;
use cresset_message::{MessageId, SlotSet};

use super::VERSION;
use super::registrations::RegistrationRef;
use crate::{RowKey, StoreError, Table};

/// One delivery: where it went, and how it ended if it has.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeliveryEvents {
    #[prost(message, optional, tag = "1")]
    pub registration: Option<RegistrationRef>,
    #[prost(uint64, tag = "2")]
    pub device: u64,
    #[prost(uint64, tag = "3")]
    pub expires_millis: u64,
    #[prost(string, optional, tag = "4")]
    pub collapse_key: Option<String>,
    /// When it was last written to a connection, if that is known.
    #[prost(uint64, optional, tag = "5")]
    pub sent_millis: Option<u64>,
    /// How it ended; 0: it has not.
    #[prost(uint32, tag = "6")]
    pub end: u32,
    #[prost(uint64, tag = "7")]
    pub ended_millis: u64,
    /// The id of the message in whose favour it ended.
    #[prost(bytes = "vec", tag = "8")]
    pub by: Vec<u8>,
    /// What a push service said of it.
    #[prost(string, tag = "9")]
    pub told: String,
}

/// A message for many.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HeadRecord {
    #[prost(uint64, tag = "1")]
    pub project: u64,
    /// The low half of its id.
    #[prost(uint64, tag = "2")]
    pub unique: u64,
    #[prost(string, tag = "3")]
    pub topic: String,
    #[prost(string, tag = "4")]
    pub condition: String,
    /// Of a device group: the ids of its deliveries, each in a partition of its own.
    #[prost(bytes = "vec", repeated, tag = "5")]
    pub deliveries: Vec<Vec<u8>>,
    /// When it is over for those whose messages travel in clear, and for web apps.
    #[prost(uint64, tag = "6")]
    pub raw_expires_millis: u64,
    #[prost(uint64, tag = "7")]
    pub web_expires_millis: u64,
    /// And for apps on Apple devices; 0: as for web apps.
    #[prost(uint64, tag = "8")]
    pub apple_expires_millis: u64,
}

/// The partition of a message: its microseconds, of which each id of a server has its own, so that a
/// topic's message is found by the number its sender was told.
pub fn partition(micros: u64) -> Bytes {
    micros.to_be_bytes().to_vec().into()
}

const HEAD: u8 = 0;
const DELIVERY: u8 = 1;
const SENT: u8 = 2;
const SET: u8 = 3;

/// What a sort key tells of its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Head,
    /// Of the delivery whose id has this low half.
    Delivery(u64),
    /// When that was last written to a connection; eight bytes, milliseconds.
    Sent(u64),
    /// The slots of a bucket to which `what` happened, in favour of `by`.
    Set {
        bucket: u32,
        what: u8,
        by: Option<MessageId>,
    },
}

impl Kind {
    fn sort(&self) -> Vec<u8> {
        match self {
            Self::Head => vec![HEAD],
            Self::Delivery(unique) => [&[DELIVERY][..], &unique.to_be_bytes()].concat(),
            Self::Sent(unique) => [&[SENT][..], &unique.to_be_bytes()].concat(),
            Self::Set { bucket, what, by } => {
                let by = by.map(MessageId::to_bytes);
                let by = by.as_ref().map_or(&[][..], |by| by);
                [&[SET][..], &bucket.to_be_bytes(), &[*what], by].concat()
            }
        }
    }

    pub fn from_sort(sort: &[u8]) -> Result<Self, StoreError> {
        let number = |bytes: &[u8]| bytes.iter().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
        match sort {
            [HEAD] => Ok(Self::Head),
            [DELIVERY, unique @ ..] if unique.len() == 8 => Ok(Self::Delivery(number(unique))),
            [SENT, unique @ ..] if unique.len() == 8 => Ok(Self::Sent(number(unique))),
            [SET, a, b, c, d, what, by @ ..] if by.is_empty() || by.len() == 16 => {
                let by = <[u8; 16]>::try_from(by).ok().map(MessageId::from_bytes);
                Ok(Self::Set { bucket: u32::from_be_bytes([*a, *b, *c, *d]), what: *what, by })
            }
            _ => Err(StoreError::Damaged("a row of events has a key of another shape".into())),
        }
    }
}

pub fn key(micros: u64, kind: &Kind) -> RowKey {
    RowKey::new(Table::Events, partition(micros), kind.sort())
}

/// Where the rows of deliveries begin.
pub fn first_delivery() -> Vec<u8> {
    vec![DELIVERY]
}

/// Where the sets of a bucket begin, and those of the next one.
pub fn first_set(bucket: u32) -> Vec<u8> {
    [&[SET][..], &bucket.to_be_bytes()].concat()
}

pub fn delivery_key(id: MessageId) -> RowKey {
    key(id.micros, &Kind::Delivery(id.unique))
}

pub fn sent_to_bytes(millis: u64) -> Vec<u8> {
    millis.to_be_bytes().to_vec()
}

pub fn sent_from_bytes(bytes: &[u8]) -> Result<u64, StoreError> {
    let bytes = bytes.try_into();
    bytes.map(u64::from_be_bytes).map_err(|_| StoreError::Damaged("a row of events cannot be read".into()))
}

pub fn set_to_bytes(set: &SlotSet) -> Vec<u8> {
    [&[VERSION][..], &set.to_bytes()].concat()
}

pub fn set_from_bytes(bytes: &[u8]) -> Result<SlotSet, StoreError> {
    let set = match bytes {
        [VERSION, set @ ..] => SlotSet::from_bytes(set),
        _ => None,
    };
    set.ok_or_else(|| StoreError::Damaged("a set of events cannot be read".into()))
}

impl DeliveryEvents {
    pub fn to_bytes(&self) -> Vec<u8> {
        super::encode(self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        super::decode("events", bytes)
    }
}

impl HeadRecord {
    pub fn to_bytes(&self) -> Vec<u8> {
        super::encode(self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        super::decode("events", bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sort_keys_are_read_as_they_were_made_and_stand_in_order() {
        let by = MessageId { micros: 7, unique: 9 };
        let kinds = [
            Kind::Head,
            Kind::Delivery(1),
            Kind::Delivery(u64::MAX),
            Kind::Sent(1),
            Kind::Set { bucket: 0, what: 1, by: None },
            Kind::Set { bucket: 0, what: 2, by: Some(by) },
            Kind::Set { bucket: 1, what: 0, by: None },
        ];
        assert!(kinds.iter().map(Kind::sort).is_sorted());
        for kind in kinds {
            assert_eq!(Kind::from_sort(&kind.sort()), Ok(kind));
        }
        assert!(first_set(0) < Kind::Set { bucket: 0, what: 0, by: None }.sort());
        assert!(first_set(1) > Kind::Set { bucket: 0, what: 255, by: Some(by) }.sort());
        for bad in [&[][..], &[9], &[DELIVERY, 1], &[SET, 0, 0, 0, 0, 1, 2]] {
            assert!(Kind::from_sort(bad).is_err());
        }
    }
}
