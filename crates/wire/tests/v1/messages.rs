//! Bodies as SDKs and documentation write them, and the messages they are.

use std::time::Duration;

use cresset_message::{
    AndroidNotification, Color, LightSettings, Message, NotificationPriority, Priority, Proxy, Rejection,
    Target, Timestamp, Value, Visibility, limits,
};
use cresset_wire::v1::parse_send_request;

use super::parsed;

fn android(inside: &str) -> cresset_message::AndroidConfig {
    parsed(&format!(r#"{{"message": {{"topic": "t", "android": {{{inside}}}}}}}"#)).android.unwrap()
}

fn android_notification(inside: &str) -> AndroidNotification {
    android(&format!(r#""notification": {{{inside}}}"#)).notification.unwrap()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn every_documented_field_is_read() {
    let request = parse_send_request(include_bytes!("full.json")).unwrap();
    assert!(request.validate_only);
    let Message { target, data, notification, android, webpush, apns, fcm_options, receipt_id } =
        request.message;
    assert_eq!(receipt_id, None, "v1 has none");
    assert_eq!(target, Target::Token("fGw0qy4TGgk:APA91b-example".to_owned()));
    assert_eq!(data, pairs(&[("score", "850"), ("time", "2:45")]));
    let notification = notification.unwrap();
    assert_eq!(notification.title.as_deref(), Some("Breaking news"));
    assert_eq!(notification.image.as_deref(), Some("https://example.org/a.png"));
    assert_eq!(fcm_options.analytics_label.as_deref(), Some("spring"));

    let android = android.unwrap();
    assert_eq!(android.collapse_key.as_deref(), Some("score"));
    assert_eq!(android.priority, Some(Priority::High));
    assert_eq!(android.ttl, Some(Duration::from_secs(3)), "3.5 s, floored");
    assert_eq!(android.restricted_package_name.as_deref(), Some("org.example.app"));
    assert_eq!(android.data, pairs(&[("only", "android")]));
    assert_eq!(android.fcm_options.analytics_label.as_deref(), Some("android_label"));
    assert!(android.direct_boot_ok && android.bandwidth_constrained_ok && android.restricted_satellite_ok);
    let text = |t: &str| Some(t.to_owned());
    assert_eq!(
        android.notification.unwrap(),
        AndroidNotification {
            title: text("t"),
            body: text("b"),
            icon: text("i"),
            color: text("#7e55c3"),
            sound: text("s"),
            tag: text("g"),
            click_action: text("c"),
            body_loc_key: text("bk"),
            body_loc_args: vec!["FooCorp".to_owned(), "11.80".to_owned()],
            title_loc_key: text("tk"),
            title_loc_args: vec!["x".to_owned()],
            channel_id: text("ch"),
            ticker: text("ti"),
            sticky: true,
            event_time: Some(Timestamp::from_micros(1_571_659_200_123_456)),
            local_only: true,
            notification_priority: Some(NotificationPriority::Low),
            default_sound: true,
            default_vibrate_timings: true,
            default_light_settings: true,
            vibrate_timings: vec![Duration::from_millis(500), Duration::from_millis(250)],
            visibility: Some(Visibility::Secret),
            notification_count: Some(5),
            light_settings: Some(LightSettings {
                color: Color { red: 0.5, green: 0.25, blue: 1.0, alpha: Some(0.75) },
                light_on_duration: Duration::from_millis(1_500),
                light_off_duration: Duration::from_secs(2),
            }),
            image: text("https://example.org/b.png"),
            proxy: Some(Proxy::IfPriorityLowered),
            bypass_proxy_notification: true,
        }
    );

    let webpush = webpush.unwrap();
    assert_eq!(webpush.header("ttl"), Some("86400"));
    assert_eq!(webpush.data, pairs(&[("only", "web")]));
    assert_eq!(webpush.notification.unwrap().get("requireInteraction"), Some(&Value::Bool(true)));
    assert_eq!(webpush.fcm_options.link.as_deref(), Some("https://example.org/"));
    let apns = apns.unwrap();
    assert_eq!(apns.headers, pairs(&[("apns-priority", "10")]));
    assert_eq!(apns.live_activity_token.as_deref(), Some("abc"));
    assert_eq!(apns.image.as_deref(), Some("https://example.org/c.png"));
    let Some(Value::Struct(aps)) = apns.payload.as_ref().and_then(|p| p.get("aps")) else { panic!("no aps") };
    assert_eq!(aps.get("badge"), Some(&Value::Number(42.0)));
}

/// Node mixes both spellings in one message (`protocol/http-v1.md` §2.7); the documentation's
/// examples have trailing commas, relative links, and headers that are none.
#[test]
fn bodies_of_sdks_and_documentation_pass_all_rules() {
    for body in [
        r#"{"validate_only":true,"message":{"topic":"t","fcmOptions":{"analyticsLabel":"l"},"android":{"ttl":"3.500000000s","collapse_key":"k","priority":"high","notification":{"event_time":"2019-10-20T12:00:00.100000000Z","light_settings":{"color":{"red":0.2,"green":0.4,"blue":0.6,"alpha":1},"light_on_duration":"0.200000000s","light_off_duration":"0.300000000s"}}}}}"#,
        r#"{"message":{"condition":"'TopicA' in topics && ('TopicB' in topics || 'TopicC' in topics)","data":{"k":"v"}},"validateOnly":false}"#,
        r#"{"message":{"topic":"industry-tech","notification":{"title":"Breaking News...",},
            "android":{"notification":{"click_action":"news_intent"}},
            "apns":{"payload":{"aps":{"category" : "INVITE_CATEGORY"}},},
            "webpush":{"fcm_options":{"link":"breakingnews.html"}}}}"#,
        r#"{"message":{"topic":"Tech","android":{"ttl":"3600s","notification":{
            "body_loc_key":"STOCK_NOTIFICATION_BODY","body_loc_args":["FooCorp","11.80","835.67","1.43"],},},
            "apns":{"payload":{"aps":{"alert":{"loc-key":"STOCK_NOTIFICATION_BODY",
            "loc-args":["FooCorp","11.80","835.67","1.43"],},},},},},}"#,
        r#"{"message":{"topic":"industry-tech","notification":{"title":"Sparky says hello!",},
            "webpush":{"headers":{"image":"https://foo.bar/pizza-monster.png"}}}}"#,
        r#"{"message":{"token":"a","webpush":{"headers":{"X-Custom-Val":"OK"},"notification":{"title":"t","body":"b"}}}}"#,
        r#"{"message":{"topic":"t"}}"#,
    ] {
        assert_eq!(limits::check(&parsed(body)), Ok(()), "{body}");
    }
}

