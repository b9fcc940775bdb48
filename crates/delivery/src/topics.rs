//! Topics: app instances join and leave them, and who is in them (`protocol/topics-and-batch.md` §2-4).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};

use cresset_message::{DeviceId, Platform, ProjectNumber, RegistrationId, Rejection, Timestamp, Topic};
use cresset_store::tables::members::{self, TopicKey};
use cresset_store::tables::registrations::{self, RegistrationRecord};
use cresset_store::{Batch, RowKey, Store, StoreError, Table};
use cresset_wire::token::{Presented, present, registration_token};

use crate::finish::Finish;
use crate::members::Members;
use crate::{Dispatcher, refusal};

/// Topics of one app instance (`protocol/topics-and-batch.md` §3). Subscriptions that come at the
/// same moment may pass it by as many as they are.
pub const MAX_TOPICS: usize = 2_000;

/// Topics that are read of one app instance: whatever came at the same moment included.
const TOPICS_READ: usize = MAX_TOPICS * 2;

/// Changes in one batch, of two rows each.
const EDITS: usize = 1_000;

/// Topics or members of one page.
const MAX_PAGE: usize = 1_000;

/// Why one app instance was not subscribed or unsubscribed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MembershipError {
    /// What was given never was a token.
    InvalidArgument,
    /// Not, or no longer, registered.
    NotFound,
    /// Another project's.
    PermissionDenied,
    TooManyTopics,
    /// Too many changes of subscriptions.
    ResourceExhausted,
    /// The server's fault; trying again may help.
    Internal,
}

impl MembershipError {
    /// As the Instance ID service names it (`protocol/topics-and-batch.md` §2.1).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::NotFound => "NOT_FOUND",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::TooManyTopics => "TOO_MANY_TOPICS",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::Internal => "INTERNAL",
        }
    }

    /// What concerns one app instance only; else all of the call is refused.
    fn of_one(rejection: Rejection) -> Result<Self, Rejection> {
        match rejection {
            Rejection::MalformedToken => Ok(Self::InvalidArgument),
            Rejection::Unregistered => Ok(Self::NotFound),
            Rejection::SenderIdMismatch => Ok(Self::PermissionDenied),
            Rejection::TooManyTopics { .. } => Ok(Self::TooManyTopics),
            Rejection::SubscriptionQuota { .. } => Ok(Self::ResourceExhausted),
            Rejection::Internal => Ok(Self::Internal),
            other => Err(other),
        }
    }
}

/// How many topics an app instance left and joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    pub added: usize,
    pub removed: usize,
}

/// Topics of a project, with the number of their members. Those without any are left out, so that a
/// page may be short, or empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPage {
    pub topics: Vec<(Topic, u64)>,
    /// The topic after which the next page begins; `None` at the end.
    pub next: Option<Topic>,
}

/// An app instance as others may know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Package or bundle name, or a web app's id.
    pub application: Option<String>,
    pub platform: Platform,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub registration: RegistrationId,
    pub token: String,
    pub platform: Platform,
}

/// Members of a topic. Those that ended at this moment are left out, so that a page may be short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberPage {
    pub members: Vec<Member>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Join,
    Leave,
}

impl Dispatcher {
    /// Subscribes app instances to a topic: what became of each, in order. Those that are in it
    /// already stay as they are. What succeeded is durable.
    pub async fn subscribe(
        &self,
        sender: ProjectNumber,
        topic: &Topic,
        tokens: &[String],
        now: Timestamp,
    ) -> Result<Vec<Result<(), MembershipError>>, Rejection> {
        self.change_members(sender, topic, tokens, Way::Join, now).await
    }

    /// The same, out of it; that one is not in it is success.
    pub async fn unsubscribe(
        &self,
        sender: ProjectNumber,
        topic: &Topic,
        tokens: &[String],
        now: Timestamp,
    ) -> Result<Vec<Result<(), MembershipError>>, Rejection> {
        self.change_members(sender, topic, tokens, Way::Leave, now).await
    }

