//! The request that APNs gets for one message (`protocol/apns.md` §2): JSON and headers. Which host
//! it goes to, and as whom, is the carrier's.

mod headers;

use std::collections::HashSet;

use cresset_message::{
    ApnsConfig, Message, MessageId, Recipient, Rejection, Struct, Target, Timestamp, Value,
};

use self::headers::{Given, PushType};
use super::{json, project_number, set};

/// Bytes of the JSON (`protocol/apns.md` §1.2). Apple takes 5,120 of a `voip` push; FCM promises 4,096.
pub const MAX_PAYLOAD: usize = 4096;

/// What is posted to `/3/device/<token>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The token of a live activity; it takes the place of the device's own (§2.5).
    pub live_activity_token: Option<String>,
    /// Names in lower case. Who sends (`authorization`) is not among them.
    pub headers: Vec<(String, String)>,
    pub payload: Vec<u8>,
}

/// The request for a recipient. `apns_id` is a lower-case UUID that stays the same over retries; a
/// sender's own wins.
pub fn request(
    message: &Message,
    recipient: &Recipient,
    id: MessageId,
    apns_id: &str,
    now: Timestamp,
) -> Request {
    let given = headers::given(message);
    let shape = Shape::of(message, &given);
    Request {
        live_activity_token: set(&config(message).live_activity_token).map(str::to_owned),
        headers: headers::complete(&given, shape.push_type, &recipient.category, apns_id, now),
        payload: payload(message, &shape, &service_keys(message, recipient, id, &shape)),
    }
}

/// The rules that hold whoever receives. A message without an `apns` part has none to break.
///
/// The size is one of them where many may receive, and the sender thought of Apple's devices among
/// them. Of a single recipient [`fits`] is asked, if it is one.
pub fn check(message: &Message) -> Result<(), Rejection> {
    let Some(apns) = &message.apns else { return Ok(()) };
    let given = headers::given(message);
    headers::check(&given)?;
    let aps_given = apns.payload.as_ref().and_then(|payload| payload.get("aps"));
    if aps_given.is_some_and(|aps| !matches!(aps, Value::Struct(_))) {
        return Err(Rejection::field("message.apns.payload", "aps must be an object."));
    }
    let shape = Shape::of(message, &given);
    headers::check_background(&given, shape.push_type)?;
    if message.target.is_set() && payload(message, &shape, &[]).len() > MAX_PAYLOAD {
        return Err(Rejection::TooLarge);
    }
    Ok(())
}

/// Whether APNs takes the message for this recipient, whose service keys count as well.
pub fn fits(message: &Message, recipient: &Recipient, id: MessageId) -> bool {
    let shape = Shape::of(message, &headers::given(message));
    payload(message, &shape, &service_keys(message, recipient, id, &shape)).len() <= MAX_PAYLOAD
}

fn config(message: &Message) -> &ApnsConfig {
    static NONE: ApnsConfig = ApnsConfig {
        headers: Vec::new(),
        payload: None,
        analytics_label: None,
        image: None,
        live_activity_token: None,
    };
    message.apns.as_ref().unwrap_or(&NONE)
}

/// What kind of push a message is, which much depends on.
struct Shape {
    aps: Struct,
    /// There is something to see or to hear.
    displays: bool,
    push_type: PushType,
}

impl Shape {
    fn of(message: &Message, given: &Given) -> Self {
        let mut aps = aps(message);
        let displays = ["alert", "sound", "badge"].iter().any(|name| aps.get(name).is_some());
        let push_type = headers::push_type(given).unwrap_or(
            match (set(&config(message).live_activity_token), displays) {
                (Some(_), _) => PushType::LiveActivity,
                (None, true) => PushType::Alert,
                (None, false) => PushType::Background,
            },
        );
        if !displays && push_type != PushType::LiveActivity {
            // Else the app is not woken.
            default(&mut aps, "content-available", Value::Number(1.0));
        }
        Self { aps, displays, push_type }
    }
}

