//! FCM's limits, as a sender and a device meet them.

use std::sync::Arc;

use cresset_e2e::{TestServer, config};
use cresset_server::config::QuotaProfile;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{next, saying, saying_with};

async fn limited() -> TestServer {
    let folder = Arc::new(TempDir::new().unwrap());
    let mut config = config(folder.path());
    config.quotas.profile = QuotaProfile::Fcm;
    TestServer::start_with(folder, &config).await.unwrap()
}

#[tokio::test]
async fn an_app_that_missed_too_much_is_told_how_much() {
    let server = limited().await;
    let world = server.world().await.unwrap();
    let device = world.device().await.unwrap();
    for n in 0..101 {
        world.accept(&saying(&device, &n.to_string())).await.unwrap();
    }
    let score = json!({ "collapse_key": "score" });
    world.accept(&saying_with(&device, "kept", score)).await.unwrap();
    let mut connection = world.connect(&device).await.unwrap();
    assert_eq!(next(&mut connection).await.get("word"), Some("kept"));
    let notice = next(&mut connection).await;
    assert_eq!(notice.get("message_type"), Some("deleted_messages"));
    assert_eq!(notice.get("total_deleted"), Some("101"));
    assert_eq!(notice.stanza.category, "com.example.demo");
    world.accept(&saying(&device, "after")).await.unwrap();
    assert_eq!(next(&mut connection).await.get("word"), Some("after"));
}

#[tokio::test]
async fn more_than_a_device_may_get_is_refused_with_a_time_to_come_back() {
    let server = limited().await;
    let world = server.world().await.unwrap();
    let device = world.device().await.unwrap();
    let mut refused = None;
    // The window may end in between, on a slow machine, but not often.
    for n in 0..2_000 {
        let answer = world.send(&saying(&device, &n.to_string())).await.unwrap();
        if answer.status != 200 {
            refused = Some((n, answer));
            break;
        }
    }
    let (accepted, answer) = refused.expect("more than 240 in a minute");
    assert_eq!(accepted % 240, 0, "{accepted}");
    assert_eq!(answer.status, 429);
    let error = &answer.json()["error"];
    assert_eq!(error["status"], "RESOURCE_EXHAUSTED");
    assert_eq!(error["details"][0]["errorCode"], "QUOTA_EXCEEDED");
    assert_eq!(
        error["details"][1]["violations"][0]["description"],
        "More than 240 messages to this device in a minute."
    );
    let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    let another = world.device().await.unwrap();
    world.accept(&saying(&another, "goes on")).await.unwrap();
}
