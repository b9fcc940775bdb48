//! What each answer of each service means.

use std::collections::BTreeSet;
use std::time::Duration;

use cresset_outbound::webpush::{MAX_TTL, ROWS};
use cresset_outbound::{Blame, Outcome, Scope};
use serde_json::json;

use crate::fakes::{Answer, Fault, Style};
use crate::world::{HOSTS, Web, is_rejected, reason, short, vapid};

/// An answer, what it means, and how many requests it takes to know.
struct Case {
    answer: Answer,
    outcome: &'static str,
    requests: u64,
}

fn case(status: u16, body: &str, outcome: &'static str, requests: u64) -> Case {
    Case { answer: Answer::new(status, body), outcome, requests }
}

fn apple(reason: &str) -> String {
    json!({ "reason": reason }).to_string()
}

fn mozilla(errno: u16) -> String {
    json!({ "code": 400, "errno": errno, "error": "E", "message": "M" }).to_string()
}

/// Google's answers to a bad VAPID, all 403 (`protocol/web-push.md` §1.5).
const GOOGLE: [&str; 8] = [
    "sender is not authenticated.",
    "make sure the public key is base64url-encoded [RFC7515]",
    "public key must be 65 bytes long",
    "invalid JWT provided",
    "invalid aud claim",
    "exp claim MUST NOT be more than 24 hours from the time of the request",
    "token has expired",
    "crypto-key header had invalid format. crypto-key header should have the following format: p256ecdsa=base64(publicApplicationServerKey)",
];

fn cases() -> Vec<Case> {
    let mismatch = "the VAPID credentials in the authorization header do not correspond to the credentials used to create the subscriptions.\n";
    let mut cases = vec![
        case(200, "", "accepted", 1),
        case(201, "", "accepted", 1),
        case(202, "", "accepted", 1),
        case(204, "", "accepted", 1),
        case(404, &mozilla(102), "gone", 1),
        case(410, &mozilla(106), "gone", 1),
        case(410, "push subscription has unsubscribed or expired.\n", "gone", 1),
        case(410, "", "gone", 1),
        case(413, &mozilla(104), "rejected Request", 1),
        case(400, &apple("VapidPkHashMismatch"), "rejected Token", 2),
        case(403, &apple("VapidPkHashMismatch"), "rejected Token", 2),
        case(403, mismatch, "rejected Token", 2),
        case(401, "invalid push subscription endpoint\n", "later 600 Recipient", 1),
        case(401, &mozilla(109), "rejected Credential", 2),
        case(403, &apple("BadJwtToken"), "rejected Credential", 2),
        case(400, "<HTML>\n<TITLE>UnauthorizedRegistration</TITLE>", "rejected Credential", 2),
        case(400, &apple("BadJwtToken"), "rejected Credential", 2),
        case(400, &apple("BadVapidPublicKey"), "rejected Credential", 2),
        case(400, "InvalidTokenFormat\n", "rejected Token", 1),
        case(400, &apple("BadWebPushTopic"), "rejected Request", 2),
        case(400, &apple("BadTtl"), "rejected Request", 1),
        case(400, &apple("BadUrgency"), "rejected Request", 1),
        case(400, &apple("BadWebPushRequest"), "rejected Us", 1),
        case(400, &mozilla(108), "rejected Token", 1),
        case(400, &mozilla(110), "rejected Us", 1),
        case(400, &mozilla(111), "rejected Request", 1),
        case(400, &mozilla(113), "rejected Request", 2),
        case(400, &mozilla(114), "rejected Request", 1),
        case(400, "who knows", "rejected Us", 1),
        case(402, "", "rejected Us", 1),
        case(405, "", "rejected Us", 1),
        case(411, "", "rejected Us", 1),
        case(415, "", "rejected Us", 1),
        case(406, "", "later 60 Recipient", 1),
        case(408, "", "later 1 Recipient", 1),
        case(429, "", "later 60 Recipient", 1),
        case(500, &mozilla(999), "later 1 Origin", 1),
        case(502, "<html>Bad Gateway</html>", "later 1 Origin", 1),
        case(503, &mozilla(201), "later 1 Origin", 1),
        case(504, "", "later 1 Origin", 1),
        case(507, "", "later 1 Origin", 1),
        case(301, "", "later 1 Origin", 1),
        case(302, "", "later 1 Origin", 1),
        case(307, "", "later 1 Origin", 1),
        case(308, "", "later 1 Origin", 1),
    ];
    cases.extend(GOOGLE.map(|line| case(403, &format!("{line}\n"), "rejected Credential", 2)));
    let conflict =
        Answer::new(400, "").with("x-wns-error-description", "Ttl value conflicts with X-WNS-Cache-Policy.");
    cases.push(Case { answer: conflict, outcome: "rejected Us", requests: 1 });
    let location = |status| Answer::new(status, "").with("location", "https://127.0.0.1/elsewhere");
    cases.push(Case { answer: location(307), outcome: "later 1 Origin", requests: 1 });
    for (status, value, outcome) in [
        (503, "120", "later 120 Origin"),
        (429, "0", "later 0 Recipient"),
        (429, "7200", "later 3600 Recipient"),
        (429, "Tue, 14 Nov 2023 22:14:20 GMT", "later 60 Recipient"),
        (503, "tomorrow", "later 1 Origin"),
    ] {
        let answer = Answer::new(status, "").with("retry-after", value);
        cases.push(Case { answer, outcome, requests: 1 });
    }
    cases
}

