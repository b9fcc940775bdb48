//! From values read by the schema to the [`Message`] everybody else speaks of. What the domain's
//! types cannot express is refused here: no target, two Android parts, negative durations, a light
//! without its parts.

use std::borrow::Cow;
use std::time::Duration;

use cresset_message::{
    AndroidConfig, AndroidNotification, ApnsConfig, Color, FcmOptions, LightSettings, Message, Notification,
    NotificationPriority, Priority, Proxy, Rejection, Struct, Target, Timestamp, Visibility, WebpushConfig,
    WebpushFcmOptions,
};

use super::SendRequest;
use super::read::{Record, Value};
use super::scalar::Span;

type Result<T> = std::result::Result<T, Rejection>;

pub(super) fn send_request(mut request: Record<'_>) -> Result<SendRequest> {
    let validate_only = request.bool("validate_only");
    let message = request.record("message").ok_or(Rejection::NoTarget)?;
    Ok(SendRequest { message: to_message(message)?, validate_only })
}

fn to_message(mut message: Record<'_>) -> Result<Message> {
    Ok(Message {
        target: target(&mut message).ok_or(Rejection::NoTarget)?,
        data: message.map("data"),
        notification: message.record("notification").map(notification),
        android: android_of_either_kind(message.record("android"), message.record("android_v2"))?,
        webpush: message.record("webpush").map(webpush),
        apns: message.record("apns").map(apns),
        fcm_options: fcm_options(message.record("fcm_options")),
        // Only XMPP has receipts.
        receipt_id: None,
    })
}

/// At most one is there: the reader saw to that.
fn target(message: &mut Record<'_>) -> Option<Target> {
    (message.string("token").map(Target::Token))
        .or_else(|| message.string("fid").map(Target::Fid))
        .or_else(|| message.string("topic").map(Target::Topic))
        .or_else(|| message.string("condition").map(Target::Condition))
}

fn notification(mut given: Record<'_>) -> Notification {
    Notification { title: given.string("title"), body: given.string("body"), image: given.string("image") }
}

fn fcm_options(given: Option<Record<'_>>) -> FcmOptions {
    FcmOptions { analytics_label: given.and_then(|mut options| options.string("analytics_label")) }
}

fn android_of_either_kind(v1: Option<Record<'_>>, v2: Option<Record<'_>>) -> Result<Option<AndroidConfig>> {
    match (v1, v2) {
        (Some(_), Some(_)) => Err(Rejection::field(
            "message.android_v2",
            "Only one of android and android_v2 can be set on a message.",
        )),
        (Some(v1), None) => android(v1).map(Some),
        (None, Some(v2)) => android_v2(v2).map(Some),
        (None, None) => Ok(None),
    }
}

fn android(mut given: Record<'_>) -> Result<AndroidConfig> {
    let priority = given.enumeration("priority").and_then(|number| match number {
        0 => Some(Priority::Normal),
        1 => Some(Priority::High),
        _ => None,
    });
    let notification = match given.record("notification") {
        Some(notification) => Some(android_notification(notification, "message.android.notification", true)?),
        None => None,
    };
    Ok(AndroidConfig { priority, notification, ..android_common(given, "message.android")? })
}

/// An `android_v2` in the words of `android` (§2.4): a remote notification is urgent and shown, a
/// background sync is neither. A remote notification that is to be a data message shows nothing, not
/// even the common notification.
fn android_v2(mut given: Record<'_>) -> Result<AndroidConfig> {
    const PATH: &str = "message.android_v2.remote_notification.notification";
    let (priority, notification) =
        match (given.record("remote_notification"), given.record("background_sync")) {
            (Some(mut remote), _) => {
                let as_data = remote.bool("use_as_v1_data_message");
                let shown = match remote.record("notification") {
                    Some(notification) => android_notification(notification, PATH, false)?,
                    None => AndroidNotification::default(),
                };
                (Priority::High, (!as_data).then_some(shown))
            }
            (None, Some(_)) => (Priority::Normal, None),
            (None, None) => {
                let text = "One of remote_notification and background_sync must be set.";
                return Err(Rejection::field("message.android_v2", text));
            }
        };
    let common = android_common(given, "message.android_v2")?;
    let data_only = notification.is_none();
    Ok(AndroidConfig { priority: Some(priority), notification, data_only, ..common })
}

