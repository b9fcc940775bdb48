//! What became of each delivery. Written in the batches that make it so: a row with a single delivery,
//! sets with the sets of a fan-out. That something was sent is written a little later, for nothing
//! rests on it.

mod later;
mod read;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cresset_message::{DeviceId, MessageId, SlotSet, Target, Timestamp};
use cresset_store::tables::events::{self, DeliveryEvents, HeadRecord, Kind};
use cresset_store::tables::inbox;
use cresset_store::{Batch, Op, Pages, RowKey, Store, StoreError, Table};

use crate::buckets::{Bucket, FanOut};
use crate::{Delivery, Dispatcher};

use later::{Begun, Later, Sent};
pub use read::{Counts, Stage, Story, Told, What};

/// The end of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum End {
    /// Its device has it.
    Acknowledged,
    /// A newer message with the same collapse key took its place.
    Collapsed {
        by: Option<MessageId>,
    },
    /// Its time to live was over.
    Expired,
    Dropped(Dropped),
}

/// Why a delivery was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dropped {
    /// The registration is no more.
    Unregistered,
    /// More messages waited than may; the app is told that it missed some.
    TooManyStored,
    /// More collapse keys waited than may.
    TooManyCollapseKeys,
    /// It was for now or never, and its device was not connected.
    NotConnected,
    /// It is for another package, or cannot be encrypted for its subscription.
    NotForApp,
    /// It could not be given the form that its device reads.
    NoForm,
    /// Its push service will not have it, for what it says or how it is told.
    Refused,
    /// Its push service does not accept the credential of the project.
    CredentialRefused,
    /// Its sender took it back.
    Cancelled,
}

impl Dropped {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unregistered => "unregistered",
            Self::TooManyStored => "tooManyStored",
            Self::TooManyCollapseKeys => "tooManyCollapseKeys",
            Self::NotConnected => "notConnected",
            Self::NotForApp => "notForApp",
            Self::NoForm => "noForm",
            Self::Refused => "refused",
            Self::CredentialRefused => "credentialRefused",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Of a fan-out: everybody it was for.
pub(crate) const WANTED: u8 = 0;
/// Of a fan-out: those to whose connections it was written.
pub(crate) const SENT: u8 = 1;
/// Of a fan-out: those who have a row of their own instead.
pub(crate) const MOVED: u8 = 2;

impl End {
    /// As rows have it; never used again for something else.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Acknowledged => 10,
            Self::Collapsed { .. } => 11,
            Self::Expired => 12,
            Self::Dropped(Dropped::Unregistered) => 20,
            Self::Dropped(Dropped::TooManyStored) => 21,
            Self::Dropped(Dropped::TooManyCollapseKeys) => 22,
            Self::Dropped(Dropped::NotConnected) => 23,
            Self::Dropped(Dropped::NotForApp) => 24,
            Self::Dropped(Dropped::NoForm) => 25,
            Self::Dropped(Dropped::Refused) => 26,
            Self::Dropped(Dropped::CredentialRefused) => 27,
            Self::Dropped(Dropped::Cancelled) => 28,
        }
    }

    /// `None`: it is not the code of an end.
    pub(crate) fn from_code(code: u8, by: Option<MessageId>) -> Option<Self> {
        Some(match code {
            10 => Self::Acknowledged,
            11 => Self::Collapsed { by },
            12 => Self::Expired,
            20 => Self::Dropped(Dropped::Unregistered),
            21 => Self::Dropped(Dropped::TooManyStored),
            22 => Self::Dropped(Dropped::TooManyCollapseKeys),
            23 => Self::Dropped(Dropped::NotConnected),
            24 => Self::Dropped(Dropped::NotForApp),
            25 => Self::Dropped(Dropped::NoForm),
            26 => Self::Dropped(Dropped::Refused),
            27 => Self::Dropped(Dropped::CredentialRefused),
            28 => Self::Dropped(Dropped::Cancelled),
            _ => return None,
        })
    }

    /// All there are.
    pub const ALL: [Self; 12] = [
        Self::Acknowledged,
        Self::Collapsed { by: None },
        Self::Expired,
        Self::Dropped(Dropped::Unregistered),
        Self::Dropped(Dropped::TooManyStored),
        Self::Dropped(Dropped::TooManyCollapseKeys),
        Self::Dropped(Dropped::NotConnected),
        Self::Dropped(Dropped::NotForApp),
        Self::Dropped(Dropped::NoForm),
        Self::Dropped(Dropped::Refused),
        Self::Dropped(Dropped::CredentialRefused),
        Self::Dropped(Dropped::Cancelled),
    ];

    /// Its name in metrics and in Cresset's own API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::Collapsed { .. } => "collapsed",
            Self::Expired => "expired",
            Self::Dropped(why) => why.name(),
        }
    }

    fn by(self) -> Option<MessageId> {
        match self {
            Self::Collapsed { by } => by,
            _ => None,
        }
    }
}

