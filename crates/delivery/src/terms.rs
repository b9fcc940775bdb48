//! What a message says of its own delivery: how long, how urgent, in whose place. It says so for
//! each kind of recipient (`protocol/http-v1.md` §2.2, §2.5).

use std::sync::Arc;
use std::time::Duration;

use cresset_message::{Layout, Message, MessageId, Priority, Recipient, Timestamp, limits};

use crate::{Content, Delivery};

/// `protocol/apns.md` §2.1.
const APNS_TTL: Duration = Duration::from_secs(30 * 86_400);

/// For one kind of recipient.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) ttl: Duration,
    pub(crate) expires: Timestamp,
    pub(crate) priority: Priority,
    pub(crate) collapse_key: Option<Arc<str>>,
}

impl Terms {
    pub(crate) fn for_layout(message: &Message, layout: &Layout, accepted: Timestamp) -> Self {
        match layout {
            Layout::Raw { .. } => Self::raw(message, accepted),
            Layout::WebPush { .. } | Layout::WebApp { .. } | Layout::WebService { .. } => {
                Self::web(message, accepted)
            }
            Layout::Apns { .. } => Self::apple(message, accepted),
        }
    }

    /// `android.ttl` and its neighbours.
    pub(crate) fn raw(message: &Message, accepted: Timestamp) -> Self {
        let android = message.android.as_ref();
        let key = android.and_then(|a| a.collapse_key.as_deref());
        Self::new(android.and_then(|a| a.ttl), message.android_priority(), key, accepted)
    }

    /// The headers of Web Push.
    pub(crate) fn web(message: &Message, accepted: Timestamp) -> Self {
        let header = |name| message.webpush.as_ref().and_then(|w| w.header(name));
        let ttl = header("TTL").and_then(|text| text.parse().ok()).map(Duration::from_secs);
        let priority = match header("Urgency") {
            Some(urgency) if urgency.eq_ignore_ascii_case("high") => Priority::High,
            _ => Priority::Normal,
        };
        Self::new(ttl, priority, header("Topic"), accepted)
    }

    /// The headers of APNs (`protocol/apns.md` §2.4): there is no time to live but a moment, 30 days from
    /// now unless it is said, and 0 is now or never.
    pub(crate) fn apple(message: &Message, accepted: Timestamp) -> Self {
        let header = |name| message.apns.as_ref().and_then(|apns| apns.header(name));
        let expires = header("apns-expiration").and_then(|text| text.parse().ok()).map(Timestamp::from_secs);
        let expires = expires.map_or(accepted + APNS_TTL, |at: Timestamp| at.min(accepted + APNS_TTL));
        let priority = match header("apns-priority") {
            Some("1" | "5") => Priority::Normal,
            _ => Priority::High,
        };
        let collapse_key = header("apns-collapse-id").filter(|key| !key.is_empty()).map(Into::into);
        let ttl = Duration::from_micros(expires.as_micros().saturating_sub(accepted.as_micros()));
        Self { ttl, expires: expires.max(accepted), priority, collapse_key }
    }

    /// An empty key is none: proto3 does not tell them apart.
    fn new(ttl: Option<Duration>, priority: Priority, key: Option<&str>, accepted: Timestamp) -> Self {
        let ttl = ttl.unwrap_or(limits::MAX_TTL).min(limits::MAX_TTL);
        let collapse_key = key.filter(|key| !key.is_empty()).map(Into::into);
        Self { ttl, expires: accepted + ttl, priority, collapse_key }
    }
}

/// Whether a message may go to an app in clear: it may be for one package only.
pub(crate) fn is_of_package(message: &Message, recipient: &Recipient) -> bool {
    let restricted = message.android.as_ref().and_then(|a| a.restricted_package_name.as_deref());
    restricted.is_none_or(|package| package.is_empty() || package == recipient.category)
}

impl Delivery {
    pub(crate) fn new(id: MessageId, message: Arc<Message>, recipient: Arc<Recipient>, terms: Terms) -> Self {
        let Terms { ttl, expires, priority, collapse_key } = terms;
        Self { id, recipient, content: Content::Message(message), priority, collapse_key, ttl, expires }
    }
}