/// What both kinds of Android part share: all but `priority` and `notification`.
fn android_common(mut given: Record<'_>, path: &str) -> Result<AndroidConfig> {
    Ok(AndroidConfig {
        collapse_key: given.string("collapse_key"),
        ttl: given.duration("ttl").map(|ttl| positive(ttl, path, "ttl")).transpose()?.map(whole_seconds),
        restricted_package_name: given.string("restricted_package_name"),
        data: given.map("data"),
        fcm_options: fcm_options(given.record("fcm_options")),
        direct_boot_ok: given.bool("direct_boot_ok"),
        bandwidth_constrained_ok: given.bool("bandwidth_constrained_ok"),
        restricted_satellite_ok: given.bool("restricted_satellite_ok"),
        priority: None,
        notification: None,
        data_only: false,
    })
}

fn android_notification(mut given: Record<'_>, path: &str, v1: bool) -> Result<AndroidNotification> {
    let vibrate_timings = given.durations("vibrate_timings").into_iter();
    let light_settings = given.record("light_settings");
    Ok(AndroidNotification {
        title: given.string("title"),
        body: given.string("body"),
        icon: given.string("icon"),
        color: given.string("color"),
        sound: given.string("sound"),
        tag: given.string("tag"),
        click_action: given.string("click_action"),
        body_loc_key: given.string("body_loc_key"),
        body_loc_args: given.strings("body_loc_args"),
        title_loc_key: given.string("title_loc_key"),
        title_loc_args: given.strings("title_loc_args"),
        channel_id: given.string("channel_id"),
        ticker: given.string("ticker"),
        sticky: given.bool("sticky"),
        event_time: given.timestamp("event_time"),
        local_only: given.bool("local_only"),
        notification_priority: given.enumeration("notification_priority").and_then(notification_priority),
        default_sound: given.bool("default_sound"),
        default_vibrate_timings: given.bool("default_vibrate_timings"),
        default_light_settings: given.bool("default_light_settings"),
        vibrate_timings: vibrate_timings
            .map(|timing| positive(timing, path, "vibrate_timings"))
            .collect::<Result<_>>()?,
        visibility: given.enumeration("visibility").and_then(visibility),
        notification_count: given.int32("notification_count"),
        light_settings: light_settings.map(|light| light_of(light, path)).transpose()?,
        image: given.string("image"),
        // `AndroidNotificationV2` has neither of these (§2.4).
        proxy: v1.then(|| given.enumeration("proxy").and_then(proxy)).flatten(),
        bypass_proxy_notification: v1 && given.bool("bypass_proxy_notification"),
    })
}

// Unspecified and undeclared numbers are as good as none.

fn notification_priority(number: i32) -> Option<NotificationPriority> {
    match number {
        1 => Some(NotificationPriority::Min),
        2 => Some(NotificationPriority::Low),
        3 => Some(NotificationPriority::Default),
        4 => Some(NotificationPriority::High),
        5 => Some(NotificationPriority::Max),
        _ => None,
    }
}

fn visibility(number: i32) -> Option<Visibility> {
    match number {
        1 => Some(Visibility::Private),
        2 => Some(Visibility::Public),
        3 => Some(Visibility::Secret),
        _ => None,
    }
}

fn proxy(number: i32) -> Option<Proxy> {
    match number {
        1 => Some(Proxy::Allow),
        2 => Some(Proxy::Deny),
        3 => Some(Proxy::IfPriorityLowered),
        _ => None,
    }
}

/// All three parts are required (§2.3).
fn light_of(mut given: Record<'_>, path: &str) -> Result<LightSettings> {
    let path = format!("{path}.light_settings");
    let missing = |name| Rejection::field(format!("{path}.{name}"), format!("The field {name} is required."));
    let mut color = given.record("color").ok_or_else(|| missing("color"))?;
    let mut required = |name| {
        let span = given.duration(name).ok_or_else(|| missing(name))?;
        positive(span, &path, name)
    };
    Ok(LightSettings {
        light_on_duration: required("light_on_duration")?,
        light_off_duration: required("light_off_duration")?,
        color: Color {
            red: color.float("red").unwrap_or(0.0),
            green: color.float("green").unwrap_or(0.0),
            blue: color.float("blue").unwrap_or(0.0),
            alpha: color.float("alpha"),
        },
    })
}

