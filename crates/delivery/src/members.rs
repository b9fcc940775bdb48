//! Who is in a topic: sets in memory, derived from the rows, which are the truth. Loaded when they
//! are first asked for, kept current by the writes that pass, and bounded: what was not used for
//! long goes first.
//!
//! No set stays that differs from the rows. Loads of one set are one after the other, under one of
//! the stripes. A writer first makes its rows durable, then, under the stripe, has the set say what
//! the rows say: a load that began before has ended, and one that comes after reads the new rows.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use cresset_message::{Platform, ProjectNumber, RegistrationId, SlotSet, Timestamp};
use cresset_store::tables::counters;
use cresset_store::tables::members::{self, TopicKey};
use cresset_store::{Pages, Store, StoreError, Table};

/// Rows read from the store at a time.
const PAGE: usize = 4_096;

/// Bytes of sets that are kept unless something else is asked for.
const MEMORY: usize = 64 << 20;

/// Locks that loads and changes of a set take; more than there are threads that load.
const STRIPES: usize = 64;

/// The members of topics, as they are asked for.
#[derive(Clone)]
pub(crate) struct Members(Arc<Shared>);

struct Shared {
    store: Store,
    cache: Mutex<Cache>,
    stripes: [tokio::sync::Mutex<()>; STRIPES],
}

/// One bucket of a project.
type Place = (ProjectNumber, u32);

/// Which set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    place: Place,
    topic: TopicKey,
}

impl Key {
    fn of(id: RegistrationId, topic: TopicKey) -> Self {
        Self { place: (id.project, id.bucket), topic }
    }
}

impl Members {
    pub(crate) fn new(store: Store) -> Self {
        let stripes = std::array::from_fn(|_| tokio::sync::Mutex::default());
        Self(Arc::new(Shared { store, cache: Mutex::new(Cache::new(MEMORY)), stripes }))
    }

    /// Keeps sets of so many bytes, their keys included.
    pub(crate) fn set_memory(&self, bytes: usize) {
        let mut cache = self.cache();
        cache.limit = bytes;
        cache.make_room(0);
    }

    /// How many sets are kept, and their bytes.
    pub(crate) fn kept(&self) -> (usize, usize) {
        let cache = self.cache();
        (cache.index.len(), cache.bytes)
    }

    /// All registrations of a project in one bucket.
    pub(crate) async fn everyone(
        &self,
        project: ProjectNumber,
        bucket: u32,
        now: Timestamp,
    ) -> Result<Arc<SlotSet>, StoreError> {
        let android = self.of(project, bucket, TopicKey::of_platform(Platform::Android), now).await?;
        let ios = self.of(project, bucket, TopicKey::of_platform(Platform::Ios), now).await?;
        let web = self.of(project, bucket, TopicKey::of_platform(Platform::Web), now).await?;
        Ok(Arc::new(android.or(&ios).or(&web)))
    }

    /// Those of one bucket that push services of others carry.
    pub(crate) async fn outside(
        &self,
        project: ProjectNumber,
        bucket: u32,
        now: Timestamp,
    ) -> Result<Arc<SlotSet>, StoreError> {
        self.of(project, bucket, TopicKey::outside(), now).await
    }

    /// The members of a topic in one bucket.
    pub(crate) async fn of(
        &self,
        project: ProjectNumber,
        bucket: u32,
        topic: TopicKey,
        now: Timestamp,
    ) -> Result<Arc<SlotSet>, StoreError> {
        let key = Key { place: (project, bucket), topic };
        if let Some(set) = self.cache().get(&key) {
            return Ok(set);
        }
        let _stripe = self.stripe(&key).lock().await;
        if let Some(set) = self.cache().get(&key) {
            return Ok(set);
        }
        let loading = Loading::begin(&self.0, key);
        let set = self.read(&key, now).await?;
        Ok(loading.end(set))
    }

