//! Topics as an app server manages them: `batchAdd`, a thousand tokens at a time.

use bytes::Bytes;
use cresset_e2e::{Http2, Outcome, World};
use serde_json::{Value, json};

/// Tokens that one call may have.
pub(crate) const MAX_TOKENS: usize = 1_000;

/// Makes all of them members of a topic.
pub(crate) async fn subscribe(world: &World, topic: &str, tokens: &[&str]) -> Outcome<()> {
    let http = world.sender().await?;
    for tokens in tokens.chunks(MAX_TOKENS) {
        add(world, &http, body(topic, tokens), tokens.len()).await?;
    }
    Ok(())
}

/// The body of a call.
pub(crate) fn body(topic: &str, tokens: &[&str]) -> Bytes {
    json!({ "to": format!("/topics/{topic}"), "registration_tokens": tokens }).to_string().into()
}

/// One call, in which each of `count` tokens must succeed.
pub(crate) async fn add(world: &World, http: &Http2, body: Bytes, count: usize) -> Outcome<()> {
    let authorization = world.authorization();
    let headers = [
        ("authorization", authorization.as_str()),
        ("access_token_auth", "true"),
        ("content-type", "application/json"),
    ];
    let answer = http.post("/iid/v1:batchAdd", &headers, body).await?;
    if !answer.status.is_success() {
        return Err(format!("batchAdd was answered {}: {}", answer.status, answer.text()).into());
    }
    let answer = answer.json();
    let results = answer["results"].as_array().map(Vec::as_slice).unwrap_or_default();
    if results.len() != count {
        return Err(format!("batchAdd of {count} tokens has {} results", results.len()).into());
    }
    match results.iter().find(|result| **result != json!({})) {
        None => Ok(()),
        Some(refused) => Err(format!("batchAdd refused a token: {}", reason(refused)).into()),
    }
}

fn reason(refused: &Value) -> String {
    refused["error"].as_str().map_or_else(|| refused.to_string(), str::to_owned)
}
