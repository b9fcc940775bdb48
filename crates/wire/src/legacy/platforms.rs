//! What a legacy message says to each platform, in the words of v1 (`protocol/legacy-http.md` §4.2,
//! §4.4). Where the page does not say how a key reaches a platform, that is said here.

use std::time::Duration;

use cresset_message::{
    AndroidConfig, AndroidNotification, ApnsConfig, FcmOptions, Message, Notification, Priority, Struct,
    Target, Timestamp, Value, WebpushConfig, WebpushFcmOptions, limits,
};

use super::read::{Record, Value as Read};

/// The options of §4.2 that change what is sent.
#[derive(Default)]
pub(super) struct Options {
    pub(super) analytics_label: Option<String>,
    pub(super) link: Option<String>,
    pub(super) collapse_key: Option<String>,
    pub(super) high_priority: Option<bool>,
    pub(super) content_available: bool,
    pub(super) mutable_content: bool,
    pub(super) time_to_live: Option<Duration>,
    pub(super) restricted_package_name: Option<String>,
    pub(super) direct_boot_ok: bool,
}

/// Bytes of a collapse id of APNs (`protocol/apns.md` §1.2).
const MAX_COLLAPSE_ID: usize = 64;

pub(super) fn message(
    target: Target,
    data: Vec<(String, String)>,
    notification: Option<Record<'_>>,
    options: Options,
    now: Timestamp,
) -> Message {
    // An empty notification shows nothing, but is as urgent as one (§4.4).
    let notifies = notification.is_some();
    let shown = notification.filter(|given| !given.is_empty()).map(Shown::of);
    let priority = match (options.high_priority, notifies) {
        (Some(true), _) | (None, true) => Priority::High,
        (Some(false), _) | (None, false) => Priority::Normal,
    };
    Message {
        target,
        data,
        notification: shown.as_ref().and_then(Shown::common),
        webpush: webpush(shown.as_ref(), &options, priority),
        apns: apns(shown.as_ref(), &options, now),
        fcm_options: FcmOptions { analytics_label: options.analytics_label.clone() },
        android: android(shown, options, priority),
        // For XMPP, which knows the id to tell it by.
        receipt_id: None,
    }
}

/// The keys of `notification` (§4.4).
struct Shown {
    title: Option<String>,
    body: Option<String>,
    image: Option<String>,
    icon: Option<String>,
    sound: Option<Sound>,
    badge: Option<u64>,
    tag: Option<String>,
    color: Option<String>,
    click_action: Option<String>,
    subtitle: Option<String>,
    body_loc_key: Option<String>,
    body_loc_args: Vec<String>,
    title_loc_key: Option<String>,
    title_loc_args: Vec<String>,
    android_channel_id: Option<String>,
}

enum Sound {
    Name(String),
    /// A critical alert of iOS.
    Critical(Struct),
}

impl Shown {
    fn of(mut given: Record<'_>) -> Self {
        let sound = match given.take("sound") {
            Some(Read::String(name)) => Some(Sound::Name(name.into_owned())),
            Some(Read::Struct(fields)) => Some(Sound::Critical(fields)),
            _ => None,
        };
        Self {
            title: given.string("title"),
            body: given.string("body"),
            image: given.string("image"),
            icon: given.string("icon"),
            sound,
            badge: given.number("badge"),
            tag: given.string("tag"),
            color: given.string("color"),
            click_action: given.string("click_action"),
            subtitle: given.string("subtitle"),
            body_loc_key: given.string("body_loc_key"),
            body_loc_args: given.strings("body_loc_args"),
            title_loc_key: given.string("title_loc_key"),
            title_loc_args: given.strings("title_loc_args"),
            android_channel_id: given.string("android_channel_id"),
        }
    }

    /// What every platform shows, if that is anything.
    fn common(&self) -> Option<Notification> {
        let common =
            Notification { title: self.title.clone(), body: self.body.clone(), image: self.image.clone() };
        (common != Notification::default()).then_some(common)
    }
}

fn android(shown: Option<Shown>, options: Options, priority: Priority) -> Option<AndroidConfig> {
    Some(AndroidConfig {
        collapse_key: options.collapse_key,
        priority: Some(priority),
        ttl: options.time_to_live,
        restricted_package_name: options.restricted_package_name,
        notification: shown.map(android_notification),
        direct_boot_ok: options.direct_boot_ok,
        ..AndroidConfig::default()
    })
}

/// `title`, `body` and `image` are the common ones.
fn android_notification(shown: Shown) -> AndroidNotification {
    AndroidNotification {
        icon: shown.icon,
        sound: shown.sound.and_then(|sound| match sound {
            Sound::Name(name) => Some(name),
            Sound::Critical(_) => None,
        }),
        tag: shown.tag,
        color: shown.color,
        click_action: shown.click_action,
        body_loc_key: shown.body_loc_key,
        body_loc_args: shown.body_loc_args,
        title_loc_key: shown.title_loc_key,
        title_loc_args: shown.title_loc_args,
        channel_id: shown.android_channel_id,
        ..AndroidNotification::default()
    }
}

