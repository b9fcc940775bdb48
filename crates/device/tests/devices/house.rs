//! A listener, an inbox in memory, and a way in.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use cresset_delivery::{Carrier, Content, Delivery, Handoff};
use cresset_device::{Answer, Inbox, Limits, Listener, Logins, Parts, server_config};
use cresset_device_client::{
    Client, ConnectOptions, Connection, Credentials, Endpoints, Error, Received, Trust,
};
use cresset_message::{
    DeviceId, FcmOptions, Layout, Message, MessageId, Platform, Priority, ProjectNumber, Recipient,
    RegistrationId, Target, Timestamp,
};
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The token of every device here.
pub(crate) const TOKEN: u64 = 7;
const HOUR: Duration = Duration::from_secs(3600);
/// Longer than anything here takes.
pub(crate) const SOON: Duration = Duration::from_secs(10);
const START: Timestamp = Timestamp::from_secs(1_700_000_000);

/// The inboxes of all devices.
#[derive(Default)]
pub(crate) struct Store {
    rows: Mutex<BTreeMap<(DeviceId, MessageId), Arc<Delivery>>>,
    acknowledged: Mutex<Vec<MessageId>>,
    lines: Mutex<BTreeMap<DeviceId, Arc<dyn Carrier>>>,
    /// A newer connection always arrives first.
    pub(crate) overtaken: AtomicBool,
    /// How long a read takes, after it has seen the rows.
    pub(crate) slowness: Mutex<Duration>,
}

impl Inbox for Store {
    fn pending<'a>(
        &'a self,
        device: DeviceId,
        limit: usize,
        skip: &'a (dyn Fn(MessageId) -> bool + Sync),
        _now: Timestamp,
    ) -> Answer<'a, Vec<Arc<Delivery>>> {
        Box::pin(async move {
            let seen = |((of, id), _): &(&(DeviceId, MessageId), _)| *of == device && !skip(*id);
            let rows: Vec<_> = self
                .rows
                .lock()
                .unwrap()
                .iter()
                .filter(seen)
                .map(|(_, row)| row.clone())
                .take(limit)
                .collect();
            let slowness = *self.slowness.lock().unwrap();
            tokio::time::sleep(slowness).await;
            Ok(rows)
        })
    }

    fn acknowledge<'a>(&'a self, device: DeviceId, ids: &'a [MessageId], _now: Timestamp) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut rows = self.rows.lock().unwrap();
            ids.iter().for_each(|id| drop(rows.remove(&(device, *id))));
            self.acknowledged.lock().unwrap().extend(ids);
            Ok(())
        })
    }

    fn arrived(&self, device: DeviceId, line: Arc<dyn Carrier>, _: Timestamp) -> Answer<'_, bool> {
        if self.overtaken.load(Ordering::Relaxed) {
            return Box::pin(async { Ok(false) });
        }
        let before = self.lines.lock().unwrap().insert(device, line);
        if let Some(before) = before {
            before.replaced();
        }
        Box::pin(async { Ok(true) })
    }

    fn left(&self, device: DeviceId, line: &Arc<dyn Carrier>) {
        let mut lines = self.lines.lock().unwrap();
        if lines.get(&device).is_some_and(|known| Arc::ptr_eq(known, line)) {
            lines.remove(&device);
        }
    }
}

/// Knows every device by [`TOKEN`].
struct Everybody;

impl Logins for Everybody {
    fn authenticate(&self, _: DeviceId, security_token: u64, _: Timestamp) -> Answer<'_, bool> {
        Box::pin(async move { Ok(security_token == TOKEN) })
    }
}

pub(crate) struct House {
    pub(crate) listener: Listener,
    pub(crate) store: Arc<Store>,
    pub(crate) address: String,
    pub(crate) ca: String,
    next: AtomicU64,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<()>>,
}

