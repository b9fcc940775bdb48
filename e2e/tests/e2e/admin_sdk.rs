//! The Admin SDK in Rust against a whole server: what it sends arrives, and what is refused it tells.

use std::time::Duration;

use cresset_admin_client::{
    AndroidConfig, Client, Code, Content, Credentials, Error, Message, Multicast, Notification,
};
use cresset_e2e::{TestServer, World, patiently};
use serde_json::json;

use crate::support::{next, words_until};

/// A client over TLS and HTTP/2, with these credentials.
fn sender(world: &World, credentials: Credentials) -> Client {
    Client::builder()
        .base_url(format!("https://localhost:{}", world.running.https.port()))
        .root_certificates(&world.trust.pem)
        .project(&world.project)
        .credentials(credentials)
        .build()
        .unwrap()
}

async fn start() -> (TestServer, World, Client) {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let credentials = Credentials::from_json(&server.account().to_string()).unwrap();
    let client = sender(&world, credentials);
    (server, world, client)
}

fn saying(token: &str, word: &str) -> Message {
    Message::to_token(token).data("word", word)
}

fn id(name: &str) -> &str {
    name.rsplit('/').next().unwrap()
}

#[tokio::test]
async fn what_is_sent_arrives_however_the_sender_shows_who_it_is() {
    let (server, world, granted) = start().await;
    let account = Credentials::from_json(&server.account().to_string()).unwrap();
    let device = world.device().await.unwrap();
    let mut connection = world.connect(&device).await.unwrap();
    let clients = [
        ("a grant", granted),
        ("a JWT of its own", sender(&world, account.self_signed())),
        ("a token", sender(&world, Credentials::token(&*world.access))),
    ];
    for (how, client) in clients {
        let message = saying(&device.token, how)
            .notification(Notification::default().title("Hi"))
            .android(AndroidConfig::default().ttl(Duration::from_secs(60)).collapse_key("k"));
        let name = client.send(&message).await.unwrap();
        assert!(name.starts_with("projects/demo/messages/"), "{name}");
        let received = next(&mut connection).await;
        assert_eq!((received.persistent_id(), received.get("word")), (id(&name), Some(how)));
        assert_eq!((received.stanza.ttl, received.stanza.token.as_deref()), (Some(60), Some("k")));
    }
}

#[tokio::test]
async fn five_hundred_messages_arrive_once_each_and_their_names_are_in_order() {
    let (_server, world, client) = start().await;
    let mut connections = Vec::new();
    let mut messages = Vec::new();
    // No device gets so many that it would have to drop some.
    for n in 0..10 {
        let device = world.device().await.unwrap();
        messages.extend((0..50).map(|m| saying(&device.token, &format!("{n} {m}"))));
        connections.push(world.connect(&device).await.unwrap());
    }
    let sent = client.send_each(&messages).await.unwrap();
    assert_eq!(sent.failure_count(), 0);
    let mut names = sent.results.into_iter().map(Result::unwrap).enumerate();
    for connection in &mut connections {
        let mut expected: Vec<_> = names.by_ref().take(50).collect();
        for _ in 0..50 {
            let received = next(connection).await;
            let place = expected.iter().position(|(_, name)| id(name) == received.persistent_id()).unwrap();
            let (n, _) = expected.remove(place);
            assert_eq!(received.get("word"), Some(&*format!("{} {}", n / 50, n % 50)));
        }
    }
}

#[tokio::test]
async fn a_multicast_reaches_the_good_targets_and_tells_of_each_bad_one() {
    let (_server, world, client) = start().await;
    let (first, second) = (world.device().await.unwrap(), world.device().await.unwrap());
    let unknown = format!("{}:APA91b{}", "f".repeat(11), "x".repeat(134));
    let multicast = Multicast::new(Content::default().data("word", "all"))
        .tokens([&first.token, "not-a-token", &unknown, &second.token])
        .fids(["not-a-fid"]);
    let sent = client.send_each_for_multicast(&multicast).await.unwrap();
    let codes: Vec<_> =
        sent.results.iter().map(|result| result.as_ref().err().and_then(Error::code)).collect();
    let (invalid, gone) = (Some(&Code::InvalidArgument), Some(&Code::Unregistered));
    assert_eq!(codes, [None, invalid, gone, None, gone]);
    for device in [&first, &second] {
        let mut connection = world.connect(device).await.unwrap();
        assert_eq!(words_until(&mut connection, "all").await, ["all"]);
    }
}

#[tokio::test]
async fn a_dry_run_is_answered_and_delivers_nothing() {
    let (_server, world, client) = start().await;
    let device = world.device().await.unwrap();
    let dry = client.dry_run();
    let name = dry.send(&saying(&device.token, "dry")).await.unwrap();
    assert!(name.starts_with("projects/demo/messages/"), "{name}");
    let multicast =
        Multicast::new(Content::default().data("word", "dry")).tokens([&device.token, "not-a-token"]);
    let sent = dry.send_each_for_multicast(&multicast).await.unwrap();
    assert_eq!((sent.success_count(), sent.failure_count()), (1, 1));
    client.send(&saying(&device.token, "wet")).await.unwrap();
    let mut connection = world.connect(&device).await.unwrap();
    assert_eq!(words_until(&mut connection, "wet").await, ["wet"]);
}

#[tokio::test]
async fn a_refusal_says_whose_fault_it_was() {
    let (server, world, client) = start().await;
    let device = world.device().await.unwrap();

    let error = client.send(&saying("not-a-token", "")).await.unwrap_err();
    let refusal = error.refusal().unwrap();
    assert_eq!((refusal.http_status, &refusal.code), (400, &Code::InvalidArgument));
    assert_eq!(refusal.field_violations[0].field, "message.token");
    assert!(!error.can_retry());

    let reserved = saying(&device.token, "").data("from", "me");
    assert_eq!(client.send(&reserved).await.unwrap_err().code(), Some(&Code::InvalidArgument));
    let large = saying(&device.token, &"x".repeat(5_000));
    assert_eq!(client.send(&large).await.unwrap_err().code(), Some(&Code::InvalidArgument));

    let nobody = sender(&world, Credentials::none()).send(&saying(&device.token, "")).await.unwrap_err();
    let wrong =
        sender(&world, Credentials::token("wrong")).send(&saying(&device.token, "")).await.unwrap_err();
    for error in [nobody, wrong] {
        assert_eq!(error.code(), Some(&Code::Unauthenticated), "{error}");
    }

    let mut file = server.account().clone();
    file["client_email"] = json!("nobody@demo.iam.gserviceaccount.com");
    let stranger = sender(&world, Credentials::from_json(&file.to_string()).unwrap());
    let error = patiently("a refusal", stranger.send(&saying(&device.token, ""))).await.unwrap_err();
    assert!(matches!(error, Error::Credential { temporary: false, .. }), "{error:?}");
    assert!(error.to_string().contains("invalid_grant"), "{error}");

    let elsewhere = Client::builder()
        .base_url(format!("https://localhost:{}", world.running.https.port()))
        .root_certificates(&world.trust.pem)
        .project("other")
        .credentials(Credentials::token(&*world.access))
        .build()
        .unwrap();
    let error = elsewhere.send(&saying(&device.token, "")).await.unwrap_err();
    assert_eq!(error.code(), Some(&Code::PermissionDenied), "{error}");
}
