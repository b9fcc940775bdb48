//! APNs: devices, keys and certificates, and every check of Apple's on what is sent, in the order in
//! which they are known to come (`protocol/apns.md` §3).

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cresset_message::Timestamp;
use cresset_wire::es256::Jwt;
use serde_json::{Value, json};

use super::listener::{Judge, Listener, Protocols};
use super::{Answer, Authority, Clock, FakeError, Request, lock};

/// Provider tokens serve for so long.
const TOKEN_LIFE: Duration = Duration::from_secs(3_600);
/// And a key has a new one no sooner than that.
const TOKEN_INTERVAL: u64 = 20 * 60;

const PUSH_TYPES: [(&str, &str); 10] = [
    ("alert", ""),
    ("background", ""),
    ("voip", ".voip"),
    ("complication", ".complication"),
    ("fileprovider", ".pushkit.fileprovider"),
    ("location", ".location-query"),
    ("liveactivity", ".push-type.liveactivity"),
    ("pushtotalk", ".voip-ptt"),
    ("widgets", ".push-type.widgets"),
    ("controls", ".push-type.controls"),
];

pub struct ApnsConfig {
    pub clock: Clock,
    /// 0 for any.
    pub port: u16,
    /// Streams until the first success, after it, and whether errors lead back to the first.
    pub streams: (u32, u32),
    pub errors_narrow: bool,
    /// The spelling of the documentation, else that of the wire.
    pub documented_spelling: bool,
    /// Refuses tokens that are renewed too often.
    pub counts_renewals: bool,
    /// Notifications that are remembered in full; all are counted.
    pub keep: usize,
}

impl ApnsConfig {
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            port: 0,
            streams: (1, 1_000),
            errors_narrow: false,
            documented_spelling: false,
            counts_renewals: true,
            keep: 100_000,
        }
    }
}

/// One that was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    pub token: String,
    pub headers: HashMap<String, String>,
    pub payload: Value,
    pub connection: u64,
}

/// One environment of it.
pub struct Apns {
    authority: Authority,
    listener: Listener,
    state: Arc<State>,
}

struct State {
    config: ApnsConfig,
    devices: Mutex<HashMap<String, Device>>,
    keys: Mutex<HashMap<String, Key>>,
    /// By the certificate: its bundle id.
    certificates: Mutex<HashMap<Vec<u8>, String>>,
    /// The team and the key that a connection is bound to.
    bound: Mutex<HashMap<u64, (String, String)>>,
    notifications: Mutex<(u64, Vec<Notification>)>,
    /// Connections on which something succeeded.
    wide: Mutex<HashMap<u64, bool>>,
    next_id: AtomicU64,
    counts_renewals: AtomicBool,
}

struct Device {
    topic: String,
    dead: Option<(&'static str, Timestamp)>,
}

struct Key {
    team: String,
    public: [u8; 65],
    topics: Vec<String>,
    other_environment: bool,
    renewed: Option<u64>,
    renewals: u64,
}

struct Refusal {
    status: u16,
    reason: &'static str,
    since: Option<Timestamp>,
}

const fn refuse(status: u16, reason: &'static str) -> Refusal {
    Refusal { status, reason, since: None }
}

impl Apns {
    pub async fn start(config: ApnsConfig) -> Result<Self, FakeError> {
        Self::start_with(config, Authority::new()?).await
    }

    /// Two environments may have one authority.
    pub async fn start_with(config: ApnsConfig, authority: Authority) -> Result<Self, FakeError> {
        let port = config.port;
        let counts_renewals = AtomicBool::new(config.counts_renewals);
        let state = Arc::new(State {
            config,
            devices: Mutex::default(),
            keys: Mutex::default(),
            certificates: Mutex::default(),
            bound: Mutex::default(),
            notifications: Mutex::default(),
            wide: Mutex::default(),
            next_id: AtomicU64::new(1),
            counts_renewals,
        });
        let names =
            ["api.push.apple.com", "api.sandbox.push.apple.com", "localhost", "127.0.0.1"].map(str::to_owned);
        let judge = Arc::clone(&state) as Arc<dyn Judge>;
        let listener = Listener::start(&authority, &names, Protocols::Http2, port, judge).await?;
        Ok(Self { authority, listener, state })
    }

    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// A team's key, for these bundle ids and what hangs on them.
    pub fn add_key(&self, key_id: &str, team_id: &str, public: [u8; 65], bundle_ids: &[&str]) {
        let topics = bundle_ids.iter().map(ToString::to_string).collect();
        let team = team_id.to_owned();
        let key = Key { team, public, topics, other_environment: false, renewed: None, renewals: 0 };
        lock(&self.state.keys).insert(key_id.to_owned(), key);
    }

    /// The key is known, but of the other environment.
    pub fn bind_key_elsewhere(&self, key_id: &str) {
        if let Some(key) = lock(&self.state.keys).get_mut(key_id) {
            key.other_environment = true;
        }
    }

    /// How many tokens of a key were seen.
    pub fn renewals(&self, key_id: &str) -> u64 {
        lock(&self.state.keys).get(key_id).map_or(0, |key| key.renewals)
    }