#[tokio::test]
async fn every_answer_has_its_meaning() {
    let web = Web::of(Style::Google).await;
    let subscription = web.subscribe();
    for case in cases() {
        let before = web.service.counts().requests;
        web.service.next(case.requests as usize, &Fault::Answer(case.answer.clone()));
        let mut push = web.push(&subscription, "{}");
        push.topic = Some("scores".into());
        let outcome = web.send(&push).await;
        assert_eq!(short(&outcome), case.outcome, "{:?}", case.answer);
        assert_eq!(web.service.counts().requests - before, case.requests, "{:?}", case.answer);
        assert_eq!(web.service.faults_left(), 0);
    }
    assert_eq!(web.service.taken(), 0);
}

/// A row that no case above is about could say anything.
#[test]
fn every_row_has_a_case() {
    let first = |answer: &Answer| {
        let mut text = String::from_utf8(answer.body.clone()).unwrap();
        if let Ok(json) = serde_json::from_str::<serde_json::Value>(&text) {
            text = format!("{} errno {}", json["reason"], json["errno"]);
        }
        text.extend(answer.headers.iter().map(|(_, value)| value.as_str()));
        ROWS.iter().position(|row| {
            (row.status.0..=row.status.1).contains(&answer.status) && text.contains(row.reason)
        })
    };
    let covered: BTreeSet<_> = cases().iter().filter_map(|case| first(&case.answer)).collect();
    let missing: Vec<_> = (0..ROWS.len()).filter(|row| !covered.contains(row)).map(|row| ROWS[row]).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[tokio::test]
async fn what_a_retry_mends_is_delivered() {
    let web = Web::of(Style::Apple).await;
    let subscription = web.subscribe();
    let mut push = web.push(&subscription, "{}");
    push.topic = Some("scores".into());
    web.service.next(1, &Fault::Answer(Answer::new(403, apple("BadJwtToken"))));
    web.service.next(1, &Fault::Answer(Answer::new(400, apple("BadWebPushTopic"))));
    assert_eq!(short(&web.send(&push).await), "accepted");
    let arrival = web.service.arrivals().remove(0);
    assert_eq!((arrival.topic, web.service.counts().requests), (None, 3));
    // The next has it again, and the token that was signed anew.
    web.send(&push).await;
    let next = web.service.arrivals().remove(1);
    assert_eq!((next.topic.as_deref(), next.authorization), (Some("scores"), arrival.authorization));
}

#[tokio::test]
async fn every_service_takes_what_is_sent() {
    for (style, host) in HOSTS {
        let web = Web::of(style).await;
        let subscription = web.subscribe();
        let mut push = web.push(&subscription, "hello");
        push.topic = Some("score".into());
        for ttl in [Duration::ZERO, Duration::from_secs(60), MAX_TTL * 2] {
            push.ttl = ttl;
            let outcome = web.send(&push).await;
            assert_eq!(short(&outcome), "accepted", "{host} {}", reason(&outcome));
            let arrival = web.service.arrivals().pop().unwrap();
            assert_eq!(arrival.plaintext, b"hello");
            assert_eq!(Duration::from_secs(arrival.ttl), ttl.min(MAX_TTL));
            assert_eq!(arrival.urgency.as_deref(), Some("high"));
            assert_eq!(arrival.topic.as_deref() == Some("score"), style != Style::Apple);
            let granted = if style == Style::Mozilla { Some(ttl.min(MAX_TTL)) } else { None };
            assert_eq!(outcome, Outcome::Accepted { granted_ttl: granted, environment: None });
        }
        // One token for all three, and one connection.
        let authorizations: BTreeSet<_> =
            web.service.arrivals().into_iter().map(|arrival| arrival.authorization).collect();
        assert_eq!((authorizations.len(), web.service.counts().connections), (1, 1));
        web.service.unsubscribe(&subscription);
        assert_eq!(short(&web.send(&push).await), "gone", "{host}");
    }
}

#[tokio::test]
async fn another_key_than_the_subscriptions_never_works() {
    for (style, outcome) in [
        (Style::Mozilla, "rejected Credential"),
        (Style::Google, "rejected Token"),
        (Style::Apple, "rejected Token"),
        (Style::Microsoft, "rejected Credential"),
    ] {
        let web = Web::of(style).await;
        let mut push = web.push(&web.subscribe(), "x");
        push.vapid = vapid(4);
        assert_eq!(short(&web.send(&push).await), outcome, "{style:?}");
    }
}

#[tokio::test]
async fn a_message_that_no_service_must_take_is_not_sent() {
    let web = Web::of(Style::Google).await;
    let subscription = web.subscribe();
    let fits = web.push(&subscription, &"x".repeat(3_993));
    assert_eq!(short(&web.send(&fits).await), "accepted");
    let outcome = web.send(&web.push(&subscription, &"x".repeat(3_994))).await;
    assert!(is_rejected(&outcome, Blame::Request) && reason(&outcome).starts_with("Message is too big"));
    assert_eq!(web.service.counts().requests, 1);
}

#[tokio::test]
async fn several_subscriptions_that_are_throttled_are_their_service() {
    let web = Web::of(Style::Google).await;
    let throttled = Answer::new(429, "").with("retry-after", "30");
    let mut outcomes = Vec::new();
    let first = web.subscribe();
    for subscription in [first.clone(), first, web.subscribe(), web.subscribe()] {
        web.service.next(1, &Fault::Answer(throttled.clone()));
        outcomes.push(short(&web.send(&web.push(&subscription, "x")).await));
    }
    let expected = [Scope::Recipient, Scope::Recipient, Scope::Recipient, Scope::Origin];
    assert_eq!(outcomes, expected.map(|scope| format!("later 30 {scope:?}")));
}

#[tokio::test]
async fn a_token_is_signed_anew_at_half_its_life() {
    let web = Web::of(Style::Mozilla).await;
    let push = web.push(&web.subscribe(), "x");
    for passed in [0, 21_000, 1_000, 86_400] {
        web.time.pass(passed);
        assert_eq!(short(&web.send(&push).await), "accepted");
    }
    let authorizations: Vec<_> = web.service.arrivals().into_iter().map(|a| a.authorization).collect();
    assert_eq!(authorizations[0], authorizations[1]);
    assert!(authorizations[1] != authorizations[2] && authorizations[2] != authorizations[3]);
}
