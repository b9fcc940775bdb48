//! What `cresset listen` says of what happens: for people, or as JSON.

use std::time::{SystemTime, UNIX_EPOCH};

use cresset_device_client::{Event, Message, Notification, Priority};
use cresset_message::Timestamp;
use cresset_wire::v1::rfc3339;
use serde_json::{Map, Value, json};

pub(super) fn token(token: &str, fid: Option<&str>, as_json: bool) -> String {
    match as_json {
        true => json!({ "event": "token", "token": token, "fid": fid }).to_string(),
        false => format!("token  {token}{}", fid.map_or_else(String::new, |fid| format!("\nfid    {fid}"))),
    }
}

pub(super) fn message(message: &Message, as_json: bool) -> String {
    if as_json { json_of(message).to_string() } else { line_of(message) }
}

pub(super) fn deleted(total: Option<u64>, as_json: bool) -> String {
    match as_json {
        true => json!({ "event": "deletedMessages", "total": total }).to_string(),
        false => {
            let total = total.map_or_else(|| "some".into(), |total| total.to_string());
            format!("({total} messages were dropped before they came)")
        }
    }
}

/// What is no message: for standard error.
pub(super) fn state(event: &Event) -> Option<String> {
    Some(match event {
        Event::Connected => "connected".into(),
        Event::Disconnected { error, retry_in } => {
            format!("{error}; trying again in {:.1} s", retry_in.as_secs_f64())
        }
        Event::Unreadable { id, error } => format!("{id}: {error}"),
        Event::TopicRefused { topic, error } => format!("no longer in topic {topic}: {error}"),
        _ => return None,
    })
}

/// Its id, what it shows, its data, and where it is from if that is a topic.
pub(crate) fn line_of(message: &Message) -> String {
    let mut parts = vec![message.id.clone()];
    if let Some(Notification { title, body, .. }) = &message.notification {
        let shown = [title, body].into_iter().flatten().cloned().collect::<Vec<_>>();
        parts.push(format!("«{}»", shown.join(": ")));
    }
    parts.extend(message.data.iter().map(|(key, value)| format!("{key}={value}")));
    parts.extend(message.raw_data.as_ref().map(|raw| format!("({} bytes)", raw.len())));
    parts.extend(message.topic().map(|topic| format!("[topic {topic}]")));
    parts.extend(message.collapse_key.as_ref().map(|key| format!("[collapses {key}]")));
    visible(&parts.join("  "))
}

/// A message is a stranger's: it must not steer the terminal, nor begin a line of its own.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

fn json_of(message: &Message) -> Value {
    let mut json = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            json.insert(name.to_owned(), value);
        }
    };
    set("event", Some("message".into()));
    set("id", Some(message.id.as_str().into()));
    set("from", Some(message.from.as_str().into()));
    set("topic", message.topic().map(Value::from));
    set("data", Some(json!(message.data)));
    set("notification", message.notification.as_ref().map(notification));
    set("collapseKey", message.collapse_key.as_deref().map(Value::from));
    set("sent", message.sent.and_then(time).map(Value::from));
    set("ttl", message.ttl.map(|ttl| format!("{}s", ttl.as_secs()).into()));
    set(
        "priority",
        message.priority.map(|priority| if priority == Priority::High { "high" } else { "normal" }.into()),
    );
    set("link", message.link.as_deref().map(Value::from));
    set("rawData", message.raw_data.as_ref().map(|raw| cresset_wire::webpush::encode_base64(raw).into()));
    Value::Object(json)
}

fn notification(shown: &Notification) -> Value {
    let mut fields = shown.other.clone();
    for (name, value) in [("title", &shown.title), ("body", &shown.body), ("image", &shown.image)] {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value.as_str().into());
        }
    }
    Value::Object(fields)
}

fn time(at: SystemTime) -> Option<String> {
    let micros = u64::try_from(at.duration_since(UNIX_EPOCH).ok()?.as_micros()).ok()?;
    Some(rfc3339(Timestamp::from_micros(micros)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn message() -> Message {
        Message {
            id: "0:1%2".into(),
            from: "/topics/news".into(),
            data: [("a".to_owned(), "1\u{1b}[2J\nid".to_owned())].into(),
            notification: Some(Notification {
                title: Some("Hi".into()),
                body: Some("there".into()),
                ..Default::default()
            }),
            collapse_key: Some("k".into()),
            sent: Some(UNIX_EPOCH + Duration::from_secs(1)),
            ttl: Some(Duration::from_secs(60)),
            priority: Some(Priority::High),
            link: None,
            raw_data: None,
        }
    }

    #[test]
    fn a_line_steers_no_terminal() {
        let expected = "0:1%2  «Hi: there»  a=1\\u{1b}[2J\\nid  [topic news]  [collapses k]";
        assert_eq!(super::message(&message(), false), expected);
    }

    #[test]
    fn json_is_one_line() {
        let line = super::message(&message(), true);
        assert!(!line.contains('\n'));
        let json: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&json["sent"], &json["ttl"]), (&"1970-01-01T00:00:01.000Z".into(), &"60s".into()));
        assert_eq!((&json["topic"], &json["notification"]["title"]), (&"news".into(), &"Hi".into()));
        assert_eq!(json.get("link"), None);
    }
}
