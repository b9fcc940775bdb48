//! Queue, continued: how much may wait for an app instance. Looked at when its device logs in, so
//! that sending does not pay for it; and once in a while for those who stay away, so that what waits
//! for them does not grow for weeks.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cresset_message::{DeviceId, Layout, MessageId, RegistrationId, Timestamp, limits};
use cresset_store::tables::devices;
use cresset_store::tables::inbox::{self, InboxRecord};
use cresset_store::{Batch, Pages, StoreError};

use crate::buckets::{Bucket, Waiting as Set};
use crate::inbox::{DELETED_TOGETHER, PAGE};
use crate::presence::Carried;
use crate::trace::{Dropped, End};
use crate::{Dispatcher, Quotas};

/// Locks of devices whose ids are random.
const STRIPES: usize = 64;

/// Held while it is decided what of a device's messages is dropped.
pub(crate) struct Settling([tokio::sync::Mutex<()>; STRIPES]);

impl Settling {
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| tokio::sync::Mutex::default()))
    }

    async fn lock(&self, device: DeviceId) -> tokio::sync::MutexGuard<'_, ()> {
        self.0[device.get() as usize % STRIPES].lock().await
    }
}

/// App instances whose messages are counted at a time. Beyond it those counted so far begin anew.
const MAX_COUNTED: usize = 65_536;

/// Messages for one app instance that are looked at together, at least: fewer are not worth the read.
const PILE: u32 = 100;

/// Pushes that wait for one subscription; beyond it the oldest are dropped. Mozilla's number, which drops all
/// of a browser that has more (`protocol/web-push.md` §2.3).
pub(crate) const MAX_PUSHES: u32 = 150;

/// Devices that are looked at in one tidying up.
const SETTLED_TOGETHER: usize = 256;

/// How many messages have been put by for those who are away, since it was last looked at.
#[derive(Default)]
pub(crate) struct Piles(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    since: HashMap<RegistrationId, u32>,
    /// Whose pile is high.
    high: BTreeSet<DeviceId>,
}

impl Piles {
    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more, for a device that is not here. `limit`: how many may wait.
    pub(crate) fn add(&self, registration: RegistrationId, device: DeviceId, limit: u32) {
        let mut counted = self.counted();
        if counted.since.len() >= MAX_COUNTED {
            counted.since.clear();
        }
        let count = counted.since.entry(registration).or_default();
        *count += 1;
        if *count > limit.max(PILE) && counted.high.len() < MAX_COUNTED {
            counted.high.insert(device);
        }
    }

    fn forget(&self, registration: RegistrationId) {
        self.counted().since.remove(&registration);
    }

    fn some_high(&self) -> Vec<DeviceId> {
        let mut counted = self.counted();
        let some: Vec<_> = counted.high.iter().copied().take(SETTLED_TOGETHER).collect();
        some.iter().for_each(|device| {
            counted.high.remove(device);
        });
        some
    }
}

impl Dispatcher {
    /// Looks at those who are away and for whom much was put by.
    pub(crate) async fn settle_piles(&self, now: Timestamp) -> Result<(), StoreError> {
        for device in self.piles.some_high() {
            // Who is here takes what it is given, and is looked at when it comes again.
            if self.carriers.presence.get(device).is_none() {
                self.settle_all(device, now).await?;
            }
        }
        Ok(())
    }

    /// A device has logged in and will read its inbox: what of it has waited beyond the limits is
    /// dropped, and the app is to be told how many messages it will not get.
    pub async fn settle(&self, device: DeviceId, now: Timestamp) -> Result<(), StoreError> {
        let quotas = self.meters.quotas();
        if quotas.stored.is_none() && quotas.collapse_keys.is_none() {
            return Ok(());
        }
        self.settle_all(device, now).await
    }

