//! `protocol/http-v1.md` §3.1, row by row: what is written inside `message`, and what is told of it.

use super::violations;

#[test]
fn every_misfit_is_told_in_the_words_of_the_front_end() {
    const ROWS: &[(&str, &str, &str)] = &[
        // --- names ---
        (
            r#""tokens": ["a"]"#,
            "message",
            r#"Invalid JSON payload received. Unknown name "tokens" at 'message': Cannot find field."#,
        ),
        (
            r#""to": null"#,
            "message",
            r#"Invalid JSON payload received. Unknown name "to" at 'message': Cannot find field."#,
        ),
        (
            r#""Token": "a""#,
            "message",
            r#"Invalid JSON payload received. Unknown name "Token" at 'message': Cannot find field."#,
        ),
        (
            r#""android": {"notification": {"bodyLoc_key": "a"}}"#,
            "message.android.notification",
            r#"Invalid JSON payload received. Unknown name "bodyLoc_key" at 'message.android.notification': Cannot find field."#,
        ),
        // --- lists ---
        (
            r#""notification": [{}]"#,
            "message",
            r#"Invalid JSON payload received. Unknown name "notification" at 'message': Proto field is not repeating, cannot start list."#,
        ),
        (
            r#""topic": ["a"]"#,
            "message",
            r#"Invalid JSON payload received. Unknown name "topic" at 'message': Proto field is not repeating, cannot start list."#,
        ),
        (
            r#""data": ["a"]"#,
            "message",
            "Invalid value at 'message' (Map), Cannot bind a list to map for field 'data'.",
        ),
        (
            r#""data": {"k": ["a"]}"#,
            "message.data",
            "Invalid value at 'message.data' (Map), Cannot have repeated items ('k') within a map.",
        ),
        (
            r#""android": {"notification": {"body_loc_args": ["a", 1]}}"#,
            "message.android.notification.body_loc_args[1]",
            "Invalid value at 'message.android.notification.body_loc_args[1]' (TYPE_STRING), 1",
        ),
        // --- scalars ---
        (
            r#""data": {"k": 12}"#,
            "message.data[0].value",
            "Invalid value at 'message.data[0].value' (TYPE_STRING), 12",
        ),
        (
            r#""data": {"a": "b", "k": true}"#,
            "message.data[1].value",
            "Invalid value at 'message.data[1].value' (TYPE_STRING), true",
        ),
        (r#""topic": -1.5"#, "message.topic", "Invalid value at 'message.topic' (TYPE_STRING), -1.5"),
        (
            r#""android": {"direct_boot_ok": "a \"b\""}"#,
            "message.android.direct_boot_ok",
            r#"Invalid value at 'message.android.direct_boot_ok' (TYPE_BOOL), "a "b"""#,
        ),
        (
            r#""android": {"directBootOk": 2}"#,
            "message.android.direct_boot_ok",
            "Invalid value at 'message.android.direct_boot_ok' (TYPE_BOOL), 2",
        ),
        (
            r#""android": {"notification": {"notification_count": 1.5}}"#,
            "message.android.notification.notification_count",
            "Invalid value at 'message.android.notification.notification_count' (TYPE_INT32), 1.5",
        ),
        (
            r#""android": {"notification": {"notification_count": 2147483648}}"#,
            "message.android.notification.notification_count",
            "Invalid value at 'message.android.notification.notification_count' (TYPE_INT32), 2147483648",
        ),
        (
            r#""android": {"notification": {"light_settings": {"color": {"red": "x"}}}}"#,
            "message.android.notification.light_settings.color.red",
            r#"Invalid value at 'message.android.notification.light_settings.color.red' (TYPE_FLOAT), "x""#,
        ),
        // --- messages ---
        (
            r#""notification": "x""#,
            "message.notification",
            r#"Invalid value at 'message.notification' (type.googleapis.com/google.firebase.fcm.v1.Notification), "x""#,
        ),
        (
            r#""apns": {"payload": true}"#,
            "message.apns.payload",
            "Invalid value at 'message.apns.payload' (type.googleapis.com/google.protobuf.Struct), true",
        ),
        (
            r#""data": "x""#,
            "message.data",
            r#"Invalid value at 'message.data' (type.googleapis.com/google.firebase.fcm.v1.Message.DataEntry), "x""#,
        ),
        (
            r#""topic": {"name": "a"}"#,
            "message",
            "Invalid value at 'message' (topic), Starting an object on a scalar field",
        ),
        // --- enums ---
        (
            r#""android": {"priority": "urgent"}"#,
            "message.android.priority",
            r#"Invalid value at 'message.android.priority' (type.googleapis.com/google.firebase.fcm.v1.AndroidMessagePriority), "urgent""#,
        ),
        // --- durations ---
        (
            r#""android": {"ttl": "3600"}"#,
            "message.android.ttl",
            "Invalid value at 'message.android.ttl' (type.googleapis.com/google.protobuf.Duration), Field 'ttl', Illegal duration format; duration must end with 's'",
        ),
        (
            r#""android": {"ttl": "1hs"}"#,
            "message.android.ttl",
            "Invalid value at 'message.android.ttl' (type.googleapis.com/google.protobuf.Duration), Field 'ttl', Invalid duration format, failed to parse seconds",
        ),
        (
            r#""android": {"ttl": "1.1234567890s"}"#,
            "message.android.ttl",
            "Invalid value at 'message.android.ttl' (type.googleapis.com/google.protobuf.Duration), Field 'ttl', Invalid duration format, failed to parse nano seconds",
        ),
        (
            r#""android": {"ttl": "315576000001s"}"#,
            "message.android.ttl",
            "Invalid value at 'message.android.ttl' (type.googleapis.com/google.protobuf.Duration), Field 'ttl', Duration value exceeds limits",
        ),
        (
            r#""android": {"ttl": 3600}"#,
            "message.android.ttl",
            "Invalid value at 'message.android.ttl' (type.googleapis.com/google.protobuf.Duration), Field 'ttl', Invalid data type for duration, value is 3600",
        ),
        // --- timestamps ---
        (
            r#""android": {"notification": {"eventTime": "noon"}}"#,
            "message.android.notification.event_time",
            "Invalid value at 'message.android.notification.event_time' (type.googleapis.com/google.protobuf.Timestamp), Field 'eventTime', Invalid time format: noon",
        ),
        (
            r#""android": {"notification": {"event_time": 1}}"#,
            "message.android.notification.event_time",
            "Invalid value at 'message.android.notification.event_time' (type.googleapis.com/google.protobuf.Timestamp), Field 'event_time', Invalid data type for timestamp, value is 1",
        ),
        // --- oneof ---
        (
            r#""token": "a", "topic": "b""#,
            "message",
            "Invalid value at 'message' (oneof), oneof field 'target' is already set. Cannot set 'topic'",
        ),
        (
            r#""topic": "b", "token": 1"#,
            "message",
            "Invalid value at 'message' (oneof), oneof field 'target' is already set. Cannot set 'token'",
        ),
    ];
    for (inside, field, text) in ROWS {
        assert_eq!(violations(&format!("{{\"message\": {{{inside}}}}}")), [format!("{field} | {text}")]);
    }
}

#[test]
fn what_is_wrong_with_the_root_has_no_field() {
    const ROWS: &[(&str, &str)] = &[
        (r#"{"to": "x"}"#, r#" | Invalid JSON payload received. Unknown name "to": Cannot find field."#),
        ("[]", r#" | Invalid JSON payload received. Unknown name "": Root element must be a message."#),
        ("12", r#" | Invalid JSON payload received. Unknown name "": Root element must be a message."#),
        (
            r#"{"message": {}, "validate_only": "maybe"}"#,
            r#"validate_only | Invalid value at 'validate_only' (TYPE_BOOL), "maybe""#,
        ),
    ];
    for (body, line) in ROWS {
        assert_eq!(violations(body), [*line], "{body}");
    }
}

#[test]
fn violations_come_in_body_order_and_at_most_a_hundred() {
    let body =
        r#"{"x": 1, "message": {"data": {"a": 1, "b": "fine", "c": null, "d": false}, "y": {}}, "z": []}"#;
    let fields: Vec<_> =
        violations(body).iter().map(|line| line.split(" | ").next().unwrap().to_owned()).collect();
    assert_eq!(fields, ["", "message.data[0].value", "message.data[3].value", "message", ""]);

    let wide: String = (0..1000).map(|i| format!("\"x{i}\": {i},")).collect();
    assert_eq!(violations(&format!("{{{wide}}}")).len(), 100);
}
