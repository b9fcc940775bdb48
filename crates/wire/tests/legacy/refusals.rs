//! §7: the texts of 400; §6.2: the words; `protocol/xmpp.md` §4: the nacks.

use std::collections::HashSet;

use cresset_message::Rejection;
use cresset_wire::legacy::{LegacyError, Targets};

use super::refused;

#[test]
fn a_request_that_is_refused_as_a_whole_is_told_in_one_line() {
    let ids = |n: usize| serde_json::json!({ "registration_ids": vec!["t"; n] }).to_string();
    let rows: &[(&str, &str)] = &[
        (&ids(1_001), "Number of messages on bulk (1001) exceeds maximum allowed (1000)"),
        (
            r#"{"to": "a", "registration_ids": ["b"]}"#,
            r#"Must use either "registration_ids" field or "to", not both"#,
        ),
        (r#"{"to": "a", "condition": "x"}"#, r#"Must use either "condition" field or "to", not both"#),
        ("{}", r#"Missing "registration_ids" field"#),
        (r#"{"to": null, "data": {}}"#, r#"Missing "registration_ids" field"#),
        (r#"{"registration_ids": []}"#, r#""registration_ids" field cannot be empty"#),
        (r#"{"registration_ids": "tok"}"#, r#""registration_ids" field is not a JSON array"#),
        (r#"{"registration_ids": {"0": "tok"}}"#, r#""registration_ids" field is not a JSON array"#),
        (r#"{"registration_ids": ["a", 5]}"#, r#"Field "registration_ids" must be a JSON string: 5"#),
        (r#"{"to": "a", "data": {"from": "x"}}"#, r#""data" key "from" is a reserved keyword"#),
        (
            r#"{"to": "a", "time_to_live": 2419201}"#,
            r#"Invalid value (2419201) for "time_to_live": must be between 0 and 2419200"#,
        ),
        (
            r#"{"to": "a", "time_to_live": -1}"#,
            r#"Invalid value (-1) for "time_to_live": must be between 0 and 2419200"#,
        ),
        (
            r#"{"to": "a", "time_to_live": 1.5}"#,
            r#"Invalid value (1.5) for "time_to_live": must be between 0 and 2419200"#,
        ),
        (
            r#"{"to": "a", "time_to_live": "600"}"#,
            r#"JSON_TYPE_ERROR: Field "time_to_live" must be a JSON java.lang.Number: "600""#,
        ),
        (
            r#"{"to": "a", "delay_while_idle": "yes"}"#,
            r#"JSON_TYPE_ERROR: Field "delay_while_idle" must be a JSON java.lang.Boolean: "yes""#,
        ),
        (
            r#"{"to": "a", "dry_run": 1}"#,
            r#"JSON_TYPE_ERROR: Field "dry_run" must be a JSON java.lang.Boolean: 1"#,
        ),
        (r#"{"to": ["a", "b"]}"#, r#"Field "to" must be a JSON string: ["a","b"]"#),
        (r#"{"to": "a", "collapse_key": 1}"#, r#"Field "collapse_key" must be a JSON string: 1"#),
        (r#"{"to": "a", "data": [{"k": "v"}]}"#, r#"Field "data" must be a JSON array: [{"k":"v"}]"#),
        (r#"{"to": "a", "notification": "hello"}"#, r#"Field "notification" must be a JSON array: "hello""#),
        (r#"{"to": "a", "notification": {"body": 5}}"#, r#"Field "body" must be a JSON string: 5"#),
        (
            r#"{"to": "a", "notification": {"badge": "many"}}"#,
            r#"JSON_TYPE_ERROR: Field "badge" must be a JSON java.lang.Number: "many""#,
        ),
        (
            r#"{"to": "a", "notification": {"body_loc_args": "x"}}"#,
            r#"Field "body_loc_args" must be a JSON array: "x""#,
        ),
        (
            r#"{"to": "a", "priority": "urgent"}"#,
            r#"Invalid value (urgent) for "priority": must be "normal" or "high""#,
        ),
        ("to=a", "JSON_PARSING_ERROR: Unexpected character (t) at position 0."),
        (" []", "JSON_PARSING_ERROR: Unexpected character ([) at position 1."),
        ("{\"é\": \"a\" \"to\"", "JSON_PARSING_ERROR: Unexpected character (\") at position 10."),
        ("", "JSON_PARSING_ERROR: Unexpected token END OF FILE at position 0."),
        (r#"{"to": "a"#, "JSON_PARSING_ERROR: Unexpected token END OF FILE at position 9."),
        // What is not JSON is all that is told of it.
        (r#"{"dry_run": 1, "to": "a"] "#, "JSON_PARSING_ERROR: Unexpected character (]) at position 24."),
    ];
    for (body, text) in rows {
        let error = refused(body).error;
        assert_eq!(error.text().as_deref(), Some(*text), "{body}");
        assert_eq!(error.status(), 400, "{body}");
    }
}

#[test]
fn a_recipient_that_is_refused_is_told_in_a_word() {
    let rows = [
        (r#"{"to": ""}"#, "MissingRegistration"),
        (r#"{"to": "a", "data": {"google": "x"}}"#, "InvalidDataKey"),
        (r#"{"to": "a", "data": {"googlex": "x"}}"#, "InvalidDataKey"),
        (r#"{"to": "a", "data": {"gcm.notification.title": "x"}}"#, "InvalidDataKey"),
    ];
    for (body, word) in rows {
        let refused = refused(body);
        assert_eq!((refused.error.text(), refused.error.word(), refused.error.status()), (None, word, 200));
        assert!(refused.targets.is_some(), "{body}");
    }
}

/// A nack must name its message and its recipient, whatever is wrong with the rest.
#[test]
fn what_is_refused_is_known_by_its_id_and_its_recipient() {
    let body = r#"{"time_to_live": "abc", "to": "tok", "message_id": "m-1", "message_type": "x"}"#;
    let refused = refused(body);
    assert_eq!(refused.message_id.as_deref(), Some("m-1"));
    assert_eq!(refused.message_type.as_deref(), Some("x"));
    assert_eq!(refused.targets, Some(Targets::To("tok".into())));
}

/// `protocol/xmpp.md` §4, the table of nacks.
#[test]
fn xmpp_is_told_by_code_and_description() {
    let rows = [
        (
            r#"{"to": "t", "time_to_live": "abc"}"#,
            "INVALID_JSON",
            "InvalidJson: JSON_TYPE_ERROR : Field \"time_to_live\" must be a JSON java.lang.Number: \"abc\"",
        ),
        (
            r#"{"to": "t", "time_to_live": -1}"#,
            "INVALID_JSON",
            "InvalidJson : INVALID_TTL : Invalid value (-1) for \"time_to_live\": must be between 0 and \"2419200\"",
        ),
        (
            r#"{"to": "t", "data": {"gcm": "1"}}"#,
            "INVALID_JSON",
            "InvalidJson: InvalidDataKey : \"data\" key \"gcm\" is a reserved keyword",
        ),
        (r#"{"to": ""}"#, "INVALID_JSON", "InvalidJson: MissingRegistration : Missing \"to\" field"),
    ];
    for (body, code, description) in rows {
        let nack = refused(body).error.nack("t");
        assert_eq!((nack.code, &*nack.description), (code, description));
    }
    let missing = LegacyError::MissingField("message_id").nack("t");
    assert_eq!(missing.description, "InvalidJson: JSON_PARSING_ERROR : Missing Required Field: message_id");
}

/// Each rejection of ours in the words of the legacy protocols: status of the whole, word, nack.
#[test]
fn every_rejection_has_a_legacy_word() {
    let rows = [
        (401, "InvalidParameters", "AUTHENTICATION_FAILED"),
        (401, "InvalidParameters", "AUTHENTICATION_FAILED"),
        (401, "InvalidParameters", "AUTHENTICATION_FAILED"),
        (401, "InvalidParameters", "AUTHENTICATION_FAILED"),
        (401, "InvalidParameters", "AUTHENTICATION_FAILED"),
        // Unparsable, BodyTooLarge
        (200, "InvalidParameters", "INVALID_JSON"),
        (200, "MessageTooBig", "INVALID_JSON"),
        // NoTarget, MalformedToken, TopicName, Condition
        (200, "MissingRegistration", "INVALID_JSON"),
        (200, "InvalidRegistration", "BAD_REGISTRATION"),
        (200, "InvalidParameters: Bad topic or filter provided", "INVALID_JSON"),
        (200, "InvalidParameters: Bad topic or filter provided", "INVALID_JSON"),
        // ReservedDataKey, TooLarge, AndroidTooLarge, InvalidField
        (400, "InvalidDataKey", "INVALID_JSON"),
        (200, "MessageTooBig", "INVALID_JSON"),
        (200, "MessageTooBig", "INVALID_JSON"),
        (200, "InvalidParameters", "INVALID_JSON"),
        // Unregistered, SenderIdMismatch, ThirdPartyAuth
        (200, "NotRegistered", "DEVICE_UNREGISTERED"),
        (200, "MismatchSenderId", "SENDER_ID_MISMATCH"),
        (200, "InvalidApnsCredential", "INVALID_APNS_CREDENTIAL"),
        // DeviceQuota, FanOutQuota, ProjectQuota, SubscriptionQuota, TooManyTopics
        (200, "DeviceMessageRateExceeded", "DEVICE_MESSAGE_RATE_EXCEEDED"),
        (200, "TopicsMessageRateExceeded", "TOPICS_MESSAGE_RATE_EXCEEDED"),
        (503, "Unavailable", "SERVICE_UNAVAILABLE"),
        (503, "Unavailable", "SERVICE_UNAVAILABLE"),
        (200, "InvalidParameters", "INVALID_JSON"),
        // NotTraced, Unavailable, Internal
        (200, "InvalidParameters", "INVALID_JSON"),
        (503, "Unavailable", "SERVICE_UNAVAILABLE"),
        (500, "InternalServerError", "INTERNAL_SERVER_ERROR"),
    ];
    let samples = Rejection::samples();
    assert_eq!(samples.len(), rows.len());
    for (rejection, row) in samples.iter().zip(rows) {
        let error = LegacyError::from(rejection);
        let nack = error.nack("tok");
        assert_eq!((error.status(), error.word(), nack.code), row, "{rejection:?}");
        // Clients index it, and read `Retry-After` of any status (§7).
        assert!(!nack.description.is_empty());
        assert_eq!(error.retry_after().is_some(), error.status() == 503);
        assert!(error.retry_after() != Some(0));
    }
    let package = Rejection::field("message.android.restricted_package_name", "x");
    assert_eq!(LegacyError::from(&package).word(), "InvalidPackageName");
    let bad = LegacyError::InvalidRegistration.nack("tok");
    assert_eq!(bad.description, "Invalid token on 'to' field: tok");
    let codes: HashSet<&str> = samples.iter().map(|r| LegacyError::from(r).nack("").code).collect();
    assert_eq!(codes.len(), 10);
}
