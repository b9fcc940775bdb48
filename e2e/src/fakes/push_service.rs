//! A Web Push service: subscriptions, and every check of RFC 8030, 8291 and 8292 on what is sent to them.

use std::collections::{HashMap, HashSet};
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use bytes::Bytes;
use cresset_message::WebKeys;
use cresset_wire::webpush::vapid::{Presented, VapidError, VerifiedTokens};
use cresset_wire::webpush::{KeyPair, aes128gcm, encode_base64, random};

use super::listener::{Judge, Listener, Protocols};
use super::refusal::Refusal;
use super::{Answer, Authority, Clock, FakeError, Request, lock};

/// Bytes of a body: what every service must take (RFC 8030 §7.2), and no more.
const MAX_BODY: usize = 4_096;

/// Salts that are remembered.
const MAX_SALTS: usize = 1_000_000;

/// 28 days.
const MAX_TTL: u64 = 2_419_200;

/// Whose paths and words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Mozilla,
    Google,
    Apple,
    Microsoft,
}

pub struct PushServiceConfig {
    pub style: Style,
    /// The host in endpoints. The certificate is for it, for `localhost` and for 127.0.0.1.
    pub host: String,
    pub protocols: Protocols,
    /// 0 for any.
    pub port: u16,
    pub clock: Clock,
    /// Messages that are remembered in full; all are counted.
    pub keep: usize,
}

impl PushServiceConfig {
    pub fn new(style: Style, host: &str, clock: Clock) -> Self {
        let host = host.to_owned();
        Self { style, host, protocols: Protocols::Both, port: 0, clock, keep: 100_000 }
    }
}

/// What a browser gives its app server.
#[derive(Clone, Debug)]
pub struct Subscription {
    pub endpoint: String,
    pub keys: WebKeys,
    id: String,
}

impl Subscription {
    /// One of a service that is not there.
    pub fn of(endpoint: &str, keys: WebKeys) -> Self {
        Self { endpoint: endpoint.to_owned(), keys, id: String::new() }
    }
}

/// A message that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub endpoint: String,
    pub plaintext: Vec<u8>,
    pub ttl: u64,
    pub urgency: Option<String>,
    pub topic: Option<String>,
    /// The whole header value: is it signed anew for each message?
    pub authorization: Option<String>,
    pub connection: u64,
}

pub struct PushService {
    authority: Authority,
    listener: Listener,
    origin: Arc<Mutex<String>>,
    state: Arc<State>,
}

struct State {
    style: Style,
    clock: Clock,
    keep: usize,
    origin: Arc<Mutex<String>>,
    verified: VerifiedTokens,
    channels: Mutex<HashMap<String, Channel>>,
    arrivals: Mutex<(u64, Vec<Arrival>)>,
    /// RFC 8188 §2.1: a salt is used once.
    salts: Mutex<HashSet<[u8; 16]>>,
}

struct Channel {
    pair: Arc<KeyPair>,
    auth: [u8; 16],
    /// The only key that may push; anybody, without one.
    vapid: Option<[u8; 65]>,
    gone: bool,
}

impl PushService {
    pub async fn start(config: PushServiceConfig) -> Result<Self, FakeError> {
        let authority = Authority::new()?;
        let origin: Arc<Mutex<String>> = Arc::default();
        let state = Arc::new(State {
            style: config.style,
            clock: config.clock,
            keep: config.keep,
            origin: Arc::clone(&origin),
            verified: VerifiedTokens::new(1_024),
            channels: Mutex::default(),
            arrivals: Mutex::default(),
            salts: Mutex::default(),
        });
        let names = [config.host.clone(), "localhost".to_owned(), "127.0.0.1".to_owned()];
        let judge = Arc::clone(&state) as Arc<dyn Judge>;
        let listener = Listener::start(&authority, &names, config.protocols, config.port, judge).await?;
        *lock(&origin) = format!("https://{}:{}", config.host, listener.address().port());
        Ok(Self { authority, listener, origin, state })
    }

    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    pub fn origin(&self) -> String {
        lock(&self.origin).clone()
    }

