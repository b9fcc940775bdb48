//! Queue, as sets: who of a bucket still wants which message, and who of it is connected. A set in
//! memory is as good as its row, or better: it knows of acknowledgements that the row will learn of.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use cresset_message::{
    DeviceId, Layout, Message, MessageId, ProjectNumber, Recipient, RegistrationId, SlotSet, Target,
    Timestamp,
};
use cresset_store::tables::bodies::{self, BodyRecord};
use cresset_store::tables::{fanouts, message as message_record, registrations};
use cresset_store::{Batch, Pages, Store, StoreError, Table};

use crate::presence::{Present, same};
use crate::terms::{Terms, is_of_package};
use crate::trace::{Dropped, End, Ends, MOVED, SENT, Traces};
use crate::{Carrier, Delivery};

/// Rows of sets read from the store at a time: some 500 KB when they are full.
const PAGE: usize = 64;

/// One message for many, as all its deliveries share it.
#[derive(Debug)]
pub(crate) struct FanOut {
    /// Ids of its deliveries are made from this one.
    pub(crate) id: MessageId,
    pub(crate) project: ProjectNumber,
    pub(crate) message: Arc<Message>,
    raw: Terms,
    web: Terms,
    apple: Terms,
    /// Its job, and its sets in memory.
    holders: AtomicU32,
    /// All of its sets are in memory: this process has made them.
    whole: AtomicBool,
    /// Its job is open: a set whose row is gone would be made again.
    spreading: AtomicBool,
}

impl FanOut {
    pub(crate) fn new(id: MessageId, project: ProjectNumber, message: Arc<Message>) -> Self {
        let accepted = Timestamp::from_micros(id.micros);
        let (raw, web) = (Terms::raw(&message, accepted), Terms::web(&message, accepted));
        let apple = Terms::apple(&message, accepted);
        let (holders, whole, spreading) = (AtomicU32::new(0), AtomicBool::new(false), AtomicBool::new(false));
        Self { id, project, message, raw, web, apple, holders, whole, spreading }
    }

