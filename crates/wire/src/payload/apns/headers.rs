//! `apns-*` headers: the sender's, checked, and what stands where the sender gave none
//! (`protocol/apns.md` §2.4).

use std::time::Duration;

use cresset_message::limits::is_seconds;
use cresset_message::{Message, Rejection, Timestamp, last_wins};

const PRIORITY: &str = "apns-priority";
const EXPIRATION: &str = "apns-expiration";
const ID: &str = "apns-id";
const COLLAPSE_ID: &str = "apns-collapse-id";
const PUSH_TYPE: &str = "apns-push-type";
const TOPIC: &str = "apns-topic";

/// Those that [`complete`] knows what to do with.
const KNOWN: [&str; 6] = [TOPIC, PUSH_TYPE, ID, EXPIRATION, PRIORITY, COLLAPSE_ID];

/// How long FCM lets APNs keep a message (§2.1).
const DEFAULT_LIFE: Duration = Duration::from_secs(30 * 86_400);

/// Bytes of a collapse id (§1.2).
const MAX_COLLAPSE_ID: usize = 64;

/// Bytes of a name, and of a value: far more than any that APNs knows has. Cresset's own bound.
const MAX_NAME: usize = 64;
const MAX_VALUE: usize = 1_024;

/// The kinds of pushes (§1.2) that apps get; `mdm` is for managing devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PushType {
    Alert,
    Background,
    Voip,
    Complication,
    FileProvider,
    Location,
    LiveActivity,
    PushToTalk,
    Widgets,
    Controls,
}

/// Name, and what it adds to the bundle id to make the topic.
const PUSH_TYPES: [(PushType, &str, &str); 10] = [
    (PushType::Alert, "alert", ""),
    (PushType::Background, "background", ""),
    (PushType::Voip, "voip", ".voip"),
    (PushType::Complication, "complication", ".complication"),
    (PushType::FileProvider, "fileprovider", ".pushkit.fileprovider"),
    (PushType::Location, "location", ".location-query"),
    (PushType::LiveActivity, "liveactivity", ".push-type.liveactivity"),
    (PushType::PushToTalk, "pushtotalk", ".voip-ptt"),
    (PushType::Widgets, "widgets", ".push-type.widgets"),
    (PushType::Controls, "controls", ".push-type.controls"),
];

/// The sender's headers, names in lower case; only Apple's, and only those with a value.
pub(super) struct Given(Vec<(String, String)>);

pub(super) fn given(message: &Message) -> Given {
    let all = message.apns.as_ref().map_or(&[][..], |apns| &apns.headers);
    let lower = all.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
    Given(last_wins(lower.filter(|(name, value)| name.starts_with("apns-") && !value.is_empty()).collect()))
}

impl Given {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }
}

/// The push type that the sender asks for.
pub(super) fn push_type(given: &Given) -> Option<PushType> {
    let asked = given.get(PUSH_TYPE)?;
    PUSH_TYPES.iter().find(|(_, name, _)| *name == asked).map(|(push_type, ..)| *push_type)
}

/// All six in order, then what Apple may add one day: that is the sender's to use.
pub(super) fn complete(
    given: &Given,
    push_type: PushType,
    bundle_id: &str,
    apns_id: &str,
    now: Timestamp,
) -> Vec<(String, String)> {
    let own = |name: &str| given.get(name).map(str::to_owned);
    let (_, type_name, suffix) = *row(push_type);
    let mut headers = vec![
        (TOPIC, own(TOPIC).unwrap_or_else(|| format!("{bundle_id}{suffix}"))),
        (PUSH_TYPE, type_name.to_owned()),
        (ID, own(ID).map_or_else(|| apns_id.to_owned(), |id| id.to_ascii_lowercase())),
        (EXPIRATION, own(EXPIRATION).unwrap_or_else(|| (now + DEFAULT_LIFE).as_secs().to_string())),
        (PRIORITY, priority(given, push_type)),
    ];
    headers.extend(own(COLLAPSE_ID).map(|id| (COLLAPSE_ID, id)));
    let known = headers.into_iter().map(|(name, value)| (name.to_owned(), value));
    let others = given.0.iter().filter(|(name, _)| !KNOWN.contains(&name.as_str())).cloned();
    known.chain(others).collect()
}

/// 10 is wrong for what nobody sees; where the sender did not say that it is such, it is lowered.
fn priority(given: &Given, push_type: PushType) -> String {
    match (given.get(PRIORITY), push_type) {
        (None | Some("10"), PushType::Background) => "5",
        (None, _) => "10",
        (Some(asked), _) => asked,
    }
    .to_owned()
}

fn row(push_type: PushType) -> &'static (PushType, &'static str, &'static str) {
    PUSH_TYPES.iter().find(|(of, ..)| *of == push_type).expect("every push type has a row")
}

pub(super) fn check(given: &Given) -> Result<(), Rejection> {
    for (name, value) in &given.0 {
        let problem = match name.as_str() {
            PRIORITY if !matches!(value.as_str(), "1" | "5" | "10") => "must be 1, 5 or 10",
            EXPIRATION if !is_seconds(value) => "must be a non-negative integer",
            ID if !is_uuid(value) => "must be a UUID",
            COLLAPSE_ID if value.len() > MAX_COLLAPSE_ID => "must not be longer than 64 bytes",
            PUSH_TYPE if push_type(given).is_none() => "is not one of APNs' types",
            _ if !is_name(name) => "is not the name of a header",
            _ if !is_value(value) => "is not the value of a header",
            _ => continue,
        };
        return wrong(&format!("{name} {problem}."));
    }
    Ok(())
}

/// The documented rule for data messages, where the sender itself says that it is one.
pub(super) fn check_background(given: &Given, push_type: PushType) -> Result<(), Rejection> {
    let said = given.get(PUSH_TYPE).is_some() && push_type == PushType::Background;
    if said && given.get(PRIORITY) == Some("10") {
        return wrong("apns-priority must be 5 for a background push.");
    }
    Ok(())
}

fn wrong(text: &str) -> Result<(), Rejection> {
    Err(Rejection::field("message.apns.headers", text))
}

/// 8-4-4-4-12 hex digits (§1.2); in upper case too, as some platforms print them.
fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths = groups.iter().map(|group| group.len());
    lengths.eq([8, 4, 4, 4, 12]) && groups.iter().all(|g| g.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// What may stand in an HTTP field (RFC 9110 §5.5), ASCII only.
fn is_value(value: &str) -> bool {
    value.len() <= MAX_VALUE && value.bytes().all(|b| matches!(b, b' '..=b'~'))
}
