//! From a message to the request (`protocol/web-push.md` §1.1 and §1.4).

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use cresset_message::{Message, WebKeys};
use cresset_wire::webpush::encode_base64;
use cresset_wire::webpush::vapid::VapidKey;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::answer::Service;
use super::endpoint::Endpoint;

/// 28 days: FCM's default, and the most that it takes.
pub const MAX_TTL: Duration = Duration::from_secs(2_419_200);

/// RFC 8030 §5.3. What is absent is `normal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    VeryLow,
    Low,
    Normal,
    High,
}

impl Urgency {
    pub fn parse(text: &str) -> Option<Self> {
        [Self::VeryLow, Self::Low, Self::Normal, Self::High].into_iter().find(|known| known.name() == text)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::VeryLow => "very-low",
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}

/// What a message says of its own transport: `webpush.headers`, and nothing else of it (§1.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    pub ttl: Duration,
    pub urgency: Option<Urgency>,
    pub topic: Option<String>,
}

impl Headers {
    /// Of a message that `message::limits::check` passed; other header names mean nothing.
    pub fn of(message: &Message) -> Self {
        let header = |name| message.webpush.as_ref().and_then(|webpush| webpush.header(name));
        let ttl = header("TTL").and_then(|ttl| ttl.parse().ok()).map_or(MAX_TTL, Duration::from_secs);
        Self {
            ttl: ttl.min(MAX_TTL),
            urgency: header("Urgency").and_then(Urgency::parse),
            topic: header("Topic").filter(|topic| !topic.is_empty()).map(str::to_owned),
        }
    }
}

/// A message that is ready for its subscription.
#[derive(Clone, Debug)]
pub struct Push {
    pub endpoint: Endpoint,
    pub keys: WebKeys,
    pub vapid: Arc<VapidKey>,
    /// What is left of it.
    pub ttl: Duration,
    pub urgency: Option<Urgency>,
    /// The same for each try of one delivery.
    pub topic: Option<String>,
    pub plaintext: Bytes,
}

/// The headers of a request. `topic` is apart, as it may have to be left out.
pub(super) fn headers(push: &Push, topic: Option<&str>, authorization: &str, length: usize) -> HeaderMap {
    let service = Service::of(push.endpoint.host());
    let ttl = push.ttl.min(MAX_TTL).as_secs();
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static("ttl"), ttl.into());
    if let Some(urgency) = push.urgency {
        headers.insert(HeaderName::from_static("urgency"), HeaderValue::from_static(urgency.name()));
    }
    if let Some(Ok(topic)) = topic.map(|topic| HeaderValue::from_str(&topic_for(service, topic))) {
        headers.insert(HeaderName::from_static("topic"), topic);
    }
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("aes128gcm"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_LENGTH, length.into());
    if let Ok(mut authorization) = HeaderValue::from_str(authorization) {
        authorization.set_sensitive(true);
        headers.insert(AUTHORIZATION, authorization);
    }
    if service == Service::Microsoft {
        // Without it a TTL of 0 is refused (§1.5).
        let cache = if ttl == 0 { "no-cache" } else { "cache" };
        headers.insert(HeaderName::from_static("x-wns-cache-policy"), HeaderValue::from_static(cache));
        headers.insert(HeaderName::from_static("x-wns-type"), HeaderValue::from_static("wns/raw"));
    }
    headers
}

/// Apple decodes it as base64url, which no length of 1 mod 4 is; another name collapses as well.
fn topic_for(service: Service, topic: &str) -> String {
    if service == Service::Apple && topic.len() % 4 == 1 {
        let mut name = encode_base64(digest(&SHA256, topic.as_bytes()));
        name.truncate(32);
        return name;
    }
    topic.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apple_gets_topics_that_it_can_decode() {
        for (service, topic, same) in [
            (Service::Apple, "score", false),
            (Service::Apple, "s", false),
            (Service::Apple, "scores", true),
            (Service::Google, "score", true),
        ] {
            let sent = topic_for(service, topic);
            assert_eq!(sent == topic, same, "{topic}");
            assert!(sent.len() <= 32 && (service != Service::Apple || sent.len() % 4 != 1));
            assert_eq!(sent, topic_for(service, topic));
        }
    }
}