    /// The first of its job, and of each set.
    pub(crate) fn hold(&self) {
        self.holders.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether that was the last who needed the body. Of a message whose sets another process began
    /// nobody knows; its body stays until it expires.
    pub(crate) fn release(&self) -> bool {
        self.holders.fetch_sub(1, Ordering::AcqRel) == 1 && self.whole.load(Ordering::Relaxed)
    }

    pub(crate) fn set_whole(&self, whole: bool) {
        self.whole.store(whole, Ordering::Relaxed);
    }

    pub(crate) fn set_spreading(&self, spreading: bool) {
        self.spreading.store(spreading, Ordering::Relaxed);
    }

    /// When nobody is to get it any more.
    pub(crate) fn expires(&self) -> Timestamp {
        self.raw.expires.max(self.web.expires).max(self.apple.expires)
    }

    /// Whether all are to have it now or never.
    pub(crate) fn is_now_or_never(&self) -> bool {
        self.raw.ttl.is_zero() && self.web.ttl.is_zero() && self.apple.ttl.is_zero()
    }

    /// When it is over for those who get it in clear, for web apps, and for apps on Apple devices.
    pub(crate) fn all_expire(&self) -> (Timestamp, Timestamp, Timestamp) {
        (self.raw.expires, self.web.expires, self.apple.expires)
    }

    pub(crate) fn terms(&self, layout: &Layout) -> &Terms {
        match layout {
            Layout::Raw { .. } => &self.raw,
            Layout::WebPush { .. } | Layout::WebApp { .. } | Layout::WebService { .. } => &self.web,
            Layout::Apns { .. } => &self.apple,
        }
    }

    /// The id of the delivery to a registration: another for each, for two of them may be on one
    /// device, and always the same, whatever happens in between.
    pub(crate) fn id_for(&self, registration: RegistrationId) -> MessageId {
        let place = u64::from(registration.bucket) << 16 | u64::from(registration.slot);
        MessageId { micros: self.id.micros, unique: self.id.unique ^ place }
    }

    pub(crate) fn delivery_to(&self, recipient: &Arc<Recipient>) -> Delivery {
        let terms = self.terms(&recipient.layout).clone();
        Delivery::new(self.id_for(recipient.registration), self.message.clone(), recipient.clone(), terms)
    }

    /// Whether a member of the set is to get it at all.
    pub(crate) fn is_for(&self, recipient: &Recipient) -> bool {
        match &recipient.layout {
            Layout::Raw { .. } => is_of_package(&self.message, recipient),
            // Its keys are the page's: nothing can be encrypted for it.
            Layout::WebPush { .. } => false,
            Layout::WebApp { .. } | Layout::WebService { .. } | Layout::Apns { .. } => true,
        }
    }

    fn bytes(&self) -> usize {
        let data: usize = self.message.data.iter().map(|(key, value)| key.len() + value.len() + 48).sum();
        let target = match &self.message.target {
            Target::Token(text) | Target::Fid(text) | Target::Topic(text) | Target::Condition(text) => {
                text.len()
            }
        };
        size_of::<Self>() + size_of::<Message>() + data + target
    }
}

/// A set of a bucket that is not empty, or was not a moment ago.
struct Live {
    fanout: Arc<FanOut>,
    wanted: SlotSet,
    /// The row does not say the same.
    changed: bool,
    /// Those in it are being given rows of their own.
    ageing: bool,
    /// Those that were struck off meanwhile: their rows are on their way, and mean nothing.
    struck: SlotSet,
    ends: Ends,
}

/// A registration whose device is connected.
struct Connected {
    recipient: Arc<Recipient>,
    line: Arc<dyn Carrier>,
    /// It was there when it was already known here who would hear of its end.
    confirmed: bool,
}

/// 65,536 registrations: their sets, oldest first, and their connections.
pub(crate) struct Bucket {
    pub(crate) project: ProjectNumber,
    pub(crate) number: u32,
    state: Mutex<State>,
    /// Whoever spreads to this bucket holds it: messages reach it in their order.
    pub(crate) order: tokio::sync::Mutex<()>,
    /// Whoever writes rows of its sets holds it: the row that is written last is the newest.
    pub(crate) rows: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    live: Vec<Live>,
    /// How often some of a set were given rows of their own.
    rows_made: u64,
    connected: BTreeMap<u16, Connected>,
}

impl State {
    /// The set that a delivery is of, by its id.
    fn live_of(&mut self, id: MessageId) -> Option<&mut Live> {
        let at = self.live.binary_search_by_key(&id.micros, |live| live.fanout.id.micros).ok()?;
        self.live.get_mut(at)
    }
}

/// What became of striking a delivery off its set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Struck {
    Off,
    /// It may be on its way into the inbox, or there: it must go from there too.
    OffAndMaybeInbox,
    /// The same, by a process that ended before its set said so: a row that it left must go.
    OffAndMaybeLeft,
    NotThere,
}

/// One connected registration that wants a message.
pub(crate) struct Want {
    pub(crate) recipient: Arc<Recipient>,
    pub(crate) line: Arc<dyn Carrier>,
}

/// A waiting delivery as a set knows it.
#[derive(Clone)]
pub(crate) struct Waiting {
    pub(crate) id: MessageId,
    pub(crate) fanout: Arc<FanOut>,
}

