//! Every answer that push services are known to give, through the whole server: the trace of the message
//! says what `docs/reference/outbound.md` says of it, and the registration lives on or does not.

use cresset_e2e::fakes::{Answer, Fault, Subscription};
use cresset_e2e::{Apps, Outside, now};
use cresset_outbound::{Blame, apns, webpush};
use serde_json::{Value, json};

use crate::outside::House;

/// What becomes of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// At once, or when it is tried again.
    Acknowledged,
    Gone,
    Refused,
    /// And the registration with it.
    GivenUp,
    CredentialRefused,
}

impl Fate {
    fn of(blame: Blame) -> Self {
        match blame {
            Blame::Request | Blame::Us => Self::Refused,
            Blame::Token => Self::GivenUp,
            Blame::Credential => Self::CredentialRefused,
        }
    }

    /// State and reason, as the trace tells them.
    fn told(self) -> (&'static str, Value) {
        match self {
            Self::Acknowledged => ("acknowledged", Value::Null),
            Self::Gone => ("dropped", "unregistered".into()),
            Self::Refused | Self::GivenUp => ("dropped", "refused".into()),
            Self::CredentialRefused => ("dropped", "credentialRefused".into()),
        }
    }

    /// Status of the next send to the registration.
    fn next_send(self) -> u16 {
        match self {
            Self::Acknowledged | Self::Refused => 200,
            Self::Gone | Self::GivenUp => 404,
            Self::CredentialRefused => 401,
        }
    }
}

/// An answer that is given so often, one after the other, and what it leads to.
struct Case {
    status: u16,
    reason: String,
    times: usize,
    fate: Fate,
}

/// A status and a reason that a row is the first to fit.
fn example(
    row: usize,
    fits: impl Fn(usize, u16, &str) -> bool,
    from: u16,
    to: u16,
    reason: &str,
) -> (u16, String) {
    let reasons: &[&str] = if reason.is_empty() { &["", "SomethingNew"] } else { &[reason] };
    // What is below is no answer yet.
    let all = (from.max(200)..=to).flat_map(|status| reasons.iter().map(move |reason| (status, *reason)));
    let is_first =
        |(status, reason): &(u16, &str)| (0..=row).find(|at| fits(*at, *status, reason)) == Some(row);
    let (status, reason) = all.into_iter().find(is_first).expect("another row hides it");
    (status, reason.to_owned())
}

fn web_cases() -> Vec<Case> {
    use webpush::{ROWS, Verdict};
    let fits = |at: usize, status: u16, reason: &str| {
        (ROWS[at].status.0..=ROWS[at].status.1).contains(&status) && reason.contains(ROWS[at].reason)
    };
    let mut cases = Vec::new();
    for (at, row) in ROWS.iter().enumerate() {
        let (status, reason) = example(at, fits, row.status.0, row.status.1, row.reason);
        let fates: &[Fate] = match row.verdict {
            Verdict::Accepted | Verdict::Later(..) => &[Fate::Acknowledged],
            Verdict::Gone => &[Fate::Gone],
            Verdict::Rejected(blame) => &[Fate::of(blame)],
            // It is done once, which helps; or not.
            Verdict::Resign(blame) => &[Fate::Acknowledged, Fate::of(blame)],
            Verdict::WithoutTopic => &[Fate::Acknowledged, Fate::Refused],
        };
        let case =
            |(at, fate): (usize, &Fate)| Case { status, reason: reason.clone(), times: at + 1, fate: *fate };
        cases.extend(fates.iter().enumerate().map(case));
    }
    cases
}

fn apns_cases() -> Vec<Case> {
    use apns::{ROWS, Verdict};
    let fits = |at: usize, status: u16, reason: &str| {
        (ROWS[at].status.0..=ROWS[at].status.1).contains(&status)
            && (ROWS[at].reason.is_empty() || ROWS[at].reason == reason)
    };
    let mut cases = Vec::new();
    for (at, row) in ROWS.iter().enumerate() {
        let (status, reason) = example(at, fits, row.status.0, row.status.1, row.reason);
        let fates: &[Fate] = match row.verdict {
            // For twenty minutes nothing goes out: a test of its own.
            Verdict::Later(1_200, _) => &[],
            Verdict::Accepted | Verdict::Later(..) => &[Fate::Acknowledged],
            Verdict::Gone => &[Fate::Gone],
            Verdict::Rejected(blame) => &[Fate::of(blame)],
            // There is neither a credential of the other environment nor another key.
            Verdict::OtherEnvironment => &[Fate::GivenUp],
            Verdict::OtherKey => &[Fate::CredentialRefused],
            Verdict::Resign | Verdict::ReconnectAs => &[Fate::Acknowledged, Fate::CredentialRefused],
            Verdict::Reconnect => &[Fate::Acknowledged, Fate::Acknowledged],
        };
        let case =
            |(at, fate): (usize, &Fate)| Case { status, reason: reason.clone(), times: at + 1, fate: *fate };
        cases.extend(fates.iter().enumerate().map(case));
    }
    cases
}

