//! The story of a message, as it can be told now.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use cresset_message::{MessageId, Platform, ProjectNumber, RegistrationId, Rejection, SlotSet, Timestamp};
use cresset_store::tables::events::{self, DeliveryEvents, HeadRecord, Kind};
use cresset_store::tables::members::TopicKey;
use cresset_store::tables::{inbox, jobs};
use cresset_store::{Pages, Store, StoreError, Table};
use cresset_wire::token::registration_token;

use super::{Dropped, End, MOVED, SENT, WANTED};
use crate::{Dispatcher, refusal};

/// Rows read at a time: sets of some 500 KB.
const PAGE: usize = 64;

/// Rows of deliveries read at a time.
const ROWS: usize = 1_000;

/// A message, how many deliveries it has and in which state, and some of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub id: MessageId,
    pub what: What,
    pub counts: Counts,
    /// It is still being spread: there will be more deliveries.
    pub spreading: bool,
    pub deliveries: Vec<Story>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// Whom it was sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    One,
    Group,
    Topic(String),
    Condition(String),
}

/// Deliveries by what has become of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub deliveries: u64,
    pub waiting: u64,
    /// Written to a connection and not acknowledged.
    pub sent: u64,
    pub acknowledged: u64,
    pub collapsed: u64,
    pub expired: u64,
    pub dropped: BTreeMap<Dropped, u64>,
}

/// Where a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Waiting,
    /// Written to a connection, not acknowledged: it comes again when the device connects again.
    Sent,
    Ended(End),
}

/// One delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// Also the persistent id that its device sees.
    pub id: MessageId,
    /// `None`: the registration is no more.
    pub token: Option<String>,
    pub platform: Option<Platform>,
    pub stage: Stage,
    pub expires: Timestamp,
    /// Of a message for many it is not kept when something happened to each.
    pub sent: Option<Timestamp>,
    pub ended: Option<Timestamp>,
    pub collapse_key: Option<String>,
    /// What its push service said of it.
    pub told: Option<String>,
}

impl Counts {
    fn add(&mut self, stage: Stage, count: usize) {
        let count = count as u64;
        self.deliveries += count;
        *match stage {
            Stage::Waiting => &mut self.waiting,
            Stage::Sent => &mut self.sent,
            Stage::Ended(End::Acknowledged) => &mut self.acknowledged,
            Stage::Ended(End::Collapsed { .. }) => &mut self.collapsed,
            Stage::Ended(End::Expired) => &mut self.expired,
            Stage::Ended(End::Dropped(why)) if count > 0 => self.dropped.entry(why).or_default(),
            Stage::Ended(End::Dropped(_)) => return,
        } += count;
    }
}

/// A message's name in an answer to its sender, or the persistent id of one of its deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    Number(u64),
    Id(MessageId),
}

impl Named {
    fn parse(text: &str) -> Option<Self> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = || text.parse().ok().filter(|_| digits).map(Self::Number);
        text.parse().ok().map(Self::Id).or_else(number)
    }

    fn micros(self) -> u64 {
        match self {
            Self::Number(micros) => micros,
            Self::Id(id) => id.micros,
        }
    }
}

/// Sets of one bucket of a fan-out.
struct OfBucket {
    bucket: u32,
    wanted: SlotSet,
    ends: Vec<(u8, Option<MessageId>, SlotSet)>,
}

impl OfBucket {
    fn has(&self, what: u8, slot: u16) -> bool {
        self.ends.iter().any(|(w, _, set)| *w == what && set.contains(slot))
    }

    /// What sets tell of a slot. `None`: a row of its own does.
    fn stage(&self, slot: u16, expires: Timestamp, now: Timestamp) -> Option<Stage> {
        if self.has(MOVED, slot) {
            return None;
        }
        let ended = self.ends.iter().filter(|(.., set)| set.contains(slot));
        let mut ended = ended.filter_map(|(what, by, _)| End::from_code(*what, *by));
        Some(match ended.next() {
            Some(end) => Stage::Ended(end),
            None if expires <= now => Stage::Ended(End::Expired),
            None if self.has(SENT, slot) => Stage::Sent,
            None => Stage::Waiting,
        })
    }

    /// Counts all but those with rows of their own.
    fn count(&self, counts: &mut Counts, lives: &Lives, now: Timestamp) {
        let mut rest = self.wanted.clone();
        for (what, by, set) in &self.ends {
            if let Some(end) = End::from_code(*what, *by) {
                counts.add(Stage::Ended(end), rest.and(set).len());
                rest = rest.and_not(set);
            } else if *what == MOVED {
                rest = rest.and_not(set);
            }
        }
        let sent = self.ends.iter().find(|(what, ..)| *what == SENT).map(|(.., set)| set);
        for (some, expires) in lives.divide(&rest) {
            let sent = sent.map_or(0, |sent| some.and(sent).len());
            if expires <= now {
                counts.add(Stage::Ended(End::Expired), some.len());
            } else {
                counts.add(Stage::Sent, sent);
                counts.add(Stage::Waiting, some.len() - sent);
            }
        }
    }

