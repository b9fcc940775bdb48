//! The rules a message must keep after its shape is right. Each names its source.

use std::time::Duration;

use crate::{
    AndroidConfig, AndroidNotification, Color, Condition, Message, Platform, Rejection, Struct, Target,
    Value, WebpushConfig,
};

/// Longest life of a stored message, and the default: four weeks (`protocol/http-v1.md` §6).
pub const MAX_TTL: Duration = Duration::from_secs(2_419_200);

/// Bytes of a message toward any one platform, counted as [`check`] counts them (`protocol/http-v1.md` §6).
pub const MAX_PAYLOAD: usize = 4096;

/// Characters of a topic's name (`protocol/http-v1.md` §6).
const MAX_TOPIC_NAME: usize = 900;

/// Characters of an analytics label (`protocol/http-v1.md` §2.1).
const MAX_ANALYTICS_LABEL: usize = 50;

/// Characters of the Topic of Web Push (RFC 8030 §5.4).
const MAX_WEB_PUSH_TOPIC: usize = 32;

/// RFC 8030 §5.3.
const URGENCIES: [&str; 4] = ["very-low", "low", "normal", "high"];

/// The rules that hold for every message, whoever gets it. Not here, as it needs to know more: the
/// shape of tokens and FIDs.
///
/// URLs (`image`, `webpush.fcm_options.link`) are not checked: FCM's own documentation sends
/// relative ones.
pub fn check(message: &Message) -> Result<(), Rejection> {
    check_target(&message.target)?;
    check_data(&message.data, "message.data")?;
    check_label(&message.fcm_options.analytics_label, "message.fcm_options")?;
    if let Some(android) = &message.android {
        check_android(android)?;
    }
    if let Some(webpush) = &message.webpush {
        check_webpush(webpush)?;
    }
    if let Some(apns) = &message.apns {
        check_label(&apns.analytics_label, "message.apns.fcm_options")?;
    }
    if message.target.is_set() { check_size(message) } else { Ok(()) }
}

fn check_target(target: &Target) -> Result<(), Rejection> {
    match target {
        Target::Topic(name) if !is_topic_name(name) => Err(Rejection::TopicName),
        Target::Condition(condition) => match condition.parse::<Condition>() {
            Ok(_) => Ok(()),
            Err(_) => Err(Rejection::Condition),
        },
        _ => Ok(()),
    }
}

/// `[a-zA-Z0-9-_.~%]{1,900}` (`protocol/http-v1.md` §6).
pub fn is_topic_name(name: &str) -> bool {
    (1..=MAX_TOPIC_NAME).contains(&name.len()) && name.bytes().all(is_name_byte)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'%')
}

fn check_data(data: &[(String, String)], path: &str) -> Result<(), Rejection> {
    match data.iter().find(|(key, _)| is_reserved(key)) {
        None => Ok(()),
        Some((key, _)) if path == "message.data" => Err(Rejection::ReservedDataKey(key.clone())),
        Some((key, _)) => Err(Rejection::field(path, format!("Invalid data payload key: {key}"))),
    }
}

/// Names that clients take for FCM's own. Where the Discovery document and the documentation differ
/// (`google.` or anything that begins with `google`), the narrower reading holds, so that nothing
/// is refused which FCM may take (`protocol/http-v1.md` §2.1).
fn is_reserved(key: &str) -> bool {
    matches!(key, "from" | "gcm" | "google" | "message_type")
        || key.starts_with("google.")
        || key.starts_with("gcm.notification.")
}

/// An empty label is none: proto3 does not tell them apart.
fn check_label(label: &Option<String>, path: &str) -> Result<(), Rejection> {
    let Some(label) = label.as_deref().filter(|label| !label.is_empty()) else { return Ok(()) };
    if label.len() <= MAX_ANALYTICS_LABEL && label.bytes().all(is_name_byte) {
        return Ok(());
    }
    let text = "The analytics label must match ^[a-zA-Z0-9-_.~%]{1,50}$.";
    Err(Rejection::field(format!("{path}.analytics_label"), text))
}

