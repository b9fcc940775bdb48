//! What is refused on behalf of APNs (`protocol/apns.md` §2).

use cresset_message::Rejection;
use cresset_wire::payload::apns::{MAX_PAYLOAD, check, fits, request};
use serde_json::{Value, json};

use super::render::{APNS_ID, ID, NOW, iphone, parsed};

fn checked(apns: &Value) -> Result<(), Rejection> {
    check(&parsed(&json!({ "token": "t", "data": { "k": "v" }, "apns": apns })))
}

#[test]
fn headers_are_checked_where_apns_would_refuse() {
    let long = "x".repeat(65);
    for (name, value, text) in [
        ("apns-priority", "7", "apns-priority must be 1, 5 or 10."),
        ("APNS-Priority", "high", "apns-priority must be 1, 5 or 10."),
        ("apns-expiration", "-1", "apns-expiration must be a non-negative integer."),
        ("apns-expiration", "1.5", "apns-expiration must be a non-negative integer."),
        ("apns-expiration", "99999999999999999999", "apns-expiration must be a non-negative integer."),
        ("apns-id", "1", "apns-id must be a UUID."),
        ("apns-id", "eabeae5414a8-11e5-b60b-1697f925ec7b-", "apns-id must be a UUID."),
        ("apns-collapse-id", &long, "apns-collapse-id must not be longer than 64 bytes."),
        ("apns-push-type", "loud", "apns-push-type is not one of APNs' types."),
        ("apns-push-type", "mdm", "apns-push-type is not one of APNs' types."),
        ("apns-topic", "a\r\nb", "apns-topic is not the value of a header."),
        ("apns-new", "ü", "apns-new is not the value of a header."),
        ("apns-a b", "c", "apns-a b is not the name of a header."),
    ] {
        let expected = Err(Rejection::field("message.apns.headers", text));
        assert_eq!(checked(&json!({ "headers": { name: value } })), expected, "{name}: {value}");
    }
}

#[test]
fn headers_that_apns_takes_pass() {
    let fits = "x".repeat(64);
    for (name, value) in [
        ("apns-priority", "1"),
        ("Apns-Priority", "5"),
        ("apns-priority", "10"),
        ("apns-priority", ""),
        ("apns-expiration", "0"),
        ("apns-expiration", "1767225600"),
        ("apns-id", "EABEAE54-14A8-11E5-B60B-1697F925EC7B"),
        ("apns-collapse-id", &fits),
        ("apns-push-type", "pushtotalk"),
        ("apns-topic", "com.example.ios.voip"),
        ("apns-unheard-of", "1"),
        ("authorization", "bearer of\nnothing"),
    ] {
        assert_eq!(checked(&json!({ "headers": { name: value } })), Ok(()), "{name}: {value}");
    }
}

#[test]
fn a_message_that_says_it_is_background_must_not_be_urgent() {
    let urgent = |push_type: &str| {
        checked(&json!({ "headers": { "apns-push-type": push_type, "apns-priority": "10" } }))
    };
    let text = "apns-priority must be 5 for a background push.";
    assert_eq!(urgent("background"), Err(Rejection::field("message.apns.headers", text)));
    assert_eq!(urgent("voip"), Ok(()));
}

#[test]
fn aps_is_an_object() {
    for aps in [json!("loud"), json!([]), json!(null), json!(1)] {
        let expected = Err(Rejection::field("message.apns.payload", "aps must be an object."));
        assert_eq!(checked(&json!({ "payload": { "aps": aps } })), expected, "{aps}");
    }
    assert_eq!(checked(&json!({ "payload": { "aps": {} } })), Ok(()));
}

#[test]
fn the_json_is_what_is_measured() {
    let of = |data: usize| {
        parsed(&json!({ "topic": "t", "data": { "k": "v".repeat(data) }, "apns": { "headers": {} } }))
    };
    // Without the recipient's keys, then with them.
    let bare = br#"{"aps":{"content-available":1},"k":""}"#.len();
    assert_eq!(check(&of(MAX_PAYLOAD - bare)), Ok(()));
    assert_eq!(check(&of(MAX_PAYLOAD - bare + 1)), Err(Rejection::TooLarge));
    let whole = request(&of(0), &iphone(), ID, APNS_ID, NOW).payload.len();
    assert!(fits(&of(MAX_PAYLOAD - whole), &iphone(), ID));
    assert!(!fits(&of(MAX_PAYLOAD - whole + 1), &iphone(), ID));
}

#[test]
fn a_message_that_may_reach_no_apple_device_is_not_measured_for_one() {
    let data = json!({ "k": "v".repeat(MAX_PAYLOAD) });
    for message in [
        json!({ "topic": "t", "data": data }),
        // To an Android app, for instance.
        json!({ "token": "t", "data": data, "apns": { "headers": {} } }),
    ] {
        let message = parsed(&message);
        assert_eq!(check(&message), Ok(()));
        assert!(!fits(&message, &iphone(), ID));
    }
}

#[test]
fn names_that_differ_in_case_are_one_header_and_the_last_counts() {
    let headers = json!({ "apns-priority": "10", "Apns-Priority": "5" });
    let message = parsed(&json!({ "token": "t", "apns": { "headers": headers } }));
    let request = request(&message, &iphone(), ID, APNS_ID, NOW);
    let priorities: Vec<_> = request.headers.iter().filter(|(name, _)| name == "apns-priority").collect();
    assert_eq!(priorities.len(), 1);
}