impl Bucket {
    fn new(project: ProjectNumber, number: u32) -> Self {
        Self {
            project,
            number,
            state: Mutex::default(),
            order: tokio::sync::Mutex::default(),
            rows: tokio::sync::Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two changes of one state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn place(&self) -> Place {
        (self.project, self.number)
    }

    pub(crate) fn registration(&self, slot: u16) -> RegistrationId {
        RegistrationId { project: self.project, bucket: self.number, slot }
    }

    /// A new set, whose row is durable.
    pub(crate) fn add(&self, fanout: Arc<FanOut>, wanted: SlotSet) {
        self.insert(fanout, wanted, Ends::none());
    }

    fn insert(&self, fanout: Arc<FanOut>, wanted: SlotSet, ends: Ends) {
        fanout.hold();
        let mut state = self.state();
        let at = state.live.partition_point(|live| live.fanout.id < fanout.id);
        state.live.insert(
            at,
            Live { fanout, wanted, changed: false, ageing: false, struck: SlotSet::default(), ends },
        );
    }

    /// Whether there is a set of that message.
    pub(crate) fn has(&self, id: MessageId) -> bool {
        self.state().live_of(id).is_some()
    }

    pub(crate) fn connect(&self, recipient: Arc<Recipient>, line: Arc<dyn Carrier>) {
        let slot = recipient.registration.slot;
        self.state().connected.insert(slot, Connected { recipient, line, confirmed: false });
    }

    /// It has been seen to be there since it was connected: of its end this bucket is told.
    pub(crate) fn confirm(&self, slot: u16, line: &Arc<dyn Carrier>) {
        let mut state = self.state();
        let connected = state.connected.get_mut(&slot).filter(|connected| same(&connected.line, line));
        if let Some(connected) = connected {
            connected.confirmed = true;
        }
    }

    pub(crate) fn disconnect(&self, slot: u16, line: &Arc<dyn Carrier>) {
        let mut state = self.state();
        if state.connected.get(&slot).is_some_and(|connected| same(&connected.line, line)) {
            state.connected.remove(&slot);
        }
    }

    /// Connected registrations of `set` from `slot` on, at most `limit`, and where to go on.
    pub(crate) fn connected_in(&self, set: &SlotSet, slot: u16, limit: usize) -> (Vec<Want>, Option<u16>) {
        let state = self.state();
        let mut found = Vec::with_capacity(limit.min(state.connected.len()).min(set.len()));
        for (slot, connected) in state.connected.range(slot..) {
            if !set.contains(*slot) {
                continue;
            }
            if found.len() == limit {
                return (found, Some(*slot));
            }
            found.push(Want { recipient: connected.recipient.clone(), line: connected.line.clone() });
        }
        (found, None)
    }

    /// A registration, if its device is connected and it certainly lives.
    pub(crate) fn connected(&self, slot: u16) -> Option<Arc<Recipient>> {
        let state = self.state();
        let confirmed = state.connected.get(&slot).filter(|connected| connected.confirmed);
        confirmed.map(|connected| connected.recipient.clone())
    }

    /// How many of a set are connected.
    pub(crate) fn count_connected(&self, set: &SlotSet) -> usize {
        self.state().connected.keys().filter(|slot| set.contains(**slot)).count()
    }

    /// What waits for a slot, oldest first.
    pub(crate) fn waiting_for(&self, slot: u16, now: Timestamp) -> Vec<Waiting> {
        let state = self.state();
        let wanted = state.live.iter().filter(|live| live.wanted.contains(slot));
        wanted
            .filter(|live| now < live.fanout.expires())
            .map(|live| {
                let id = live.fanout.id_for(self.registration(slot));
                Waiting { id, fanout: live.fanout.clone() }
            })
            .collect()
    }

    /// Those of some for whom something waits.
    pub(crate) fn waiting_among(&self, some: &SlotSet, now: Timestamp) -> SlotSet {
        let state = self.state();
        let live = state.live.iter().filter(|live| now < live.fanout.expires());
        live.fold(SlotSet::default(), |found, live| found.or(&live.wanted.and(some)))
    }

    /// Whether a delivery waits in its set.
    pub(crate) fn wants(&self, slot: u16, id: MessageId) -> bool {
        let mut state = self.state();
        state.live_of(id).is_some_and(|live| {
            !live.ageing && live.fanout.id_for(self.registration(slot)) == id && live.wanted.contains(slot)
        })
    }

    /// These of a set were written to connections.
    pub(crate) fn all_sent(&self, id: MessageId, slots: &[u16]) {
        if let Some(live) = self.state().live_of(id) {
            slots.iter().for_each(|slot| live.ends.add(*slot, SENT, None));
        }
    }

    /// A delivery was written to a connection. Says whether it is of a set.
    pub(crate) fn sent(&self, slot: u16, id: MessageId) -> bool {
        let registration = self.registration(slot);
        let mut state = self.state();
        let live = state.live_of(id).filter(|live| live.fanout.id_for(registration) == id && !live.ageing);
        live.map(|live| live.ends.add(slot, SENT, None)).is_some()
    }

    /// A delivery is over.
    pub(crate) fn strike(&self, slot: u16, id: MessageId, end: End) -> Struck {
        let registration = self.registration(slot);
        let mut state = self.state();
        let end = match end {
            // All deliveries of a fan-out count as one that took the place of this.
            End::Collapsed { by: Some(by) } => {
                let newer = state.live_of(by).filter(|newer| newer.fanout.id_for(registration) == by);
                End::Collapsed { by: Some(newer.map_or(by, |newer| newer.fanout.id)) }
            }
            end => end,
        };
        let Some(live) = state.live_of(id) else { return Struck::NotThere };
        // A device may only speak of what is its own.
        if live.fanout.id_for(registration) != id {
            return Struck::NotThere;
        }
        let there = live.wanted.remove(slot);
        live.changed |= there;
        match (there, live.ageing) {
            (true, false) => live.ends.end(slot, end),
            // A row of its own tells how it ended.
            (true, true) => {
                live.struck.insert(slot);
                live.ends.add(slot, MOVED, None);
            }
            (false, _) => {}
        }
        // A former process may have made rows, and ended before the set said so.
        let is_old = !live.fanout.whole.load(Ordering::Relaxed);
        match (there, live.ageing) {
            (_, true) => Struck::OffAndMaybeInbox,
            (true, false) if is_old => Struck::OffAndMaybeLeft,
            (false, false) if is_old => Struck::OffAndMaybeInbox,
            (true, false) => Struck::Off,
            (false, false) => Struck::NotThere,
        }
    }

    /// A delivery of a set has a durable row, from before a crash. Whoever makes rows now takes it out of
    /// its set himself.
    pub(crate) fn leave_to_row(&self, slot: u16, id: MessageId) {
        let registration = self.registration(slot);
        let mut state = self.state();
        if let Some(live) = state.live_of(id).filter(|live| !live.ageing)
            && live.fanout.id_for(registration) == id
            && live.wanted.remove(slot)
        {
            live.ends.add(slot, MOVED, None);
            live.changed = true;
        }
    }

    /// Whether a row of this delivery is one that came after its end.
    pub(crate) fn was_struck(&self, slot: u16, id: MessageId) -> bool {
        let registration = self.registration(slot);
        let mut state = self.state();
        let live = state.live_of(id).filter(|live| live.fanout.id_for(registration) == id);
        live.is_some_and(|live| live.struck.contains(slot))
    }

    /// A registration is no more. Says of how many deliveries that is the end, and which device
    /// carried it, if that is connected.
    pub(crate) fn forget(&self, slot: u16) -> (usize, Option<DeviceId>) {
        let mut state = self.state();
        let device = state.connected.remove(&slot).map(|connected| connected.recipient.device);
        let mut dropped = 0;
        for live in &mut state.live {
            let there = live.wanted.remove(slot);
            live.changed |= there;
            if there {
                live.ends.end(slot, End::Dropped(Dropped::Unregistered));
            }
            dropped += usize::from(there);
        }
        (dropped, device)
    }

    /// All sets at once, when their project is no more.
    pub(crate) fn forget_all(&self) -> Vec<Arc<FanOut>> {
        std::mem::take(&mut self.state().live).into_iter().map(|live| live.fanout).collect()
    }

    /// The rows that say less than memory knows, as they should be; held to be written, until
    /// [`unsaved`](Self::unsaved) says otherwise. At most `limit`. Sets that are over leave memory; while its
    /// job is open the row of one stays, empty: it says that the bucket is done.
    pub(crate) fn save(&self, batch: &mut Batch, limit: usize, traces: &Traces, now: Timestamp) -> Saved {
        let mut state = self.state();
        let mut saved = Saved::default();
        for live in &mut state.live {
            let done = live.wanted.is_empty() && !live.fanout.spreading.load(Ordering::Relaxed);
            let over = done || live.fanout.expires() <= now;
            if !(over || live.changed || live.ends.is_dirty()) || batch.ops.len() >= limit {
                continue;
            }
            // Something ended since they were read: the next time, then.
            if live.ends.must_be_read() {
                continue;
            }
            live.ends.save(traces, batch, &live.fanout, self.number);
            let key = fanouts::key(self.project, self.number, live.fanout.id);
            saved.ids.push(live.fanout.id);
            if over {
                batch.delete(key);
                saved.over.push(live.fanout.clone());
            } else if live.changed {
                batch.put(key, fanouts::to_bytes(&live.wanted), Some(live.fanout.expires()));
            }
            live.changed = false;
        }
        saved
    }

    /// They are in their rows: what is over leaves memory.
    pub(crate) fn saved(&self, saved: &Saved) {
        let over = |id| saved.over.iter().any(|fanout| fanout.id == id);
        if !saved.over.is_empty() {
            self.state().live.retain(|live| !over(live.fanout.id));
        }
    }

    /// They could not be written: they are to be tried again.
    pub(crate) fn unsaved(&self, saved: &Saved) {
        let mut state = self.state();
        saved.ids.iter().for_each(|id| {
            if let Some(live) = state.live_of(*id) {
                live.changed = true;
                live.ends.unsaved();
            }
        });
    }

    /// Sets of which something is to be written, and whose rows tell of more.
    pub(crate) fn ends_to_read(&self) -> Vec<MessageId> {
        let state = self.state();
        state.live.iter().filter(|live| live.ends.must_be_read()).map(|live| live.fanout.id).collect()
    }

    /// What the rows of a set tell.
    pub(crate) fn join_ends(&self, id: MessageId, rows: Vec<(u8, Option<MessageId>, SlotSet)>) {
        if let Some(live) = self.state().live_of(id) {
            live.ends.join(rows);
        }
    }

    /// The oldest set, and some of those in it, to be given rows of their own.
    /// With `only`, of that set.
    pub(crate) fn age_oldest(
        &self,
        only: Option<MessageId>,
        limit: usize,
    ) -> Option<(Arc<FanOut>, Vec<u16>)> {
        let mut state = self.state();
        let mut wanted = state.live.iter_mut().filter(|live| !live.wanted.is_empty());
        let live = wanted.find(|live| only.is_none_or(|only| live.fanout.id == only))?;
        live.ageing = true;
        live.fanout.set_whole(false);
        Some((live.fanout.clone(), live.wanted.iter().take(limit).collect()))
    }

    /// Their rows are durable. Gives those that were struck off meanwhile.
    pub(crate) fn aged(&self, id: MessageId, slots: &[u16]) -> Vec<u16> {
        let mut state = self.state();
        state.rows_made += 1;
        let Some(live) = state.live_of(id) else { return Vec::new() };
        live.changed = true;
        let (moved, struck) = slots.iter().partition(|slot| live.wanted.remove(**slot));
        let moved: Vec<u16> = moved;
        moved.iter().for_each(|slot| live.ends.add(*slot, MOVED, None));
        struck
    }

    pub(crate) fn rows_made(&self) -> u64 {
        self.state().rows_made
    }

    pub(crate) fn live_count(&self) -> usize {
        self.state().live.len()
    }

    fn bytes(&self) -> usize {
        let state = self.state();
        state.live.iter().map(|live| live.wanted.bytes() + live.ends.bytes() + size_of::<Live>()).sum()
    }

    fn is_idle(&self) -> bool {
        let state = self.state();
        state.connected.is_empty()
            && !state.live.iter().any(|live| live.changed || live.ageing || live.ends.is_dirty())
    }
}

/// What a save wrote.
#[derive(Default)]
pub(crate) struct Saved {
    ids: Vec<MessageId>,
    /// Nobody wants these any more.
    pub(crate) over: Vec<Arc<FanOut>>,
}

/// Where a bucket is: its project, and its number there.
pub(crate) type Place = (ProjectNumber, u32);

/// The buckets that somebody has asked for.
pub(crate) struct Buckets {
    store: Store,
    /// In order, so that a simulation repeats.
    known: RwLock<BTreeMap<Place, Arc<Bucket>>>,
    /// Held while one is read from the store.
    loading: tokio::sync::Mutex<()>,
    messages: Mutex<HashMap<MessageId, Weak<FanOut>>>,
}

impl Buckets {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            known: RwLock::default(),
            loading: tokio::sync::Mutex::default(),
            messages: Mutex::default(),
        }
    }