    /// Rows of these memberships were written: what is kept of them says what they say now.
    pub(crate) async fn changed(&self, changes: &[(RegistrationId, TopicKey)], now: Timestamp) {
        let mut slots: BTreeMap<Key, Vec<u16>> = BTreeMap::new();
        for (id, topic) in changes {
            slots.entry(Key::of(*id, *topic)).or_default().push(id.slot);
        }
        for (key, slots) in slots {
            let _stripe = self.stripe(&key).lock().await;
            if !self.cache().holds(&key) {
                continue;
            }
            match self.read_slots(&key, &slots, now).await {
                Ok(told) => self.cache().apply(&key, &told),
                // Whoever asks next meets the error, or reads all rows.
                Err(_) => self.cache().drop_set(&key),
            }
        }
    }

    /// A registration is new in its project.
    pub(crate) async fn joined_everyone(&self, id: RegistrationId, now: Timestamp) {
        let [android, ios, web] =
            [Platform::Android, Platform::Ios, Platform::Web].map(TopicKey::of_platform);
        let changed = [android, ios, web, TopicKey::outside()];
        self.changed(&changed.map(|topic| (id, topic)), now).await;
    }

    /// A registration is in no set any more. It never comes back: slots are not used twice.
    pub(crate) fn ended(&self, id: RegistrationId) {
        self.cache().end(id);
    }

    /// Nobody asks for these any more.
    pub(crate) fn project_deleted(&self, project: ProjectNumber) {
        self.cache().drop_project(project);
    }

    /// Buckets of a project that have, or had, a registration, from the first on.
    pub(crate) async fn buckets(&self, project: ProjectNumber, now: Timestamp) -> Result<u32, StoreError> {
        let row = self.0.store.get(&counters::next_registration(project), now).await?;
        let next = row.map(|row| counters::from_bytes(&row.value)).transpose()?.unwrap_or(0);
        Ok(u32::try_from(next.div_ceil(1 << 16)).unwrap_or(u32::MAX))
    }

    async fn read(&self, key: &Key, now: Timestamp) -> Result<SlotSet, StoreError> {
        let partition = members::partition(key.place.0, key.place.1, key.topic);
        let mut set = SlotSet::default();
        let mut pages = Pages::of(&self.0.store, Table::TopicMembers, &partition, PAGE);
        while let Some(rows) = pages.next(now).await? {
            for row in &rows {
                set.insert(members::slot_of(&row.sort)?);
            }
        }
        set.shrink();
        Ok(set)
    }

    /// Whether there is a row of each slot.
    async fn read_slots(
        &self,
        key: &Key,
        slots: &[u16],
        now: Timestamp,
    ) -> Result<Vec<(u16, bool)>, StoreError> {
        let mut told = Vec::with_capacity(slots.len());
        for slot in slots {
            let id = RegistrationId { project: key.place.0, bucket: key.place.1, slot: *slot };
            let row = self.0.store.get(&members::key(id, key.topic), now).await?;
            told.push((*slot, row.is_some()));
        }
        Ok(told)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.0.cache()
    }

    fn stripe(&self, key: &Key) -> &tokio::sync::Mutex<()> {
        use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
        &self.0.stripes[hash as usize % STRIPES]
    }
}

impl Shared {
    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A set that is being read. Until then its bucket remembers who ended meanwhile.
struct Loading<'a> {
    shared: &'a Shared,
    key: Key,
}

impl<'a> Loading<'a> {
    fn begin(shared: &'a Shared, key: Key) -> Self {
        shared.cache().hold(key.place);
        Self { shared, key }
    }

    fn end(self, set: SlotSet) -> Arc<SlotSet> {
        self.shared.cache().insert(self.key, set)
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        self.shared.cache().release(self.key.place);
    }
}

/// What an entry takes beside its set: itself, its key once more, and what a hash map and an `Arc`
/// spend on it.
const ENTRY: usize = size_of::<Entry>() + size_of::<Key>() + 48;

/// The same of a bucket.
const BUCKET: usize = size_of::<Bucket>() + size_of::<Place>() + 16;

struct Entry {
    key: Key,
    set: Arc<SlotSet>,
    /// Who ended in the bucket is taken out up to this one.
    ended: u64,
    /// Since the hand last came by.
    used: bool,
}

