//! §4.1: whom a message is for; and what else stands beside the message.

use cresset_message::Target;
use cresset_wire::legacy::Targets;

use super::read;

#[test]
fn each_way_to_name_recipients_is_read() {
    let to = |text: &str| Targets::To(text.into());
    let rows = [
        (r#"{"to": "tok"}"#, to("tok"), Target::Token("tok".into())),
        (r#"{"notification_key": "APA91b"}"#, to("APA91b"), Target::Token("APA91b".into())),
        (r#"{"to": "/topics/news"}"#, Targets::Topic("news".into()), Target::Topic("news".into())),
        (r#"{"to": "topics/news"}"#, to("topics/news"), Target::Token("topics/news".into())),
        (
            r#"{"condition": "'a' in topics"}"#,
            Targets::Condition("'a' in topics".into()),
            Target::Condition("'a' in topics".into()),
        ),
        (
            r#"{"registration_ids": ["a", "b", "a"]}"#,
            Targets::Tokens(vec!["a".into(), "b".into(), "a".into()]),
            Target::Token(String::new()),
        ),
        (r#"{"to": "tok", "condition": null}"#, to("tok"), Target::Token("tok".into())),
    ];
    for (body, targets, target) in rows {
        let read = read(body);
        assert_eq!((read.targets, read.message.target), (targets, target), "{body}");
    }
}

#[test]
fn a_thousand_tokens_are_not_too_many() {
    let tokens = vec!["t"; 1_000];
    let body = serde_json::json!({ "registration_ids": tokens }).to_string();
    assert!(matches!(read(&body).targets, Targets::Tokens(tokens) if tokens.len() == 1_000));
}

#[test]
fn what_stands_beside_the_message_is_told() {
    let plain = read(r#"{"to": "t"}"#);
    assert!(!plain.dry_run && !plain.delivery_receipt_requested && plain.message_id.is_none());
    let full = read(
        r#"{"to": "t", "dry_run": true, "delivery_receipt_requested": true, "message_id": "m-1", "message_type": "ack"}"#,
    );
    assert!(full.dry_run && full.delivery_receipt_requested);
    assert_eq!((full.message_id.as_deref(), full.message_type.as_deref()), (Some("m-1"), Some("ack")));
    // HTTP has no such field: what stands in it is ignored.
    assert_eq!(read(r#"{"to": "t", "message_id": 7}"#).message_id, None);
}

/// Old clients add fields of their own, and quote as they like (§4.2, §3).
#[test]
fn what_is_not_known_is_ignored() {
    let body = r#"{"to": "t", "foreground": {"a": [1, {"b": null}]}, "text": 5, "android_channel_id": 1, "data": {},}"#;
    assert!(read(body).message.data.is_empty());
}

/// §4.3: whatever a value is, it becomes a string.
#[test]
fn values_of_data_become_strings() {
    let rows = [
        (r#""x""#, "x"),
        (r#""""#, ""),
        ("12", "12"),
        ("1.50", "1.50"),
        ("-1e3", "-1e3"),
        ("true", "true"),
        (r#"{"b": 1, "a": [null, "\u00e9\n", {}]}"#, "{\"b\":1,\"a\":[null,\"é\\n\",{}]}"),
        ("[]", "[]"),
        ("[ 1 , 2 ]", "[1,2]"),
    ];
    for (value, text) in rows {
        let read = read(&format!(r#"{{"to": "t", "data": {{"k": {value}}}}}"#));
        assert_eq!(read.message.data, [("k".to_owned(), text.to_owned())], "{value}");
    }
    let read = read(r#"{"to": "t", "data": {"a": "1", "n": null, "b": "2", "a": "3"}}"#);
    assert_eq!(read.message.data, [("a".into(), "3".into()), ("b".into(), "2".into())]);
}
