//! What a sender is told when something goes wrong.

use std::sync::Arc;

use cresset_admin_client::{Client, Code, Credentials, Error, Message};
use serde_json::json;

use crate::fake::{Door, Fake, Reply, Still};

#[tokio::test]
async fn refusals_are_told_as_the_server_tells_them() {
    let rows = [
        ((404, "NOT_FOUND", "UNREGISTERED"), Code::Unregistered),
        ((403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH"), Code::SenderIdMismatch),
        ((403, "PERMISSION_DENIED", ""), Code::PermissionDenied),
        ((401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR"), Code::ThirdPartyAuthError),
        ((401, "UNAUTHENTICATED", ""), Code::Unauthenticated),
        ((500, "INTERNAL", "INTERNAL"), Code::Internal),
        ((400, "INVALID_ARGUMENT", "INVALID_ARGUMENT"), Code::InvalidArgument),
    ];
    for ((http, status, word), code) in rows {
        let fake = Fake::playing(vec![Reply::refusal(http, status, word)]).await;
        let client = fake.client(&Arc::new(Still::default()));
        let error = client.send(&Message::to_topic("news")).await.unwrap_err();
        let refusal = error.refusal().unwrap();
        assert_eq!((refusal.http_status, &*refusal.status, &*refusal.message), (http, status, "so it is"));
        assert_eq!((error.code(), error.is_unregistered()), (Some(&code), code == Code::Unregistered));
        assert_eq!(error.to_string(), format!("refused with {http} {code}: so it is"));
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_field_is_told() {
    let body = json!({ "error": { "code": 400, "message": "TTL must be a non-negative integer.",
        "status": "INVALID_ARGUMENT", "details": [
            { "@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [
                { "field": "message.webpush.headers.TTL", "description": "TTL must be a non-negative integer." }] }] } });
    let fake = Fake::playing(vec![Reply::json(400, &body)]).await;
    let client = fake.client(&Arc::new(Still::default()));
    let error = client.send(&Message::to_topic("news")).await.unwrap_err();
    let violations = &error.refusal().unwrap().field_violations;
    assert_eq!(violations.len(), 1);
    assert_eq!(violations[0].field, "message.webpush.headers.TTL");
    assert_eq!(error.refusal().unwrap().body, body.to_string());
}

#[tokio::test]
async fn an_answer_that_is_not_fcms_is_no_success() {
    let long = "x".repeat(2 << 20);
    for (reply, what) in [
        (Reply::text(200, "<html>welcome"), "without a name"),
        (Reply::text(200, "{}"), "without a name"),
        (Reply::text(200, &long), "more than"),
        (Reply::text(400, &long), "more than"),
    ] {
        let fake = Fake::playing(vec![reply]).await;
        let still = Arc::new(Still::default());
        let error = fake.client(&still).send(&Message::to_topic("news")).await.unwrap_err();
        assert!(matches!(error, Error::Unexpected { .. }) && error.to_string().contains(what), "{error:?}");
        assert!(still.waits_ms().is_empty(), "it is not sent twice");
    }
}

#[tokio::test]
async fn a_certificate_of_nobody_we_know_is_refused_at_once() {
    for door in [Door::Http1, Door::Http2] {
        let (fake, still) = (Fake::start(door, |_| Reply::sent()).await, Arc::new(Still::default()));
        let client = Client::builder().base_url(&fake.url).project("demo").surroundings(still.clone());
        let client = client.credentials(Credentials::none()).build().unwrap();
        let error = client.send(&Message::to_topic("news")).await.unwrap_err();
        assert!(matches!(error, Error::Untrusted { .. }) && !error.can_retry(), "{error:?}");
        assert!(fake.seen().is_empty() && still.waits_ms().is_empty());
    }
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_is_told_of_when_the_client_is_made() {
    let named = || Client::builder().credentials(Credentials::none()).project("demo");
    let rows = [
        (Client::builder().project("demo"), "who sends"),
        (Client::builder().credentials(Credentials::none()), "project"),
        (named().project("../x"), "../x"),
        (named().base_url("push.example.com"), "http"),
        (named().base_url("ftp://push.example.com"), "http"),
        (named().base_url("https://push.example.com/?x=1"), "query"),
        (named().root_certificates("no certificate"), "root certificates"),
    ];
    for (builder, what) in rows {
        let Err(error) = builder.build() else { panic!("{what}: it was made") };
        assert!(matches!(error, Error::Setup(_)) && error.to_string().contains(what), "{what}: {error}");
    }
    for (text, what) in [
        ("{", "JSON"),
        ("{}", "type"),
        (r#"{"type":"external_account"}"#, "external_account"),
        (r#"{"type":"service_account","client_email":"a"}"#, "private_key"),
        (r#"{"type":"service_account","client_email":"a","private_key":"b"}"#, "private key"),
        (r#"{"type":"authorized_user","client_id":"a"}"#, "client_secret"),
    ] {
        let error = Credentials::from_json(text).unwrap_err().to_string();
        assert!(error.contains(what), "{text}: {error}");
    }
}