    /// A new subscription, restricted to a sender's key or to none.
    pub fn subscribe(&self, vapid: Option<[u8; 65]>) -> Result<Subscription, FakeError> {
        let randomness = SystemRandom::new();
        let pair = KeyPair::generate(&randomness)?;
        let auth = random(&randomness)?;
        let id = encode_base64(random::<18>(&randomness)?);
        let keys = WebKeys { p256dh: *pair.public(), auth };
        let channel = Channel { pair: Arc::new(pair), auth, vapid, gone: false };
        lock(&self.state.channels).insert(id.clone(), channel);
        let path = match self.state.style {
            Style::Mozilla => format!("/wpush/v2/{id}"),
            Style::Google => format!("/fcm/send/{id}"),
            Style::Apple => format!("/{id}"),
            Style::Microsoft => format!("/w/?token={id}"),
        };
        Ok(Subscription { endpoint: format!("{}{path}", self.origin()), keys, id })
    }

    /// The browser has gone.
    pub fn unsubscribe(&self, subscription: &Subscription) {
        if let Some(channel) = lock(&self.state.channels).get_mut(&subscription.id) {
            channel.gone = true;
        }
    }

    /// How many messages were taken.
    pub fn taken(&self) -> u64 {
        lock(&self.state.arrivals).0
    }

    /// What was taken, up to the bound.
    pub fn arrivals(&self) -> Vec<Arrival> {
        lock(&self.state.arrivals).1.clone()
    }

    /// The same, which is not remembered any more.
    pub fn take_arrivals(&self) -> Vec<Arrival> {
        std::mem::take(&mut lock(&self.state.arrivals).1)
    }
}

/// Its connections, and what goes wrong with them.
impl Deref for PushService {
    type Target = Listener;

    fn deref(&self) -> &Listener {
        &self.listener
    }
}

impl Judge for State {
    /// In the order of `protocol/web-push.md` §2.2.
    fn judge(&self, request: &Request) -> Answer {
        match self.arrival(request) {
            Ok(arrival) => {
                let ttl = arrival.ttl;
                let count = self.take(arrival);
                self.accepted(count, ttl)
            }
            Err(refusal) => refusal.answer(self.style),
        }
    }

    fn first_streams(&self) -> Option<u32> {
        // Usual for web servers, and for push services.
        Some(100)
    }

    fn streams_after(&self, _connection: u64, _answer: &Answer) -> Option<u32> {
        None
    }
}

impl State {
    fn arrival(&self, request: &Request) -> Result<Arrival, Refusal> {
        if request.method != http::Method::POST {
            return Err(Refusal::Unknown);
        }
        let id = request.path.rsplit(['/', '=']).next().unwrap_or_default();
        let (pair, auth, vapid) = self.channel(id)?;
        if request.body.len() > MAX_BODY {
            return Err(Refusal::TooLarge);
        }
        let key = self.sender(request)?;
        match (vapid, key) {
            (Some(_), None) => return Err(Refusal::Unauthorized(VapidError::Missing)),
            (Some(wanted), Some(shown)) if wanted != shown => return Err(Refusal::OtherKey),
            _ => {}
        }
        let (ttl, urgency, topic) = self.transport(request)?;
        let plaintext = self.open(request, key, &pair, &auth)?;
        Ok(Arrival {
            endpoint: format!("{}{}", lock(&self.origin), request.path),
            plaintext,
            ttl,
            urgency,
            topic,
            authorization: request.header("authorization").map(str::to_owned),
            connection: request.connection,
        })
    }

    fn channel(&self, id: &str) -> Result<(Arc<KeyPair>, [u8; 16], Option<[u8; 65]>), Refusal> {
        let channels = lock(&self.channels);
        let channel = channels.get(id).ok_or(Refusal::Unknown)?;
        if channel.gone {
            return Err(Refusal::Gone);
        }
        Ok((Arc::clone(&channel.pair), channel.auth, channel.vapid))
    }