    /// Tokens may be renewed at any time: for tests in which they are called old before they are.
    pub fn let_renew(&self) {
        self.state.counts_renewals.store(false, Ordering::Relaxed);
    }

    pub fn add_certificate(&self, der: &[u8], bundle_id: &str) {
        lock(&self.state.certificates).insert(der.to_vec(), bundle_id.to_owned());
    }

    /// A device that takes pushes for a topic, which is a bundle id with a suffix.
    pub fn add_device(&self, token: &str, topic: &str) {
        let device = Device { topic: topic.to_owned(), dead: None };
        lock(&self.state.devices).insert(token.to_owned(), device);
    }

    /// `Unregistered` or `ExpiredToken`, since then.
    pub fn end_device(&self, token: &str, reason: &'static str, since: Timestamp) {
        if let Some(device) = lock(&self.state.devices).get_mut(token) {
            device.dead = Some((reason, since));
        }
    }

    pub fn taken(&self) -> u64 {
        lock(&self.state.notifications).0
    }

    pub fn notifications(&self) -> Vec<Notification> {
        lock(&self.state.notifications).1.clone()
    }

    /// The same, which are not remembered any more.
    pub fn take_notifications(&self) -> Vec<Notification> {
        std::mem::take(&mut lock(&self.state.notifications).1)
    }
}

/// Its connections, and what goes wrong with them.
impl Deref for Apns {
    type Target = Listener;

    fn deref(&self) -> &Listener {
        &self.listener
    }
}

impl Judge for State {
    fn judge(&self, request: &Request) -> Answer {
        let id = request.header("apns-id").filter(|id| is_uuid(id)).map(str::to_owned);
        let id = id.unwrap_or_else(|| {
            format!("00000000-0000-0000-0000-{:012X}", self.next_id.fetch_add(1, Ordering::Relaxed))
        });
        let answer = match self.notification(request) {
            Ok(notification) => {
                self.take(notification);
                Answer::new(200, "")
            }
            Err(refusal) => {
                let mut body = json!({ "reason": refusal.reason });
                if let Some(since) = refusal.since {
                    body["timestamp"] = since.as_millis().into();
                }
                Answer::new(refusal.status, body.to_string())
            }
        };
        answer.with("apns-id", id)
    }

    fn first_streams(&self) -> Option<u32> {
        Some(self.config.streams.0)
    }

    fn streams_after(&self, connection: u64, answer: &Answer) -> Option<u32> {
        let success = answer.status == 200;
        let mut wide = lock(&self.wide);
        let is_wide = wide.entry(connection).or_insert(false);
        let should = success || (*is_wide && !self.config.errors_narrow);
        let changed = std::mem::replace(is_wide, should) != should;
        changed.then_some(if should { self.config.streams.1 } else { self.config.streams.0 })
    }
}

impl State {
    fn notification(&self, request: &Request) -> Result<Notification, Refusal> {
        if request.method != http::Method::POST {
            return Err(refuse(405, "MethodNotAllowed"));
        }
        let topic = self.topic(request)?;
        self.headers(request)?;
        let token = request.path.strip_prefix("/3/device/").ok_or(refuse(404, "BadPath"))?;
        self.device(token, &topic)?;
        self.sender(request, &topic)?;
        let most = if topic.ends_with(".voip") { 5_120 } else { 4_096 };
        match request.body.len() {
            0 => return Err(refuse(400, "PayloadEmpty")),
            size if size > most => return Err(refuse(413, "PayloadTooLarge")),
            _ => {}
        }
        let payload = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
        if !payload.is_object() {
            return Err(refuse(400, "PayloadEmpty"));
        }
        let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            Some((name.to_string(), value.to_str().ok()?.to_owned()))
        };
        let headers = request.headers.iter().filter_map(text).collect();
        Ok(Notification { token: token.to_owned(), headers, payload, connection: request.connection })
    }

    /// Only a certificate's may be left out.
    fn topic(&self, request: &Request) -> Result<String, Refusal> {
        match (request.header("apns-topic"), self.certified(request)) {
            (Some(""), _) => Err(refuse(400, "MissingTopic")),
            (Some(topic), _) => Ok(topic.to_owned()),
            (None, Some(bundle_id)) => Ok(bundle_id),
            (None, None) => Err(refuse(400, "MissingTopic")),
        }
    }

    fn headers(&self, request: &Request) -> Result<(), Refusal> {
        let names = [
            "apns-topic",
            "apns-id",
            "apns-expiration",
            "apns-priority",
            "apns-push-type",
            "apns-collapse-id",
        ];
        if names.iter().any(|name| request.times(name) > 1) {
            return Err(refuse(400, "DuplicateHeaders"));
        }
        let bad = |name: &str, good: fn(&str) -> bool| request.header(name).is_some_and(|value| !good(value));
        if bad("apns-collapse-id", |id| id.len() <= 64) {
            return Err(refuse(400, "BadCollapseId"));
        }
        if bad("apns-priority", |priority| matches!(priority, "1" | "5" | "10")) {
            return Err(refuse(400, "BadPriority"));
        }
        if bad("apns-push-type", |kind| kind == "mdm" || PUSH_TYPES.iter().any(|(name, _)| *name == kind)) {
            return Err(refuse(400, "InvalidPushType"));
        }
        let background = request.header("apns-push-type") == Some("background");
        if background && request.header("apns-priority") == Some("10") {
            return Err(refuse(400, "BadPriority"));
        }
        if bad("apns-expiration", |moment| moment.parse::<u64>().is_ok()) {
            return Err(refuse(400, "BadExpirationDate"));
        }
        if bad("apns-id", is_uuid) {
            return Err(refuse(400, "BadMessageId"));
        }
        Ok(())
    }

