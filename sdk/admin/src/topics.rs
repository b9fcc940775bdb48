//! Who gets what is sent to a topic (`protocol/topics-and-batch.md` §2.1).

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::client::check_count;
use crate::{Client, Error};

/// Most tokens of one call.
pub const MOST_TOKENS: usize = 1_000;

/// Longest name of a topic.
const LONGEST_NAME: usize = 900;

/// What became of a change of subscriptions.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicResponse {
    /// One for each token, in the same order.
    pub results: Vec<Result<(), TopicError>>,
}

/// Why a token's subscription was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// Not a token.
    InvalidArgument,
    /// The app instance is gone.
    NotFound,
    /// The token belongs to another project.
    PermissionDenied,
    /// The app instance has as many topics as it may have.
    TooManyTopics,
    /// Too many changes at once.
    ResourceExhausted,
    Internal,
    DeadlineExceeded,
    Other(String),
}

#[derive(Serialize)]
struct Change<'a> {
    to: String,
    registration_tokens: Vec<&'a str>,
}

impl Client {
    /// Subscribes up to 1,000 tokens to a topic.
    pub async fn subscribe_to_topic(
        &self,
        topic: &str,
        tokens: &[impl AsRef<str>],
    ) -> Result<TopicResponse, Error> {
        self.change("batchAdd", topic, tokens.iter().map(AsRef::as_ref).collect()).await
    }

    /// Ends the subscriptions of up to 1,000 tokens to a topic.
    pub async fn unsubscribe_from_topic(
        &self,
        topic: &str,
        tokens: &[impl AsRef<str>],
    ) -> Result<TopicResponse, Error> {
        self.change("batchRemove", topic, tokens.iter().map(AsRef::as_ref).collect()).await
    }

    async fn change(&self, method: &str, topic: &str, tokens: Vec<&str>) -> Result<TopicResponse, Error> {
        let to = checked_topic(topic)?;
        check_count("tokens", tokens.len(), MOST_TOKENS)?;
        if tokens.iter().any(|token| token.is_empty()) {
            return Err(Error::invalid("one of the tokens is empty"));
        }
        let count = tokens.len();
        let answer = self.post_to_topics(method, &Change { to, registration_tokens: tokens }).await?;
        let success: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let results: Vec<_> = success["results"].as_array().into_iter().flatten().map(result).collect();
        if results.len() != count {
            return Err(answer.unexpected(&format!("{} results for {count} tokens", results.len())));
        }
        Ok(TopicResponse { results })
    }
}

impl TopicResponse {
    pub fn success_count(&self) -> usize {
        self.results.iter().filter(|result| result.is_ok()).count()
    }

    pub fn failure_count(&self) -> usize {
        self.results.len() - self.success_count()
    }
}

impl TopicError {
    /// The word on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::NotFound => "NOT_FOUND",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::TooManyTopics => "TOO_MANY_TOPICS",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::Internal => "INTERNAL",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::Other(word) => word,
        }
    }

    /// Whether the same change may succeed later.
    pub fn can_retry(&self) -> bool {
        matches!(self, Self::ResourceExhausted | Self::Internal | Self::DeadlineExceeded)
    }

    fn of(word: &str) -> Self {
        let known = [
            Self::InvalidArgument,
            Self::NotFound,
            Self::PermissionDenied,
            Self::TooManyTopics,
            Self::ResourceExhausted,
            Self::Internal,
            Self::DeadlineExceeded,
        ];
        let found = known.into_iter().find(|error| error.as_str() == word);
        found.unwrap_or_else(|| Self::Other(word.to_owned()))
    }
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn result(entry: &Value) -> Result<(), TopicError> {
    match entry.get("error") {
        None => Ok(()),
        Some(error) => Err(TopicError::of(error.as_str().unwrap_or("UNKNOWN"))),
    }
}

/// With the prefix that the service is told: what the official SDKs let pass.
fn checked_topic(topic: &str) -> Result<String, Error> {
    let name = topic.strip_prefix("/topics/").unwrap_or(topic);
    let bare = name.strip_prefix("private/").unwrap_or(name);
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~%".contains(&b);
    if bare.is_empty() || bare.len() > LONGEST_NAME || !bare.bytes().all(plain) {
        return Err(Error::invalid(format!("`{topic}` is not the name of a topic")));
    }
    Ok(format!("/topics/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_topics_are_checked() {
        for (topic, expected) in [
            ("movies", Some("/topics/movies")),
            ("/topics/movies", Some("/topics/movies")),
            ("private/a-b_c.d~e%20", Some("/topics/private/a-b_c.d~e%20")),
            ("", None),
            ("/topics/", None),
            ("a b", None),
            ("a/b", None),
            ("ü", None),
        ] {
            assert_eq!(checked_topic(topic).ok().as_deref(), expected, "{topic}");
        }
        assert!(checked_topic(&"a".repeat(900)).is_ok() && checked_topic(&"a".repeat(901)).is_err());
    }
}