    async fn change_members(
        &self,
        sender: ProjectNumber,
        topic: &Topic,
        tokens: &[String],
        way: Way,
        now: Timestamp,
    ) -> Result<Vec<Result<(), MembershipError>>, Rejection> {
        self.meters.admit_subscriptions(sender, tokens.len(), now)?;
        let mut named = Vec::with_capacity(tokens.len());
        let mut outcomes = HashMap::new();
        let mut edits = Vec::new();
        for token in tokens {
            let id = match self.registration_named(sender, token, now).await {
                Ok(id) => id,
                Err(rejection) => {
                    named.push(Err(MembershipError::of_one(rejection)?));
                    continue;
                }
            };
            named.push(Ok(id));
            if outcomes.contains_key(&id) {
                continue;
            }
            let outcome = match self.is_to_change(id, topic, way, now).await {
                Ok(false) => Ok(()),
                Ok(true) => {
                    edits.push(Edit { id, topic: topic.clone(), way });
                    Ok(())
                }
                Err(rejection) => Err(MembershipError::of_one(rejection)?),
            };
            outcomes.insert(id, outcome);
        }
        for id in self.edit(edits, EDITS, now).await? {
            outcomes.insert(id, Err(MembershipError::NotFound));
        }
        Ok(named.into_iter().map(|named| named.and_then(|id| outcomes[&id])).collect())
    }

    /// Subscribes one; whether it was already.
    pub async fn subscribe_one(
        &self,
        registration: RegistrationId,
        topic: &Topic,
        now: Timestamp,
    ) -> Result<bool, Rejection> {
        self.change_one(registration, topic, Way::Join, now).await.map(|changed| !changed)
    }

    /// An app joins or leaves by itself: the device shows that the token is of one of its own.
    pub async fn change_own(
        &self,
        device: DeviceId,
        token: &str,
        topic: &Topic,
        join: bool,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        let Presented::Registration(id) = present(&self.tokens, token) else {
            return Err(Rejection::Unregistered);
        };
        let recipient = self.recipient(id, now).await.map_err(refusal)?;
        if recipient.is_none_or(|recipient| recipient.device != device) {
            return Err(Rejection::Unregistered);
        }
        let way = if join { Way::Join } else { Way::Leave };
        self.change_one(id, topic, way, now).await.map(drop)
    }

    /// Unsubscribes one; whether it was subscribed.
    pub async fn unsubscribe_one(
        &self,
        registration: RegistrationId,
        topic: &Topic,
        now: Timestamp,
    ) -> Result<bool, Rejection> {
        self.change_one(registration, topic, Way::Leave, now).await
    }

    async fn change_one(
        &self,
        registration: RegistrationId,
        topic: &Topic,
        way: Way,
        now: Timestamp,
    ) -> Result<bool, Rejection> {
        self.meters.admit_subscriptions(registration.project, 1, now)?;
        if !self.is_to_change(registration, topic, way, now).await? {
            return Ok(false);
        }
        let edit = Edit { id: registration, topic: topic.clone(), way };
        match self.edit(vec![edit], EDITS, now).await?.is_empty() {
            true => Ok(true),
            false => Err(Rejection::Unregistered),
        }
    }

    /// Gives an app instance exactly these topics, in one step.
    pub async fn replace_topics(
        &self,
        registration: RegistrationId,
        topics: &[Topic],
        now: Timestamp,
    ) -> Result<Replaced, Rejection> {
        let wanted: HashSet<&Topic> = topics.iter().collect();
        if wanted.len() > MAX_TOPICS {
            return Err(Rejection::TooManyTopics { limit: MAX_TOPICS });
        }
        let had: HashSet<Topic> =
            self.topics_of(registration, now).await?.into_iter().map(|(topic, _)| topic).collect();
        let edit = |way| move |topic: &Topic| Edit { id: registration, topic: topic.clone(), way };
        let mut edits: Vec<Edit> =
            had.iter().filter(|topic| !wanted.contains(topic)).map(edit(Way::Leave)).collect();
        let removed = edits.len();
        let (kept, new): (Vec<&Topic>, Vec<&Topic>) = wanted.into_iter().partition(|t| had.contains(*t));
        edits.extend(new.into_iter().map(edit(Way::Join)));
        let added = edits.len() - removed;
        for topic in kept {
            if self.came_apart(registration, topic, true, now).await.map_err(refusal)? {
                edits.push(edit(Way::Join)(topic));
            }
        }
        self.meters.admit_subscriptions(registration.project, edits.len(), now)?;
        match self.edit(edits, MAX_TOPICS * 2, now).await?.is_empty() {
            true => Ok(Replaced { added, removed }),
            false => Err(Rejection::Unregistered),
        }
    }

