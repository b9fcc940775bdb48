//! `protocol/http-v1.md` §5.2, row by row.

use std::time::Duration;

use cresset_message::{ApnsError, DeviceQuota, FieldViolation, ProjectNumber, Rejection};
use cresset_wire::v1::{google_error, render, send_success};
use serde_json::{Value, json};

const FCM: &str = "type.googleapis.com/google.firebase.fcm.v1.FcmError";
const APNS: &str = "type.googleapis.com/google.firebase.fcm.v1.ApnsError";
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";
const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";
const EXPECTED: &str = "Expected OAuth 2 access token, login cookie or other valid authentication credential. \
     See https://developers.google.com/identity/sign-in/web/devconsole-project.";

fn fcm(code: &str) -> Value {
    json!({"@type": FCM, "errorCode": code})
}

fn apns(status: u16, reason: &str) -> ApnsError {
    ApnsError { status, reason: reason.to_owned() }
}

fn at_apns(status: u16, reason: &str) -> Value {
    json!({"@type": APNS, "statusCode": status, "reason": reason})
}

fn at(field: &str, text: &str) -> Value {
    json!({"@type": BAD_REQUEST, "fieldViolations": [{"field": field, "description": text}]})
}

fn by_method(reason: &str) -> Value {
    json!({"@type": ERROR_INFO, "reason": reason, "domain": "googleapis.com", "metadata": {
        "service": "fcm.googleapis.com", "method": "google.firebase.fcm.v1.FcmService.SendMessage"}})
}

