//! What each answer of APNs means.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use cresset_message::Timestamp;
use cresset_outbound::apns::{Credential, Credentials, Environment, Push, ROWS};
use cresset_outbound::{Blame, Outcome, Told};
use serde_json::json;

use crate::fakes::{Answer, Fault};
use crate::world::{Apple, BUNDLE, KEY, START, TEAM, device, is_rejected, p8, reason, short};

/// Status, reason, what it means, and how many requests it takes to know when each is answered so.
const CASES: [(u16, &str, &str, u64); 50] = [
    (200, "", "accepted", 1),
    (400, "BadDeviceToken", "rejected Token", 1),
    (400, "DeviceTokenNotForTopic", "rejected Token", 1),
    (400, "BadCollapseId", "rejected Request", 1),
    (400, "BadExpirationDate", "rejected Request", 1),
    (400, "BadMessageId", "rejected Request", 1),
    (400, "BadPriority", "rejected Request", 1),
    (400, "BadTopic", "rejected Request", 1),
    (400, "InvalidPushType", "rejected Request", 1),
    (400, "DuplicateHeaders", "rejected Request", 1),
    (400, "IdleTimeout", "later 1 Origin", 2),
    (400, "MissingDeviceToken", "rejected Us", 1),
    (400, "PayloadEmpty", "rejected Us", 1),
    (400, "MissingTopic", "rejected Credential", 1),
    (400, "TopicDisallowed", "rejected Credential", 1),
    (400, "BadChannelId", "rejected Us", 1),
    (400, "ChannelNotRegistered", "rejected Us", 1),
    (400, "SomethingNew", "rejected Request", 1),
    (401, "", "rejected Credential", 1),
    (403, "BadCertificate", "rejected Credential", 1),
    (403, "BadCertificateEnvironment", "rejected Credential", 1),
    (403, "ExpiredProviderToken", "rejected Credential", 2),
    (403, "Forbidden", "rejected Credential", 1),
    (403, "InvalidProviderToken", "rejected Credential", 1),
    (403, "MissingProviderToken", "rejected Credential", 1),
    (403, "UnrelatedKeyIdInToken", "rejected Credential", 2),
    (403, "BadEnvironmentKeyIdInToken", "rejected Credential", 1),
    (403, "BadEnvironmentKeyInToken", "rejected Credential", 1),
    (403, "SomethingNew", "rejected Credential", 1),
    (404, "BadPath", "rejected Us", 1),
    (404, "SomethingNew", "rejected Us", 1),
    (405, "MethodNotAllowed", "rejected Us", 1),
    (405, "SomethingNew", "rejected Us", 1),
    (410, "Unregistered", "gone", 1),
    (410, "ExpiredToken", "gone", 1),
    (410, "SomethingNew", "rejected Request", 1),
    (413, "PayloadTooLarge", "rejected Request", 1),
    (413, "SomethingNew", "rejected Request", 1),
    (418, "SomethingNew", "rejected Us", 1),
    (429, "TooManyProviderTokenUpdates", "later 1200 Credential", 1),
    (429, "TooManyRequests", "later 1 Recipient", 1),
    (429, "SomethingNew", "later 1 Recipient", 1),
    (500, "InternalServerError", "later 1 Origin", 1),
    (500, "SomethingNew", "later 1 Origin", 1),
    (502, "", "later 1 Origin", 1),
    (503, "ServiceUnavailable", "later 1 Origin", 1),
    (503, "Shutdown", "later 1 Origin", 2),
    (503, "SomethingNew", "later 1 Origin", 1),
    (307, "", "later 1 Origin", 1),
    (204, "", "later 1 Origin", 1),
];

fn answer(status: u16, reason: &str) -> Fault {
    let body = if reason.is_empty() { String::new() } else { json!({ "reason": reason }).to_string() };
    Fault::Answer(Answer::new(status, body))
}

#[tokio::test]
async fn every_answer_has_its_meaning() {
    let apple = Apple::start().await;
    let push = apple.push(&device(1));
    for (status, told, expected, requests) in CASES {
        let before = apple.production.counts().requests;
        apple.production.next(requests as usize, &answer(status, told));
        let outcome = apple.send(&push).await;
        assert_eq!(short(&outcome), expected, "{status} {told}");
        assert_eq!(apple.production.counts().requests - before, requests, "{status} {told}");
        assert_eq!(reason(&outcome), if expected == "accepted" { "" } else { told });
        assert_eq!(apple.production.faults_left(), 0);
    }
}

