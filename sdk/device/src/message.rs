//! A message as an app wants it, from either layout (`protocol/payload-layout.md` §3 and §5).

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use crate::Received;

/// What Google's server writes for a message without a collapse key.
const NO_COLLAPSE_KEY: &str = "do_not_collapse";
/// Before every field of a notification; SDKs from before 2017 know the longer one.
const NOTIFICATION_PREFIXES: [&str; 2] = ["gcm.n.", "gcm.notification."];

/// A message for the app.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Its persistent id: that in the name which the sender was told.
    pub id: String,
    /// The sender: a project's number, or `/topics/<name>`.
    pub from: String,
    pub data: BTreeMap<String, String>,
    pub notification: Option<Notification>,
    /// It stands for all messages with the same key that came before.
    pub collapse_key: Option<String>,
    /// When the server took it.
    pub sent: Option<SystemTime>,
    /// How long it would have waited for this device.
    pub ttl: Option<Duration>,
    pub priority: Option<Priority>,
    /// What to open when the notification is clicked.
    pub link: Option<String>,
    /// Bytes that are no message of FCM's: what another than FCM pushed to the subscription.
    pub raw_data: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    Normal,
    High,
}

/// What the sender wants shown.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Notification {
    pub title: Option<String>,
    pub body: Option<String>,
    pub image: Option<String>,
    /// The platform's own fields: for Android their keys without `gcm.n.`, for web apps the options
    /// of `showNotification`.
    pub other: Map<String, Value>,
}

impl Message {
    /// The topic it was sent to.
    pub fn topic(&self) -> Option<&str> {
        self.from.strip_prefix("/topics/")
    }

    /// Of an app whose messages come in clear.
    pub(crate) fn in_clear(received: &Received) -> Self {
        let own = received.data().filter(|(key, _)| !is_reserved(key));
        let stanza = &received.stanza;
        Self {
            data: own.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            notification: notification_in_clear(received),
            priority: received.get("google.delivered_priority").and_then(priority),
            link: link_in_clear(received),
            raw_data: stanza.raw_data.clone().filter(|data| !data.is_empty()),
            ..Self::envelope(received)
        }
    }

    /// Of a web app, from what its keys opened.
    pub(crate) fn opened(received: &Received, plaintext: Vec<u8>) -> Self {
        let envelope = Self::envelope(received);
        let Ok(Value::Object(json)) = serde_json::from_slice(&plaintext) else {
            return Self { raw_data: Some(plaintext), ..envelope };
        };
        let text = |name: &str| json.get(name).and_then(Value::as_str);
        let data = json.get("data").and_then(Value::as_object).into_iter().flatten();
        Self {
            from: text("from").map_or(envelope.from, str::to_owned),
            data: data.map(|(key, value)| (key.clone(), told(value))).collect(),
            notification: json.get("notification").and_then(Value::as_object).cloned().map(notification),
            collapse_key: text("collapse_key").and_then(collapse_key).or(envelope.collapse_key),
            priority: text("priority").and_then(priority),
            link: json.get("fcmOptions").and_then(|o| o["link"].as_str()).map(str::to_owned),
            ..envelope
        }
    }

    /// What stands in the stanza, whatever the layout.
    fn envelope(received: &Received) -> Self {
        let stanza = &received.stanza;
        let millis = |sent: i64| u64::try_from(sent).ok().filter(|sent| *sent > 0);
        let seconds = |ttl: i32| u64::try_from(ttl).ok().map(Duration::from_secs);
        Self {
            id: received.persistent_id().to_owned(),
            from: stanza.from.clone(),
            data: BTreeMap::new(),
            notification: None,
            collapse_key: stanza.token.as_deref().and_then(collapse_key),
            sent: stanza
                .sent
                .and_then(millis)
                .and_then(|at| UNIX_EPOCH.checked_add(Duration::from_millis(at))),
            ttl: stanza.ttl.and_then(seconds),
            priority: None,
            link: None,
            raw_data: None,
        }
    }
}

/// `Some` for the note that messages were dropped; their number, if it is told.
pub(crate) fn deleted_messages(received: &Received) -> Option<Option<u64>> {
    (received.get("message_type") == Some("deleted_messages"))
        .then(|| received.get("total_deleted").and_then(|total| total.parse().ok()))
}