#[test]
fn every_rejection_is_told_as_the_catalogue_says() {
    let wait = Duration::from_millis(1_500);
    let parse_error = "Invalid value at 'message.data[0].value' (TYPE_STRING), 12";
    let violation =
        |field: &str, text: &str| FieldViolation { field: field.into(), description: text.into() };
    let no_target = "Recipient of the message is not set.";
    let bad_token = "The registration token is not a valid FCM registration token";
    let rows = [
        (
            Rejection::Unparsable(vec![violation("message.data[0].value", parse_error)]),
            (400, "INVALID_ARGUMENT", parse_error.to_owned()),
            json!([at("message.data[0].value", parse_error)]),
        ),
        (
            Rejection::Unparsable(vec![violation("", "a"), violation("message", "b")]),
            (400, "INVALID_ARGUMENT", "a\nb".to_owned()),
            json!([{"@type": BAD_REQUEST, "fieldViolations": [
                {"description": "a"}, {"field": "message", "description": "b"}]}]),
        ),
        (
            Rejection::BodyTooLarge { limit: 65536 },
            (400, "INVALID_ARGUMENT", "Request payload size exceeds the limit: 65536 bytes.".to_owned()),
            Value::Null,
        ),
        (
            Rejection::NoTarget,
            (400, "INVALID_ARGUMENT", no_target.to_owned()),
            json!([fcm("INVALID_ARGUMENT"), at("message", no_target)]),
        ),
        (
            Rejection::MalformedToken,
            (400, "INVALID_ARGUMENT", bad_token.to_owned()),
            json!([fcm("INVALID_ARGUMENT"), at("message.token", bad_token)]),
        ),
        (
            Rejection::Unregistered,
            (404, "NOT_FOUND", "Requested entity was not found.".to_owned()),
            json!([fcm("UNREGISTERED")]),
        ),
        (
            Rejection::TopicName,
            (400, "INVALID_ARGUMENT", "Topic name contains invalid characters.".to_owned()),
            json!([fcm("INVALID_ARGUMENT"), at("message", "Topic name contains invalid characters.")]),
        ),
        (
            Rejection::Condition,
            (400, "INVALID_ARGUMENT", "Request contains an invalid argument.".to_owned()),
            Value::Null,
        ),
        (
            Rejection::ReservedDataKey("from".into()),
            (400, "INVALID_ARGUMENT", "Invalid data payload key: from".to_owned()),
            json!([fcm("INVALID_ARGUMENT"), at("message.data", "Invalid data payload key: from")]),
        ),
        (
            Rejection::TooLarge,
            (400, "INVALID_ARGUMENT", "Message is too large. The maximum is 4K (4096 bytes).".to_owned()),
            json!([fcm("INVALID_ARGUMENT"), {"@type": BAD_REQUEST}]),
        ),
        (
            Rejection::AndroidTooLarge,
            (400, "INVALID_ARGUMENT", "Android message is too big".to_owned()),
            json!([fcm("INVALID_ARGUMENT"), at("message.android", "Android message is too big")]),
        ),
        (
            Rejection::field("message.webpush.headers.TTL", "TTL must be a non-negative integer."),
            (400, "INVALID_ARGUMENT", "TTL must be a non-negative integer.".to_owned()),
            json!([
                fcm("INVALID_ARGUMENT"),
                at("message.webpush.headers.TTL", "TTL must be a non-negative integer.")
            ]),
        ),
        (
            Rejection::SenderIdMismatch,
            (403, "PERMISSION_DENIED", "SenderId mismatch".to_owned()),
            json!([fcm("SENDER_ID_MISMATCH")]),
        ),
        // `protocol/apns.md` §1.5.
        (
            Rejection::ThirdPartyAuth(Some(apns(403, "InvalidProviderToken"))),
            (401, "UNAUTHENTICATED", "Auth error from APNS or Web Push Service".to_owned()),
            json!([fcm("THIRD_PARTY_AUTH_ERROR"), at_apns(403, "InvalidProviderToken")]),
        ),
        (
            Rejection::ThirdPartyAuth(None),
            (401, "UNAUTHENTICATED", "Auth error from APNS or Web Push Service".to_owned()),
            json!([fcm("THIRD_PARTY_AUTH_ERROR")]),
        ),
        (
            Rejection::FanOutQuota {
                project: ProjectNumber(123_456_789_012),
                limit: 1_000,
                retry_after: Duration::from_secs(60),
            },
            (429, "RESOURCE_EXHAUSTED", "Topic quota exceeded.".to_owned()),
            json!([
                fcm("QUOTA_EXCEEDED"),
                {
                    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                    "violations": [{
                        "subject": "project",
                        "description": "More than 1000 concurrent fan-outs of project 123456789012.",
                    }],
                },
            ]),
        ),
        (
            Rejection::Unavailable { retry_after: wait },
            (503, "UNAVAILABLE", "The service is currently unavailable.".to_owned()),
            json!([fcm("UNAVAILABLE")]),
        ),
        (
            Rejection::Internal,
            (500, "INTERNAL", "Internal error encountered.".to_owned()),
            json!([fcm("INTERNAL")]),
        ),
        (
            Rejection::CredentialsMissing,
            (
                401,
                "UNAUTHENTICATED",
                format!("Request is missing required authentication credential. {EXPECTED}"),
            ),
            json!([by_method("CREDENTIALS_MISSING")]),
        ),
        (
            Rejection::CredentialsInvalid,
            (401, "UNAUTHENTICATED", format!("Request had invalid authentication credentials. {EXPECTED}")),
            json!([by_method("ACCESS_TOKEN_INVALID")]),
        ),
        (
            Rejection::CredentialsExpired,
            (401, "UNAUTHENTICATED", format!("Request had invalid authentication credentials. {EXPECTED}")),
            json!([by_method("ACCESS_TOKEN_EXPIRED")]),
        ),
        (
            Rejection::ScopeInsufficient,
            (403, "PERMISSION_DENIED", "Request had insufficient authentication scopes.".to_owned()),
            json!([by_method("ACCESS_TOKEN_SCOPE_INSUFFICIENT")]),
        ),
        (
            Rejection::PermissionDenied { project: "demo".into() },
            (
                403,
                "PERMISSION_DENIED",
                "Permission 'cloudmessaging.messages.create' denied on resource \
                 '//cloudresourcemanager.googleapis.com/projects/demo' (or it may not exist)."
                    .to_owned(),
            ),
            json!([{"@type": ERROR_INFO, "reason": "IAM_PERMISSION_DENIED",
                "domain": "cloudresourcemanager.googleapis.com",
                "metadata": {"resource": "projects/demo", "permission": "cloudmessaging.messages.create"}}]),
        ),
    ];
    for (rejection, (code, status, message), details) in rows {
        let answer = render(&rejection);
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        let error = &body["error"];
        assert_eq!(answer.status, code, "{rejection:?}");
        assert_eq!(error["code"], json!(code), "{rejection:?}");
        assert_eq!(error["status"], json!(status), "{rejection:?}");
        assert_eq!(error["message"], json!(message), "{rejection:?}");
        assert_eq!(error["details"], details, "{rejection:?}");
        assert_eq!(answer.www_authenticate.is_some(), code == 401, "{rejection:?}");
        let waits = match &rejection {
            Rejection::FanOutQuota { .. } => Some(60),
            _ => (code == 503).then_some(2),
        };
        assert_eq!(answer.retry_after, waits, "{rejection:?}");
    }
}

