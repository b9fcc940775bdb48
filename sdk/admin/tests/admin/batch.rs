//! Many messages at once.

use std::sync::Arc;

use cresset_admin_client::{Content, Error, Message, Multicast, Target};
use serde_json::json;

use crate::fake::{Door, Fake, Reply, Seen, Still};

/// Succeeds by the name of the target, unless it is a bad one.
fn by_target(seen: &Seen) -> Reply {
    let request = seen.json();
    let message = &request["message"];
    let target = ["token", "fid", "topic"].iter().find_map(|kind| message[kind].as_str()).unwrap();
    match target {
        "bad" => Reply::refusal(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        "gone" => Reply::refusal(404, "NOT_FOUND", "UNREGISTERED"),
        name => Reply::json(200, &json!({ "name": format!("projects/demo/messages/{name}") })),
    }
}

#[tokio::test]
async fn each_message_has_a_result_of_its_own_in_its_place() {
    for door in [Door::Plain, Door::Http1, Door::Http2] {
        let fake = Fake::start(door, by_target).await;
        let client = fake.client(&Arc::new(Still::default()));
        let mut messages: Vec<_> = (0..500).map(|n| Message::to_token(n.to_string())).collect();
        messages[7] = Message::to_token("bad");
        messages[499] = Message::to_token("gone");
        let sent = client.send_each(&messages).await.unwrap();
        assert_eq!((sent.success_count(), sent.failure_count()), (498, 2), "{door:?}");
        for (n, result) in sent.results.iter().enumerate() {
            match (n, result) {
                (7 | 499, result) => assert_eq!(result.as_ref().unwrap_err().is_unregistered(), n == 499),
                (_, name) => assert_eq!(name.as_ref().unwrap(), &format!("projects/demo/messages/{n}")),
            }
        }
    }
}

#[tokio::test]
async fn a_multicast_goes_to_tokens_and_then_to_installations() {
    let fake = Fake::start(Door::Plain, by_target).await;
    let client = fake.client(&Arc::new(Still::default()));
    let multicast =
        Multicast::new(Content::default().data("k", "v")).fids(["f", "gone"]).tokens(["t", "bad"]);
    let expected = ["t", "bad"].map(|token| Target::Token(token.into()));
    assert_eq!(multicast.targets()[..2], expected.iter().collect::<Vec<_>>());
    let sent = client.send_each_for_multicast(&multicast).await.unwrap();
    let ok: Vec<_> = sent.results.iter().map(Result::is_ok).collect();
    assert_eq!(ok, [true, false, true, false]);
    let messages: Vec<_> = fake.seen().iter().map(|seen| seen.json()["message"].clone()).collect();
    assert_eq!(messages.len(), 4);
    assert!(messages.contains(&json!({ "data": { "k": "v" }, "fid": "f" })), "{messages:?}");
}

#[tokio::test]
async fn a_dry_run_says_so_in_every_request() {
    let fake = Fake::start(Door::Plain, by_target).await;
    let client = fake.client(&Arc::new(Still::default()));
    let dry = client.dry_run();
    dry.send(&Message::to_topic("a")).await.unwrap();
    dry.send_each(&[Message::to_topic("a")]).await.unwrap();
    dry.send_each_for_multicast(&Multicast::new(Content::default()).tokens(["t"])).await.unwrap();
    client.send(&Message::to_topic("a")).await.unwrap();
    let said: Vec<_> = fake.seen().iter().map(|seen| seen.json()["validate_only"].clone()).collect();
    assert_eq!(said, [json!(true), json!(true), json!(true), json!(null)]);
}

#[tokio::test]
async fn none_and_too_many_are_refused_before_anything_is_sent() {
    let fake = Fake::start(Door::Plain, by_target).await;
    let client = fake.client(&Arc::new(Still::default()));
    let tokens = |count: usize| (0..count).map(|n| n.to_string());
    let multicast = Multicast::new(Content::default());
    let results = [
        client.send_each(&[]).await,
        client.send_each(&vec![Message::to_topic("a"); 501]).await,
        client.send_each_for_multicast(&multicast).await,
        client.send_each_for_multicast(&multicast.clone().tokens(tokens(250)).fids(tokens(251))).await,
    ];
    for result in results {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)) && !error.can_retry(), "{error:?}");
    }
    assert!(fake.seen().is_empty());
}
