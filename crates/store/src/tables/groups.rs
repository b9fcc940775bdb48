//! groups: one record a device group, so that every change is one compare-and-set; and group names:
//! partition project, sort name. A name whose group has no record is free.

use bytes::Bytes;
use cresset_message::{GroupId, ProjectNumber};

use super::VERSION;
use super::registrations::RegistrationRef;
use crate::{RowKey, StoreError, Table};

#[derive(Clone, PartialEq, prost::Message)]
pub struct GroupRecord {
    #[prost(string, tag = "1")]
    pub name: String,
    /// In the order in which they joined.
    #[prost(message, repeated, tag = "2")]
    pub members: Vec<RegistrationRef>,
    #[prost(uint64, tag = "3")]
    pub created_millis: u64,
}

pub fn key(group: GroupId) -> RowKey {
    let mut partition = group.project.0.to_be_bytes().to_vec();
    partition.extend_from_slice(&group.unique);
    RowKey::new(Table::Groups, partition, Bytes::new())
}

impl GroupRecord {
    pub fn to_bytes(&self) -> Vec<u8> {
        super::encode(self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        super::decode("groups", bytes)
    }
}

pub fn name_key(project: ProjectNumber, name: &str) -> RowKey {
    RowKey::new(Table::GroupNames, project.0.to_be_bytes().to_vec(), name.as_bytes().to_vec())
}

/// The value of a name: the group it leads to.
pub fn name_to_bytes(group: GroupId) -> Vec<u8> {
    [&[VERSION][..], &group.unique].concat()
}

pub fn name_from_bytes(project: ProjectNumber, bytes: &[u8]) -> Result<GroupId, StoreError> {
    let unique = match bytes {
        [VERSION, unique @ ..] => unique.try_into().ok(),
        _ => None,
    };
    let unique = unique.ok_or_else(|| StoreError::Damaged("a row of group_names cannot be read".into()))?;
    Ok(GroupId { project, unique })
}