/// A row that no case above is about could say anything.
#[test]
fn every_row_has_a_case() {
    let first = |(status, reason, ..): &(u16, &str, &str, u64)| {
        ROWS.iter().position(|row| {
            (row.status.0..=row.status.1).contains(status) && (row.reason.is_empty() || row.reason == *reason)
        })
    };
    let covered: BTreeSet<_> = CASES.iter().filter_map(first).collect();
    let missing: Vec<_> = (0..ROWS.len()).filter(|row| !covered.contains(row)).map(|row| ROWS[row]).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[tokio::test]
async fn a_notification_arrives_as_it_was_sent() {
    let apple = Apple::start().await;
    apple.production.add_device(&device(1), BUNDLE);
    let push = apple.push(&device(1).to_uppercase());
    assert_eq!(apple.send(&push).await, Outcome::Accepted { granted_ttl: None, environment: None });
    let taken = apple.production.notifications().remove(0);
    assert_eq!(taken.payload, json!({ "aps": { "alert": { "title": "t" } } }));
    for (name, value) in &push.headers {
        assert_eq!(&taken.headers[name], value);
    }
    assert_eq!(taken.headers["content-type"], "application/json");
    assert_eq!(taken.token, device(1));
}

#[tokio::test]
async fn a_dead_device_is_told_with_the_moment_of_its_death() {
    let apple = Apple::start().await;
    apple.production.add_device(&device(1), BUNDLE);
    let since = Timestamp::from_secs(1_600_000_000);
    for reason in ["Unregistered", "ExpiredToken"] {
        apple.production.end_device(&device(1), reason, since);
        let expected = Outcome::Gone { since: Some(since), told: Told::new(Some(410), reason) };
        assert_eq!(apple.send(&apple.push(&device(1))).await, expected);
    }
}

#[tokio::test]
async fn what_the_fake_refuses_by_itself_is_told() {
    let apple = Apple::start().await;
    apple.production.add_device(&device(1), BUNDLE);
    let with = |name: &str, value: &str| {
        let mut push = apple.push(&device(1));
        push.headers.retain(|(other, _)| other != name);
        push.headers.extend((!value.is_empty()).then(|| (name.to_owned(), value.to_owned())));
        push
    };
    let long = "x".repeat(65);
    let payload = |size: usize| {
        let text = "x".repeat(size - br#"{"aps":{"alert":""}}"#.len());
        Push { payload: Bytes::from(format!(r#"{{"aps":{{"alert":"{text}"}}}}"#)), ..apple.push(&device(1)) }
    };
    for (push, told) in [
        (with("apns-topic", ""), "MissingTopic"),
        (with("apns-topic", "com.example.other"), "DeviceTokenNotForTopic"),
        (with("apns-collapse-id", &long), "BadCollapseId"),
        (with("apns-priority", "7"), "BadPriority"),
        (with("apns-push-type", "loud"), "InvalidPushType"),
        (with("apns-expiration", "soon"), "BadExpirationDate"),
        (with("apns-id", "1"), "BadMessageId"),
        (apple.push(&device(2)), "BadDeviceToken"),
        (payload(4_097), "PayloadTooLarge"),
        (Push { payload: Bytes::new(), ..apple.push(&device(1)) }, "PayloadEmpty"),
    ] {
        assert_eq!(reason(&apple.send(&push).await), told);
    }
    assert_eq!(short(&apple.send(&payload(4_096)).await), "accepted");
    assert_eq!(apple.production.taken(), 1);
}

#[tokio::test]
async fn what_is_no_token_is_not_sent() {
    let apple = Apple::start().await;
    for token in ["", "abc", "nothex", "ab/../ab", "ab?x=1", &"ab".repeat(101)] {
        let outcome = apple.send(&apple.push(token)).await;
        assert!(is_rejected(&outcome, Blame::Token), "{token}");
    }
    let nobody = Push { credentials: Arc::default(), ..apple.push(&device(1)) };
    let outcome = apple.send(&nobody).await;
    let told = Told::new(None, "no credential for APNs");
    assert_eq!(outcome, Outcome::Rejected { blame: Blame::Credential, told });
    assert_eq!(apple.production.counts().connections, 0);
}

#[tokio::test]
async fn a_token_of_the_other_environment_finds_its_way() {
    let apple = Apple::start().await;
    apple.sandbox.add_device(&device(1), BUNDLE);
    let both = Credentials { production: vec![apple.key.clone()], sandbox: vec![apple.key.clone()] };
    let push = Push { credentials: Arc::new(both), ..apple.push(&device(1)) };
    let elsewhere = Outcome::Accepted { granted_ttl: None, environment: Some(Environment::Sandbox) };
    assert_eq!(apple.send(&push).await, elsewhere);
    // Known nowhere: it is dead, and both were asked.
    let unknown = Push { token: device(2), ..push.clone() };
    assert!(is_rejected(&apple.send(&unknown).await, Blame::Token));
    assert_eq!((apple.production.counts().requests, apple.sandbox.counts().requests), (2, 2));
    // What ails the other environment's credential is not said of the token.
    apple.sandbox.next(1, &answer(403, "InvalidProviderToken"));
    let outcome = apple.send(&unknown).await;
    assert_eq!((short(&outcome).as_str(), reason(&outcome)), ("rejected Token", "BadDeviceToken"));
}

#[tokio::test]
async fn a_key_of_the_other_environment_is_replaced_by_the_other_slots() {
    let apple = Apple::start().await;
    apple.production.add_device(&device(1), BUNDLE);
    apple.production.bind_key_elsewhere(KEY);
    let alone = apple.push(&device(1));
    assert!(is_rejected(&apple.send(&alone).await, Blame::Credential));
    let (pem, public) = p8();
    apple.production.add_key("0123456789", TEAM, public, &[BUNDLE]);
    let right = Arc::new(Credential::key(&pem, "0123456789", TEAM).unwrap());
    let swapped = Credentials { production: vec![apple.key.clone()], sandbox: vec![right] };
    let push = Push { credentials: Arc::new(swapped), ..alone };
    assert_eq!(short(&apple.send(&push).await), "accepted");
}

#[tokio::test]
async fn provider_tokens_are_renewed_neither_too_late_nor_too_often() {
    let apple = Apple::start().await;
    apple.production.add_device(&device(1), BUNDLE);
    let push = apple.push(&device(1));
    // Two days, by 7 minutes: Apple would refuse an old token, and one that is renewed too often.
    for _ in 0..411 {
        assert_eq!(short(&apple.send(&push).await), "accepted");
        apple.time.pass(420);
    }
    let renewals = apple.production.renewals(KEY);
    // At the first push after 40 to 45 minutes, which are 42 and 49.
    assert!((58..=69).contains(&renewals), "{renewals}");
    assert_eq!(apple.production.counts().connections, 1);
}

#[tokio::test]
async fn a_token_that_apple_calls_old_is_signed_anew_at_once() {
    let apple = Apple::with(|fake| fake.counts_renewals = false, |_| {}).await;
    apple.production.add_device(&device(1), BUNDLE);
    let push = apple.push(&device(1));
    assert_eq!(short(&apple.send(&push).await), "accepted");
    apple.time.pass(60);
    apple.production.next(1, &answer(403, "ExpiredProviderToken"));
    assert_eq!(short(&apple.send(&push).await), "accepted");
    assert_eq!(apple.production.renewals(KEY), 2);
}

#[tokio::test]
async fn a_certificate_pushes_to_its_app_alone() {
    let apple = Apple::start().await;
    apple.production.add_device(&device(1), BUNDLE);
    apple.production.add_device(&device(2), "com.example.other");
    let shown = apple.production.authority().client(BUNDLE).unwrap();
    apple.production.add_certificate(&shown.der, BUNDLE);
    let (chain, key) = (shown.certificate_pem.as_bytes(), shown.key_pem.as_bytes());
    let certificate = Arc::new(Credential::certificate(chain, key).unwrap());
    let credentials = Credentials { production: vec![certificate.clone()], sandbox: Vec::new() };
    let push = Push { credentials: Arc::new(credentials), ..apple.push(&device(1)) };
    assert_eq!(short(&apple.send(&push).await), "accepted");
    assert!(!apple.production.notifications()[0].headers.contains_key("authorization"));
    let mut other = Push { token: device(2), ..push.clone() };
    other.headers[0].1 = "com.example.other".into();
    let outcome = apple.send(&other).await;
    assert_eq!((short(&outcome).as_str(), reason(&outcome)), ("rejected Credential", "TopicDisallowed"));
    // Where both are given, the key wins.
    let both = Credentials { production: vec![certificate, apple.key.clone()], sandbox: Vec::new() };
    let push = Push { credentials: Arc::new(both), ..push };
    assert_eq!(short(&apple.send(&push).await), "accepted");
    assert!(apple.production.notifications()[1].headers.contains_key("authorization"));
}

#[tokio::test]
async fn a_live_activity_has_a_token_and_a_topic_of_its_own() {
    let apple = Apple::start().await;
    let (token, topic) = ("ab".repeat(100), format!("{BUNDLE}.push-type.liveactivity"));
    apple.production.add_device(&token, &topic);
    let headers = [("apns-topic", topic.as_str()), ("apns-push-type", "liveactivity")];
    let request = cresset_wire::payload::apns::Request {
        live_activity_token: Some(token),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        payload: br#"{"aps":{"event":"update"}}"#.to_vec(),
    };
    let push = Push::new(request, apple.credentials(), Environment::Production, device(1));
    assert_eq!(short(&apple.send(&push).await), "accepted");
}

#[test]
fn credentials_are_checked_when_they_are_read() {
    let (pem, _) = p8();
    assert!(Credential::key(&pem, KEY, TEAM).is_ok());
    for (pem, key, team) in [
        (pem.as_str(), "short", TEAM),
        (pem.as_str(), KEY, "DEF123GHI\""),
        ("nothing", KEY, TEAM),
        (&pem.replace("BEGIN PRIVATE", "BEGIN PUBLIC"), KEY, TEAM),
    ] {
        assert!(Credential::key(pem, key, team).is_err());
    }
    assert!(Credential::certificate(b"", b"").is_err());
    assert!(START > Timestamp::default());
}