    async fn settle_all(&self, device: DeviceId, now: Timestamp) -> Result<(), StoreError> {
        // Two at a time would both count what they both drop.
        let _settling = self.settling.lock(device).await;
        let carried = self.carried(device, now).await?;
        for (registration, waiting) in self.waiting(device, &carried, now).await? {
            self.piles.forget(registration);
            let verdict = match self.recipient(registration, now).await?.map(|recipient| recipient.layout) {
                // FCM has these limits for Android: others could not be told (`protocol/payload-layout.md` §3.4).
                Some(Layout::Raw { .. }) => waiting.judged(&self.meters.quotas()),
                Some(Layout::WebPush { .. }) => waiting.cut(MAX_PUSHES as usize),
                _ => waiting.judged(&Quotas::OFF),
            };
            if verdict.dropped.is_empty() {
                continue;
            }
            tracing::debug!(%device, dropped = verdict.dropped.len(), "messages waited beyond a limit");
            let bucket = carried.iter().find(|carried| carried.id() == registration).map(|c| &*c.bucket);
            self.carry_out(device, registration, bucket, verdict, now).await?;
        }
        Ok(())
    }

    async fn waiting(
        &self,
        device: DeviceId,
        carried: &[Carried],
        now: Timestamp,
    ) -> Result<BTreeMap<RegistrationId, Waiting>, StoreError> {
        let partition = devices::partition(device);
        let mut found: BTreeMap<RegistrationId, Waiting> = BTreeMap::new();
        let mut rows_of = HashSet::new();
        let mut pages = Pages::of(&self.store, inbox::table_of(device), &partition, PAGE);
        while let Some(rows) = pages.next(now).await? {
            for row in &rows {
                let id = inbox::id_of(&row.sort)?;
                // Whoever reads the inbox says what is wrong with a row that cannot be read.
                let Ok(record) = InboxRecord::from_bytes(&row.value) else { continue };
                let Some(registration) = record.registration else { continue };
                rows_of.insert(id);
                found.entry(registration.into()).or_default().add(id, record.deleted, record.collapse_key);
            }
        }
        for carried in carried {
            for Set { id, fanout } in carried.bucket.waiting_for(carried.id().slot, now) {
                let terms = fanout.terms(&carried.recipient.layout);
                if terms.ttl.is_zero() || terms.expires <= now || !fanout.is_for(&carried.recipient) {
                    continue;
                }
                let key = terms.collapse_key.as_deref().map(str::to_owned);
                // It may have a row as well, and is one delivery.
                if !rows_of.contains(&id) {
                    found.entry(carried.id()).or_default().add(id, 0, key);
                }
            }
        }
        found.values_mut().for_each(Waiting::sort);
        Ok(found)
    }

    /// The notice first, with the first that are dropped: a crash in between costs no notice.
    async fn carry_out(
        &self,
        device: DeviceId,
        registration: RegistrationId,
        bucket: Option<&Bucket>,
        verdict: Verdict,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (mut batch, mut notice) = (Batch::default(), None);
        if verdict.deleted > 0 {
            let record = InboxRecord {
                registration: Some(registration.into()),
                deleted: verdict.deleted,
                ttl_seconds: limits::MAX_TTL.as_secs() as u32,
                ..InboxRecord::default()
            };
            let id = self.next_id(now);
            batch.put(inbox::key(device, id), record.to_bytes(), Some(now + limits::MAX_TTL));
            notice = Some(id);
        }
        verdict.dropped.iter().for_each(|(_, end)| self.traces.count(*end, 1));
        // While rows are made of a set, what is dropped of it would stand there again a moment later.
        let making_rows = match bucket {
            Some(bucket) => Some(bucket.rows.lock().await),
            None => None,
        };
        let in_set = |id: &MessageId| bucket.is_some_and(|bucket| bucket.wants(registration.slot, *id));
        let (sets, rows): (Vec<_>, Vec<_>) = verdict.dropped.into_iter().partition(|(id, _)| in_set(id));
        // A process that ended early may have left rows of them all the same.
        let left: Vec<MessageId> = sets.iter().map(|(id, _)| *id).collect();
        self.delete_rows(device, &left, now).await?;
        let mut chunks = rows.chunks(DELETED_TOGETHER);
        loop {
            let ends = chunks.next().unwrap_or_default();
            ends.iter().for_each(|(id, _)| batch.delete(inbox::key(device, *id)));
            self.traces.ended(&self.store, &mut batch, ends, "", now).await?;
            if batch.ops.is_empty() {
                break;
            }
            self.ids.write(&self.store, std::mem::take(&mut batch), notice.take(), now).await?;
        }
        let Some(bucket) = bucket else { return Ok(()) };
        // Of a set that could not be made rows of it may wait in both.
        rows.iter().chain(&sets).for_each(|(id, end)| {
            bucket.strike(registration.slot, *id, *end);
        });
        drop(making_rows);
        if sets.is_empty() { Ok(()) } else { self.save(bucket, now).await }
    }
}

