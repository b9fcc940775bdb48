//! Access tokens: asked for once, renewed in time, and again when they are refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use cresset_admin_client::{Client, Code, Credentials, Error, Message};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::fake::{Door, Fake, Reply, START, Seen, Still, key_file};

fn account() -> Credentials {
    Credentials::from_json(&key_file(&json!({}))).unwrap()
}

fn client(fake: &Fake, still: &Arc<Still>) -> Client {
    fake.builder(still).credentials(account()).build().unwrap()
}

fn news() -> Message {
    Message::to_topic("news")
}

/// Gives out tokens `t1`, `t2`, … and answers sends with `answer`.
async fn server(door: Door, answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Fake {
    let given = AtomicUsize::new(0);
    Fake::start(door, move |seen| match seen.path.as_str() {
        "/token" => Reply::access_token(&format!("t{}", given.fetch_add(1, Ordering::Relaxed) + 1)),
        _ => answer(seen),
    })
    .await
}

fn grants(fake: &Fake) -> usize {
    fake.seen().iter().filter(|seen| seen.path == "/token").count()
}

#[tokio::test]
async fn a_service_account_shows_a_signed_assertion_and_sends_with_what_it_gets() {
    let fake = server(Door::Plain, |_| Reply::sent()).await;
    let client = client(&fake, &Arc::new(Still::default()));
    client.send(&news()).await.unwrap();
    client.send(&news()).await.unwrap();
    let seen = fake.seen();
    let paths: Vec<_> = seen.iter().map(|seen| (&*seen.path, seen.header("authorization"))).collect();
    let send = ("/v1/projects/demo/messages:send", "Bearer t1");
    assert_eq!(paths, [("/token", ""), send, send]);
    assert_eq!(seen[0].header("content-type"), "application/x-www-form-urlencoded");
    let form: Vec<(String, String)> = form_urlencoded::parse(seen[0].body.as_bytes()).into_owned().collect();
    assert_eq!(form[0], ("grant_type".into(), "urn:ietf:params:oauth:grant-type:jwt-bearer".into()));
    let [header, claims] = [0, 1].map(|part| jwt_part(&form[1].1, part));
    assert_eq!(header, json!({ "alg": "RS256", "typ": "JWT", "kid": "key-1" }));
    assert_eq!(claims["iss"], "svc@demo.iam.gserviceaccount.com");
    // Not the key file's: this endpoint must not be able to use it there.
    assert_eq!(claims["aud"], format!("{}/token", fake.url));
    assert!(claims["scope"].as_str().unwrap().contains("/auth/firebase.messaging"));
    assert_eq!(
        (claims["iat"].as_u64(), claims["exp"].as_u64()),
        (Some(START.as_secs()), Some(START.as_secs() + 3_600))
    );
}

fn jwt_part(jwt: &str, part: usize) -> Value {
    let part = jwt.split('.').nth(part).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn a_hundred_sends_that_wait_for_a_token_ask_for_it_once() {
    let fake = Fake::start_closed(Door::Http2, |seen| match seen.path.as_str() {
        "/token" => Reply::access_token("t"),
        _ => Reply::sent(),
    })
    .await;
    let client = client(&fake, &Arc::new(Still::default()));
    let message = news();
    let sends = join_all((0..100).map(|_| client.send(&message)));
    // All hundred have begun before the endpoint may answer.
    let opening = async { fake.let_answer(101) };
    let (results, ()) = tokio::join!(sends, opening);
    assert!(results.iter().all(Result::is_ok));
    assert_eq!((grants(&fake), fake.seen().len()), (1, 101));
}

#[tokio::test]
async fn a_hundred_sends_that_get_no_token_fail_by_one_request_for_it() {
    let no = json!({ "error": "invalid_grant", "error_description": "Invalid JWT Signature." });
    let fake = Fake::start(Door::Http2, move |_| Reply::json(400, &no)).await;
    let client = client(&fake, &Arc::new(Still::default()));
    let message = news();
    let results = join_all((0..100).map(|_| client.send(&message))).await;
    for result in results {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Credential { .. }) && !error.can_retry(), "{error:?}");
        assert!(error.to_string().ends_with("400: invalid_grant: Invalid JWT Signature."), "{error}");
    }
    assert_eq!(fake.seen().len(), 1);
    client.send(&message).await.unwrap_err();
    assert_eq!(fake.seen().len(), 2, "later it is asked again");
}