    fn sender(&self, request: &Request) -> Result<Option<[u8; 65]>, Refusal> {
        let Some(authorization) = request.header("authorization") else { return Ok(None) };
        let origin = lock(&self.origin).clone();
        let presented = Presented::parse(authorization, request.header("crypto-key"));
        let verified =
            presented.and_then(|presented| self.verified.verify(&presented, &[&origin], (self.clock)()));
        verified.map(Some).map_err(Refusal::Unauthorized)
    }

    fn transport(&self, request: &Request) -> Result<(u64, Option<String>, Option<String>), Refusal> {
        let ttl = request.header("ttl").filter(|ttl| ttl.bytes().all(|b| b.is_ascii_digit()));
        let ttl = ttl.and_then(|ttl| ttl.parse().ok()).ok_or(Refusal::Ttl)?;
        let topic = request.header("topic");
        let is_topic = |topic: &str| {
            let letters = topic.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            let decodes = self.style != Style::Apple || topic.len() % 4 != 1;
            (1..=32).contains(&topic.len()) && letters && decodes
        };
        if request.times("topic") > 1 || topic.is_some_and(|topic| !is_topic(topic)) {
            return Err(Refusal::Topic);
        }
        let urgency = request.header("urgency");
        let known = |urgency: &str| ["very-low", "low", "normal", "high"].contains(&urgency);
        if request.times("urgency") > 1 || urgency.is_some_and(|urgency| !known(urgency)) {
            return Err(Refusal::Urgency);
        }
        if self.style == Style::Microsoft {
            let policy = if ttl == 0 { "no-cache" } else { "cache" };
            if request.header("x-wns-cache-policy") != Some(policy) {
                return Err(Refusal::Ttl);
            }
        }
        Ok((ttl, urgency.map(str::to_owned), topic.map(str::to_owned)))
    }

    /// The plaintext, which is empty where there is no body.
    fn open(
        &self,
        request: &Request,
        key: Option<[u8; 65]>,
        pair: &KeyPair,
        auth: &[u8; 16],
    ) -> Result<Vec<u8>, Refusal> {
        if request.body.is_empty() {
            return Ok(Vec::new());
        }
        if request.header("content-encoding") != Some("aes128gcm") || request.times("encryption") > 0 {
            return Err(Refusal::Encryption);
        }
        let body: &Bytes = &request.body;
        let sender = aes128gcm::sender(body).ok_or(Refusal::Encryption)?;
        // RFC 8291 §2.2, and one record only (§4).
        if key.as_ref() == Some(sender) || body.len() - 86 > record_size(body) {
            return Err(Refusal::Encryption);
        }
        let plaintext = aes128gcm::open(pair, auth, body).map_err(|_| Refusal::Encryption)?;
        let salt: [u8; 16] = body[..16].try_into().map_err(|_| Refusal::Encryption)?;
        let mut salts = lock(&self.salts);
        if salts.len() >= MAX_SALTS {
            salts.clear();
        }
        if !salts.insert(salt) {
            return Err(Refusal::Encryption);
        }
        Ok(plaintext)
    }

    fn take(&self, arrival: Arrival) -> u64 {
        let mut arrivals = lock(&self.arrivals);
        arrivals.0 += 1;
        if arrivals.1.len() < self.keep {
            arrivals.1.push(arrival);
        }
        arrivals.0
    }

    fn accepted(&self, count: u64, ttl: u64) -> Answer {
        let answer = Answer::new(201, "");
        match self.style {
            Style::Mozilla => answer
                .with("location", format!("{}/m/{count}", lock(&self.origin)))
                .with("ttl", ttl.min(MAX_TTL).to_string()),
            Style::Google => answer.with("location", format!("{}/message/{count}", lock(&self.origin))),
            Style::Apple => answer.with("apns-id", format!("00000000-0000-0000-0000-{count:012x}")),
            Style::Microsoft => answer.with("x-wns-status", "received"),
        }
    }
}

fn record_size(body: &[u8]) -> usize {
    body.get(16..20).and_then(|size| size.try_into().ok()).map_or(0, u32::from_be_bytes) as usize
}