/// What the sets of one bucket have in common.
#[derive(Default)]
struct Bucket {
    /// Sets that are kept or being read.
    held: usize,
    /// Registrations that ended since: a set takes them out when it is asked for, so that an end
    /// costs the same however many sets there are.
    gone: SlotSet,
    /// How many that are.
    ended: u64,
}

/// The sets in memory. Which one goes is found by a hand that walks round and passes by, once, those
/// that were used since it last came.
struct Cache {
    limit: usize,
    bytes: usize,
    index: HashMap<Key, usize>,
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    hand: usize,
    buckets: HashMap<Place, Bucket>,
}

impl Cache {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            bytes: 0,
            index: HashMap::new(),
            entries: Vec::new(),
            free: Vec::new(),
            hand: 0,
            buckets: HashMap::new(),
        }
    }

    fn holds(&self, key: &Key) -> bool {
        self.index.contains_key(key)
    }

    fn get(&mut self, key: &Key) -> Option<Arc<SlotSet>> {
        let entry = self.entries[*self.index.get(key)?].as_mut().expect("the index leads to entries");
        entry.used = true;
        let bucket = self.buckets.get(&key.place).expect("an entry holds its bucket");
        if entry.ended != bucket.ended {
            entry.ended = bucket.ended;
            let before = entry.set.bytes();
            entry.set = Arc::new(entry.set.and_not(&bucket.gone));
            self.bytes = self.bytes - before + entry.set.bytes();
        }
        Some(entry.set.clone())
    }

    /// What was read, less those who ended meanwhile; it is kept if there is room.
    fn insert(&mut self, key: Key, set: SlotSet) -> Arc<SlotSet> {
        let bucket = self.buckets.get(&key.place).expect("who reads holds its bucket");
        let set = Arc::new(if bucket.gone.is_empty() { set } else { set.and_not(&bucket.gone) });
        // Not used yet: those that are asked for once only do not drive out the others.
        let entry = Entry { key, set: set.clone(), ended: bucket.ended, used: false };
        let bytes = ENTRY + set.bytes();
        self.drop_set(&key);
        self.make_room(bytes);
        if self.bytes + bytes > self.limit {
            return set;
        }
        self.hold(key.place);
        self.bytes += bytes;
        let at = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        self.entries[at] = Some(entry);
        self.index.insert(key, at);
        set
    }

    /// What the rows say of some slots.
    fn apply(&mut self, key: &Key, told: &[(u16, bool)]) {
        let Some(at) = self.index.get(key) else { return };
        let entry = self.entries[*at].as_mut().expect("the index leads to entries");
        let gone = &self.buckets.get(&key.place).expect("an entry holds its bucket").gone;
        let before = entry.set.bytes();
        let set = Arc::make_mut(&mut entry.set);
        for (slot, member) in told {
            // The rows of one that ended go at different moments.
            match *member && !gone.contains(*slot) {
                true => set.insert(*slot),
                false => set.remove(*slot),
            };
        }
        self.bytes = self.bytes - before + entry.set.bytes();
        self.make_room(0);
    }

    fn end(&mut self, id: RegistrationId) {
        // No set of the bucket is kept or being read: none has to be told.
        let Some(bucket) = self.buckets.get_mut(&(id.project, id.bucket)) else { return };
        let before = bucket.gone.bytes();
        if bucket.gone.insert(id.slot) {
            bucket.ended += 1;
        }
        self.bytes = self.bytes - before + bucket.gone.bytes();
        self.make_room(0);
    }

    fn hold(&mut self, place: Place) {
        let bucket = self.buckets.entry(place).or_insert_with(|| {
            let bucket = Bucket::default();
            self.bytes += BUCKET + bucket.gone.bytes();
            bucket
        });
        bucket.held += 1;
    }

    fn release(&mut self, place: Place) {
        let bucket = self.buckets.get_mut(&place).expect("who releases a bucket has held it");
        bucket.held -= 1;
        if bucket.held == 0 {
            self.bytes -= BUCKET + bucket.gone.bytes();
            self.buckets.remove(&place);
        }
    }

    fn drop_set(&mut self, key: &Key) {
        if let Some(at) = self.index.get(key) {
            self.drop_at(*at);
        }
    }

    fn drop_at(&mut self, at: usize) {
        let entry = self.entries[at].take().expect("who drops an entry has seen it");
        self.free.push(at);
        self.index.remove(&entry.key);
        self.bytes -= ENTRY + entry.set.bytes();
        self.release(entry.key.place);
    }

    fn drop_project(&mut self, project: ProjectNumber) {
        let of_it = |entry: &Option<Entry>| entry.as_ref().is_some_and(|entry| entry.key.place.0 == project);
        for at in 0..self.entries.len() {
            if of_it(&self.entries[at]) {
                self.drop_at(at);
            }
        }
    }

    /// For so many bytes more, if there can be.
    fn make_room(&mut self, more: usize) {
        while self.bytes + more > self.limit && more <= self.limit && !self.index.is_empty() {
            let at = self.hand;
            self.hand = (self.hand + 1) % self.entries.len();
            match &mut self.entries[at] {
                Some(entry) if entry.used => entry.used = false,
                Some(_) => self.drop_at(at),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = (ProjectNumber(7), 3);

    fn key(topic: &str) -> Key {
        Key { place: PLACE, topic: TopicKey::of(topic) }
    }

    fn id(slot: u16) -> RegistrationId {
        RegistrationId { project: PLACE.0, bucket: PLACE.1, slot }
    }

    fn load(cache: &mut Cache, topic: &str, slots: &[u16]) {
        cache.hold(PLACE);
        cache.insert(key(topic), slots.iter().copied().collect());
        cache.release(PLACE);
    }

    #[test]
    fn what_was_not_used_for_long_goes_first() {
        let mut cache = Cache::new(usize::MAX);
        load(&mut cache, "0", &[1, 2]);
        let one = cache.bytes;
        assert!(one > 100, "{one}");
        let mut cache = Cache::new(one * 10);
        for topic in 0..1_000 {
            load(&mut cache, &topic.to_string(), &[1, 2]);
            assert!(cache.bytes <= one * 10);
            assert!(cache.get(&key("0")).is_some(), "it is used all the time");
        }
        assert!(cache.index.len() >= 10 && cache.entries.len() <= cache.index.len() + 2);
        assert!(cache.get(&key("500")).is_none());
        cache.drop_project(PLACE.0);
        assert_eq!((cache.bytes, cache.buckets.len(), cache.index.len()), (0, 0, 0));
    }

    #[test]
    fn what_is_larger_than_all_memory_is_given_out_and_not_kept() {
        let mut cache = Cache::new(100);
        cache.hold(PLACE);
        assert_eq!(cache.insert(key("a"), [5].into_iter().collect()).len(), 1);
        cache.release(PLACE);
        assert_eq!((cache.bytes, cache.buckets.len(), cache.index.len()), (0, 0, 0));
    }

    #[test]
    fn who_ended_is_in_no_set_whatever_the_rows_still_say() {
        let mut cache = Cache::new(usize::MAX);
        load(&mut cache, "a", &[1, 2, 3]);
        // This one is being read when it happens.
        cache.hold(PLACE);
        cache.end(id(2));
        cache.insert(key("b"), [2, 4].into_iter().collect());
        cache.release(PLACE);
        let slots = |cache: &mut Cache, topic| cache.get(&key(topic)).unwrap().iter().collect::<Vec<_>>();
        assert_eq!(slots(&mut cache, "a"), [1, 3]);
        assert_eq!(slots(&mut cache, "b"), [4]);
        cache.apply(&key("a"), &[(2, true), (3, false), (9, true)]);
        assert_eq!(slots(&mut cache, "a"), [1, 9]);
        cache.drop_set(&key("a"));
        cache.drop_set(&key("b"));
        assert_eq!((cache.bytes, cache.buckets.len()), (0, 0));
    }
}
