//! topic members: partition (project, bucket, topic), sort slot; and the same the other way round,
//! member topics: partition registration, sort name. A name may be longer than a partition key, so
//! that there its digest stands; `topics` has the names.

use aws_lc_rs::digest;
use bytes::Bytes;
use cresset_message::{Platform, ProjectNumber, RegistrationId, Timestamp, Topic};

use super::registrations;
use crate::{Batch, RowKey, StoreError, Table};

/// What stands for a topic's name in a key: the first half of its SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicKey([u8; 16]);

impl TopicKey {
    /// The registrations of a platform, kept as if that were a topic: together they are the universe of
    /// conditions. No name has such a digest, but by a chance of 1 in 2^125.
    pub const fn of_platform(platform: Platform) -> Self {
        let mut key = [0; 16];
        key[15] = match platform {
            Platform::Android => 1,
            Platform::Ios => 2,
            Platform::Web => 3,
        };
        Self(key)
    }

    /// The registrations that push services of others carry, kept in the same way.
    pub const fn outside() -> Self {
        let mut key = [0; 16];
        key[15] = 4;
        Self(key)
    }

    pub fn of(topic: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, topic.as_bytes());
        let mut key = [0; 16];
        key.copy_from_slice(&digest.as_ref()[..16]);
        Self(key)
    }
}

/// The members of a topic in one bucket.
pub fn partition(project: ProjectNumber, bucket: u32, topic: TopicKey) -> Bytes {
    let mut partition = registrations::partition(project, bucket).to_vec();
    partition.extend_from_slice(&topic.0);
    partition.into()
}

pub fn key(id: RegistrationId, topic: TopicKey) -> RowKey {
    let partition = partition(id.project, id.bucket, topic);
    RowKey::new(Table::TopicMembers, partition, id.slot.to_be_bytes().to_vec())
}

/// The slot in a sort key.
pub fn slot_of(sort: &[u8]) -> Result<u16, StoreError> {
    let bytes = sort
        .try_into()
        .map_err(|_| StoreError::Damaged("a row of topic_members has a key of another length".into()))?;
    Ok(u16::from_be_bytes(bytes))
}

/// The topics of a registration.
pub fn topics_partition(id: RegistrationId) -> Bytes {
    let mut partition = registrations::partition(id.project, id.bucket).to_vec();
    partition.extend_from_slice(&id.slot.to_be_bytes());
    partition.into()
}

pub fn topic_key(id: RegistrationId, topic: &str) -> RowKey {
    RowKey::new(Table::MemberTopics, topics_partition(id), topic.as_bytes().to_vec())
}

/// The topics of a project: partition project, sort name.
pub fn names_partition(project: ProjectNumber) -> Bytes {
    project.0.to_be_bytes().to_vec().into()
}

pub fn name_key(project: ProjectNumber, topic: &str) -> RowKey {
    RowKey::new(Table::Topics, names_partition(project), topic.as_bytes().to_vec())
}

/// The name in a sort key, of a topic of a project or of a registration.
pub fn topic_of(sort: &[u8]) -> Result<Topic, StoreError> {
    let text = std::str::from_utf8(sort).ok().and_then(|text| text.parse().ok());
    text.ok_or_else(|| StoreError::Damaged("a row has a key that is no topic".into()))
}

/// A registration is a member of a topic from now on. Safe to write again.
pub fn join(batch: &mut Batch, id: RegistrationId, topic: &Topic, since: Timestamp) {
    batch.put(key(id, TopicKey::of(topic.as_str())), Bytes::new(), None);
    batch.put(topic_key(id, topic.as_str()), since_to_bytes(since), None);
}

/// Undoes [`join`].
pub fn leave(batch: &mut Batch, id: RegistrationId, topic: &Topic) {
    batch.delete(key(id, TopicKey::of(topic.as_str())));
    batch.delete(topic_key(id, topic.as_str()));
}

pub fn since_to_bytes(since: Timestamp) -> Vec<u8> {
    since.as_millis().to_be_bytes().to_vec()
}

pub fn since_from_bytes(bytes: &[u8]) -> Result<Timestamp, StoreError> {
    let bytes =
        bytes.try_into().map_err(|_| StoreError::Damaged("a row of member_topics cannot be read".into()))?;
    Ok(Timestamp::from_millis(u64::from_be_bytes(bytes)))
}