/// The same life, urgency and collapse key as Android's. That `collapse_key` becomes the `Topic`, as far
/// as it may be one (RFC 8030 §5.4), is inferred: web apps are told their Topic as `collapse_key`.
fn webpush(shown: Option<&Shown>, options: &Options, priority: Priority) -> Option<WebpushConfig> {
    let mut headers = Vec::new();
    let mut header = |name: &str, value: String| headers.push((name.to_owned(), value));
    if let Some(ttl) = options.time_to_live {
        header("TTL", ttl.as_secs().to_string());
    }
    if priority == Priority::High {
        header("Urgency", "high".to_owned());
    }
    if let Some(topic) = options.collapse_key.as_deref().filter(|key| limits::is_web_push_topic(key)) {
        header("Topic", topic.to_owned());
    }
    // `click_action` stands in the notification, where the SDKs of that time look for it, and today's
    // too if there is no link.
    let own = [
        ("icon", shown.and_then(|shown| shown.icon.as_deref())),
        ("click_action", shown.and_then(|shown| shown.click_action.as_deref())),
    ];
    let own: Struct = own.into_iter().filter_map(|(name, text)| Some((name, Value::from(text?)))).collect();
    let fcm_options = WebpushFcmOptions { link: options.link.clone(), analytics_label: None };
    let config = WebpushConfig {
        headers,
        notification: (!own.is_empty()).then_some(own),
        fcm_options,
        ..WebpushConfig::default()
    };
    (config != WebpushConfig::default()).then_some(config)
}

/// The legacy keys are APNs' own under other names (§4.2, §4.4). That `collapse_key` is the collapse id,
/// as far as it may be one, is inferred.
fn apns(shown: Option<&Shown>, options: &Options, now: Timestamp) -> Option<ApnsConfig> {
    let mut headers = Vec::new();
    let mut header = |name: &str, value: String| headers.push((name.to_owned(), value));
    // Asked for, it is told; else APNs' default is right for what the message is.
    if let Some(high) = options.high_priority {
        header("apns-priority", if high { "10" } else { "5" }.to_owned());
    }
    if let Some(ttl) = options.time_to_live {
        // 0: now or never.
        let until = if ttl.is_zero() { 0 } else { (now + ttl).as_secs() };
        header("apns-expiration", until.to_string());
    }
    if let Some(id) = options.collapse_key.as_deref().filter(|key| is_collapse_id(key)) {
        header("apns-collapse-id", id.to_owned());
    }
    let aps = aps(shown, options);
    let payload = (!aps.is_empty()).then(|| [("aps", Value::Struct(aps))].into_iter().collect());
    let config = ApnsConfig { headers, payload, ..ApnsConfig::default() };
    (config != ApnsConfig::default()).then_some(config)
}

fn is_collapse_id(key: &str) -> bool {
    (1..=MAX_COLLAPSE_ID).contains(&key.len()) && key.bytes().all(|b| matches!(b, b' '..=b'~'))
}

fn aps(shown: Option<&Shown>, options: &Options) -> Struct {
    let mut aps = Struct::default();
    if let Some(shown) = shown {
        let alert = alert(shown);
        if !alert.is_empty() {
            aps.insert("alert", Value::Struct(alert));
        }
        match &shown.sound {
            Some(Sound::Name(name)) => aps.insert("sound", Value::from(name.as_str())),
            Some(Sound::Critical(fields)) => aps.insert("sound", Value::Struct(fields.clone())),
            None => {}
        }
        if let Some(badge) = shown.badge {
            aps.insert("badge", Value::Number(badge as f64));
        }
        if let Some(category) = &shown.click_action {
            aps.insert("category", Value::from(category.as_str()));
        }
    }
    for (name, set) in
        [("content-available", options.content_available), ("mutable-content", options.mutable_content)]
    {
        if set {
            aps.insert(name, Value::Number(1.0));
        }
    }
    aps
}

/// Title and body are the common ones.
fn alert(shown: &Shown) -> Struct {
    let text = |text: &Option<String>| text.as_deref().map(Value::from);
    let list = |args: &[String]| {
        (!args.is_empty()).then(|| Value::List(args.iter().map(|arg| Value::from(arg.as_str())).collect()))
    };
    let fields = [
        ("subtitle", text(&shown.subtitle)),
        ("title-loc-key", text(&shown.title_loc_key)),
        ("title-loc-args", list(&shown.title_loc_args)),
        ("loc-key", text(&shown.body_loc_key)),
        ("loc-args", list(&shown.body_loc_args)),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}
