//! Device groups: one notification key for up to twenty registrations (`protocol/device-groups.md`).
//!
//! A group is one row, and every change of it a compare-and-set. A member whose registration is gone
//! leaves by itself, when somebody sees it; with the last one the group is deleted and its name is free.

use bytes::Bytes;
use cresset_message::{GroupId, ProjectNumber, Recipient, Rejection, Target, Timestamp};
use cresset_store::tables::groups::{self, GroupRecord};
use cresset_store::tables::registrations::RegistrationRef;
use cresset_store::{Batch, Condition, Store, StoreError};
use cresset_wire::token::{group_key, open_group_key};

use crate::finish::Finish;
use crate::{Dispatcher, refusal};

/// Members of one group, as FCM has it.
const MAX_MEMBERS: usize = 20;

/// Bytes of a name: half of what a sort key may have, and four times what an e-mail address may.
const MAX_NAME: usize = 512;

/// Ids of one request: each costs some reads.
const MAX_IDS: usize = 1_000;

/// Attempts at a compare-and-set before giving up.
const ATTEMPTS: usize = 5;

/// Why a request about a group is refused. The texts that FCM has are FCM's: clients compare them
/// (`protocol/device-groups.md` §4).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    #[error("notification_key already exists")]
    Exists,
    #[error("notification_key not found")]
    NotFound,
    #[error("no valid registration ids")]
    NoValidIds,
    #[error("notification_key_name doesn't match the group name of the notification_key")]
    OtherName,
    #[error("a device group has at most {MAX_MEMBERS} members")]
    TooManyMembers,
    #[error("registration_ids has more than {MAX_IDS} entries")]
    TooManyIds,
    #[error("notification_key_name must have 1 to {MAX_NAME} bytes")]
    NameLength,
    /// No fault of the request's.
    #[error("the service is currently unavailable")]
    Failed(Rejection),
}

impl From<StoreError> for GroupError {
    fn from(error: StoreError) -> Self {
        Self::Failed(refusal(error))
    }
}

/// Who is to join or to leave a group.
#[derive(Clone, Copy, Debug)]
pub struct GroupChange<'a> {
    pub notification_key: &'a str,
    /// Checked if it is there.
    pub name: Option<&'a str>,
    /// Tokens, or FIDs in their place. At least one must be of a registration that lives.
    pub registration_ids: &'a [&'a str],
}

/// A group as it stands in the store.
pub(crate) struct Group {
    id: GroupId,
    record: GroupRecord,
    /// What a change is conditional on.
    row: Bytes,
    /// Its members whose registrations live, in their order.
    pub(crate) members: Vec<Recipient>,
}

impl Group {
    fn living(&self) -> Vec<RegistrationRef> {
        self.members.iter().map(|member| member.registration.into()).collect()
    }
}

impl Dispatcher {
    /// Makes a group of those ids that are registrations of the project, and gives its key.
    pub async fn create_group(
        &self,
        project: ProjectNumber,
        name: &str,
        registration_ids: &[&str],
        now: Timestamp,
    ) -> Result<String, GroupError> {
        check_name(name)?;
        let members = self.registrations_of(project, registration_ids, now).await?;
        if members.len() > MAX_MEMBERS {
            return Err(GroupError::TooManyMembers);
        }
        let group = self.new_group_id(project);
        let record = GroupRecord { name: name.to_owned(), members, created_millis: now.as_millis() };
        for _ in 0..ATTEMPTS {
            let leads_to = self.store.get(&groups::name_key(project, name), now).await?.map(|row| row.value);
            if let Some(other) = &leads_to {
                let other = groups::name_from_bytes(project, other)?;
                if self.living_group(other, now).await?.is_some() {
                    return Err(GroupError::Exists);
                }
            }
            // To its end, even if the client no longer waits: else a record nobody knows may stay.
            let claim = claim(self.store.clone(), group, record.clone(), leads_to, now);
            if Finish::new(claim).await? {
                return Ok(group_key(&self.tokens, group));
            }
        }
        Err(contended())
    }

    /// Adding a member that is one already is a success.
    pub async fn add_to_group(
        &self,
        project: ProjectNumber,
        change: GroupChange<'_>,
        now: Timestamp,
    ) -> Result<String, GroupError> {
        self.change_group(project, change, now, |members, ids| {
            let joining: Vec<_> = ids.iter().filter(|id| !members.contains(id)).copied().collect();
            members.extend(joining);
        })
        .await
    }

    /// Removing one that is no member is a success. With its last member the group is deleted.
    pub async fn remove_from_group(
        &self,
        project: ProjectNumber,
        change: GroupChange<'_>,
        now: Timestamp,
    ) -> Result<String, GroupError> {
        self.change_group(project, change, now, |members, ids| members.retain(|m| !ids.contains(m))).await
    }

    /// The notification key of the group of that name.
    pub async fn group_by_name(
        &self,
        project: ProjectNumber,
        name: &str,
        now: Timestamp,
    ) -> Result<String, GroupError> {
        check_name(name)?;
        let row = self.store.get(&groups::name_key(project, name), now).await?;
        let id = groups::name_from_bytes(project, &row.ok_or(GroupError::NotFound)?.value)?;
        self.living_group(id, now).await?.ok_or(GroupError::NotFound)?;
        Ok(group_key(&self.tokens, id))
    }