#[test]
fn types_are_taken_leniently() {
    for (written, value) in [
        ("true", true),
        ("\"YES\"", true),
        ("\"t\"", true),
        ("1", true),
        ("\"0\"", false),
        ("\"n\"", false),
        ("0", false),
    ] {
        assert_eq!(android(&format!(r#""direct_boot_ok": {written}"#)).direct_boot_ok, value, "{written}");
    }
    for (written, count) in
        [("7", Some(7)), ("\"-7\"", Some(-7)), ("7.0", Some(7)), ("7e2", Some(700)), ("null", None)]
    {
        let notification = android_notification(&format!(r#""notification_count": {written}"#));
        assert_eq!(notification.notification_count, count, "{written}");
    }
    for (written, priority) in [
        ("\"HIGH\"", Some(Priority::High)),
        ("\"high\"", Some(Priority::High)),
        ("\"normal\"", Some(Priority::Normal)),
        ("\"1\"", Some(Priority::High)),
        ("1", Some(Priority::High)),
        ("0", Some(Priority::Normal)),
        ("77", None),
        ("null", None),
    ] {
        assert_eq!(android(&format!(r#""priority": {written}"#)).priority, priority, "{written}");
    }
    let light = android_notification(
        r#""light_settings": {"color": {"red": "0.5", "green": 1, "alpha": null}, "light_on_duration": "0s", "lightOffDuration": "1.5s"}"#,
    );
    let color = Color { red: 0.5, green: 1.0, blue: 0.0, alpha: None };
    assert_eq!(light.light_settings.unwrap().color, color);
}

#[test]
fn one_value_stands_for_a_list_and_null_for_nothing() {
    assert_eq!(android_notification(r#""body_loc_args": "one""#).body_loc_args, ["one"]);
    assert_eq!(android_notification(r#""body_loc_args": ["a", null, "b"]"#).body_loc_args, ["a", "b"]);
    assert_eq!(android_notification(r#""vibrate_timings": "1s""#).vibrate_timings, [Duration::from_secs(1)]);
    let message =
        parsed(r#"{"message": {"token": null, "topic": "t", "android": null, "data": {"k": null}}}"#);
    assert_eq!((message.target, message.android), (Target::Topic("t".to_owned()), None));
    assert_eq!(message.data, pairs(&[("k", "")]));
}

#[test]
fn of_duplicate_keys_the_last_wins() {
    let message = parsed(
        r#"{"message": {"topic": "a", "topic": "b", "data": {"k": "1", "l": "2", "k": "3"},
            "fcmOptions": {"analytics_label": "x"}, "fcm_options": {},
            "apns": {"payload": {"k": 1, "k": {"deep": 2}}}}}"#,
    );
    assert_eq!(message.target, Target::Topic("b".to_owned()));
    assert_eq!(message.data, pairs(&[("k", "3"), ("l", "2")]));
    assert_eq!(message.fcm_options.analytics_label, None);
    let payload = message.apns.unwrap().payload.unwrap();
    assert!(matches!(payload.get("k"), Some(Value::Struct(_))));
}

#[test]
fn android_v2_is_told_in_the_words_of_android() {
    let v2 = |inside: &str| {
        let body = format!(r#"{{"message": {{"token": "t", "android_v2": {{"ttl": "5s", {inside}}}}}}}"#);
        parsed(&body).android.unwrap()
    };
    let remote =
        v2(r#""remote_notification": {"notification": {"title": "t", "id": 3}, "mutable_content": true}"#);
    assert_eq!((remote.priority, remote.ttl), (Some(Priority::High), Some(Duration::from_secs(5))));
    assert_eq!(remote.notification.unwrap().title.as_deref(), Some("t"));
    let data =
        v2(r#""remoteNotification": {"notification": {"title": "t"}, "use_as_v1_data_message": true}"#);
    assert_eq!((data.priority, data.notification), (Some(Priority::High), None));
    let sync = v2(r#""background_sync": {}"#);
    assert_eq!((sync.priority, sync.notification), (Some(Priority::Normal), None));
}

#[test]
fn what_the_types_cannot_hold_is_refused_with_its_place() {
    for (inside, field) in [
        (r#""android": {}, "android_v2": {"background_sync": {}}"#, "message.android_v2"),
        (r#""android_v2": {}"#, "message.android_v2"),
        (r#""android": {"ttl": "-1s"}"#, "message.android.ttl"),
        (r#""android": {"ttl": "-0.5s"}"#, "message.android.ttl"),
        (
            r#""android": {"notification": {"vibrate_timings": ["-1s"]}}"#,
            "message.android.notification.vibrate_timings",
        ),
        (
            r#""android": {"notification": {"light_settings": {"light_on_duration": "1s", "light_off_duration": "1s"}}}"#,
            "message.android.notification.light_settings.color",
        ),
        (
            r#""android": {"notification": {"light_settings": {"color": {}, "light_on_duration": "1s"}}}"#,
            "message.android.notification.light_settings.light_off_duration",
        ),
    ] {
        match parse_send_request(format!(r#"{{"message": {{"topic": "t", {inside}}}}}"#).as_bytes()) {
            Err(Rejection::InvalidField(violation)) => assert_eq!(violation.field, field),
            other => panic!("{inside}: {other:?}"),
        }
    }
    let both =
        r#"{"message": {"topic": "t", "android_v2": {"background_sync": {}, "remote_notification": {}}}}"#;
    assert!(super::violations(both)[0].ends_with("Cannot set 'remote_notification'"));
}