    fn device(&self, token: &str, topic: &str) -> Result<(), Refusal> {
        if token.is_empty() {
            return Err(refuse(400, "MissingDeviceToken"));
        }
        if !token.len().is_multiple_of(2) || !token.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(refuse(400, "BadDeviceToken"));
        }
        let devices = lock(&self.devices);
        let device = devices.get(token).ok_or(refuse(400, "BadDeviceToken"))?;
        if let Some((reason, since)) = device.dead {
            return Err(Refusal { status: 410, reason, since: Some(since) });
        }
        if device.topic != topic { Err(refuse(400, "DeviceTokenNotForTopic")) } else { Ok(()) }
    }

    fn sender(&self, request: &Request, topic: &str) -> Result<(), Refusal> {
        let Some(authorization) = request.header("authorization") else {
            let bundle_id = self.certified(request).ok_or(refuse(403, "MissingProviderToken"))?;
            let may = bundle(topic) == bundle_id && !topic.ends_with(".location-query");
            return if may { Ok(()) } else { Err(refuse(400, "TopicDisallowed")) };
        };
        let bearer = authorization.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("bearer "));
        let token = bearer.map(|_| &authorization[7..]).ok_or(refuse(403, "InvalidProviderToken"))?;
        let jwt = Jwt::parse(token).ok_or(refuse(403, "InvalidProviderToken"))?;
        let key_id = jwt.header["kid"].as_str().unwrap_or_default().to_owned();
        let mut keys = lock(&self.keys);
        let key = keys.get_mut(&key_id).ok_or(refuse(403, "InvalidProviderToken"))?;
        if jwt.claims["iss"].as_str() != Some(&key.team) || !jwt.is_signed_by(&key.public) {
            return Err(refuse(403, "InvalidProviderToken"));
        }
        if key.other_environment {
            let wire = if self.config.documented_spelling {
                "BadEnvironmentKeyIdInToken"
            } else {
                "BadEnvironmentKeyInToken"
            };
            return Err(refuse(403, wire));
        }
        self.bind(request.connection, &key.team, &key_id)?;
        let issued = jwt.claims["iat"].as_u64().ok_or(refuse(403, "InvalidProviderToken"))?;
        let age = (self.config.clock)().since(Timestamp::from_secs(issued));
        if age >= TOKEN_LIFE {
            return Err(refuse(403, "ExpiredProviderToken"));
        }
        if key.renewed != Some(issued) {
            let too_soon = key.renewed.is_some_and(|before| issued.abs_diff(before) < TOKEN_INTERVAL);
            if too_soon && self.counts_renewals.load(Ordering::Relaxed) {
                return Err(refuse(429, "TooManyProviderTokenUpdates"));
            }
            key.renewed = Some(issued);
            key.renewals += 1;
        }
        let may = key.topics.iter().any(|known| *known == bundle(topic));
        if may { Ok(()) } else { Err(refuse(400, "TopicDisallowed")) }
    }

    /// The first push binds a connection (§1.1).
    fn bind(&self, connection: u64, team: &str, key: &str) -> Result<(), Refusal> {
        let mut bound = lock(&self.bound);
        let of = bound.entry(connection).or_insert_with(|| (team.to_owned(), key.to_owned()));
        match (of.0 == team, of.1 == key) {
            (true, true) => Ok(()),
            (true, false) => Err(refuse(403, "UnrelatedKeyIdInToken")),
            (false, _) => Err(refuse(403, "InvalidProviderToken")),
        }
    }

    fn certified(&self, request: &Request) -> Option<String> {
        lock(&self.certificates).get(request.certificate.as_ref()?).cloned()
    }

    fn take(&self, notification: Notification) {
        let mut notifications = lock(&self.notifications);
        notifications.0 += 1;
        if notifications.1.len() < self.config.keep {
            notifications.1.push(notification);
        }
    }
}

/// A topic without what its push type adds.
fn bundle(topic: &str) -> &str {
    let suffixes = PUSH_TYPES.iter().filter(|(_, suffix)| !suffix.is_empty());
    suffixes
        .filter_map(|(_, suffix)| topic.strip_suffix(suffix))
        .min_by_key(|rest| rest.len())
        .unwrap_or(topic)
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths = groups.iter().map(|group| group.len());
    lengths.eq([8, 4, 4, 4, 12]) && groups.iter().all(|g| g.bytes().all(|b| b.is_ascii_hexdigit()))
}