impl House {
    pub(crate) async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        let issued = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
        let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
        let key = CertifiedKey::new(vec![issued.cert.der().clone()], any_supported_type(&key).unwrap());
        let store = Arc::new(Store::default());
        let begun = Instant::now();
        let listener = Listener::new(Parts {
            tls: server_config(Arc::new(SingleCertAndKey::from(key)), Some(Ticketer::new().unwrap()))
                .unwrap(),
            logins: Arc::new(Everybody),
            inbox: store.clone(),
            clock: Arc::new(move || START + begun.elapsed()),
            randomness: Arc::new(SystemRandom::new()),
            limits,
        });
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let (stop, stopped) = oneshot::channel();
        let serving = {
            let listener = listener.clone();
            tokio::spawn(async move { listener.serve(vec![socket], async { drop(stopped.await) }).await })
        };
        Self {
            listener,
            store,
            address,
            ca: issued.cert.pem(),
            next: AtomicU64::new(0),
            stop: Some(stop),
            serving: Some(serving),
        }
    }

    pub(crate) async fn stop(&mut self) {
        drop(self.stop.take());
        timeout(SOON, self.serving.take().unwrap()).await.unwrap().unwrap();
    }

    pub(crate) fn client(&self) -> Client {
        let endpoints = Endpoints {
            http_base: "http://127.0.0.1:1".into(),
            mcs: self.address.clone(),
            server_name: Some("localhost".into()),
        };
        Client::new(endpoints, Trust::pem(&self.ca).unwrap()).unwrap()
    }

    pub(crate) async fn connect(&self, device: u64) -> Connection {
        self.connect_with(device, ConnectOptions::default()).await.unwrap()
    }

    pub(crate) async fn connect_with(
        &self,
        device: u64,
        options: ConnectOptions,
    ) -> Result<Connection, Error> {
        let credentials = Credentials { android_id: device, security_token: TOKEN };
        timeout(SOON, self.client().connect(&credentials, options)).await.unwrap()
    }

    /// A message that is in no inbox yet.
    pub(crate) fn message(&self, device: u64, text: &str, ttl: Duration) -> Arc<Delivery> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        Arc::new(Delivery {
            id: MessageId { micros: START.as_micros() + n, unique: n },
            recipient: Arc::new(recipient(device)),
            content: Content::Message(Arc::new(message(text))),
            priority: Priority::Normal,
            collapse_key: None,
            ttl,
            expires: START + ttl,
        })
    }

    /// Puts a message into its inbox, as the house does before it pushes.
    pub(crate) fn store(&self, device: u64, text: &str) -> Arc<Delivery> {
        let delivery = self.message(device, text, HOUR);
        let key = (delivery.recipient.device, delivery.id);
        self.store.rows.lock().unwrap().insert(key, delivery.clone());
        delivery
    }

    pub(crate) fn push(&self, delivery: &Arc<Delivery>) -> Handoff {
        let line = self.store.lines.lock().unwrap().get(&delivery.recipient.device).cloned();
        line.map_or(Handoff::Offline, |line| line.push(delivery))
    }

    /// Stores, then pushes.
    pub(crate) fn send(&self, device: u64, text: &str) -> Handoff {
        self.push(&self.store(device, text))
    }

    pub(crate) fn stored(&self) -> usize {
        self.store.rows.lock().unwrap().len()
    }
}

fn recipient(device: u64) -> Recipient {
    Recipient {
        registration: RegistrationId { project: ProjectNumber(1), bucket: 0, slot: 0 },
        device: DeviceId::new(device).unwrap(),
        platform: Platform::Android,
        fid: None,
        app_id: None,
        category: "app".into(),
        layout: Layout::Raw { sender: "1".into() },
        successor: None,
    }
}

fn message(text: &str) -> Message {
    Message {
        target: Target::Token(String::new()),
        data: vec![("text".into(), text.into())],
        notification: None,
        android: None,
        webpush: None,
        apns: None,
        fcm_options: FcmOptions::default(),
        receipt_id: None,
    }
}

pub(crate) async fn next(connection: &mut Connection) -> Option<Received> {
    timeout(SOON, connection.next()).await.expect("something comes").unwrap()
}

pub(crate) async fn texts(connection: &mut Connection, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    for _ in 0..count {
        let message = next(connection).await.expect("a message");
        texts.push(message.get("text").unwrap().to_owned());
    }
    texts
}

/// Nothing comes for a while.
pub(crate) async fn assert_silent(connection: &mut Connection) {
    let next = timeout(Duration::from_millis(100), connection.next()).await;
    assert!(next.is_err(), "{next:?}");
}

pub(crate) async fn eventually(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < SOON, "it does not come true");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