    fn moved(&self) -> usize {
        self.ends.iter().filter(|(what, ..)| *what == MOVED).map(|(.., set)| set.len()).sum()
    }
}

/// When it is over, for the kinds of a bucket's registrations.
struct Lives {
    /// Those whose messages travel in clear, and those on Apple devices; the others are web apps.
    raw: SlotSet,
    apple: SlotSet,
    expires: (Timestamp, Timestamp, Timestamp),
}

impl Lives {
    fn divide(&self, some: &SlotSet) -> [(SlotSet, Timestamp); 3] {
        let (raw, apple) = (some.and(&self.raw), some.and(&self.apple));
        let web = some.and_not(&raw).and_not(&apple);
        [(raw, self.expires.0), (web, self.expires.1), (apple, self.expires.2)]
    }

    fn of(&self, slot: u16) -> Timestamp {
        match (self.raw.contains(slot), self.apple.contains(slot)) {
            (true, _) => self.expires.0,
            (false, false) => self.expires.1,
            (false, true) => self.expires.2,
        }
    }

    fn last(&(raw, web, apple): &(Timestamp, Timestamp, Timestamp)) -> Timestamp {
        raw.max(web).max(apple)
    }
}

/// What has happened to those of a set, but for who they are.
pub(super) async fn ends_of(
    store: &Store,
    micros: u64,
    bucket: u32,
    now: Timestamp,
) -> Result<Vec<(u8, Option<MessageId>, SlotSet)>, StoreError> {
    let mut found = Vec::new();
    each_bucket(store, micros, bucket, now, |sets| {
        if sets.bucket == bucket {
            found = sets.ends;
        }
        ControlFlow::Break(())
    })
    .await?;
    Ok(found)
}

/// Calls `visit` with each bucket from `first` on, in order, until it breaks.
async fn each_bucket(
    store: &Store,
    micros: u64,
    first: u32,
    now: Timestamp,
    mut visit: impl FnMut(OfBucket) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let partition = events::partition(micros);
    let mut pages = Pages::of(store, Table::Events, &partition, PAGE).starting_at(events::first_set(first));
    let mut current: Option<OfBucket> = None;
    while let Some(rows) = pages.next(now).await? {
        for row in rows {
            let Kind::Set { bucket, what, by } = Kind::from_sort(&row.sort)? else { continue };
            let set = events::set_from_bytes(&row.value)?;
            if let Some(done) = current.take_if(|current| current.bucket != bucket)
                && visit(done).is_break()
            {
                return Ok(());
            }
            let empty = || OfBucket { bucket, wanted: SlotSet::default(), ends: Vec::new() };
            let current = current.get_or_insert_with(empty);
            match what {
                WANTED => current.wanted = set,
                _ => current.ends.push((what, by, set)),
            }
        }
    }
    if let Some(done) = current {
        let _ = visit(done);
    }
    Ok(())
}