    /// A bucket with its sets, read from the store if nobody has asked for it before.
    pub(crate) async fn get(
        &self,
        project: ProjectNumber,
        number: u32,
        now: Timestamp,
    ) -> Result<Arc<Bucket>, StoreError> {
        if let Some(known) = self.known(project, number) {
            return Ok(known);
        }
        let _loading = self.loading.lock().await;
        if let Some(known) = self.known(project, number) {
            return Ok(known);
        }
        let bucket = Arc::new(self.load(project, number, now).await?);
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert((project, number), bucket.clone());
        Ok(bucket)
    }

    /// The bucket, if it is in memory.
    pub(crate) fn known(&self, project: ProjectNumber, number: u32) -> Option<Arc<Bucket>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(&(project, number)).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Bucket>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    async fn load(&self, project: ProjectNumber, number: u32, now: Timestamp) -> Result<Bucket, StoreError> {
        let bucket = Bucket::new(project, number);
        let partition = registrations::partition(project, number);
        let mut pages = Pages::of(&self.store, Table::FanOuts, &partition, PAGE);
        while let Some(rows) = pages.next(now).await? {
            for row in &rows {
                let id = cresset_store::tables::inbox::id_of(&row.sort)?;
                // A body ends no earlier than its sets.
                match self.message(id, now).await? {
                    Some(fanout) => bucket.insert(fanout, fanouts::from_bytes(&row.value)?, Ends::default()),
                    None => tracing::error!(message.id = %id, "a set without its message is left alone"),
                }
            }
        }
        Ok(bucket)
    }

