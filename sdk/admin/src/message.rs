//! Messages as HTTP v1 takes them (`protocol/http-v1.md` §2): every field, by its wire name.
//!
//! Nothing is required by the types but what the format requires; what the server refuses, it says
//! better. A field that is not set is not sent.

mod android;
mod apns;
mod values;
mod webpush;

use serde::Serialize;

pub use self::android::{
    AndroidConfig, AndroidConfigV2, AndroidContentV2, AndroidNotification, AndroidNotificationV2,
    AndroidOptionsV2, AndroidPriority, AndroidRemoteNotification, Color, LightSettings, NotificationPriority,
    Proxy, Visibility,
};
pub use self::apns::{ApnsConfig, ApnsFcmOptions};
pub use self::values::{Object, Span, Time};
pub use self::webpush::{WebpushConfig, WebpushFcmOptions};

/// Makes a struct of optional fields and of maps of text, with a setter each of the same name: one
/// for a field, one that adds an entry for a map.
macro_rules! wire_type {
    (
        $(#[$meta:meta])*
        $name:ident {
            $($(#[$doc:meta])* $field:ident: $type:ty,)*
        }
        $(maps {
            $($(#[$map_doc:meta])* $map:ident,)*
        })?
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, ::serde::Serialize)]
        pub struct $name {
            $(
                $(#[$doc])*
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $field: Option<$type>,
            )*
            $($(
                $(#[$map_doc])*
                #[serde(skip_serializing_if = "::std::collections::BTreeMap::is_empty")]
                pub $map: ::std::collections::BTreeMap<String, String>,
            )*)?
        }

        impl $name {
            $(
                $(#[$doc])*
                #[must_use]
                pub fn $field(mut self, value: impl Into<$type>) -> Self {
                    self.$field = Some(value.into());
                    self
                }
            )*
            $($(
                $(#[$map_doc])*
                #[must_use]
                pub fn $map(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
                    self.$map.insert(key.into(), value.into());
                    self
                }
            )*)?
        }
    };
}
use wire_type;

/// Whom a message is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A registration token.
    Token(String),
    /// A Firebase Installation ID.
    Fid(String),
    /// The name of a topic, without `/topics/`.
    Topic(String),
    /// Topics and what joins them: `'dogs' in topics && !('cats' in topics)`.
    Condition(String),
}

/// A message: a target, and what is said to it.
///
/// ```
/// use cresset_admin_client::{AndroidConfig, AndroidPriority, Message, Notification};
/// use std::time::Duration;
///
/// let message = Message::to_topic("scores")
///     .data("score", "850")
///     .notification(Notification::default().title("Hi").body("There is a new score."))
///     .android(AndroidConfig::default().priority(AndroidPriority::High).ttl(Duration::from_secs(60)));
/// assert_eq!(
///     serde_json::to_value(&message).unwrap(),
///     serde_json::json!({
///         "topic": "scores",
///         "data": { "score": "850" },
///         "notification": { "title": "Hi", "body": "There is a new score." },
///         "android": { "priority": "HIGH", "ttl": "60s" },
///     })
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Message {
    #[serde(flatten)]
    pub target: Target,
    #[serde(flatten)]
    pub content: Content,
}

wire_type! {
    /// What a message says, whoever it is for.
    Content {
        /// What is shown to the user, on every platform.
        notification: Notification,
        /// For Android.
        android: AndroidConfig,
        /// For Android, in the second form. A message has one form or the other.
        android_v2: AndroidConfigV2,
        /// For browsers.
        webpush: WebpushConfig,
        /// For Apple's platforms.
        apns: ApnsConfig,
        /// What is the same for every platform.
        fcm_options: FcmOptions,
    } maps {
        /// For the app: keys and values are text.
        data,
    }
}

wire_type! {
    /// What is shown to the user.
    Notification {
        title: String,
        body: String,
        /// The URL of a picture.
        image: String,
    }
}

wire_type! {
    /// Options that are the same for every platform.
    FcmOptions {
        /// Names the message in reports: up to 50 characters of `[a-zA-Z0-9-_.~%]`.
        analytics_label: String,
    }
}

impl Message {
    /// A message that says nothing yet.
    pub fn to(target: Target) -> Self {
        Self { target, content: Content::default() }
    }

    /// To a registration token.
    pub fn to_token(token: impl Into<String>) -> Self {
        Self::to(Target::Token(token.into()))
    }

    /// To a Firebase Installation ID.
    pub fn to_fid(fid: impl Into<String>) -> Self {
        Self::to(Target::Fid(fid.into()))
    }

    /// To a topic, with or without `/topics/`.
    pub fn to_topic(topic: &str) -> Self {
        Self::to(Target::Topic(topic.strip_prefix("/topics/").unwrap_or(topic).to_owned()))
    }

    /// To those for whom a condition over topics holds.
    pub fn to_condition(condition: impl Into<String>) -> Self {
        Self::to(Target::Condition(condition.into()))
    }

    /// Says this instead.
    #[must_use]
    pub fn content(mut self, content: Content) -> Self {
        self.content = content;
        self
    }

    /// Adds an entry for the app.
    #[must_use]
    pub fn data(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.saying(|content| content.data(key, value))
    }

    /// What is shown to the user, on every platform.
    #[must_use]
    pub fn notification(self, notification: Notification) -> Self {
        self.saying(|content| content.notification(notification))
    }

    /// For Android.
    #[must_use]
    pub fn android(self, android: AndroidConfig) -> Self {
        self.saying(|content| content.android(android))
    }

    /// For Android, in the second form.
    #[must_use]
    pub fn android_v2(self, android: AndroidConfigV2) -> Self {
        self.saying(|content| content.android_v2(android))
    }

    /// For browsers.
    #[must_use]
    pub fn webpush(self, webpush: WebpushConfig) -> Self {
        self.saying(|content| content.webpush(webpush))
    }

    /// For Apple's platforms.
    #[must_use]
    pub fn apns(self, apns: ApnsConfig) -> Self {
        self.saying(|content| content.apns(apns))
    }

    /// What is the same for every platform.
    #[must_use]
    pub fn fcm_options(self, options: FcmOptions) -> Self {
        self.saying(|content| content.fcm_options(options))
    }

    fn saying(self, change: impl FnOnce(Content) -> Content) -> Self {
        Self { content: change(self.content), ..self }
    }
}

/// One content for many targets.
///
/// ```
/// use cresset_admin_client::{Content, Multicast};
///
/// let multicast = Multicast::new(Content::default().data("score", "850"))
///     .tokens(["first", "second"])
///     .fids(["third"]);
/// assert_eq!(multicast.targets().len(), 3);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Multicast {
    content: Content,
    tokens: Vec<Target>,
    fids: Vec<Target>,
}

impl Multicast {
    pub fn new(content: Content) -> Self {
        Self { content, ..Self::default() }
    }

    /// Adds registration tokens.
    #[must_use]
    pub fn tokens(mut self, tokens: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.tokens.extend(tokens.into_iter().map(|token| Target::Token(token.into())));
        self
    }

    /// Adds Firebase Installation IDs.
    #[must_use]
    pub fn fids(mut self, fids: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.fids.extend(fids.into_iter().map(|fid| Target::Fid(fid.into())));
        self
    }

    /// All targets in the order of the results: tokens first, as in the official SDKs.
    pub fn targets(&self) -> Vec<&Target> {
        self.tokens.iter().chain(&self.fids).collect()
    }

    pub(crate) fn messages(&self) -> Vec<Message> {
        let message = |target: &Target| Message { target: target.clone(), content: self.content.clone() };
        self.targets().into_iter().map(message).collect()
    }
}
