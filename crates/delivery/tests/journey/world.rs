//! A dispatcher, devices with registrations, and a store that tests can hold up.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cresset_delivery::{Delivery, Dispatcher, Limits, Quotas};
use cresset_message::{
    AndroidConfig, DeviceId, FcmOptions, Message, MessageId, Platform, ProjectNumber, RegistrationId, Target,
    Timestamp,
};
use cresset_store::memory::MemoryEngine;
use cresset_store::tables::members::{self, TopicKey};
use cresset_store::tables::registrations::{self, DeviceTransport, RegistrationRecord};
use cresset_store::tables::{carried, counters};
use cresset_store::{Batch, Engine, Page, Partitions, Pending, Row, RowKey, Store, StoreError, Swept, Table};
use cresset_wire::token::{TokenKey, registration_token};
use tokio::sync::{Notify, Semaphore};

pub(crate) const PROJECT: ProjectNumber = ProjectNumber(1_234);
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// How long what became of a delivery is kept.
pub(crate) const KEPT: Duration = Duration::from_secs(3 * 86_400);

pub(crate) struct World {
    pub dispatcher: Arc<Dispatcher>,
    pub store: Store,
    pub engine: Arc<Held>,
}

pub(crate) fn device(id: u64) -> DeviceId {
    DeviceId::new(id).unwrap()
}

pub(crate) fn key() -> TokenKey {
    TokenKey::new(&[3; 32])
}

fn dice() -> Arc<dyn Fn(&mut [u8]) + Send + Sync> {
    let count = AtomicU64::new(0);
    Arc::new(move |bytes| {
        let n = count.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        bytes.iter_mut().zip(n.iter().cycle()).for_each(|(to, from)| *to = *from);
    })
}

pub(crate) async fn dispatcher(store: &Store, now: Timestamp) -> Dispatcher {
    let dispatcher = Dispatcher::open(store.clone(), key(), dice(), now).await.unwrap();
    dispatcher.with_trace(KEPT)
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with_quotas(Quotas::OFF).await
    }

    pub(crate) async fn with_quotas(quotas: Quotas) -> Self {
        let engine = Arc::new(Held {
            inner: MemoryEngine::new(),
            writes: Semaphore::new(1 << 20),
            refuses: AtomicBool::new(false),
            tears: AtomicBool::new(false),
            stop: Mutex::default(),
        });
        let store: Store = engine.clone();
        Self { dispatcher: Arc::new(dispatcher(&store, NOW).await.with_quotas(quotas)), store, engine }
    }

    /// An Android app on a device, in the slot of that number: its token.
    pub(crate) async fn register(&self, on: DeviceId, slot: u16) -> String {
        self.register_in(on, 0, slot).await
    }

    pub(crate) async fn register_in(&self, on: DeviceId, bucket: u32, slot: u16) -> String {
        let id = RegistrationId { project: PROJECT, bucket, slot };
        let record = RegistrationRecord {
            prefix: "fGw0qy4TGgk".into(),
            platform: 1,
            device: Some(DeviceTransport {
                device: on.get(),
                app: "com.example.app".into(),
                sender: PROJECT.to_string(),
                ..DeviceTransport::default()
            }),
            ..RegistrationRecord::default()
        };
        let mut batch = Batch::default();
        batch.put(registrations::key(id), record.to_bytes(), None);
        batch.put(members::key(id, TopicKey::of_platform(Platform::Android)), "", None);
        batch.put(carried::key(on, id), "", None);
        // As many buckets as there must be.
        let counter = counters::next_registration(PROJECT);
        let row = self.store.get(&counter, NOW).await.unwrap();
        let known = row.map_or(0, |row| counters::from_bytes(&row.value).unwrap());
        batch.put(counter, counters::to_bytes(known.max(u64::from(bucket + 1) << 16)), None);
        assert!(self.store.write(batch, NOW).await.unwrap());
        registration_token(&key(), &record.prefix, id)
    }

    /// The app in a slot is carried by another device from now on.
    pub(crate) async fn move_to(&self, on: DeviceId, slot: u16, before: DeviceId) {
        let id = RegistrationId { project: PROJECT, bucket: 0, slot };
        let row = self.store.get(&registrations::key(id), NOW).await.unwrap().unwrap();
        let mut record = RegistrationRecord::from_bytes(&row.value).unwrap();
        record.moved(before.get(), on.get());
        record.device.as_mut().unwrap().device = on.get();
        let mut batch = Batch::default();
        batch.put(registrations::key(id), record.to_bytes(), None);
        batch.delete(carried::key(before, id));
        batch.put(carried::key(on, id), "", None);
        assert!(self.store.write(batch, NOW).await.unwrap());
    }

    /// Spreads all there is to spread.
    pub(crate) async fn spread(&self, now: Timestamp) {
        while let Some(turn) = self.dispatcher.spread(now).await {
            turn.unwrap();
        }
    }

    /// The process ends as it stands, and another one begins on the same rows.
    pub(crate) async fn kill(&mut self, quotas: Quotas, limits: Limits, now: Timestamp) {
        let dispatcher = dispatcher(&self.store, now).await.with_quotas(quotas).with_limits(limits);
        self.dispatcher = Arc::new(dispatcher);
    }

    pub(crate) async fn count(&self, table: Table, partition: &[u8]) -> usize {
        self.store.scan(table, partition, b"", 1 << 20, NOW).await.unwrap().rows.len()
    }

    pub(crate) async fn unregister(&self, slot: u16) {
        let mut batch = Batch::default();
        batch.delete(registrations::key(RegistrationId { project: PROJECT, bucket: 0, slot }));
        assert!(self.store.write(batch, NOW).await.unwrap());
    }

    pub(crate) async fn send(&self, token: &str, collapse_key: Option<&str>) -> MessageId {
        self.dispatcher.send(PROJECT, message(token, collapse_key), false, NOW).await.unwrap()
    }

    pub(crate) async fn pending(&self, on: DeviceId, limit: usize) -> Vec<Arc<Delivery>> {
        self.dispatcher.pending(on, limit, &|_| false, NOW).await.unwrap()
    }

    /// Rows that stand in a device's inbox.
    pub(crate) async fn rows(&self, on: DeviceId) -> usize {
        let partition = cresset_store::tables::devices::partition(on);
        self.store.scan(Table::Inbox, &partition, b"", 1 << 20, NOW).await.unwrap().rows.len()
    }
}

