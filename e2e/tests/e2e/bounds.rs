//! Reaching a bound has an answer that clients understand.

use bytes::Bytes;
use cresset_e2e::{Http2, RawMcs, TestServer, config, patiently};
use http::StatusCode;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{logged_in, saying};

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_and_the_connection_goes_on() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let device = world.device().await.unwrap();
    let answer = world.send(&saying(&device, &"x".repeat(5_000))).await.unwrap();
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text());
    assert_eq!(answer.json()["error"]["status"], "INVALID_ARGUMENT");
    let answer = world.send(&saying(&device, &"x".repeat(1_000_000))).await.unwrap();
    assert!(answer.status.is_client_error(), "{}", answer.text());
    world.accept(&saying(&device, "small")).await.unwrap();
}

#[tokio::test]
async fn a_header_list_that_is_too_large_is_refused() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let http = Http2::connect(world.running.https, "fcm.googleapis.com", &world.trust).await.unwrap();
    let long = "x".repeat(100_000);
    let sent = async {
        let headers = [("authorization", long.as_str())];
        http.post(&world.send_path(), &headers, Bytes::from_static(b"{}")).await
    };
    match patiently("an answer", sent).await {
        Ok(answer) => assert_eq!(answer.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        Err(reset) => assert!(reset.downcast_ref::<h2::Error>().is_some(), "{reset}"),
    }
    let message = json!({ "token": world.device().await.unwrap().token });
    world.accept(&message).await.unwrap();
}

#[tokio::test]
async fn devices_beyond_the_limit_are_turned_away_and_those_inside_stay() {
    let folder = std::sync::Arc::new(TempDir::new().unwrap());
    let mut config = config(folder.path());
    config.limits.device_connections = 2;
    let server = TestServer::start_with(folder, &config).await.unwrap();
    let world = server.world().await.unwrap();
    let (first, second) = (world.device().await.unwrap(), world.device().await.unwrap());
    let (one, two) = (logged_in(&world, &first).await, logged_in(&world, &second).await);
    let third = patiently("a refusal", RawMcs::connect(world.running.mcs, &world.trust)).await;
    assert!(third.is_err(), "it is closed before TLS");
    drop(two);
    // The place is free when the server has seen the other's end.
    let free = async { while RawMcs::connect(world.running.mcs, &world.trust).await.is_err() {} };
    patiently("room for another", free).await;
    drop(one);
}

#[tokio::test]
async fn hundreds_of_sends_at_once_are_all_answered() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let device = world.device().await.unwrap();
    let messages: Vec<_> = (0..1_000).map(|n| saying(&device, &n.to_string())).collect();
    let answers = futures_util::future::join_all(messages.iter().map(|message| world.send(message))).await;
    let accepted = answers.iter().filter(|answer| matches!(answer, Ok(a) if a.status == StatusCode::OK));
    assert_eq!(accepted.count(), 1_000);
}
