//! Arbitrary messages for property tests of whoever writes or reads messages (feature `proptest`).
//! Any value that the types can hold and JSON can write, not only what the limits allow.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use crate::{
    AndroidConfig, AndroidNotification, ApnsConfig, Color, FcmOptions, LightSettings, Message, Notification,
    NotificationPriority, Priority, Proxy, Struct, Target, Timestamp, Value, Visibility, WebpushConfig,
    WebpushFcmOptions, last_wins,
};

/// The last microsecond of the year 9999, where RFC 3339 ends.
const MAX_MICROS: u64 = 253_402_300_799_999_999;

pub fn message() -> impl Strategy<Value = Message> {
    let label = of(text());
    (target(), map(), of(notification()), of(android()), of(webpush()), of(apns()), label).prop_map(
        |(target, data, notification, android, webpush, apns, analytics_label)| Message {
            target,
            data,
            notification,
            android,
            webpush,
            apns,
            fcm_options: FcmOptions { analytics_label },
            // v1 has no word for it.
            receipt_id: None,
        },
    )
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z]{1,8}", ".{0,12}", "[\\x00-\\x1f\"'\\\\é😀]{1,6}"]
}

fn target() -> impl Strategy<Value = Target> {
    let kinds = [Target::Token, Target::Fid, Target::Topic, Target::Condition];
    (0..kinds.len(), text()).prop_map(move |(kind, text)| kinds[kind](text))
}

fn map() -> impl Strategy<Value = Vec<(String, String)>> {
    vec((text(), text()), 0..4).prop_map(last_wins)
}

fn notification() -> impl Strategy<Value = Notification> {
    (of(text()), of(text()), of(text())).prop_map(|(title, body, image)| Notification { title, body, image })
}

fn android() -> impl Strategy<Value = AndroidConfig> {
    let texts = (of(text()), of(text()), of(text()));
    let priority = of(prop_oneof![Just(Priority::Normal), Just(Priority::High)]);
    let ttl = of((0..=2_419_200u64).prop_map(Duration::from_secs));
    (texts, priority, ttl, map(), of(android_notification()), any::<[bool; 3]>()).prop_map(
        |((collapse_key, package, analytics_label), priority, ttl, data, notification, flags)| {
            AndroidConfig {
                collapse_key,
                priority,
                ttl,
                restricted_package_name: package,
                data,
                notification,
                data_only: false,
                fcm_options: FcmOptions { analytics_label },
                direct_boot_ok: flags[0],
                bandwidth_constrained_ok: flags[1],
                restricted_satellite_ok: flags[2],
            }
        },
    )
}

fn android_notification() -> impl Strategy<Value = AndroidNotification> {
    let texts = vec(of(text()), 12);
    let args = (vec(text(), 0..3), vec(text(), 0..3));
    let numbers = (of(0..=MAX_MICROS), of(any::<i32>()), vec(duration(), 0..4));
    let enums = (of(0..5usize), of(0..3usize), of(0..3usize));
    (texts, args, any::<[bool; 6]>(), numbers, enums, of(light())).prop_map(
        |(mut texts, args, flags, (event_time, count, vibrate_timings), enums, light_settings)| {
            let mut next = move || texts.pop().flatten();
            AndroidNotification {
                title: next(),
                body: next(),
                icon: next(),
                color: next(),
                sound: next(),
                tag: next(),
                click_action: next(),
                body_loc_key: next(),
                body_loc_args: args.0,
                title_loc_key: next(),
                title_loc_args: args.1,
                channel_id: next(),
                ticker: next(),
                sticky: flags[0],
                event_time: event_time.map(Timestamp::from_micros),
                local_only: flags[1],
                notification_priority: enums.0.map(|i| PRIORITIES[i]),
                default_sound: flags[2],
                default_vibrate_timings: flags[3],
                default_light_settings: flags[4],
                vibrate_timings,
                visibility: enums.1.map(|i| VISIBILITIES[i]),
                notification_count: count,
                light_settings,
                image: next(),
                proxy: enums.2.map(|i| PROXIES[i]),
                bypass_proxy_notification: flags[5],
            }
        },
    )
}

const PRIORITIES: [NotificationPriority; 5] = [
    NotificationPriority::Min,
    NotificationPriority::Low,
    NotificationPriority::Default,
    NotificationPriority::High,
    NotificationPriority::Max,
];
const VISIBILITIES: [Visibility; 3] = [Visibility::Private, Visibility::Public, Visibility::Secret];
const PROXIES: [Proxy; 3] = [Proxy::Allow, Proxy::Deny, Proxy::IfPriorityLowered];

fn duration() -> impl Strategy<Value = Duration> {
    (0..100_000u64, 0..1_000_000_000u32).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
}

fn light() -> impl Strategy<Value = LightSettings> {
    let part = || prop_oneof![Just(0f32), 0f32..=1f32];
    let color = (part(), part(), part(), of(part()));
    (color, duration(), duration()).prop_map(|((red, green, blue, alpha), on, off)| LightSettings {
        color: Color { red, green, blue, alpha },
        light_on_duration: on,
        light_off_duration: off,
    })
}

fn webpush() -> impl Strategy<Value = WebpushConfig> {
    (map(), map(), of(free()), of(text()), of(text())).prop_map(
        |(headers, data, notification, link, analytics_label)| WebpushConfig {
            headers,
            data,
            notification,
            fcm_options: WebpushFcmOptions { link, analytics_label },
        },
    )
}

fn apns() -> impl Strategy<Value = ApnsConfig> {
    (map(), of(free()), of(text()), of(text()), of(text())).prop_map(
        |(headers, payload, analytics_label, image, live_activity_token)| ApnsConfig {
            headers,
            payload,
            analytics_label,
            image,
            live_activity_token,
        },
    )
}

/// Any JSON object, a few levels deep.
pub fn free() -> impl Strategy<Value = Struct> {
    let number = prop_oneof![any::<i64>().prop_map(|i| i as f64), proptest::num::f64::NORMAL];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        number.prop_map(Value::Number),
        text().prop_map(Value::String),
    ];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::List),
            vec((text(), inner), 0..4).prop_map(|fields| Value::Struct(fields.into_iter().collect())),
        ]
    });
    vec((text(), value), 0..4).prop_map(|fields| fields.into_iter().collect())
}