/// Deliveries for now or never that no row tells of yet; beyond it none does.
const MAX_FLEETING: usize = 65_536;

/// Rows of the trace written together.
const WRITTEN_TOGETHER: usize = 1_000;

/// Sets read and written together: some 500 KB when they are full.
const SETS_TOGETHER: usize = 64;

/// Different ends of the slots of one set; beyond it a collapsed one does not say in whose favour.
const MAX_KINDS: usize = 64;

/// How the story of messages is written.
pub(crate) struct Traces {
    /// Zero: it is not.
    keep_millis: AtomicU64,
    later: Mutex<Later>,
    /// Counted also when nothing is written.
    accepted: AtomicU64,
    ended: [AtomicU64; End::ALL.len()],
}

impl Traces {
    pub(crate) fn new() -> Self {
        Self {
            keep_millis: AtomicU64::new(0),
            later: Mutex::default(),
            accepted: AtomicU64::new(0),
            ended: Default::default(),
        }
    }

    /// So many deliveries are over.
    pub(crate) fn count(&self, end: End, many: usize) {
        let at = End::ALL.iter().position(|known| known.code() == end.code());
        if let Some(counter) = at.and_then(|at| self.ended.get(at)) {
            counter.fetch_add(many as u64, Ordering::Relaxed);
        }
    }

    /// So many deliveries there are now.
    pub(crate) fn count_accepted(&self, many: usize) {
        self.accepted.fetch_add(many as u64, Ordering::Relaxed);
    }

    /// How many there have been, and how many have ended how: in the order of [`End::ALL`].
    pub(crate) fn counted(&self) -> (u64, [u64; End::ALL.len()]) {
        let ended = std::array::from_fn(|at| self.ended[at].load(Ordering::Relaxed));
        (self.accepted.load(Ordering::Relaxed), ended)
    }

