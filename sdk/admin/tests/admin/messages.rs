//! Messages, by the names and values that HTTP v1 has for them.

use std::time::{Duration, SystemTime};

use cresset_admin_client::*;
use serde_json::{Value, json};

fn check(message: &Message, expected: Value) {
    assert_eq!(serde_json::to_value(message).unwrap(), expected);
}

#[test]
fn targets() {
    check(&Message::to_token("a"), json!({ "token": "a" }));
    check(&Message::to_fid("a"), json!({ "fid": "a" }));
    check(&Message::to_topic("a"), json!({ "topic": "a" }));
    check(&Message::to_topic("/topics/a"), json!({ "topic": "a" }));
    check(&Message::to_condition("'a' in topics"), json!({ "condition": "'a' in topics" }));
}

#[test]
fn everything_for_all_platforms() {
    let message = Message::to_topic("t")
        .data("a", "1")
        .data("b", "2")
        .notification(Notification::default().title("T").body("B").image("https://a.test/i.png"))
        .fcm_options(FcmOptions::default().analytics_label("l"));
    let expected = json!({
        "topic": "t",
        "data": { "a": "1", "b": "2" },
        "notification": { "title": "T", "body": "B", "image": "https://a.test/i.png" },
        "fcm_options": { "analytics_label": "l" },
    });
    check(&message, expected);
}

#[test]
fn everything_for_android() {
    let notification = AndroidNotification::default()
        .title("T")
        .color("#112233")
        .body_loc_key("b")
        .body_loc_args(["x", "y"].map(String::from))
        .sticky(true)
        .event_time(SystemTime::UNIX_EPOCH + Duration::new(784_111_777, 5_000_000))
        .notification_priority(NotificationPriority::Max)
        .vibrate_timings([Span(Duration::from_millis(1_500)), Span(Duration::ZERO)])
        .visibility(Visibility::Secret)
        .notification_count(-1)
        .light_settings(LightSettings {
            color: Color { alpha: Some(0.5), ..Color::rgb(255, 0, 51) },
            light_on_duration: Duration::from_secs(1).into(),
            light_off_duration: Duration::from_millis(250).into(),
        })
        .proxy(Proxy::IfPriorityLowered);
    let android = AndroidConfig::default()
        .collapse_key("k")
        .priority(AndroidPriority::Normal)
        .ttl(Duration::from_millis(3_500))
        .restricted_package_name("com.example.app")
        .data("a", "1")
        .notification(notification)
        .fcm_options(FcmOptions::default().analytics_label("l"))
        .direct_boot_ok(true)
        .bandwidth_constrained_ok(false)
        .restricted_satellite_ok(true);
    let expected = json!({
        "token": "t",
        "android": {
            "collapse_key": "k",
            "priority": "NORMAL",
            "ttl": "3.500000000s",
            "restricted_package_name": "com.example.app",
            "data": { "a": "1" },
            "notification": {
                "title": "T",
                "color": "#112233",
                "body_loc_key": "b",
                "body_loc_args": ["x", "y"],
                "sticky": true,
                "event_time": "1994-11-06T08:49:37.005000000Z",
                "notification_priority": "PRIORITY_MAX",
                "vibrate_timings": ["1.500000000s", "0s"],
                "visibility": "SECRET",
                "notification_count": -1,
                "light_settings": {
                    "color": { "red": 1.0, "green": 0.0, "blue": 0.2f32, "alpha": 0.5 },
                    "light_on_duration": "1s",
                    "light_off_duration": "0.250000000s",
                },
                "proxy": "IF_PRIORITY_LOWERED",
            },
            "fcm_options": { "analytics_label": "l" },
            "direct_boot_ok": true,
            "bandwidth_constrained_ok": false,
            "restricted_satellite_ok": true,
        },
    });
    check(&Message::to_token("t").android(android), expected);
}

#[test]
fn the_second_form_for_android() {
    let shown = AndroidNotificationV2::default().title("T").tag("t").id(7);
    let remote = AndroidRemoteNotification::default().notification(shown).mutable_content(true);
    let options = AndroidOptionsV2::default().ttl(Duration::from_secs(60)).data("a", "1");
    let remote = AndroidConfigV2::remote_notification(remote).options(options);
    let expected = json!({
        "fid": "f",
        "android_v2": {
            "remote_notification": {
                "notification": { "title": "T", "tag": "t", "id": 7 },
                "mutable_content": true,
            },
            "ttl": "60s",
            "data": { "a": "1" },
        },
    });
    check(&Message::to_fid("f").android_v2(remote), expected);
    let expected = json!({ "fid": "f", "android_v2": { "background_sync": {} } });
    check(&Message::to_fid("f").android_v2(AndroidConfigV2::background_sync()), expected);
}

#[test]
fn everything_for_browsers_and_apple() {
    let webpush = WebpushConfig::default()
        .headers("TTL", "60")
        .data("a", "1")
        .notification([("title", json!("T")), ("actions", json!([{ "action": "x" }])), ("tag", json!(null))])
        .fcm_options(WebpushFcmOptions::default().link("https://a.test/").analytics_label("l"));
    let apns = ApnsConfig::default()
        .headers("apns-priority", "5")
        .payload([("aps", json!({ "alert": { "title": "T" }, "badge": 3 }))])
        .fcm_options(ApnsFcmOptions::default().image("https://a.test/i.png"))
        .live_activity_token("lat");
    let expected = json!({
        "token": "t",
        "webpush": {
            "headers": { "TTL": "60" },
            "data": { "a": "1" },
            // What is another's format is sent as it is.
            "notification": { "title": "T", "actions": [{ "action": "x" }], "tag": null },
            "fcm_options": { "link": "https://a.test/", "analytics_label": "l" },
        },
        "apns": {
            "headers": { "apns-priority": "5" },
            "payload": { "aps": { "alert": { "title": "T" }, "badge": 3 } },
            "fcm_options": { "image": "https://a.test/i.png" },
            "live_activity_token": "lat",
        },
    });
    check(&Message::to_token("t").webpush(webpush).apns(apns), expected);
}