fn saying(token: &str) -> Value {
    json!({ "token": token, "data": { "word": "w" }, "webpush": { "headers": { "Topic": "t" } } })
}

/// What is told of a message to this token, and of its registration.
async fn holds(house: &House, token: &str, case: &Case, faults_left: impl Fn() -> usize) {
    let what = format!("{} {} {} times", case.status, case.reason, case.times);
    let id = house.world.accept(&saying(token)).await.unwrap_or_else(|e| panic!("{what}: {e}"));
    let (state, reason) = case.fate.told();
    let is_over = async || {
        let told = house.delivery(&id).await["state"].clone();
        told == "acknowledged" || told == "dropped"
    };
    house.until(&what, is_over).await;
    let delivery = house.delivery(&id).await;
    assert_eq!((&delivery["state"], &delivery["reason"]), (&json!(state), &reason), "{what}: {delivery}");
    let told = match (state, &*case.reason) {
        ("dropped", "") => case.status.to_string(),
        ("dropped", reason) => format!("{} {reason}", case.status),
        _ => String::new(),
    };
    let said = delivery["told"].as_str().unwrap_or_default();
    assert!(said.starts_with(&told) && said.is_empty() == told.is_empty(), "{what}: {delivery}");
    assert_eq!(faults_left(), 0, "{what}");
    // It ends a moment after its delivery.
    let next = async || house.world.send(&saying(token)).await.unwrap();
    house.until(&what, async || next().await.status == case.fate.next_send()).await;
    if case.fate.next_send() == 401 {
        assert_eq!(
            next().await.json()["error"]["details"][0]["errorCode"],
            "THIRD_PARTY_AUTH_ERROR",
            "{what}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_of_a_web_push_service_is_told() {
    let house = House::new().await;
    for case in web_cases() {
        // With a key of its own: what is said of one is believed for a while.
        let demo = "demo".parse().unwrap();
        let key = house.server.identity().add_web_push_key(&demo, None, now()).await.unwrap();
        let apps = Apps { vapid: key.public, ..house.apps.clone() };
        let (token, _): (String, Subscription) =
            apps.browser(&house.world, &house.outside.web).await.unwrap();
        let body = match case.reason.strip_prefix("errno ") {
            Some(errno) => json!({ "errno": errno.parse::<u16>().unwrap(), "message": "M" }).to_string(),
            None => case.reason.clone(),
        };
        let answer = Answer::new(case.status, body).with("retry-after", "0");
        house.outside.web.next(case.times, &Fault::Answer(answer));
        holds(&house, &token, &case, || house.outside.web.faults_left()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_of_apns_is_told() {
    let house = House::new().await;
    house.outside.apns.let_renew();
    let cases = apns_cases();
    let bundles: Vec<String> = (0..cases.len()).map(|at| format!("com.example.row{at}")).collect();
    let [key, team] = Outside::KEY_AND_TEAM;
    let public = *cresset_wire::es256::SigningKey::from_pem(&house.outside.key).unwrap().public();
    house.outside.apns.add_key(key, team, public, &bundles.iter().map(String::as_str).collect::<Vec<_>>());
    for (number, (case, bundle)) in cases.iter().zip(&bundles).enumerate() {
        house.apple_app(bundle).await;
        let device = format!("{number:064x}");
        let registered = house.apps.iphone_with(&house.world, &house.outside.apns, &device, bundle).await;
        let body =
            if case.reason.is_empty() { String::new() } else { json!({ "reason": case.reason }).to_string() };
        house.outside.apns.next(case.times, &Fault::Answer(Answer::new(case.status, body)));
        holds(&house, &registered.unwrap(), case, || house.outside.apns.faults_left()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_whose_tokens_are_renewed_too_often_waits() {
    let house = House::new().await;
    let device = format!("{:064x}", 1);
    let token = house.apps.iphone(&house.world, &house.outside.apns, &device).await.unwrap();
    let said = r#"{"reason":"TooManyProviderTokenUpdates"}"#;
    house.outside.apns.next(1, &Fault::Answer(Answer::new(429, said)));
    let id = house.world.accept(&saying(&token)).await.unwrap();
    house.until("a pause", async || house.metric("cresset_outbound_paused_lanes").await == Some(1.0)).await;
    house.world.accept(&saying(&token)).await.unwrap();
    let state = house.delivery(&id).await["state"].clone();
    assert!(state != "acknowledged" && state != "dropped", "{state}");
    assert_eq!((house.outside.apns.taken(), house.outside.apns.counts().requests), (0, 1));
}