    async fn change_group(
        &self,
        project: ProjectNumber,
        change: GroupChange<'_>,
        now: Timestamp,
        edit: impl Fn(&mut Vec<RegistrationRef>, &[RegistrationRef]),
    ) -> Result<String, GroupError> {
        let id = open_group_key(&self.tokens, change.notification_key)
            .filter(|id| id.project == project)
            .ok_or(GroupError::NotFound)?;
        for _ in 0..ATTEMPTS {
            let group = self.living_group(id, now).await?.ok_or(GroupError::NotFound)?;
            if change.name.is_some_and(|name| name != group.record.name) {
                return Err(GroupError::OtherName);
            }
            let ids = self.registrations_of(project, change.registration_ids, now).await?;
            let mut members = group.living();
            edit(&mut members, &ids);
            if members.len() > MAX_MEMBERS {
                return Err(GroupError::TooManyMembers);
            }
            if self.replace_members(&group, members, now).await? {
                return Ok(group_key(&self.tokens, id));
            }
        }
        Err(contended())
    }

    /// The registrations of the project among those ids, each once.
    async fn registrations_of(
        &self,
        project: ProjectNumber,
        ids: &[&str],
        now: Timestamp,
    ) -> Result<Vec<RegistrationRef>, GroupError> {
        if ids.len() > MAX_IDS {
            return Err(GroupError::TooManyIds);
        }
        let mut found = Vec::new();
        for id in ids {
            let recipient = self.recipient_of(project, &Target::Token((*id).to_owned()), now).await;
            match recipient.map(|recipient| RegistrationRef::from(recipient.registration)) {
                Ok(registration) if !found.contains(&registration) => found.push(registration),
                Err(failed @ (Rejection::Unavailable { .. } | Rejection::Internal)) => {
                    return Err(GroupError::Failed(failed));
                }
                Ok(_) | Err(_) => {}
            }
        }
        if found.is_empty() { Err(GroupError::NoValidIds) } else { Ok(found) }
    }

    /// A group with a member that lives. One without is deleted now.
    async fn living_group(&self, id: GroupId, now: Timestamp) -> Result<Option<Group>, GroupError> {
        for _ in 0..ATTEMPTS {
            let Some(group) = self.group(id, now).await? else { return Ok(None) };
            if !group.members.is_empty() {
                return Ok(Some(group));
            }
            if self.replace_members(&group, Vec::new(), now).await? {
                return Ok(None);
            }
        }
        Err(contended())
    }

    pub(crate) async fn group(&self, id: GroupId, now: Timestamp) -> Result<Option<Group>, StoreError> {
        let Some(row) = self.store.get(&groups::key(id), now).await? else { return Ok(None) };
        let record = GroupRecord::from_bytes(&row.value)?;
        let mut members = Vec::with_capacity(record.members.len());
        for member in &record.members {
            members.extend(self.recipient((*member).into(), now).await?);
        }
        Ok(Some(Group { id, record, row: row.value, members }))
    }

    /// Those members who are gone leave. Only housekeeping: whoever sees them next tries again.
    pub(crate) async fn drop_gone_members(&self, group: &Group, now: Timestamp) {
        if let Err(e) = self.replace_members(group, group.living(), now).await {
            tracing::debug!("members that are gone stay in a group for now: {e}");
        }
    }

    /// `false`: somebody else has changed the group meanwhile.
    async fn replace_members(
        &self,
        group: &Group,
        members: Vec<RegistrationRef>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if members == group.record.members {
            return Ok(true);
        }
        let key = groups::key(group.id);
        let condition = Condition { key: key.clone(), expected: Some(group.row.clone()) };
        let mut batch = Batch { condition: Some(condition), ..Batch::default() };
        let ends = members.is_empty();
        if ends {
            batch.delete(key);
        } else {
            batch.put(key, GroupRecord { members, ..group.record.clone() }.to_bytes(), None);
        }
        let replaced = self.store.write(batch, now).await?;
        if replaced && ends {
            self.free_name(group, now).await;
        }
        Ok(replaced)
    }

    /// A name that leads to no record is free anyway, so that failing, or a crash before it, costs a row.
    async fn free_name(&self, group: &Group, now: Timestamp) {
        let key = groups::name_key(group.id.project, &group.record.name);
        let expected = Some(groups::name_to_bytes(group.id).into());
        let mut batch =
            Batch { condition: Some(Condition { key: key.clone(), expected }), ..Batch::default() };
        batch.delete(key);
        if let Err(e) = self.store.write(batch, now).await {
            tracing::debug!("the name of a group that was deleted stays for now: {e}");
        }
    }

    fn new_group_id(&self, project: ProjectNumber) -> GroupId {
        let mut unique = [0; 32];
        (self.random)(&mut unique);
        GroupId { project, unique }
    }
}

/// The record first, then its name, unless somebody else has taken that meanwhile: so a name never
/// leads to a group that is yet to come, and one that leads to no record is free for good.
async fn claim(
    store: Store,
    group: GroupId,
    record: GroupRecord,
    leads_to: Option<Bytes>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let mut made = Batch::default();
    made.put(groups::key(group), record.to_bytes(), None);
    store.write(made, now).await?;
    let name = groups::name_key(group.project, &record.name);
    let condition = Condition { key: name.clone(), expected: leads_to };
    let mut named = Batch { condition: Some(condition), ..Batch::default() };
    named.put(name, groups::name_to_bytes(group), None);
    let claimed = store.write(named, now).await?;
    if !claimed {
        let mut undone = Batch::default();
        undone.delete(groups::key(group));
        store.write(undone, now).await?;
    }
    Ok(claimed)
}

fn check_name(name: &str) -> Result<(), GroupError> {
    if (1..=MAX_NAME).contains(&name.len()) { Ok(()) } else { Err(GroupError::NameLength) }
}

/// Trying again helps.
fn contended() -> GroupError {
    StoreError::Unavailable("a group was changed by others again and again".into()).into()
}
