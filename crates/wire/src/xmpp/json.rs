//! The JSON within stanzas, to app servers. Compact, and its fields in the order of the documents.

use std::fmt::Write as _;

/// What is acknowledged: `from` repeats the message's `to`.
#[derive(Clone, Copy, Debug)]
pub struct Ack<'a> {
    pub from: &'a str,
    pub message_id: &'a str,
    /// The token to use from now on instead.
    pub registration_id: Option<&'a str>,
}

pub fn ack(ack: Ack<'_>) -> String {
    let mut json = Object::new();
    json.text("message_type", "ack").text("from", ack.from).text("message_id", ack.message_id);
    if let Some(canonical) = ack.registration_id {
        json.text("registration_id", canonical);
    }
    json.finish()
}

/// Of a device group: how many members will get it (`protocol/xmpp.md` §4).
pub fn group_ack(from: &str, message_id: &str, success: usize, failed: &[String]) -> String {
    let mut json = Object::new();
    json.text("from", from).text("message_type", "ack");
    json.number("success", success as u64).number("failure", failed.len() as u64);
    if !failed.is_empty() {
        json.texts("failed_registration_ids", failed);
    }
    json.text("message_id", message_id);
    json.finish()
}

/// `from` is absent if the message had none that could be read. aiofcm needs the description.
pub fn nack(message_id: &str, from: Option<&str>, error: &str, description: &str) -> String {
    let mut json = Object::new();
    json.text("message_type", "nack").text("message_id", message_id);
    if let Some(from) = from {
        json.text("from", from);
    }
    json.text("error", error).text("error_description", description);
    json.finish()
}

/// The connection takes no new messages.
pub fn control_draining() -> String {
    let mut json = Object::new();
    json.text("message_type", "control").text("control_type", "CONNECTION_DRAINING");
    json.finish()
}

/// What an app instance has sent. There is no `message_type`: by that clients know it.
#[derive(Clone, Copy, Debug)]
pub struct Upstream<'a> {
    pub from: &'a str,
    pub category: &'a str,
    pub message_id: &'a str,
    pub data: &'a [(String, String)],
    pub ttl_seconds: u32,
}

pub fn upstream(message: Upstream<'_>) -> String {
    let mut json = Object::new();
    json.text("category", message.category);
    if !message.data.is_empty() {
        json.pairs("data", message.data.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    }
    json.number("time_to_live", message.ttl_seconds.into());
    json.text("message_id", message.message_id).text("from", message.from);
    json.finish()
}

/// A message has reached its device (`protocol/xmpp.md` §6).
#[derive(Clone, Copy, Debug)]
pub struct Receipt<'a> {
    pub category: &'a str,
    /// As the app server chose it; the receipt's own id is this with `dr2:` before it.
    pub message_id: &'a str,
    pub registration: &'a str,
    pub sent_millis: u64,
}

/// Whose name receipts come in; app servers acknowledge to it.
pub const RECEIPT_FROM: &str = "gcm.googleapis.com";
/// Before the id of a receipt.
pub const RECEIPT_PREFIX: &str = "dr2:";

pub fn receipt(receipt: Receipt<'_>) -> String {
    let sent = receipt.sent_millis.to_string();
    let mut json = Object::new();
    json.text("message_type", "receipt").text("from", RECEIPT_FROM);
    json.text("message_id", &format!("{RECEIPT_PREFIX}{}", receipt.message_id));
    json.text("category", receipt.category);
    json.pairs(
        "data",
        [
            ("message_status", "MESSAGE_SENT_TO_DEVICE"),
            ("original_message_id", receipt.message_id),
            ("device_registration_id", receipt.registration),
            ("message_sent_timestamp", &sent),
        ]
        .into_iter(),
    );
    json.finish()
}

struct Object(String);

impl Object {
    fn new() -> Self {
        Self(String::from("{"))
    }

    fn text(&mut self, name: &str, value: &str) -> &mut Self {
        self.name(name);
        string(&mut self.0, value);
        self
    }

    fn number(&mut self, name: &str, value: u64) -> &mut Self {
        self.name(name);
        let _ = write!(self.0, "{value}");
        self
    }

    fn texts(&mut self, name: &str, values: &[String]) {
        self.name(name);
        self.0.push('[');
        for (place, value) in values.iter().enumerate() {
            if place > 0 {
                self.0.push(',');
            }
            string(&mut self.0, value);
        }
        self.0.push(']');
    }

    fn pairs<'a>(&mut self, name: &str, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
        self.name(name);
        let mut inner = Object::new();
        pairs.for_each(|(key, value)| {
            inner.text(key, value);
        });
        self.0.push_str(&inner.finish());
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        string(&mut self.0, name);
        self.0.push(':');
    }

    fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// What XML cannot hold is escaped too; the others that it cannot, JSON escapes anyway.
fn string(out: &mut String, value: &str) {
    let text = serde_json::Value::from(value).to_string();
    if text.contains(['\u{fffe}', '\u{ffff}']) {
        out.push_str(&text.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff"));
    } else {
        out.push_str(&text);
    }
}