/// Keys that Android's SDK keeps from apps.
fn is_reserved(key: &str) -> bool {
    key.starts_with("google.")
        || key.starts_with("gcm.")
        || matches!(key, "from" | "message_type" | "collapse_key")
}

fn notification_in_clear(received: &Received) -> Option<Notification> {
    let fields = received.data().filter_map(|(key, value)| {
        let name = NOTIFICATION_PREFIXES.iter().find_map(|prefix| key.strip_prefix(prefix))?;
        Some((name.to_owned(), Value::from(value)))
    });
    let mut fields: Map<String, Value> = fields.collect();
    // `e` says that there is one; a field alone says nothing (§3.2).
    (fields.remove("e")? == "1").then(|| notification(fields))
}

fn link_in_clear(received: &Received) -> Option<String> {
    let link = ["gcm.n.link_android", "gcm.n.link"].iter().find_map(|key| received.get(key));
    link.map(str::to_owned)
}

fn notification(mut fields: Map<String, Value>) -> Notification {
    let mut take = |name: &str| fields.remove(name).map(|value| told(&value));
    Notification { title: take("title"), body: take("body"), image: take("image"), other: fields }
}

fn told(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn collapse_key(key: &str) -> Option<String> {
    (!key.is_empty() && key != NO_COLLAPSE_KEY).then(|| key.to_owned())
}

fn priority(text: &str) -> Option<Priority> {
    match text {
        "high" => Some(Priority::High),
        "normal" => Some(Priority::Normal),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use cresset_wire::mcs::{AppData, DataMessageStanza};

    use super::*;

    fn received(pairs: &[(&str, &str)]) -> Received {
        let stanza = DataMessageStanza {
            from: "123".into(),
            persistent_id: Some("0:1%2".into()),
            token: Some("do_not_collapse".into()),
            ttl: Some(60),
            sent: Some(1_500),
            app_data: pairs.iter().map(|(key, value)| AppData::new(*key, *value)).collect(),
            ..DataMessageStanza::default()
        };
        Received { stanza }
    }

    #[test]
    fn a_message_in_clear_is_sorted_into_its_parts() {
        let message = Message::in_clear(&received(&[
            ("gcm.n.e", "1"),
            ("gcm.n.title", "Hi"),
            ("gcm.n.color", "#112233"),
            ("gcm.n.link", "https://a.test/"),
            ("google.c.sender.id", "123"),
            ("google.delivered_priority", "high"),
            ("a", "1"),
        ]));
        assert_eq!(message.data, BTreeMap::from([("a".into(), "1".into())]));
        let shown = message.notification.unwrap();
        assert_eq!((shown.title.as_deref(), &shown.other["color"]), (Some("Hi"), &Value::from("#112233")));
        assert_eq!((message.collapse_key, message.priority), (None, Some(Priority::High)));
        assert_eq!(message.sent, Some(UNIX_EPOCH + Duration::from_millis(1_500)));
        assert_eq!(message.link.as_deref(), Some("https://a.test/"));
        assert_eq!(Message::in_clear(&received(&[("gcm.n.title", "Hi")])).notification, None);
    }

    #[test]
    fn what_was_opened_is_a_message_or_bytes() {
        let json = br#"{"from":"/topics/news","collapse_key":"k","priority":"normal","data":{"a":"1"},
            "notification":{"title":"Hi","silent":true},"fcmOptions":{"link":"https://a.test/"}}"#;
        let message = Message::opened(&received(&[]), json.to_vec());
        assert_eq!((message.topic(), message.collapse_key.as_deref()), (Some("news"), Some("k")));
        assert_eq!(message.notification.unwrap().other["silent"], true);
        for other in ["", "[]", "null", "hello", "{"] {
            let message = Message::opened(&received(&[]), other.into());
            assert_eq!((message.raw_data, message.from.as_str()), (Some(other.into()), "123"), "{other}");
        }
    }

    #[test]
    fn dropped_messages_are_told_by_their_number() {
        let kind = ("message_type", "deleted_messages");
        assert_eq!(deleted_messages(&received(&[kind, ("total_deleted", "7")])), Some(Some(7)));
        assert_eq!(deleted_messages(&received(&[kind, ("total_deleted", "many")])), Some(None));
        assert_eq!(deleted_messages(&received(&[("a", "1")])), None);
    }
}