#[tokio::test]
async fn a_token_endpoint_that_is_busy_is_asked_again() {
    let busy = || Reply::json(503, &json!({ "error": "internal_failure" }));
    let (fake, still) =
        (Fake::playing(vec![busy(), busy(), Reply::access_token("t"), Reply::sent()]).await, Arc::default());
    client(&fake, &still).send(&news()).await.unwrap();
    assert_eq!(still.waits_ms(), [500, 1_000]);
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_and_the_send_repeated() {
    let fake = server(Door::Plain, |seen| match seen.header("authorization") {
        "Bearer t1" => Reply::refusal(401, "UNAUTHENTICATED", ""),
        _ => Reply::sent(),
    })
    .await;
    let still = Arc::new(Still::default());
    let sender = client(&fake, &still);
    let message = news();
    let results = join_all((0..10).map(|_| sender.send(&message))).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!((grants(&fake), still.waits_ms().len()), (2, 0), "ten refusals, one renewal");

    let fake = server(Door::Plain, |_| Reply::refusal(401, "UNAUTHENTICATED", "")).await;
    let error = client(&fake, &still).send(&news()).await.unwrap_err();
    assert_eq!(error.code(), Some(&Code::Unauthenticated));
    assert_eq!((grants(&fake), fake.seen().len()), (2, 4), "but not for ever");
}

#[tokio::test]
async fn another_token_does_not_help_where_it_is_not_the_token_that_is_refused() {
    let fake =
        server(Door::Plain, |_| Reply::refusal(401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR")).await;
    client(&fake, &Arc::new(Still::default())).send(&news()).await.unwrap_err();
    assert_eq!(fake.seen().len(), 2);
    let fake = server(Door::Plain, |_| Reply::refusal(401, "UNAUTHENTICATED", "")).await;
    let fixed = fake.builder(&Arc::new(Still::default())).credentials(Credentials::token("mine"));
    fixed.build().unwrap().send(&news()).await.unwrap_err();
    assert_eq!(fake.seen().len(), 1, "there is no other one");
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_and_serves_until_then_if_that_fails() {
    let given = AtomicUsize::new(0);
    let fake = Fake::start(Door::Plain, move |seen| match seen.path.as_str() {
        "/token" => match given.fetch_add(1, Ordering::Relaxed) {
            0 => Reply::access_token("first"),
            1 => Reply::text(503, ""),
            _ => Reply::access_token("second"),
        },
        _ => Reply::sent(),
    })
    .await;
    let still = Arc::new(Still::default());
    let client = client(&fake, &still);
    // Seconds that pass before a send, what it is sent with, and how often a token was asked for by then.
    for (seconds, token, asked) in [
        (0, "first", 1),
        (3_299, "first", 1),
        (2, "first", 2),
        (5, "first", 2),
        (6, "second", 3),
        (3_299, "second", 3),
    ] {
        still.pass(Duration::from_secs(seconds));
        client.send(&news()).await.unwrap();
        assert_eq!(fake.seen().last().unwrap().header("authorization"), format!("Bearer {token}"));
        assert_eq!(grants(&fake), asked, "{seconds} s later");
    }
    assert!(still.waits_ms().is_empty(), "nobody waits for what is only early");
}

#[tokio::test]
async fn a_self_signed_jwt_needs_no_token_endpoint() {
    let of_universe = key_file(&json!({ "universe_domain": "push.example.com" }));
    for credentials in [account().self_signed(), Credentials::from_json(&of_universe).unwrap()] {
        let fake = server(Door::Plain, |_| Reply::sent()).await;
        let client = fake.builder(&Arc::new(Still::default())).credentials(credentials).build().unwrap();
        client.send(&news()).await.unwrap();
        client.send(&news()).await.unwrap();
        assert_eq!((grants(&fake), fake.seen().len()), (0, 2));
        let authorization = fake.seen()[0].header("authorization").to_owned();
        assert_eq!(fake.seen()[1].header("authorization"), authorization, "it is signed once");
        let claims = jwt_part(authorization.strip_prefix("Bearer ").unwrap(), 1);
        assert_eq!((&claims["sub"], claims.get("scope")), (&claims["iss"], None));
        assert_eq!(claims["aud"], format!("{}/", fake.url));
    }
}

#[tokio::test]
async fn a_metadata_server_gives_tokens_and_the_project() {
    let fake = Fake::start(Door::Plain, |seen| match seen.path.split('?').next() {
        Some("/computeMetadata/v1/instance/service-accounts/default/token") => Reply::access_token("t"),
        Some("/computeMetadata/v1/project/project-id") => Reply::text(200, "here\n"),
        _ => Reply::sent(),
    })
    .await;
    let host = fake.url.strip_prefix("http://").unwrap();
    let client = Client::builder().base_url(&fake.url).credentials(Credentials::metadata_server(host));
    let client = client.surroundings(Arc::new(Still::default())).build().unwrap();
    for _ in 0..2 {
        client.send(&news()).await.unwrap();
    }
    let seen = fake.seen();
    let metadata: Vec<_> = seen.iter().filter(|seen| seen.method == "GET").collect();
    assert_eq!(metadata.len(), 2, "each is asked for once");
    assert!(metadata.iter().all(|seen| seen.header("metadata-flavor") == "Google"));
    assert!(metadata[1].path.contains("token?scopes=https%3A%2F%2F"), "{}", metadata[1].path);
    assert_eq!(seen[2].path, "/v1/projects/here/messages:send");
    assert_eq!(seen[2].header("authorization"), "Bearer t");
}

#[tokio::test]
async fn a_users_credential_is_refreshed() {
    let fake = server(Door::Plain, |_| Reply::sent()).await;
    let file =
        json!({ "type": "authorized_user", "client_id": "c", "client_secret": "s+", "refresh_token": "r" });
    let credentials = Credentials::from_json(&file.to_string()).unwrap();
    assert!(!format!("{credentials:?}").contains("s+"), "secrets are not shown");
    let client = fake.builder(&Arc::new(Still::default())).credentials(credentials).build().unwrap();
    client.send(&news()).await.unwrap();
    let expected = "grant_type=refresh_token&client_id=c&client_secret=s%2B&refresh_token=r";
    assert_eq!(fake.seen()[0].body, expected);
}