    pub(crate) fn keep_for(&self, keep: Duration) {
        self.keep_millis.store(u64::try_from(keep.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn is_on(&self) -> bool {
        self.keep_millis.load(Ordering::Relaxed) > 0
    }

    /// When a row may go that says something of a delivery which ends at `end`.
    fn until(&self, end: Timestamp) -> Option<Timestamp> {
        Some(end + Duration::from_millis(self.keep_millis.load(Ordering::Relaxed)))
    }

    fn later(&self) -> MutexGuard<'_, Later> {
        self.later.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A single delivery, in the batch that stores it.
    pub(crate) fn accepted(&self, batch: &mut Batch, delivery: &Delivery) {
        self.count_accepted(1);
        if self.is_on() {
            let row = Begun::of(delivery).record().to_bytes();
            batch.put(events::delivery_key(delivery.id), row, self.until(delivery.expires));
        }
    }

    /// Of a device group: which deliveries there are.
    pub(crate) fn accepted_group(&self, batch: &mut Batch, deliveries: &[std::sync::Arc<Delivery>]) {
        let (true, Some(first)) = (self.is_on(), deliveries.first()) else { return };
        let head = HeadRecord {
            project: first.recipient.registration.project.0,
            unique: first.id.unique,
            deliveries: deliveries.iter().map(|delivery| delivery.id.to_bytes().to_vec()).collect(),
            ..HeadRecord::default()
        };
        let last = deliveries.iter().map(|delivery| delivery.expires).max().unwrap_or(first.expires);
        batch.put(events::key(first.id.micros, &Kind::Head), head.to_bytes(), self.until(last));
    }

    /// A message for many.
    pub(crate) fn accepted_for_many(&self, batch: &mut Batch, fanout: &FanOut) {
        if !self.is_on() {
            return;
        }
        let (topic, condition) = match &fanout.message.target {
            Target::Topic(name) => (name.clone(), String::new()),
            Target::Condition(text) => (String::new(), text.clone()),
            Target::Token(_) | Target::Fid(_) => Default::default(),
        };
        let (raw, web, apple) = fanout.all_expire();
        let head = HeadRecord {
            project: fanout.project.0,
            unique: fanout.id.unique,
            topic,
            condition,
            deliveries: Vec::new(),
            raw_expires_millis: raw.as_millis(),
            web_expires_millis: web.as_millis(),
            apple_expires_millis: apple.as_millis(),
        };
        let until = self.until(fanout.expires());
        batch.put(events::key(fanout.id.micros, &Kind::Head), head.to_bytes(), until);
    }

    /// For whom of a bucket it is.
    pub(crate) fn wanted(&self, batch: &mut Batch, fanout: &FanOut, bucket: u32, set: &SlotSet) {
        self.count_accepted(set.len());
        if self.is_on() {
            self.put_set(batch, fanout, &Kind::Set { bucket, what: WANTED, by: None }, set);
        }
    }

    fn put_set(&self, batch: &mut Batch, fanout: &FanOut, kind: &Kind, set: &SlotSet) {
        let key = events::key(fanout.id.micros, kind);
        batch.put(key, events::set_to_bytes(set), self.until(fanout.expires()));
    }

    /// Nobody waits for a message for many any more: what is told of it was to be kept from its last
    /// possible end on, and is now from this one. If that cannot be written, it stays for longer.
    pub(crate) async fn ended_for_all(&self, store: &Store, id: MessageId, now: Timestamp) {
        if self.is_on()
            && let Err(e) = self.keep_from_now(store, id, now).await
        {
            tracing::debug!(message.id = %id, "what became of it is kept for longer than it need be: {e}");
        }
    }

    async fn keep_from_now(&self, store: &Store, id: MessageId, now: Timestamp) -> Result<(), StoreError> {
        let (partition, until) = (events::partition(id.micros), self.until(now));
        let mut pages = Pages::of(store, Table::Events, &partition, SETS_TOGETHER);
        while let Some(rows) = pages.next(now).await? {
            let mut batch = Batch::default();
            for row in rows.into_iter().filter(|row| row.expires > until) {
                batch.put(RowKey::new(Table::Events, partition.clone(), row.sort), row.value, until);
            }
            if !batch.ops.is_empty() {
                store.write(batch, now).await?;
            }
        }
        Ok(())
    }

    /// A single delivery was written to a connection.
    pub(crate) fn sent(&self, id: MessageId, now: Timestamp) {
        self.keep_sent(id, Sent { at: now, begun: None });
    }

    /// The same of one that was accepted just now: most are acknowledged at once.
    pub(crate) fn sent_at_once(&self, delivery: &Delivery, now: Timestamp) {
        if self.is_on() {
            let begun = Some(Begun::of(delivery));
            self.keep_sent(delivery.id, Sent { at: now, begun });
        }
    }

    fn keep_sent(&self, id: MessageId, sent: Sent) {
        if self.is_on() {
            self.later().add(id, sent);
        }
    }

    /// A delivery for now or never, which nothing else is written of.
    pub(crate) fn fleeting(&self, delivery: &Delivery, sent: bool, now: Timestamp) {
        self.count_accepted(1);
        if !sent {
            self.count(End::Dropped(Dropped::NotConnected), 1);
        }
        if !self.is_on() {
            return;
        }
        let mut record = Begun::of(delivery).record();
        if sent {
            record.sent_millis = Some(now.as_millis());
        } else {
            record.end = End::Dropped(Dropped::NotConnected).code().into();
            record.ended_millis = now.as_millis();
        }
        let mut later = self.later();
        if later.fleeting.len() < MAX_FLEETING {
            later.fleeting.push(Op::Put {
                key: events::delivery_key(delivery.id),
                value: record.to_bytes().into(),
                expires: self.until(now),
            });
        }
    }

    /// A message for many, now or never: for whom of a bucket, and who was there.
    pub(crate) async fn fleeting_for_many(
        &self,
        store: &Store,
        fanout: &FanOut,
        bucket: u32,
        wanted: &SlotSet,
        sent: SlotSet,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        self.accepted_for_many(&mut batch, fanout);
        self.wanted(&mut batch, fanout, bucket, wanted);
        let absent = wanted.and_not(&sent);
        self.count(End::Dropped(Dropped::NotConnected), absent.len());
        if !self.is_on() {
            return Ok(());
        }
        for (what, set) in [(SENT, sent), (End::Dropped(Dropped::NotConnected).code(), absent)] {
            if !set.is_empty() {
                self.put_set(&mut batch, fanout, &Kind::Set { bucket, what, by: None }, &set);
            }
        }
        store.write(batch, now).await.map(drop)
    }

    /// Ends of deliveries that are rows, in the batch that deletes these.
    pub(crate) async fn ended(
        &self,
        store: &Store,
        batch: &mut Batch,
        ends: &[(MessageId, End)],
        told: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if !self.is_on() {
            return Ok(());
        }
        for (id, end) in ends {
            let key = events::delivery_key(*id);
            let sent = self.later().take(id);
            let sent_millis = sent.as_ref().map(|sent| sent.at.as_millis());
            let known = match sent.and_then(|sent| sent.begun) {
                Some(known) => known.record(),
                None => {
                    let row = store.get(&key, now).await?;
                    let known = row.map(|row| DeliveryEvents::from_bytes(&row.value)).transpose()?;
                    known.unwrap_or_default()
                }
            };
            let record = DeliveryEvents {
                sent_millis: sent_millis.or(known.sent_millis),
                end: end.code().into(),
                ended_millis: now.as_millis(),
                by: end.by().map_or_else(Vec::new, |by| by.to_bytes().to_vec()),
                told: told.to_owned(),
                ..known
            };
            batch.put(key, record.to_bytes(), self.until(now));
        }
        Ok(())
    }

    /// Writes what has waited; with `all`, whatever waits. What cannot be written is not tried again.
    pub(crate) async fn write_later(
        &self,
        store: &Store,
        all: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (mut ops, due) = {
            let mut later = self.later();
            (std::mem::take(&mut later.fleeting), later.due(all, now))
        };
        ops.extend(due.into_iter().map(|(id, sent)| self.row_of_sent(id, &sent)));
        ops.sort_unstable_by(|a, b| a.key().cmp(b.key()));
        let mut ops = ops.into_iter().peekable();
        while ops.peek().is_some() {
            let ops = ops.by_ref().take(WRITTEN_TOGETHER).collect();
            store.write(Batch { ops, condition: None }, now).await?;
        }
        Ok(())
    }

    /// Before it is told that something was sent: what was told is not forgotten by a crash.
    pub(crate) async fn write_sent(
        &self,
        store: &Store,
        id: MessageId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(sent) = self.later().take(&id) else { return Ok(()) };
        let ops = vec![self.row_of_sent(id, &sent)];
        store.write(Batch { ops, condition: None }, now).await.map(drop)
    }

    fn row_of_sent(&self, id: MessageId, sent: &Sent) -> Op {
        Op::Put {
            key: events::key(id.micros, &Kind::Sent(id.unique)),
            value: events::sent_to_bytes(sent.at.as_millis()).into(),
            // Not as long as the delivery may live: nobody deletes it when that ends.
            expires: self.until(sent.at),
        }
    }
}

/// What happened to the slots of a set since it was made.
#[derive(Default)]
pub(crate) struct Ends {
    /// Its rows say it all, or do not exist.
    known: bool,
    dirty: bool,
    sets: Vec<(u8, Option<MessageId>, SlotSet)>,
}

impl Ends {
    /// Of a set that is new.
    pub(crate) fn none() -> Self {
        Self { known: true, ..Self::default() }
    }

    pub(crate) fn add(&mut self, slot: u16, what: u8, by: Option<MessageId>) {
        self.dirty |= self.set(what, by).insert(slot);
    }

    pub(crate) fn end(&mut self, slot: u16, end: End) {
        self.add(slot, end.code(), end.by());
    }

    fn set(&mut self, what: u8, by: Option<MessageId>) -> &mut SlotSet {
        let by = by.filter(|_| self.sets.len() < MAX_KINDS);
        let at = self.sets.iter().position(|(w, b, _)| (*w, *b) == (what, by));
        let at = at.unwrap_or_else(|| {
            self.sets.push((what, by, SlotSet::default()));
            self.sets.len() - 1
        });
        &mut self.sets[at].2
    }

    /// Whether its rows must be read before they are written.
    pub(crate) fn must_be_read(&self) -> bool {
        self.dirty && !self.known
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// What its rows say, once.
    pub(crate) fn join(&mut self, rows: Vec<(u8, Option<MessageId>, SlotSet)>) {
        if std::mem::replace(&mut self.known, true) {
            return;
        }
        for (what, by, set) in rows {
            let known = self.set(what, by);
            *known = known.or(&set);
        }
    }

    /// Adds its rows to a batch.
    pub(crate) fn save(&mut self, traces: &Traces, batch: &mut Batch, fanout: &FanOut, bucket: u32) {
        if std::mem::take(&mut self.dirty) && traces.is_on() {
            for (what, by, set) in &self.sets {
                traces.put_set(batch, fanout, &Kind::Set { bucket, what: *what, by: *by }, set);
            }
        }
    }

    /// They could not be written.
    pub(crate) fn unsaved(&mut self) {
        self.dirty = !self.sets.is_empty();
    }

    pub(crate) fn bytes(&self) -> usize {
        self.sets.iter().map(|(_, _, set)| set.bytes() + 40).sum()
    }
}

impl Dispatcher {
    /// These were written to the connection of a device.
    pub fn sent(&self, device: DeviceId, deliveries: &[std::sync::Arc<Delivery>], now: Timestamp) {
        if !self.traces.is_on() {
            return;
        }
        let present = self.carriers.presence.get(device);
        let carried = present.as_ref().map_or(&[][..], |present| &present.carried);
        for delivery in deliveries {
            let registration = delivery.recipient.registration;
            let bucket = carried.iter().find(|carried| carried.id() == registration);
            let of_set = bucket.is_some_and(|carried| carried.bucket.sent(registration.slot, delivery.id));
            if !of_set {
                self.traces.sent(delivery.id, now);
            }
        }
    }

    /// Ends deliveries that are rows of an inbox.
    pub(crate) async fn end_rows(
        &self,
        device: DeviceId,
        ends: &[(MessageId, End)],
        told: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for ends in ends.chunks(WRITTEN_TOGETHER) {
            let mut batch = Batch::default();
            ends.iter().for_each(|(id, _)| batch.delete(inbox::key(device, *id)));
            self.traces.ended(&self.store, &mut batch, ends, told, now).await?;
            let receipts = self.receipts(&mut batch, device, ends, now).await?;
            let newest = receipts.iter().map(|receipt| receipt.id()).max();
            self.ids.write(&self.store, batch, newest, now).await?;
            self.receipts_are_stored(receipts);
            ends.iter().for_each(|(_, end)| self.traces.count(*end, 1));
        }
        Ok(())
    }

    /// Before sets of a bucket are saved: what their rows say of ends must not be forgotten.
    pub(crate) async fn read_ends(&self, bucket: &Bucket, now: Timestamp) -> Result<(), StoreError> {
        for id in bucket.ends_to_read() {
            let rows = read::ends_of(&self.store, id.micros, bucket.number, now).await?;
            bucket.join_ends(id, rows);
        }
        Ok(())
    }
}