fn webpush(mut given: Record<'_>) -> WebpushConfig {
    let mut options = given.record("fcm_options");
    let mut option = |name| options.as_mut().and_then(|options| options.string(name));
    let fcm_options = WebpushFcmOptions { link: option("link"), analytics_label: option("analytics_label") };
    WebpushConfig {
        headers: given.map("headers"),
        data: given.map("data"),
        notification: given.free("notification"),
        fcm_options,
    }
}

fn apns(mut given: Record<'_>) -> ApnsConfig {
    let mut options = given.record("fcm_options");
    let mut option = |name| options.as_mut().and_then(|options| options.string(name));
    let (analytics_label, image) = (option("analytics_label"), option("image"));
    ApnsConfig {
        headers: given.map("headers"),
        payload: given.free("payload"),
        analytics_label,
        image,
        live_activity_token: given.string("live_activity_token"),
    }
}

fn positive(span: Span, path: &str, name: &str) -> Result<Duration> {
    if span.negative && !span.length.is_zero() {
        return Err(Rejection::field(format!("{path}.{name}"), "The duration must not be negative."));
    }
    Ok(span.length)
}

/// FCM cuts the fraction of a TTL off (§2.2).
fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}

/// Typed access: the reader has checked that a field's value is of its kind.
impl<'a> Record<'a> {
    fn string(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text.into_owned()),
            _ => None,
        }
    }

    fn bool(&mut self, name: &str) -> bool {
        matches!(self.take(name), Some(Value::Bool(true)))
    }

    fn int32(&mut self, name: &str) -> Option<i32> {
        match self.take(name)? {
            Value::Int32(value) => Some(value),
            _ => None,
        }
    }

    fn float(&mut self, name: &str) -> Option<f32> {
        match self.take(name)? {
            Value::Float(value) => Some(value),
            _ => None,
        }
    }

    fn enumeration(&mut self, name: &str) -> Option<i32> {
        match self.take(name)? {
            Value::Enum(number) => Some(number),
            _ => None,
        }
    }

    fn duration(&mut self, name: &str) -> Option<Span> {
        match self.take(name)? {
            Value::Duration(span) => Some(span),
            _ => None,
        }
    }

    fn timestamp(&mut self, name: &str) -> Option<Timestamp> {
        match self.take(name)? {
            Value::Timestamp(moment) => Some(moment),
            _ => None,
        }
    }

    fn free(&mut self, name: &str) -> Option<Struct> {
        match self.take(name)? {
            Value::Struct(fields) => Some(fields),
            _ => None,
        }
    }

    fn map(&mut self, name: &str) -> Vec<(String, String)> {
        let Some(Value::Map(entries)) = self.take(name) else { return Vec::new() };
        entries.into_iter().map(|(key, value)| (Cow::into_owned(key), Cow::into_owned(value))).collect()
    }

    fn record(&mut self, name: &str) -> Option<Record<'a>> {
        match self.take(name)? {
            Value::Record(record) => Some(record),
            _ => None,
        }
    }

    fn strings(&mut self, name: &str) -> Vec<String> {
        let only_strings = |value| match value {
            Value::String(text) => Some(text.into_owned()),
            _ => None,
        };
        self.list(name).into_iter().filter_map(only_strings).collect()
    }

    fn durations(&mut self, name: &str) -> Vec<Span> {
        let only_durations = |value| match value {
            Value::Duration(span) => Some(span),
            _ => None,
        };
        self.list(name).into_iter().filter_map(only_durations).collect()
    }

    fn list(&mut self, name: &str) -> Vec<Value<'a>> {
        match self.take(name) {
            Some(Value::List(values)) => values,
            _ => Vec::new(),
        }
    }
}
