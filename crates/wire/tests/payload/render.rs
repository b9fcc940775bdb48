//! From the JSON of a send to what three recipients get, as JSON again.

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use cresset_message::{
    DeviceId, Layout, Message, MessageId, Platform, Priority, ProjectNumber, Recipient, RegistrationId,
    Timestamp, WebCoding, WebKeys, limits,
};
use cresset_wire::mcs::DataMessageStanza;
use cresset_wire::payload::{Envelope, Payload, apns, stanza};
use cresset_wire::v1::parse_send_request;
use cresset_wire::webpush::{KeyPair, aesgcm};
use serde_json::{Map, Value, json};

/// 2026-01-01 00:00:00 UTC.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);
pub(super) const ID: MessageId = MessageId { micros: 1_767_225_600_123_456, unique: 0x31bd_1c96_31bd_1c96 };
pub(super) const APNS_ID: &str = "eabeae54-14a8-11e5-b60b-1697f925ec7b";
const SENDER: &str = "123456789012";
const AUTH: [u8; 16] = [9; 16];

/// What becomes of a message that passes all rules.
pub(super) fn render(message: &Value) -> Map<String, Value> {
    render_message(&parsed(message))
}

pub(crate) fn render_message(message: &Message) -> Map<String, Value> {
    limits::check(message).unwrap_or_else(|e| panic!("{e:?}"));
    apns::check(message).unwrap_or_else(|e| panic!("{e:?}"));
    let all = [("android", android(message)), ("web", web(message)), ("apns", apple(message))];
    all.into_iter().map(|(platform, seen)| (platform.to_owned(), seen)).collect()
}

pub(super) fn parsed(message: &Value) -> Message {
    let body = json!({ "message": message }).to_string();
    parse_send_request(body.as_bytes()).unwrap_or_else(|e| panic!("{e:?} for {body}")).message
}

fn android(message: &Message) -> Value {
    let config = message.android.as_ref();
    let terms = Terms {
        priority: message.android_priority(),
        collapse_key: config.and_then(|a| a.collapse_key.as_deref()),
        ttl: config.and_then(|a| a.ttl),
    };
    let layout = Layout::Raw { sender: SENDER.into() };
    let stanza = build(message, &recipient(Platform::Android, "com.example.app", layout), &terms);
    let pairs: Vec<Value> = stanza.app_data.iter().map(|pair| json!([pair.key, pair.value])).collect();
    json!({ "envelope": envelope(&stanza), "app_data": pairs })
}

/// The envelope, and what the browser's own key opens.
fn web(message: &Message) -> Value {
    let header = |name| message.webpush.as_ref().and_then(|w| w.header(name));
    let high = header("Urgency") == Some("high");
    let terms = Terms {
        priority: if high { Priority::High } else { Priority::Normal },
        collapse_key: header("Topic"),
        ttl: header("TTL").map(|ttl| Duration::from_secs(ttl.parse().unwrap())),
    };
    let pair = KeyPair::from_scalar(&[7; 32]).unwrap();
    let keys = WebKeys { p256dh: *pair.public(), auth: AUTH };
    let layout = Layout::WebApp {
        sender: "BDOU99".into(),
        subtype: "wp:https://app.test/#1-V2".into(),
        keys,
        coding: WebCoding::Aesgcm,
    };
    let stanza = build(message, &recipient(Platform::Web, "org.chromium.linux", layout), &terms);
    let of = |name| stanza.get(name).unwrap();
    let sealed = stanza.raw_data.as_ref().unwrap();
    let opened = aesgcm::open(&pair, &AUTH, of("crypto-key"), of("encryption"), sealed).unwrap();
    json!({ "envelope": envelope(&stanza), "json": serde_json::from_slice::<Value>(&opened).unwrap() })
}

fn apple(message: &Message) -> Value {
    let request = apns::request(message, &iphone(), ID, APNS_ID, NOW);
    let mut seen = json!({
        "headers": request.headers.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        "payload": serde_json::from_slice::<Value>(&request.payload).unwrap(),
    });
    if let Some(token) = request.live_activity_token {
        seen["live_activity_token"] = token.into();
    }
    seen
}

pub(super) fn iphone() -> Recipient {
    // How an Apple device is reached is not part of its registration's layout; `request` does not look.
    let layout = Layout::Raw { sender: SENDER.into() };
    let mut recipient = recipient(Platform::Ios, "com.example.ios", layout);
    recipient.fid = Some("dRLLO-mxUxbDvmV1urj5Tt".parse().unwrap());
    recipient
}

fn recipient(platform: Platform, category: &str, layout: Layout) -> Recipient {
    Recipient {
        registration: RegistrationId { project: ProjectNumber(SENDER.parse().unwrap()), bucket: 0, slot: 7 },
        device: DeviceId::new(42).unwrap(),
        platform,
        fid: None,
        app_id: None,
        category: category.into(),
        layout,
        successor: None,
    }
}

/// What `delivery` reads off a message before the envelope is made (`protocol/payload-layout.md` §2).
struct Terms<'a> {
    priority: Priority,
    collapse_key: Option<&'a str>,
    ttl: Option<Duration>,
}

fn build(message: &Message, recipient: &Recipient, terms: &Terms<'_>) -> DataMessageStanza {
    let envelope = Envelope {
        id: ID,
        payload: Payload::Message(message),
        recipient,
        priority: terms.priority,
        collapse_key: terms.collapse_key,
        ttl: terms.ttl.unwrap_or(limits::MAX_TTL),
    };
    stanza(&envelope, &SystemRandom::new()).unwrap()
}

/// The fields of the stanza that messages change. A high priority is told by asking for an
/// acknowledgement at once.
fn envelope(stanza: &DataMessageStanza) -> Value {
    let mut fields = json!({ "from": stanza.from, "ttl": stanza.ttl });
    if let Some(collapse_key) = &stanza.token {
        fields["token"] = collapse_key.as_str().into();
    }
    if stanza.immediate_ack == Some(true) {
        fields["immediate_ack"] = true.into();
    }
    fields
}
