//! What a server sees of a sender.

use std::sync::Arc;

use cresset_admin_client::{Credentials, Message};
use http::Version;
use serde_json::json;

use crate::fake::{Door, Fake, Reply, Still, key_file};

#[tokio::test]
async fn a_send_is_a_request_as_the_official_sdks_send_it_over_every_protocol() {
    for (door, version) in
        [(Door::Plain, Version::HTTP_11), (Door::Http1, Version::HTTP_11), (Door::Http2, Version::HTTP_2)]
    {
        let fake = Fake::start(door, |_| Reply::sent()).await;
        let client = fake.builder(&Arc::new(Still::default())).credentials(Credentials::token("t0ken"));
        let client = client.build().unwrap();
        for _ in 0..3 {
            let name = client.send(&Message::to_token("T").data("k", "ü")).await.unwrap();
            assert_eq!(name, "projects/demo/messages/0:1%2");
        }
        let seen = fake.seen().remove(0);
        assert_eq!((seen.version, &*seen.method), (version, "POST"), "{door:?}");
        assert_eq!(seen.path, "/v1/projects/demo/messages:send");
        assert_eq!(seen.json(), json!({ "message": { "token": "T", "data": { "k": "ü" } } }));
        for (name, value) in [
            ("authorization", "Bearer t0ken"),
            ("content-type", "application/json; charset=utf-8"),
            ("x-goog-api-format-version", "2"),
            ("x-firebase-client", concat!("fire-admin-rust-cresset/", env!("CARGO_PKG_VERSION"))),
        ] {
            assert_eq!(seen.header(name), value, "{door:?} {name}");
        }
        assert!(seen.header("x-goog-api-client").contains("fire-admin-rust-cresset/"));
        assert_eq!(fake.connections(), 1, "{door:?}: the connection is kept");
    }
}

#[tokio::test]
async fn a_burst_over_http2_takes_one_connection() {
    let fake = Fake::start(Door::Http2, |_| Reply::sent()).await;
    let client = fake.client(&Arc::new(Still::default()));
    let messages = vec![Message::to_topic("news"); 300];
    assert_eq!(client.send_each(&messages).await.unwrap().success_count(), 300);
    assert_eq!((fake.seen().len(), fake.connections()), (300, 1));
}

#[tokio::test]
async fn a_burst_over_http1_keeps_to_a_few_connections() {
    let fake = Fake::start(Door::Http1, |_| Reply::sent()).await;
    let client = fake.builder(&Arc::new(Still::default())).concurrency(8).credentials(Credentials::none());
    let messages = vec![Message::to_topic("news"); 100];
    assert_eq!(client.build().unwrap().send_each(&messages).await.unwrap().success_count(), 100);
    // Some more than eight: one may be begun while another is just becoming free.
    assert!((1..50).contains(&fake.connections()), "{}", fake.connections());
}

#[tokio::test]
async fn a_client_may_send_from_many_tasks() {
    let fake = Fake::start(Door::Http2, |_| Reply::sent()).await;
    let client = fake.client(&Arc::new(Still::default()));
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                let sent = client.send_each(&[Message::to_topic("a"), Message::to_topic("b")]).await;
                (sent.unwrap().success_count(), client.subscribe_to_topic("a", &["t"]).await.is_err())
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), (2, true));
    }
}

#[tokio::test]
async fn a_request_that_is_json_already_is_sent_as_it_is() {
    let fake = Fake::start(Door::Plain, |_| Reply::sent()).await;
    let client = fake.client(&Arc::new(Still::default()));
    let body = "{'message': {topic: 'news',}, \"validateOnly\": true}";
    client.dry_run().send_request(body).await.unwrap();
    assert_eq!(fake.seen()[0].body, body);
}

#[tokio::test]
async fn who_pays_is_named() {
    let fake = Fake::start(Door::Plain, |seen| match seen.path.as_str() {
        "/token" => Reply::access_token("t"),
        _ => Reply::sent(),
    })
    .await;
    let file = key_file(&json!({ "quota_project_id": "payer" }));
    let client = fake.builder(&Arc::new(Still::default()));
    let client = client.credentials(Credentials::from_json(&file).unwrap()).build().unwrap();
    client.send(&Message::to_topic("news")).await.unwrap();
    assert_eq!(fake.seen()[1].header("x-goog-user-project"), "payer");
}
