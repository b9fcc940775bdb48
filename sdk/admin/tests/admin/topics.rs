//! Subscriptions, by the service that every Admin SDK uses.

use std::sync::Arc;

use cresset_admin_client::{Code, Credentials, Error, TopicError};
use serde_json::json;

use crate::fake::{Door, Fake, Reply, Still};

#[tokio::test]
async fn tokens_are_subscribed_and_unsubscribed_each_with_its_result() {
    let results = json!({ "results": [{}, { "error": "NOT_FOUND" }, { "error": "TOO_MANY_TOPICS" },
        { "error": "INVALID_ARGUMENT" }, { "error": "NEWS" }] });
    let fake = Fake::start(Door::Http2, move |_| Reply::json(200, &results)).await;
    let client =
        fake.builder(&Arc::new(Still::default())).credentials(Credentials::token("t")).build().unwrap();
    let tokens = ["a", "b", "c", "d", "e"];
    let added = client.subscribe_to_topic("movies", &tokens).await.unwrap();
    let removed = client.unsubscribe_from_topic("/topics/movies", &tokens.map(String::from)).await.unwrap();
    for response in [added, removed] {
        let expected = [
            Ok(()),
            Err(TopicError::NotFound),
            Err(TopicError::TooManyTopics),
            Err(TopicError::InvalidArgument),
            Err(TopicError::Other("NEWS".into())),
        ];
        assert_eq!(response.results, expected);
        assert_eq!((response.success_count(), response.failure_count()), (1, 4));
    }
    let seen = fake.seen();
    let paths: Vec<_> = seen.iter().map(|seen| &*seen.path).collect();
    assert_eq!(paths, ["/iid/v1:batchAdd", "/iid/v1:batchRemove"]);
    for seen in seen {
        assert_eq!(seen.json(), json!({ "to": "/topics/movies", "registration_tokens": tokens }));
        assert_eq!((seen.header("authorization"), seen.header("access_token_auth")), ("Bearer t", "true"));
    }
}

#[tokio::test]
async fn the_services_refusals_are_strings_and_pages() {
    for (reply, code) in [
        (Reply::text(400, r#"{"error":"INVALID_ARGUMENT"}"#), Code::InvalidArgument),
        (Reply::text(401, "<html><title>Unauthorized</title>"), Code::Unauthenticated),
        (Reply::text(429, r#"{"error":"RESOURCE_EXHAUSTED"}"#), Code::QuotaExceeded),
    ] {
        let fake = Fake::playing(vec![reply]).await;
        let client = fake.client(&Arc::new(Still::default()));
        let error = client.subscribe_to_topic("movies", &["a"]).await.unwrap_err();
        assert_eq!(error.code(), Some(&code));
    }
    let (fake, still) = (Fake::playing(vec![Reply::busy(), Reply::text(200, "{}")]).await, Arc::default());
    let error = fake.client(&still).subscribe_to_topic("movies", &["a"]).await.unwrap_err();
    assert!(matches!(error, Error::Unexpected { .. }), "no result for the token: {error:?}");
    assert_eq!(still.waits_ms(), [500]);
}

#[tokio::test]
async fn what_cannot_be_right_is_not_sent() {
    let fake = Fake::start(Door::Plain, |_| Reply::text(200, "{}")).await;
    let client = fake.client(&Arc::new(Still::default()));
    let many = vec!["t"; 1_001];
    let tries: [(&str, &[&str]); 5] =
        [("a b", &["t"]), ("", &["t"]), ("movies", &[]), ("movies", &["t", ""]), ("movies", &many)];
    for (topic, tokens) in tries {
        let error = client.subscribe_to_topic(topic, tokens).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{topic}: {error:?}");
    }
    assert!(fake.seen().is_empty());
}
