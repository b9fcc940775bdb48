//! At least once, until acknowledged, expired or collapsed; the same persistent id; in order.

use std::time::Duration;

use cresset_e2e::TestServer;
use serde_json::json;

use crate::support::{acknowledge, logged_in, next, next_data, saying, saying_with, words_until};

#[tokio::test]
async fn what_is_sent_to_an_offline_device_arrives_at_login_in_order() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let device = world.device().await.unwrap();
    let mut ids = Vec::new();
    for n in 0..150 {
        ids.push(world.accept(&saying(&device, &n.to_string())).await.unwrap());
    }
    let mut connection = world.connect(&device).await.unwrap();
    for (n, id) in ids.iter().enumerate() {
        let message = next(&mut connection).await;
        assert_eq!((message.persistent_id(), message.get("word")), (id.as_str(), Some(&*n.to_string())));
    }
}

#[tokio::test]
async fn what_is_sent_to_a_connected_device_arrives_at_once_and_in_order() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let (device, other) = (world.device().await.unwrap(), world.device().await.unwrap());
    let mut connection = world.connect(&device).await.unwrap();
    for n in 0..20 {
        world.accept(&saying(&other, "for somebody else")).await.unwrap();
        let id = world.accept(&saying(&device, &n.to_string())).await.unwrap();
        let message = next(&mut connection).await;
        assert_eq!(message.persistent_id(), id);
        assert_eq!(message.stanza.category, "com.example.demo");
    }
}

#[tokio::test]
async fn an_acknowledged_message_never_comes_again_and_another_one_does_as_the_same() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let device = world.device().await.unwrap();
    let acknowledged = world.accept(&saying(&device, "acknowledged")).await.unwrap();
    let kept = world.accept(&saying(&device, "kept")).await.unwrap();
    let mut first = logged_in(&world, &device).await;
    assert_eq!(next_data(&mut first).await.persistent_id.as_deref(), Some(&*acknowledged));
    assert_eq!(next_data(&mut first).await.persistent_id.as_deref(), Some(&*kept));
    acknowledge(&mut first, &acknowledged).await;
    drop(first);
    for _ in 0..2 {
        let mut again = logged_in(&world, &device).await;
        let message = next_data(&mut again).await;
        assert_eq!((message.persistent_id.as_deref(), message.get("word")), (Some(&*kept), Some("kept")));
    }
}

#[tokio::test]
async fn a_login_acknowledges_what_it_lists() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let device = world.device().await.unwrap();
    let had = world.accept(&saying(&device, "had")).await.unwrap();
    world.accept(&saying(&device, "new")).await.unwrap();
    let options = cresset_device_client::ConnectOptions { received: vec![had], ..Default::default() };
    let mut connection = world.devices.connect(&device.credentials, options).await.unwrap();
    assert_eq!(words_until(&mut connection, "new").await, ["new"]);
}

#[tokio::test]
async fn ttl_0_is_now_or_never() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let device = world.device().await.unwrap();
    let now_or_never = |word| saying_with(&device, word, json!({ "ttl": "0s" }));
    world.accept(&now_or_never("never")).await.unwrap();
    world.accept(&saying(&device, "stored")).await.unwrap();
    let mut connection = world.connect(&device).await.unwrap();
    assert_eq!(words_until(&mut connection, "stored").await, ["stored"]);
    world.accept(&now_or_never("now")).await.unwrap();
    assert_eq!(words_until(&mut connection, "now").await, ["now"]);
    drop(connection);
    world.accept(&saying(&device, "last")).await.unwrap();
    let mut connection = world.connect(&device).await.unwrap();
    assert_eq!(words_until(&mut connection, "last").await, ["stored", "last"], "it was not stored");
}

#[tokio::test]
async fn a_collapsed_message_replaces_the_stored_one() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let device = world.device().await.unwrap();
    let collapsed = |word, key| saying_with(&device, word, json!({ "collapse_key": key }));
    for (word, key) in [("score 1", "score"), ("news", "news"), ("score 2", "score"), ("score 3", "score")] {
        world.accept(&collapsed(word, key)).await.unwrap();
    }
    world.accept(&saying(&device, "plain")).await.unwrap();
    let mut connection = world.connect(&device).await.unwrap();
    assert_eq!(words_until(&mut connection, "plain").await, ["news", "score 3", "plain"]);
}

#[tokio::test]
async fn an_expired_message_never_arrives() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let device = world.device().await.unwrap();
    world.accept(&saying_with(&device, "short", json!({ "ttl": "1s" }))).await.unwrap();
    world.accept(&saying_with(&device, "long", json!({ "ttl": "3600s" }))).await.unwrap();
    // Not in hope: a message's life is what is waited for.
    tokio::time::sleep(Duration::from_millis(1_010)).await;
    let mut connection = world.connect(&device).await.unwrap();
    assert_eq!(words_until(&mut connection, "long").await, ["long"]);
}

#[tokio::test]
async fn every_registration_of_a_device_has_its_own_order() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let device = world.device().await.unwrap();
    let form = cresset_device_client::Register3::android("com.example.other", &world.sender_id);
    let other = world.devices.register3(&device.credentials, &form).await.unwrap();
    assert_ne!(other, device.token);
    for n in 0..10 {
        let token = if n % 2 == 0 { &device.token } else { &other };
        world.accept(&json!({ "token": token, "data": { "word": n.to_string() } })).await.unwrap();
    }
    let mut connection = world.connect(&device).await.unwrap();
    for n in 0..10 {
        let message = next(&mut connection).await;
        let package = if n % 2 == 0 { "com.example.demo" } else { "com.example.other" };
        assert_eq!((&*message.stanza.category, message.get("word")), (package, Some(&*n.to_string())));
    }
}