/// Everything at the top level, in the order `aps`, the sender's own, data, ours (§2.2).
fn payload(message: &Message, shape: &Shape, service_keys: &[(&str, String)]) -> Vec<u8> {
    let ours: HashSet<&str> = service_keys.iter().map(|(name, _)| *name).collect();
    let own = config(message).payload.as_ref();
    let mut fields = vec![("aps", Value::Struct(shape.aps.clone()))];
    let others = own.into_iter().flat_map(Struct::iter).filter(|(name, _)| !is_ours(name, &ours, message));
    fields.extend(others.map(|(name, value)| (name, value.clone())));
    if let Some(image) = image(message) {
        fields.push(("fcm_options", Value::Struct(with_image(own, image))));
    }
    let taken: HashSet<&str> = fields.iter().map(|(name, _)| *name).chain(ours).collect();
    let data = message.data.iter().filter(|(key, _)| !taken.contains(key.as_str()));
    fields.extend(data.map(|(key, value)| (key.as_str(), Value::from(value.as_str()))));
    fields.extend(service_keys.iter().map(|(name, value)| (*name, Value::from(value.as_str()))));
    json::object(&fields.into_iter().collect()).finish()
}

/// A field of the sender's payload that is written in another place.
fn is_ours(name: &str, service_keys: &HashSet<&str>, message: &Message) -> bool {
    name == "aps" || (name == "fcm_options" && image(message).is_some()) || service_keys.contains(name)
}

/// The sender's `aps`, with the common notification where it has no alert of its own.
fn aps(message: &Message) -> Struct {
    let apns = config(message);
    let mut aps = match apns.payload.as_ref().and_then(|payload| payload.get("aps")) {
        Some(Value::Struct(aps)) => aps.clone(),
        _ => Struct::default(),
    };
    match aps.get("alert") {
        None => {
            let alert = with_texts(Struct::default(), message);
            if !alert.is_empty() {
                aps.insert("alert", Value::Struct(alert));
            }
        }
        Some(Value::Struct(alert)) => {
            let alert = with_texts(alert.clone(), message);
            aps.insert("alert", Value::Struct(alert));
        }
        // A text says all there is to say.
        Some(_) => {}
    }
    if image(message).is_some() {
        // Without it iOS does not start the extension that fetches the image.
        default(&mut aps, "mutable-content", Value::Number(1.0));
    }
    aps
}

fn with_texts(mut alert: Struct, message: &Message) -> Struct {
    if let Some(common) = &message.notification {
        for (name, text) in [("title", set(&common.title)), ("body", set(&common.body))] {
            if let Some(text) = text {
                default(&mut alert, name, Value::from(text));
            }
        }
    }
    alert
}

fn default(fields: &mut Struct, name: &str, value: Value) {
    if fields.get(name).is_none() {
        fields.insert(name, value);
    }
}

fn image(message: &Message) -> Option<&str> {
    set(&config(message).image).or_else(|| set(&message.notification.as_ref()?.image))
}

fn with_image(own: Option<&Struct>, image: &str) -> Struct {
    let mut options = match own.and_then(|own| own.get("fcm_options")) {
        Some(Value::Struct(options)) => options.clone(),
        _ => Struct::default(),
    };
    options.insert("image", Value::from(image));
    options
}

/// What the iOS SDK reads (§2.3). A live activity has no app code that would read more than the id.
fn service_keys(
    message: &Message,
    recipient: &Recipient,
    id: MessageId,
    shape: &Shape,
) -> Vec<(&'static str, String)> {
    let mut keys = vec![("gcm.message_id", id.to_string())];
    if shape.push_type == PushType::LiveActivity {
        return keys;
    }
    keys.push(("google.c.sender.id", project_number(recipient)));
    keys.extend(recipient.fid.as_ref().map(|fid| ("google.c.fid", fid.to_string())));
    let label = set(&config(message).analytics_label).or(set(&message.fcm_options.analytics_label));
    if shape.displays || label.is_some() {
        keys.push(("google.c.a.e", "1".to_owned()));
    }
    keys.extend(label.map(|label| ("google.c.a.m_l", label.to_owned())));
    // Without a topic it would be the sender's number once more, which nobody reads.
    if let Target::Topic(name) = &message.target {
        keys.push(("from", format!("/topics/{name}")));
    }
    keys
}