    /// The topics of an app instance in the order of their names, and since when.
    pub async fn topics_of(
        &self,
        registration: RegistrationId,
        now: Timestamp,
    ) -> Result<Vec<(Topic, Timestamp)>, Rejection> {
        let partition = members::topics_partition(registration);
        let page = self.store.scan(Table::MemberTopics, &partition, b"", TOPICS_READ, now).await;
        let read = |page: cresset_store::Page| {
            let topic = |row: &cresset_store::Row| {
                Ok((members::topic_of(&row.sort)?, members::since_from_bytes(&row.value)?))
            };
            page.rows.iter().map(topic).collect()
        };
        page.and_then(read).map_err(refusal)
    }

    /// What is known of an app instance; `None` when it cannot be reached.
    pub async fn describe(
        &self,
        registration: RegistrationId,
        now: Timestamp,
    ) -> Result<Option<Described>, Rejection> {
        let recipient = self.recipient(registration, now).await.map_err(refusal)?;
        Ok(recipient.map(|recipient| Described {
            platform: recipient.platform,
            application: recipient.application(),
        }))
    }

    /// Since when an app instance is in a topic, if it is.
    pub async fn subscription(
        &self,
        registration: RegistrationId,
        topic: &Topic,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, Rejection> {
        let row = self.store.get(&members::topic_key(registration, topic.as_str()), now).await;
        let since = row.and_then(|row| row.map(|row| members::since_from_bytes(&row.value)).transpose());
        since.map_err(refusal)
    }

    /// The registration of this project that a token or a FID names, if it lives.
    pub async fn registration_named(
        &self,
        sender: ProjectNumber,
        text: &str,
        now: Timestamp,
    ) -> Result<RegistrationId, Rejection> {
        let id = match present(&self.tokens, text) {
            Presented::Registration(id) => id,
            Presented::Fid(fid) => self.registration_of_fid(&fid, now).await?,
            Presented::Foreign => return Err(Rejection::Unregistered),
            // A group has no topics.
            Presented::Malformed | Presented::Group(_) => return Err(Rejection::MalformedToken),
        };
        if id.project != sender {
            return Err(Rejection::SenderIdMismatch);
        }
        let row = self.store.get(&registrations::key(id), now).await.map_err(refusal)?;
        row.map(|_| id).ok_or(Rejection::Unregistered)
    }

    /// Topics of a project after the one named, with the number of their members.
    pub async fn topics_of_project(
        &self,
        project: ProjectNumber,
        after: Option<&Topic>,
        limit: usize,
        now: Timestamp,
    ) -> Result<TopicPage, Rejection> {
        let from = after.map(|topic| [topic.as_str().as_bytes(), b"\0"].concat()).unwrap_or_default();
        let partition = members::names_partition(project);
        let limit = limit.clamp(1, MAX_PAGE);
        let page = self.store.scan(Table::Topics, &partition, &from, limit, now).await.map_err(refusal)?;
        let names: Vec<Topic> = page
            .rows
            .iter()
            .map(|row| members::topic_of(&row.sort))
            .collect::<Result<_, _>>()
            .map_err(refusal)?;
        let next = page.next.and_then(|_| names.last().cloned());
        let mut topics = Vec::new();
        for topic in names {
            match self.count_members(project, &topic, now).await.map_err(refusal)? {
                0 => {}
                count => topics.push((topic, count)),
            }
        }
        Ok(TopicPage { topics, next })
    }

    async fn count_members(
        &self,
        project: ProjectNumber,
        topic: &Topic,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let key = TopicKey::of(topic.as_str());
        let mut count = 0;
        for bucket in 0..self.members.buckets(project, now).await? {
            count += self.members.of(project, bucket, key, now).await?.len() as u64;
        }
        Ok(count)
    }

    /// Members of a topic in the order in which they registered. `from` is where the last page ended.
    pub async fn members_of(
        &self,
        project: ProjectNumber,
        topic: &Topic,
        from: Option<u64>,
        limit: usize,
        now: Timestamp,
    ) -> Result<MemberPage, Rejection> {
        let limit = limit.clamp(1, MAX_PAGE);
        let ids = self.member_ids(project, topic, from.unwrap_or(0), limit + 1, now).await;
        let mut ids = ids.map_err(refusal)?;
        let place = |id: RegistrationId| u64::from(id.bucket) << 16 | u64::from(id.slot);
        let next = ids.get(limit).copied().map(place);
        ids.truncate(limit);
        let mut members = Vec::with_capacity(ids.len());
        for id in ids {
            let record = self.registration(id, now).await.map_err(refusal)?;
            members.extend(record.map(|record| self.member(id, &record)));
        }
        Ok(MemberPage { members, next })
    }

    /// The first so many from a place on.
    async fn member_ids(
        &self,
        project: ProjectNumber,
        topic: &Topic,
        from: u64,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<RegistrationId>, StoreError> {
        let key = TopicKey::of(topic.as_str());
        let first = u32::try_from(from >> 16).unwrap_or(u32::MAX);
        let mut ids = Vec::new();
        for bucket in first..self.members.buckets(project, now).await? {
            let set = self.members.of(project, bucket, key, now).await?;
            let start = if bucket == first { from as u16 } else { 0 };
            let there = set.from(start).map(|slot| RegistrationId { project, bucket, slot });
            ids.extend(there.take(limit - ids.len()));
            if ids.len() == limit {
                break;
            }
        }
        Ok(ids)
    }

    fn member(&self, id: RegistrationId, record: &RegistrationRecord) -> Member {
        Member {
            registration: id,
            token: registration_token(&self.tokens, &record.prefix, id),
            platform: record.platform(),
        }
    }

    /// Whether there is something to write, and whether it may be.
    async fn is_to_change(
        &self,
        id: RegistrationId,
        topic: &Topic,
        way: Way,
        now: Timestamp,
    ) -> Result<bool, Rejection> {
        let is_member = self.subscription(id, topic, now).await?.is_some();
        if is_member == (way == Way::Join) {
            return self.came_apart(id, topic, is_member, now).await.map_err(refusal);
        }
        if way == Way::Join {
            let partition = members::topics_partition(id);
            let page = self.store.scan(Table::MemberTopics, &partition, b"", MAX_TOPICS, now).await;
            if page.map_err(refusal)?.rows.len() >= MAX_TOPICS {
                return Err(Rejection::TooManyTopics { limit: MAX_TOPICS });
            }
        }
        Ok(true)
    }

    /// Whether only one of the two rows of a membership says what both should: they stand in two partitions,
    /// and a crash may have come between them. If both do, one may have appeared after a set was read into
    /// memory: that is told now.
    async fn came_apart(
        &self,
        id: RegistrationId,
        topic: &Topic,
        is_member: bool,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if self.store.keeps_batches_whole() {
            return Ok(false);
        }
        let key = TopicKey::of(topic.as_str());
        let is_in_set = self.store.get(&members::key(id, key), now).await?.is_some();
        if is_in_set == is_member {
            self.members.changed(&[(id, key)], now).await;
        }
        Ok(is_in_set != is_member)
    }

    /// Writes changes, and has the sets in memory say the same. Who had ended when they were to join.
    /// Runs to its end even if the caller no longer waits.
    async fn edit(
        &self,
        edits: Vec<Edit>,
        in_batch: usize,
        now: Timestamp,
    ) -> Result<Vec<RegistrationId>, Rejection> {
        if edits.is_empty() {
            return Ok(Vec::new());
        }
        let names = self.new_names(&edits, now).await.map_err(refusal)?;
        let task = Editing { store: self.store.clone(), members: self.members.clone(), now };
        let known: Vec<_> = names.iter().map(|(key, _)| *key).collect();
        let written = Finish::new(async move { task.run(&names, &edits, in_batch).await });
        let ended = written.await.map_err(refusal)?;
        self.topic_names.add(known);
        Ok(ended)
    }

    /// The rows of topics that nobody was in before.
    async fn new_names(&self, edits: &[Edit], now: Timestamp) -> Result<Vec<(NameKey, RowKey)>, StoreError> {
        let mut names = HashMap::new();
        for edit in edits.iter().filter(|edit| edit.way == Way::Join) {
            let key = (edit.id.project, TopicKey::of(edit.topic.as_str()));
            if names.contains_key(&key) || self.topic_names.knows(&key) {
                continue;
            }
            let row = members::name_key(edit.id.project, edit.topic.as_str());
            if self.store.get(&row, now).await?.is_some() {
                self.topic_names.add([key]);
            } else {
                names.insert(key, row);
            }
        }
        Ok(names.into_iter().collect())
    }
}

/// One app instance joins or leaves a topic.
struct Edit {
    id: RegistrationId,
    topic: Topic,
    way: Way,
}

impl Edit {
    fn add_to(&self, batch: &mut Batch, now: Timestamp) {
        match self.way {
            Way::Join => members::join(batch, self.id, &self.topic, now),
            Way::Leave => members::leave(batch, self.id, &self.topic),
        }
    }

    fn membership(&self) -> (RegistrationId, TopicKey) {
        (self.id, TopicKey::of(self.topic.as_str()))
    }
}

/// What a write takes with it.
struct Editing {
    store: Store,
    members: Members,
    now: Timestamp,
}

impl Editing {
    async fn run(
        &self,
        names: &[(NameKey, RowKey)],
        edits: &[Edit],
        in_batch: usize,
    ) -> Result<Vec<RegistrationId>, StoreError> {
        self.write_names(names).await?;
        let written = self.write(edits, in_batch).await;
        // Also of what failed: some may be there.
        let memberships: Vec<_> = edits.iter().map(Edit::membership).collect();
        self.members.changed(&memberships, self.now).await;
        written?;
        self.take_back(edits).await
    }

    async fn write_names(&self, names: &[(NameKey, RowKey)]) -> Result<(), StoreError> {
        for chunk in names.chunks(EDITS) {
            let mut batch = Batch::default();
            for (_, row) in chunk {
                batch.put(row.clone(), members::since_to_bytes(self.now), None);
            }
            self.store.write(batch, self.now).await?;
        }
        Ok(())
    }

    async fn write(&self, edits: &[Edit], in_batch: usize) -> Result<(), StoreError> {
        for chunk in edits.chunks(in_batch) {
            let mut batch = Batch::default();
            chunk.iter().for_each(|edit| edit.add_to(&mut batch, self.now));
            self.store.write(batch, self.now).await?;
        }
        Ok(())
    }

    /// A registration that ended after it was looked at has joined all the same: it leaves again.
    /// Whoever ends one after this finds the new rows.
    async fn take_back(&self, edits: &[Edit]) -> Result<Vec<RegistrationId>, StoreError> {
        let joined = || edits.iter().filter(|edit| edit.way == Way::Join);
        let mut ended = HashSet::new();
        for id in joined().map(|edit| edit.id).collect::<BTreeSet<_>>() {
            if self.store.get(&registrations::key(id), self.now).await?.is_none() {
                ended.insert(id);
            }
        }
        let late: Vec<Edit> = joined()
            .filter(|edit| ended.contains(&edit.id))
            .map(|edit| Edit { id: edit.id, topic: edit.topic.clone(), way: Way::Leave })
            .collect();
        self.write(&late, EDITS).await?;
        let memberships: Vec<_> = late.iter().map(Edit::membership).collect();
        self.members.changed(&memberships, self.now).await;
        Ok(ended.into_iter().collect())
    }
}

type NameKey = (ProjectNumber, TopicKey);

/// Names that are remembered to have a row: some 3 MB.
const MAX_NAMES: usize = 1 << 16;

/// Topics whose name has its row.
#[derive(Default)]
pub(crate) struct Names(Mutex<HashSet<NameKey>>);

impl Names {
    fn knows(&self, key: &NameKey) -> bool {
        self.lock().contains(key)
    }

    fn add(&self, keys: impl IntoIterator<Item = NameKey>) {
        let mut names = self.lock();
        for key in keys {
            // All are read again then, each once.
            if names.len() >= MAX_NAMES {
                names.clear();
            }
            names.insert(key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<NameKey>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