impl Dispatcher {
    /// What has become of a message of this project: named as its sender was told, or by the persistent id
    /// that a device saw. At most `limit` of its deliveries, from `from` on.
    pub async fn trace_of(
        &self,
        project: ProjectNumber,
        name: &str,
        from: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Option<Told>, Rejection> {
        let Some(named) = Named::parse(name) else { return Ok(None) };
        let from = match from.map(|from| from.parse::<u64>()) {
            None => 0,
            Some(Ok(from)) => from,
            Some(Err(_)) => {
                return Err(Rejection::field("pageToken", "pageToken was not given by this call."));
            }
        };
        self.trace(project, named, from, limit, now).await.map_err(refusal)
    }

    async fn trace(
        &self,
        project: ProjectNumber,
        named: Named,
        from: u64,
        limit: usize,
        now: Timestamp,
    ) -> Result<Option<Told>, StoreError> {
        self.traces.write_later(&self.store, false, now).await?;
        let head = self.store.get(&events::key(named.micros(), &Kind::Head), now).await?;
        let head = head.map(|row| HeadRecord::from_bytes(&row.value)).transpose()?;
        match head {
            Some(head) if head.project != project.0 => Ok(None),
            Some(head) if !head.deliveries.is_empty() => self.story_of_group(project, named, head, now).await,
            Some(head) => self.fan_out(project, named, head, from, limit, now).await,
            None => {
                let Named::Id(id) = named else { return Ok(None) };
                let Some((of, story)) = self.delivery(id, now).await? else { return Ok(None) };
                Ok((of == project).then(|| told(id, What::One, vec![story])))
            }
        }
    }

    /// Each delivery of a group has a row of its own.
    async fn story_of_group(
        &self,
        project: ProjectNumber,
        named: Named,
        head: HeadRecord,
        now: Timestamp,
    ) -> Result<Option<Told>, StoreError> {
        let mut stories = Vec::with_capacity(head.deliveries.len());
        for id in &head.deliveries {
            let found = self.delivery(inbox::id_of(id)?, now).await?;
            stories.extend(found.filter(|(of, _)| *of == project).map(|(_, story)| story));
        }
        let id = MessageId { micros: named.micros(), unique: head.unique };
        Ok(Some(told(id, What::Group, stories)))
    }

    /// A delivery that is a row.
    async fn delivery(
        &self,
        id: MessageId,
        now: Timestamp,
    ) -> Result<Option<(ProjectNumber, Story)>, StoreError> {
        self.traces.write_sent(&self.store, id, now).await?;
        let Some(row) = self.store.get(&events::delivery_key(id), now).await? else { return Ok(None) };
        let record = DeliveryEvents::from_bytes(&row.value)?;
        let Some(registration) = record.registration.map(RegistrationId::from) else { return Ok(None) };
        Ok(Some((registration.project, self.story_of_row(id, registration, &record, now).await?)))
    }

    async fn story_of_row(
        &self,
        id: MessageId,
        registration: RegistrationId,
        record: &DeliveryEvents,
        now: Timestamp,
    ) -> Result<Story, StoreError> {
        let (token, platform) = self.who(registration, now).await?;
        let sent = match record.sent_millis {
            Some(sent) => Some(sent),
            None => {
                let row = self.store.get(&events::key(id.micros, &Kind::Sent(id.unique)), now).await?;
                row.map(|row| events::sent_from_bytes(&row.value)).transpose()?
            }
        };
        let by = <[u8; 16]>::try_from(record.by.as_slice()).ok().map(MessageId::from_bytes);
        let expires = Timestamp::from_millis(record.expires_millis);
        let stage = match End::from_code(record.end as u8, by) {
            Some(end) => Stage::Ended(end),
            // Its row goes when its device is next here.
            None if token.is_none() => Stage::Ended(End::Dropped(Dropped::Unregistered)),
            None if expires <= now => Stage::Ended(End::Expired),
            None if sent.is_some() => Stage::Sent,
            None => Stage::Waiting,
        };
        Ok(Story {
            id,
            token,
            platform,
            stage,
            expires,
            sent: sent.map(Timestamp::from_millis),
            ended: (record.ended_millis > 0).then(|| Timestamp::from_millis(record.ended_millis)),
            collapse_key: record.collapse_key.clone(),
            told: Some(record.told.clone()).filter(|told| !told.is_empty()),
        })
    }

    async fn who(
        &self,
        id: RegistrationId,
        now: Timestamp,
    ) -> Result<(Option<String>, Option<Platform>), StoreError> {
        let record = self.registration(id, now).await?;
        let token = record.as_ref().map(|record| registration_token(&self.tokens, &record.prefix, id));
        Ok((token, record.map(|record| record.platform())))
    }

    async fn fan_out(
        &self,
        project: ProjectNumber,
        named: Named,
        head: HeadRecord,
        from: u64,
        limit: usize,
        now: Timestamp,
    ) -> Result<Option<Told>, StoreError> {
        let id = MessageId { micros: named.micros(), unique: head.unique };
        let only = match named {
            Named::Id(named) if named != id => match place_of(id, named) {
                Some(place) => Some(place),
                None => return Ok(None),
            },
            _ => None,
        };
        // What is known in memory only is to be told as well.
        for bucket in self.fanouts.buckets.all().iter().filter(|bucket| bucket.project == project) {
            self.save(bucket, now).await?;
        }
        let apple = match head.apple_expires_millis {
            0 => head.web_expires_millis,
            millis => millis,
        };
        let all = (
            Timestamp::from_millis(head.raw_expires_millis),
            Timestamp::from_millis(head.web_expires_millis),
            Timestamp::from_millis(apple),
        );
        let mut page = FanOutPage { counts: Counts::default(), places: Vec::new(), next: None, moved: 0 };
        for first in self.buckets_of(id, now).await? {
            let of = |platform| self.members.of(project, first.bucket, TopicKey::of_platform(platform), now);
            let raw = SlotSet::clone(&*of(Platform::Android).await?);
            let apple = SlotSet::clone(&*of(Platform::Ios).await?);
            let lives = Lives { raw, apple, expires: all };
            first.count(&mut page.counts, &lives, now);
            page.take(&first, &lives, (from, only, limit), now);
        }
        let mut deliveries = Vec::with_capacity(page.places.len());
        for (place, stage, expires) in std::mem::take(&mut page.places) {
            deliveries.push(self.story_of_slot(project, id, place, stage, expires, now).await?);
        }
        self.count_moved(id, page.moved, Lives::last(&all), &mut page.counts, now).await?;
        let spreading = self.store.get(&jobs::key(id), now).await?.is_some();
        let what = match head.condition.is_empty() {
            true => What::Topic(head.topic),
            false => What::Condition(head.condition),
        };
        let next = page.next.map(|next| next.to_string());
        Ok(Some(Told { id, what, counts: page.counts, spreading, deliveries, next }))
    }

    async fn buckets_of(&self, id: MessageId, now: Timestamp) -> Result<Vec<OfBucket>, StoreError> {
        let mut found = Vec::new();
        each_bucket(&self.store, id.micros, 0, now, |sets| {
            found.push(sets);
            ControlFlow::Continue(())
        })
        .await?;
        Ok(found)
    }

    /// Deliveries of a fan-out that wait in inboxes, or did: those that have ended have rows.
    async fn count_moved(
        &self,
        id: MessageId,
        moved: usize,
        expires: Timestamp,
        counts: &mut Counts,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut rest = moved;
        let partition = events::partition(id.micros);
        let first = events::first_delivery();
        let mut pages = Pages::of(&self.store, Table::Events, &partition, ROWS).starting_at(first);
        'all: while rest > 0
            && let Some(rows) = pages.next(now).await?
        {
            for row in rows {
                let Kind::Delivery(_) = Kind::from_sort(&row.sort)? else { break 'all };
                let record = DeliveryEvents::from_bytes(&row.value)?;
                if let Some(end) = End::from_code(record.end as u8, None) {
                    counts.add(Stage::Ended(end), 1);
                    rest = rest.saturating_sub(1);
                }
            }
        }
        counts.add(if expires <= now { Stage::Ended(End::Expired) } else { Stage::Waiting }, rest);
        Ok(())
    }

    /// A delivery of a fan-out. Without a `stage` a row of its own tells of it, or it waits in an inbox.
    async fn story_of_slot(
        &self,
        project: ProjectNumber,
        of: MessageId,
        place: u64,
        stage: Option<Stage>,
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<Story, StoreError> {
        let registration = RegistrationId { project, bucket: (place >> 16) as u32, slot: place as u16 };
        let id = MessageId { unique: of.unique ^ place, ..of };
        let Some(stage) = stage else {
            let row = self.store.get(&events::delivery_key(id), now).await?;
            let record = row.map(|row| DeliveryEvents::from_bytes(&row.value)).transpose()?;
            let mut record = record.unwrap_or_default();
            record.expires_millis = expires.as_millis();
            return self.story_of_row(id, registration, &record, now).await;
        };
        let (token, platform) = self.who(registration, now).await?;
        Ok(Story {
            id,
            token,
            platform,
            stage,
            expires,
            sent: None,
            ended: None,
            collapse_key: None,
            told: None,
        })
    }
}

/// What is gathered of a fan-out.
struct FanOutPage {
    counts: Counts,
    places: Vec<(u64, Option<Stage>, Timestamp)>,
    next: Option<u64>,
    moved: usize,
}

impl FanOutPage {
    fn take(
        &mut self,
        sets: &OfBucket,
        lives: &Lives,
        (from, only, limit): (u64, Option<u64>, usize),
        now: Timestamp,
    ) {
        let place = |slot: u16| u64::from(sets.bucket) << 16 | u64::from(slot);
        self.moved += sets.moved();
        for slot in sets.wanted.iter() {
            let place = place(slot);
            if place < from || only.is_some_and(|only| only != place) {
                continue;
            }
            if self.places.len() == limit {
                self.next.get_or_insert(place);
                return;
            }
            let expires = lives.of(slot);
            self.places.push((place, sets.stage(slot, expires, now), expires));
        }
    }
}

/// Bucket and slot of the delivery of a fan-out that has this id.
fn place_of(fanout: MessageId, delivery: MessageId) -> Option<u64> {
    let place = fanout.unique ^ delivery.unique;
    (place >> 48 == 0).then_some(place)
}

/// The story of a message whose deliveries are few.
fn told(id: MessageId, what: What, deliveries: Vec<Story>) -> Told {
    let mut counts = Counts::default();
    deliveries.iter().for_each(|story| counts.add(story.stage, 1));
    Told { id, what, counts, spreading: false, deliveries, next: None }
}