fn check_android(android: &AndroidConfig) -> Result<(), Rejection> {
    if android.ttl.is_some_and(|ttl| ttl.as_secs() > MAX_TTL.as_secs()) {
        let text = format!("TTL must be between 0 and {} seconds.", MAX_TTL.as_secs());
        return Err(Rejection::field("message.android.ttl", text));
    }
    check_data(&android.data, "message.android.data")?;
    check_label(&android.fcm_options.analytics_label, "message.android.fcm_options")?;
    android.notification.as_ref().map_or(Ok(()), check_android_notification)
}

fn check_android_notification(notification: &AndroidNotification) -> Result<(), Rejection> {
    let wrong = |field: &str, text: &str| {
        Err(Rejection::field(format!("message.android.notification.{field}"), text))
    };
    if notification.color.as_deref().is_some_and(|color| !color.is_empty() && !is_color(color)) {
        return wrong("color", "The color must be written #rrggbb.");
    }
    let lacks = |key: &Option<String>| key.as_deref().is_none_or(str::is_empty);
    if !notification.body_loc_args.is_empty() && lacks(&notification.body_loc_key) {
        return wrong("body_loc_args", "body_loc_args needs body_loc_key.");
    }
    if !notification.title_loc_args.is_empty() && lacks(&notification.title_loc_key) {
        return wrong("title_loc_args", "title_loc_args needs title_loc_key.");
    }
    if notification.notification_count.is_some_and(|count| count < 0) {
        return wrong("notification_count", "The count must not be negative.");
    }
    match &notification.light_settings {
        Some(light) if !is_light(light.color) => {
            wrong("light_settings.color", "Each part of the color must be between 0 and 1.")
        }
        _ => Ok(()),
    }
}