/// What waits for one app instance, oldest first.
#[derive(Default)]
struct Waiting {
    plain: Vec<MessageId>,
    collapsible: Vec<(String, MessageId)>,
    /// Notices that have not been acknowledged, and what they stand for.
    notices: Vec<MessageId>,
    deleted: u32,
}

/// What is to be dropped, and how many messages the app is to hear of.
#[derive(Default, Debug, PartialEq)]
struct Verdict {
    dropped: Vec<(MessageId, End)>,
    deleted: u32,
}

impl Waiting {
    /// Oldest first, from wherever they came.
    fn sort(&mut self) {
        self.plain.sort_unstable();
        self.collapsible.sort_unstable_by_key(|(_, id)| *id);
    }

    fn add(&mut self, id: MessageId, deleted: u32, collapse_key: Option<String>) {
        if deleted > 0 {
            self.notices.push(id);
            self.deleted = self.deleted.saturating_add(deleted);
        } else if let Some(key) = collapse_key {
            self.collapsible.push((key, id));
        } else {
            self.plain.push(id);
        }
    }

    /// Of each topic the newest, and of all beyond so many the newest too; nobody is told.
    fn cut(self, most: usize) -> Verdict {
        let mut left: Vec<MessageId> = self.plain.clone();
        let mut newest: HashMap<&str, MessageId> = HashMap::new();
        let mut dropped = Vec::new();
        for (key, id) in self.collapsible.iter().rev() {
            match newest.get(key.as_str()) {
                Some(by) => dropped.push((*id, End::Collapsed { by: Some(*by) })),
                None => {
                    newest.insert(key, *id);
                    left.push(*id);
                }
            }
        }
        left.sort_unstable();
        left.truncate(left.len().saturating_sub(most));
        dropped.extend(left.into_iter().map(|id| (id, End::Dropped(Dropped::TooManyStored))));
        Verdict { dropped, deleted: 0 }
    }

    /// Beyond so many plain messages all of them are dropped, and one notice takes their place;
    /// beyond so many collapse keys, those that were used longest ago; of each key all but the newest.
    fn judged(self, quotas: &Quotas) -> Verdict {
        let mut verdict = Verdict::default();
        let most = quotas.collapse_keys.map_or(usize::MAX, |most| most as usize);
        let mut newest: HashMap<&str, MessageId> = HashMap::new();
        for (key, id) in self.collapsible.iter().rev() {
            if let Some(by) = newest.get(key.as_str()) {
                verdict.dropped.push((*id, End::Collapsed { by: Some(*by) }));
            } else if newest.len() < most {
                newest.insert(key, *id);
            } else {
                verdict.dropped.push((*id, End::Dropped(Dropped::TooManyCollapseKeys)));
            }
        }
        if quotas.stored.is_some_and(|most| self.plain.len() > most as usize) {
            let count = u32::try_from(self.plain.len()).unwrap_or(u32::MAX);
            verdict.deleted = self.deleted.saturating_add(count);
            // An older notice is part of the new one.
            let end = End::Dropped(Dropped::TooManyStored);
            verdict.dropped.extend(self.notices.into_iter().chain(self.plain).map(|id| (id, end)));
        }
        verdict
    }
}