    /// A message for many, from memory or from its body.
    pub(crate) async fn message(
        &self,
        id: MessageId,
        now: Timestamp,
    ) -> Result<Option<Arc<FanOut>>, StoreError> {
        if let Some(known) = self.messages().get(&id).and_then(Weak::upgrade) {
            return Ok(Some(known));
        }
        let Some(row) = self.store.get(&bodies::key(id), now).await? else { return Ok(None) };
        let body = BodyRecord::from_bytes(&row.value)?;
        let message = Arc::new(message_record::decode(&body.message)?);
        Ok(Some(self.remember(FanOut::new(id, ProjectNumber(body.project), message))))
    }

    /// Makes it the one that everybody shares.
    pub(crate) fn remember(&self, fanout: FanOut) -> Arc<FanOut> {
        let mut messages = self.messages();
        if let Some(known) = messages.get(&fanout.id).and_then(Weak::upgrade) {
            return known;
        }
        let fanout = Arc::new(fanout);
        messages.insert(fanout.id, Arc::downgrade(&fanout));
        fanout
    }

    /// Forgets messages that nobody shares any more. Says what is in memory, in bytes.
    pub(crate) fn weigh(&self) -> usize {
        let mut bytes: usize = self.all().iter().map(|bucket| bucket.bytes()).sum();
        self.messages().retain(|_, message| match message.upgrade() {
            Some(fanout) => {
                bytes += fanout.bytes();
                true
            }
            None => false,
        });
        bytes
    }

    /// Gives back a bucket that nobody is connected to and whose rows say all there is. It is read
    /// again when it is asked for.
    pub(crate) fn evict(&self, bucket: &Arc<Bucket>) -> bool {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // Ours, and the map's: nobody else has it, and nobody can get it now.
        let idle = Arc::strong_count(bucket) == 2 && bucket.is_idle();
        if idle {
            known.remove(&(bucket.project, bucket.number));
        }
        idle
    }

    fn messages(&self) -> MutexGuard<'_, HashMap<MessageId, Weak<FanOut>>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Present {
    /// Those it carries can be reached by it from now on.
    pub(crate) fn connect(&self) {
        for carried in &*self.carried {
            carried.bucket.connect(carried.recipient.clone(), self.line.clone());
        }
    }

    pub(crate) fn disconnect(&self) {
        for carried in &*self.carried {
            carried.bucket.disconnect(carried.id().slot, &self.line);
        }
    }
}