#[test]
fn quotas_are_told_with_a_time_to_come_back() {
    let retry_after = Duration::from_secs(60);
    let project =
        render(&Rejection::ProjectQuota { project: ProjectNumber(4_711), limit: 600_000, retry_after });
    let body: Value = serde_json::from_str(&project.body).unwrap();
    assert_eq!((project.status, project.retry_after), (429, Some(60)));
    assert_eq!(body["error"]["status"], "RESOURCE_EXHAUSTED");
    let details = &body["error"]["details"];
    assert_eq!(details[0]["reason"], "RATE_LIMIT_EXCEEDED");
    assert_eq!(details[0]["metadata"]["quota_unit"], "1/min/{project}");
    assert_eq!(details[1]["@type"], "type.googleapis.com/google.rpc.Help");
    assert!(!project.body.contains("FcmError"), "the SDKs take it for a quota of the project");

    assert_eq!(details[0]["metadata"]["quota_limit_value"], "600000");
    assert!(body["error"]["message"].as_str().unwrap().ends_with("for consumer 'project_number:4711'."));

    let device = render(&Rejection::DeviceQuota { quota: DeviceQuota::PerMinute(240), retry_after });
    let body: Value = serde_json::from_str(&device.body).unwrap();
    assert_eq!((device.status, device.retry_after), (429, Some(60)));
    assert_eq!(body["error"]["details"][0], fcm("QUOTA_EXCEEDED"));
    assert_eq!(body["error"]["details"][1]["@type"], "type.googleapis.com/google.rpc.QuotaFailure");

    let retry_after = Duration::from_millis(1_200);
    let topics =
        render(&Rejection::SubscriptionQuota { project: ProjectNumber(4711), limit: 3_000, retry_after });
    let body: Value = serde_json::from_str(&topics.body).unwrap();
    assert_eq!((topics.status, topics.retry_after), (429, Some(2)));
    assert_eq!(body["error"]["details"][0], fcm("QUOTA_EXCEEDED"));
}

#[test]
fn answers_are_printed_with_two_spaces_and_a_last_newline() {
    assert_eq!(
        send_success("demo", "0:1500415314455276%31bd1c9631bd1c96"),
        "{\n  \"name\": \"projects/demo/messages/0:1500415314455276%31bd1c9631bd1c96\"\n}\n"
    );
    assert_eq!(
        render(&Rejection::Unregistered).body,
        r#"{
  "error": {
    "code": 404,
    "message": "Requested entity was not found.",
    "status": "NOT_FOUND",
    "details": [
      {
        "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError",
        "errorCode": "UNREGISTERED"
      }
    ]
  }
}
"#
    );
    assert_eq!(
        google_error(404, "NOT_FOUND", "No such \"thing\"."),
        "{\n  \"error\": {\n    \"code\": 404,\n    \"message\": \"No such \\\"thing\\\".\",\n    \"status\": \"NOT_FOUND\"\n  }\n}\n"
    );
}