pub(crate) fn ids(deliveries: &[Arc<Delivery>]) -> Vec<MessageId> {
    deliveries.iter().map(|delivery| delivery.id).collect()
}

pub(crate) fn message(token: &str, collapse_key: Option<&str>) -> Message {
    let collapse_key = collapse_key.map(str::to_owned);
    Message {
        target: Target::Token(token.to_owned()),
        data: vec![("k".to_owned(), "v".to_owned())],
        notification: None,
        android: Some(AndroidConfig { collapse_key, ..AndroidConfig::default() }),
        webpush: None,
        apns: None,
        fcm_options: FcmOptions::default(),
        receipt_id: None,
    }
}

/// An engine whose writes wait until they may, and one of whose reads may be stopped.
pub(crate) struct Held {
    inner: MemoryEngine,
    pub writes: Semaphore,
    refuses: AtomicBool,
    tears: AtomicBool,
    stop: Mutex<Option<(Read, Arc<Stop>)>>,
}

/// One read that is stopped before it reads.
#[derive(Default)]
pub(crate) struct Stop {
    reached: Notify,
    go: Notify,
}

impl Stop {
    pub(crate) async fn reached(&self) {
        self.reached.notified().await;
    }

    pub(crate) fn go(&self) {
        self.go.notify_one();
    }

    async fn pass(stop: Option<Arc<Self>>) {
        if let Some(stop) = stop {
            stop.reached.notify_one();
            stop.go.notified().await;
        }
    }
}

impl Held {
    /// Writes are refused from now on, as by a full disk; or no more.
    pub(crate) fn refuse(&self, refuse: bool) {
        self.refuses.store(refuse, Ordering::Relaxed);
    }

    /// It is one of those whose batches may appear in parts from now on.
    pub(crate) fn may_tear(&self) {
        self.tears.store(true, Ordering::Relaxed);
    }

    /// The next read of a table is stopped.
    pub(crate) fn stop_at(&self, table: Table) -> Arc<Stop> {
        self.stop_before(Read::Any(table))
    }

    /// The next read of more than one row.
    pub(crate) fn stop_at_scan(&self, table: Table) -> Arc<Stop> {
        self.stop_before(Read::Scan(table))
    }

    fn stop_before(&self, read: Read) -> Arc<Stop> {
        let stop = Arc::<Stop>::default();
        *self.stop.lock().unwrap() = Some((read, stop.clone()));
        stop
    }

    pub(crate) fn stop_nowhere(&self) {
        *self.stop.lock().unwrap() = None;
    }

    fn stopped(&self, at: Read) -> Option<Arc<Stop>> {
        let (Read::Any(table) | Read::Scan(table)) = at;
        let meets = |read: Read| read == at || read == Read::Any(table);
        self.stop.lock().unwrap().take_if(|(read, _)| meets(*read)).map(|(_, stop)| stop)
    }
}

/// What is stopped, or comes by: one row is read by any read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    Any(Table),
    Scan(Table),
}

impl Engine for Held {
    fn get<'a>(&'a self, key: &'a RowKey, now: Timestamp) -> Pending<'a, Option<Row>> {
        let stop = self.stopped(Read::Any(key.table));
        Box::pin(async move {
            Stop::pass(stop).await;
            self.inner.get(key, now).await
        })
    }

    fn scan<'a>(
        &'a self,
        table: Table,
        partition: &'a [u8],
        from: &'a [u8],
        limit: usize,
        now: Timestamp,
    ) -> Pending<'a, Page> {
        let stop = self.stopped(Read::Scan(table));
        Box::pin(async move {
            Stop::pass(stop).await;
            self.inner.scan(table, partition, from, limit, now).await
        })
    }

    fn write(&self, batch: Batch, now: Timestamp) -> Pending<'_, bool> {
        Box::pin(async move {
            let permit = self.writes.acquire().await.unwrap();
            permit.forget();
            if self.refuses.load(Ordering::Relaxed) {
                return Err(StoreError::Unavailable("full".into()));
            }
            self.inner.write(batch, now).await
        })
    }

    fn partitions<'a>(&'a self, table: Table, from: &'a [u8], limit: usize) -> Pending<'a, Partitions> {
        self.inner.partitions(table, from, limit)
    }

    fn sweep<'a>(&'a self, table: Table, from: &'a [u8], limit: usize, now: Timestamp) -> Pending<'a, Swept> {
        self.inner.sweep(table, from, limit, now)
    }

    fn keeps_batches_whole(&self) -> bool {
        !self.tears.load(Ordering::Relaxed)
    }

    fn close(&self) -> Pending<'_, ()> {
        self.inner.close()
    }
}