/// `#rrggbb` (`protocol/http-v1.md` §2.3).
fn is_color(color: &str) -> bool {
    let digits = color.strip_prefix('#').unwrap_or_default();
    digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Parts of a `google.type.Color` go from 0 to 1; not a number is outside.
fn is_light(color: Color) -> bool {
    let parts = [color.red, color.green, color.blue, color.alpha.unwrap_or(1.0)];
    parts.iter().all(|part| (0.0..=1.0).contains(part))
}

fn check_webpush(webpush: &WebpushConfig) -> Result<(), Rejection> {
    if webpush.header("TTL").is_some_and(|ttl| !is_seconds(ttl)) {
        let text = "TTL must be a non-negative integer.";
        return Err(Rejection::field("message.webpush.headers.TTL", text));
    }
    if webpush.header("Urgency").is_some_and(|urgency| !URGENCIES.contains(&urgency)) {
        let text = "Urgency must be one of very-low, low, normal and high.";
        return Err(Rejection::field("message.webpush.headers.Urgency", text));
    }
    if webpush.header("Topic").is_some_and(|topic| !is_web_push_topic(topic)) {
        let text = format!("Topic must be 1 to {MAX_WEB_PUSH_TOPIC} characters of A-Z, a-z, 0-9, - and _.");
        return Err(Rejection::field("message.webpush.headers.Topic", text));
    }
    check_data(&webpush.data, "message.webpush.data")?;
    check_label(&webpush.fcm_options.analytics_label, "message.webpush.fcm_options")
}

/// RFC 8030 §5.4.
pub fn is_web_push_topic(topic: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (1..=MAX_WEB_PUSH_TOPIC).contains(&topic.len()) && topic.bytes().all(plain)
}

/// Digits only (RFC 8030 §5.2), and few enough to be a number: a TTL of Web Push, an expiration of APNs.
pub fn is_seconds(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u64>().is_ok()
}

/// No platform may get more than [`MAX_PAYLOAD`], as whoever is in a set may be of any.
fn check_size(message: &Message) -> Result<(), Rejection> {
    let sizes = [android_size(message), webpush_size(message), apns_size(message)];
    if sizes.iter().any(|size| *size > MAX_PAYLOAD) { Err(Rejection::TooLarge) } else { Ok(()) }
}

/// The same toward one registration, whose platform is all that counts.
///
/// Google's formula is not published. Its documentation counts keys and values, and one capture has
/// a topic message pass with a data value of 4,505 bytes (`protocol/http-v1.md` §6, §8). We count
/// what is documented, so that what passes here passes there: the bytes of keys and values in UTF-8
/// of what the platform gets, after its own block has replaced what is common. Not counted: what
/// steers the delivery (collapse key, TTL, headers), and what FCM adds.
pub fn check_size_for(message: &Message, platform: Platform) -> Result<(), Rejection> {
    match platform {
        Platform::Android if android_size(message) > MAX_PAYLOAD => Err(Rejection::AndroidTooLarge),
        Platform::Web if webpush_size(message) > MAX_PAYLOAD => Err(Rejection::TooLarge),
        Platform::Ios if apns_size(message) > MAX_PAYLOAD => Err(Rejection::TooLarge),
        _ => Ok(()),
    }
}

/// Data as Android gets it (its own replaces the common), and the texts of the notification.
fn android_size(message: &Message) -> usize {
    let own = message.android.as_ref();
    let notification = own.and_then(|android| android.notification.as_ref());
    let overrides = |name: &str| {
        notification.is_some_and(|n| match name {
            "title" => n.title.is_some(),
            "body" => n.body.is_some(),
            _ => n.image.is_some(),
        })
    };
    let shown = if message.notifies_android() {
        common_notification_size(message, overrides) + notification.map_or(0, android_notification_size)
    } else {
        0
    };
    own_or_common(own.map(|android| &android.data), message) + shown
}

fn android_notification_size(n: &AndroidNotification) -> usize {
    let texts = [
        ("title", &n.title),
        ("body", &n.body),
        ("icon", &n.icon),
        ("color", &n.color),
        ("sound", &n.sound),
        ("tag", &n.tag),
        ("click_action", &n.click_action),
        ("body_loc_key", &n.body_loc_key),
        ("title_loc_key", &n.title_loc_key),
        ("channel_id", &n.channel_id),
        ("ticker", &n.ticker),
        ("image", &n.image),
    ];
    let args = n.body_loc_args.iter().chain(&n.title_loc_args).map(String::len);
    texts.iter().map(|(key, value)| text_size(key, value)).sum::<usize>() + args.sum::<usize>()
}

/// Data as the web gets it, and the notification as the JSON that it is.
fn webpush_size(message: &Message) -> usize {
    let own = message.webpush.as_ref();
    let notification = own.and_then(|webpush| webpush.notification.as_ref());
    let overrides = |name: &str| notification.is_some_and(|fields| fields.get(name).is_some());
    own_or_common(own.map(|webpush| &webpush.data), message)
        + common_notification_size(message, overrides)
        + notification.map_or(0, struct_size)
}

/// APNs counts the JSON it is given (`protocol/http-v1.md` §6): ours is the payload and the data.
fn apns_size(message: &Message) -> usize {
    let payload = message.apns.as_ref().and_then(|apns| apns.payload.as_ref());
    let has_alert = payload
        .and_then(|payload| payload.get("aps"))
        .is_some_and(|aps| matches!(aps, Value::Struct(aps) if aps.get("alert").is_some()));
    data_size(&message.data)
        + common_notification_size(message, |name| has_alert && name != "image")
        + payload.map_or(0, struct_size)
}

/// A platform's data, where there is any, replaces the common (decision 006).
fn own_or_common(own: Option<&Vec<(String, String)>>, message: &Message) -> usize {
    data_size(own.filter(|own| !own.is_empty()).unwrap_or(&message.data))
}

fn data_size(data: &[(String, String)]) -> usize {
    data.iter().map(|(key, value)| key.len() + value.len()).sum()
}

/// The fields of `message.notification` that the platform's own do not replace.
fn common_notification_size(message: &Message, overrides: impl Fn(&str) -> bool) -> usize {
    let Some(n) = &message.notification else { return 0 };
    let fields = [("title", &n.title), ("body", &n.body), ("image", &n.image)];
    fields.iter().filter(|(name, _)| !overrides(name)).map(|(name, value)| text_size(name, value)).sum()
}

fn text_size(key: &str, value: &Option<String>) -> usize {
    value.as_ref().map_or(0, |value| key.len() + value.len())
}

/// Length as compact JSON; escapes count as what they stand for.
fn struct_size(fields: &Struct) -> usize {
    let separators = fields.len().saturating_sub(1);
    let inner: usize = fields.iter().map(|(name, value)| name.len() + 3 + value_size(value)).sum();
    2 + separators + inner
}

fn value_size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(true) => 4,
        Value::Bool(false) => 5,
        Value::Number(number) => number.to_string().len(),
        Value::String(text) => text.len() + 2,
        Value::List(values) => {
            2 + values.len().saturating_sub(1) + values.iter().map(value_size).sum::<usize>()
        }
        Value::Struct(fields) => struct_size(fields),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to_topic() -> Message {
        Message {
            target: Target::Topic("news".to_owned()),
            data: Vec::new(),
            notification: None,
            android: None,
            webpush: None,
            apns: None,
            fcm_options: crate::FcmOptions::default(),
            receipt_id: None,
        }
    }

    fn with_data(key: &str, value: String) -> Message {
        Message { data: vec![(key.to_owned(), value)], ..to_topic() }
    }

    fn with_android(android: AndroidConfig) -> Message {
        Message { android: Some(android), ..to_topic() }
    }

    fn with_notification(notification: AndroidNotification) -> Message {
        with_android(AndroidConfig { notification: Some(notification), ..AndroidConfig::default() })
    }

    fn field_of(message: &Message) -> String {
        match check(message) {
            Err(Rejection::InvalidField(violation)) => violation.field,
            other => panic!("expected a field's rejection, got {other:?}"),
        }
    }

    #[test]
    fn topics_have_names_of_one_to_900_characters_of_the_set() {
        for (name, fine) in [
            ("news", true),
            ("a-zA-Z0-9-_.~%", true),
            ("", false),
            ("/topics/news", false),
            ("not a topic", false),
            ("ünder", false),
            (&*"x".repeat(900), true),
            (&*"x".repeat(901), false),
        ] {
            let message = Message { target: Target::Topic(name.to_owned()), ..to_topic() };
            assert_eq!(check(&message), if fine { Ok(()) } else { Err(Rejection::TopicName) }, "{name}");
        }
        let blank = Message { target: Target::Condition(" ".to_owned()), ..to_topic() };
        assert_eq!(check(&blank), Err(Rejection::Condition));
    }

    #[test]
    fn reserved_data_keys_are_refused() {
        for key in ["from", "gcm", "google", "message_type", "google.x", "gcm.notification.title"] {
            let refused = Err(Rejection::ReservedDataKey(key.to_owned()));
            assert_eq!(check(&with_data(key, String::new())), refused, "{key}");
        }
        for key in ["From", "fromage", "googleplex", "gcm.other", ""] {
            assert_eq!(check(&with_data(key, String::new())), Ok(()), "{key}");
        }
        let data = vec![("from".to_owned(), String::new())];
        let android = AndroidConfig { data, ..AndroidConfig::default() };
        assert_eq!(field_of(&with_android(android)), "message.android.data");
    }

    #[test]
    fn a_ttl_lasts_four_weeks_at_most() {
        let lasting = |ttl| with_android(AndroidConfig { ttl: Some(ttl), ..AndroidConfig::default() });
        assert_eq!(check(&lasting(Duration::ZERO)), Ok(()));
        assert_eq!(check(&lasting(MAX_TTL)), Ok(()));
        assert_eq!(field_of(&lasting(MAX_TTL + Duration::from_secs(1))), "message.android.ttl");
    }

    #[test]
    fn parts_of_an_android_notification_are_checked() {
        let none = AndroidNotification::default;
        let text = |t: &str| Some(t.to_owned());
        for (notification, field) in [
            (AndroidNotification { color: text("red"), ..none() }, "color"),
            (AndroidNotification { color: text("#12345g"), ..none() }, "color"),
            (AndroidNotification { body_loc_args: vec!["x".to_owned()], ..none() }, "body_loc_args"),
            (AndroidNotification { title_loc_args: vec!["x".to_owned()], ..none() }, "title_loc_args"),
            (AndroidNotification { notification_count: Some(-1), ..none() }, "notification_count"),
            (AndroidNotification { light_settings: Some(light(1.5)), ..none() }, "light_settings.color"),
            (AndroidNotification { light_settings: Some(light(f32::NAN)), ..none() }, "light_settings.color"),
        ] {
            let expected = format!("message.android.notification.{field}");
            assert_eq!(field_of(&with_notification(notification)), expected);
        }
        let fine = AndroidNotification {
            color: text("#7e55C3"),
            notification_count: Some(0),
            light_settings: Some(light(1.0)),
            ..none()
        };
        assert_eq!(check(&with_notification(fine)), Ok(()));
    }

    fn light(red: f32) -> crate::LightSettings {
        let color = Color { red, green: 0.0, blue: 0.0, alpha: None };
        let (light_on_duration, light_off_duration) = (Duration::ZERO, Duration::ZERO);
        crate::LightSettings { color, light_on_duration, light_off_duration }
    }

    #[test]
    fn headers_of_web_push_are_checked_whatever_the_case_of_their_names() {
        for (name, value, fine) in [
            ("TTL", "0", true),
            ("ttl", "86400", true),
            ("TTL", "", false),
            ("Ttl", "-1", false),
            ("TTL", "+1", false),
            ("TTL", "1.5", false),
            ("TTL", "99999999999999999999", false),
            ("X-Custom-Val", "soon", true),
            ("Urgency", "very-low", true),
            ("urgency", "High", false),
            ("Urgency", "", false),
            ("Topic", "a-Z_0", true),
            ("Topic", "", false),
            ("topic", "a.b", false),
            ("Topic", &"x".repeat(32), true),
            ("Topic", &"x".repeat(33), false),
        ] {
            let headers = vec![(name.to_owned(), value.to_owned())];
            let webpush = WebpushConfig { headers, ..WebpushConfig::default() };
            let message = Message { webpush: Some(webpush), ..to_topic() };
            assert_eq!(check(&message).is_ok(), fine, "{name}: {value}");
        }
    }

    #[test]
    fn labels_are_short_and_plain() {
        for (label, fine) in
            [("", true), ("spring_sale-1.~%", true), ("a b", false), (&*"x".repeat(51), false)]
        {
            let mut message = to_topic();
            message.fcm_options.analytics_label = Some(label.to_owned());
            assert_eq!(check(&message).is_ok(), fine, "{label}");
        }
    }

    #[test]
    fn four_kilobytes_are_the_most_a_platform_gets() {
        use Platform::{Android, Ios, Web};
        assert_eq!(check(&with_data("k", "x".repeat(4095))), Ok(()));
        let large = with_data("k", "x".repeat(4096));
        assert_eq!(check(&large), Err(Rejection::TooLarge));
        let to_token = Message { target: Target::Token("t".to_owned()), ..large.clone() };
        assert_eq!(check(&to_token), Ok(()), "its platform is not known yet");
        assert_eq!(check_size_for(&to_token, Android), Err(Rejection::AndroidTooLarge));
        assert_eq!(check_size_for(&to_token, Web), Err(Rejection::TooLarge));
        assert_eq!(check_size_for(&to_token, Ios), Err(Rejection::TooLarge));

        let data = vec![("k".to_owned(), "small".to_owned())];
        let small_for_android = AndroidConfig { data, ..AndroidConfig::default() };
        let message = Message { android: Some(small_for_android), ..large };
        assert_eq!(check(&message), Err(Rejection::TooLarge));
        assert_eq!(check_size_for(&message, Android), Ok(()));
    }

    #[test]
    fn what_a_platform_replaces_is_not_counted() {
        let text = |size| Some("x".repeat(size));
        let common = crate::Notification { title: text(3_000), body: None, image: None };
        let own = AndroidNotification { title: text(3_000), ..AndroidNotification::default() };
        let fields = || [("title", Value::from(&*"x".repeat(3_000)))].into_iter().collect::<Struct>();
        let webpush = WebpushConfig { notification: Some(fields()), ..WebpushConfig::default() };
        let alert = [("aps", Value::Struct([("alert", Value::Struct(fields()))].into_iter().collect()))];
        let apns = crate::ApnsConfig { payload: Some(alert.into_iter().collect()), ..Default::default() };
        let message = Message {
            notification: Some(common),
            webpush: Some(webpush),
            apns: Some(apns),
            ..with_notification(own)
        };
        assert_eq!(check(&message), Ok(()));
    }

    #[test]
    fn free_json_is_counted_as_compact_json() {
        let payload: Struct = [
            ("a", Value::List(vec![Value::Number(1.5), Value::Bool(false), Value::Null])),
            ("b", Value::Struct([("c", Value::from("d"))].into_iter().collect())),
        ]
        .into_iter()
        .collect();
        assert_eq!(struct_size(&payload), r#"{"a":[1.5,false,null],"b":{"c":"d"}}"#.len());
    }
}
