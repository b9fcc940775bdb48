//! The documented reasons for saying no, once for every protocol. How each is told (HTTP status,
//! Google's status and words) is the edge's: `wire::v1::error` and, for old protocols, its siblings.

use std::time::Duration;

use crate::ProjectNumber;

/// One thing that is wrong with a request, as `google.rpc.BadRequest` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// Path in proto names (`message.android.ttl`); empty for the root.
    pub field: String,
    pub description: String,
}

/// What of a device is used up; each says how much there was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceQuota {
    PerMinute(u32),
    PerHour(u32),
    /// At once, of collapsible messages to one app instance.
    Collapsible(u32),
}

/// APNs' own words, which FCM hands on (`protocol/apns.md` §1.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApnsError {
    pub status: u16,
    pub reason: String,
}

/// Why a request is refused. `protocol/http-v1.md` §5.2 is the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    // --- who may ---
    CredentialsMissing,
    CredentialsInvalid,
    CredentialsExpired,
    ScopeInsufficient,
    /// Not this project's credential, or no such project: Google does not tell them apart.
    PermissionDenied {
        project: String,
    },

    // --- shape: parse errors, all of them, in body order ---
    Unparsable(Vec<FieldViolation>),
    /// The body is larger than the server reads (bytes).
    BodyTooLarge {
        limit: usize,
    },

    // --- rules ---
    NoTarget,
    MalformedToken,
    TopicName,
    Condition,
    ReservedDataKey(String),
    TooLarge,
    AndroidTooLarge,
    /// A rule on one field: `field` is its path, `description` the text shown.
    InvalidField(FieldViolation),

    // --- the target ---
    /// Well formed, but not (or no longer) registered.
    Unregistered,
    SenderIdMismatch,
    /// APNs or a Web Push service refuses the project's credential, or there is none.
    ThirdPartyAuth(Option<ApnsError>),

    // --- limits ---
    DeviceQuota {
        quota: DeviceQuota,
        retry_after: Duration,
    },
    /// Fan-outs of a project at a time.
    FanOutQuota {
        project: ProjectNumber,
        limit: u32,
        retry_after: Duration,
    },
    /// Sends of a project in a minute.
    ProjectQuota {
        project: ProjectNumber,
        limit: u32,
        retry_after: Duration,
    },

    /// Changes of a project's subscriptions in a second.
    SubscriptionQuota {
        project: ProjectNumber,
        limit: u32,
        retry_after: Duration,
    },
    /// Topics of one app instance.
    TooManyTopics {
        limit: usize,
    },

    // --- ours ---
    /// Nothing is kept of this message.
    NotTraced,
    /// The server cannot make it durable now (disk full, shutting down, overloaded).
    Unavailable {
        retry_after: Duration,
    },
    Internal,
}

impl Rejection {
    pub fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::InvalidField(FieldViolation { field: field.into(), description: description.into() })
    }
}

impl Rejection {
    /// What it means to the sender, and what helps: a sentence for the documentation.
    pub const fn meaning(&self) -> &'static str {
        match self {
            Self::CredentialsMissing => "There is no `Authorization: Bearer`, or nothing in it.",
            Self::CredentialsInvalid => {
                "The access token was not given out here. Get one at the token endpoint."
            }
            Self::CredentialsExpired => {
                "The access token is too old. Get a new one; SDKs do it by themselves."
            }
            Self::ScopeInsufficient => {
                "The access token has neither the scope `firebase.messaging` nor `cloud-platform`."
            }
            Self::PermissionDenied { .. } => {
                "The project in the path is not the credential's, or does not exist."
            }
            Self::Unparsable(_) => {
                "The body is not the JSON of a request: every fault is told, in the order of the body."
            }
            Self::BodyTooLarge { .. } => "The body is larger than any message needs.",
            Self::NoTarget => "None of `fid`, `token`, `topic` and `condition` is set.",
            Self::MalformedToken => "This never was a registration token; look at how it was stored.",
            Self::TopicName => {
                "A topic's name has 1 to 900 characters of `a-zA-Z0-9-_.~%`, and no `/topics/`."
            }
            Self::Condition => "The condition is not well formed, or names more than five topics.",
            Self::ReservedDataKey(_) => "Clients would take this key of `data` for FCM's own.",
            Self::TooLarge => "More than 4096 bytes for one of the platforms.",
            Self::AndroidTooLarge => "More than 4096 bytes for Android, to which the token belongs.",
            Self::InvalidField(_) => "A field breaks a rule of its own; the text says which.",
            Self::Unregistered => {
                "The app instance is not, or no longer, registered. Remove the token, and do not try again."
            }
            Self::SenderIdMismatch => "The token is of an app of another project.",
            Self::ThirdPartyAuth(_) => {
                "APNs or the Web Push service refuses the project's key or certificate, or the project has none: `cresset project apns`, `cresset project web-push-key`. Registrations stay as they are."
            }
            Self::DeviceQuota { .. } => {
                "Too many messages to one device. Wait as long as `Retry-After` says."
            }
            Self::FanOutQuota { .. } => {
                "Too many messages of the project to topics and conditions are still being spread. Try again, with back-off."
            }
            Self::ProjectQuota { .. } => "Too many sends of the project. Wait as long as `Retry-After` says.",
            Self::SubscriptionQuota { .. } => {
                "Too many app instances were subscribed or unsubscribed. Wait as long as `Retry-After` says."
            }
            Self::TooManyTopics { .. } => {
                "The app instance has as many topics as it may have: unsubscribe it from others first."
            }
            Self::NotTraced => {
                "The project sent no such message, or what became of it is no longer kept (`trace.keep_hours`)."
            }
            Self::Unavailable { .. } => {
                "The server cannot make the message durable now. Nothing was sent: try again, with back-off."
            }
            Self::Internal => "The server's fault; its log says what it is. Try again, with back-off.",
        }
    }

    /// One of each kind, for the documentation and for tests, in the order of the declaration.
    pub fn samples() -> Vec<Self> {
        let retry_after = Duration::from_secs(60);
        let violation = |field: &str, description: &str| FieldViolation {
            field: field.to_owned(),
            description: description.to_owned(),
        };
        let apns = |status, reason: &str| ApnsError { status, reason: reason.to_owned() };
        let unknown_name =
            "Invalid JSON payload received. Unknown name \"to\" at 'message': Cannot find field.";
        vec![
            Self::CredentialsMissing,
            Self::CredentialsInvalid,
            Self::CredentialsExpired,
            Self::ScopeInsufficient,
            Self::PermissionDenied { project: "demo".to_owned() },
            Self::Unparsable(vec![violation("message", unknown_name)]),
            Self::BodyTooLarge { limit: 131_072 },
            Self::NoTarget,
            Self::MalformedToken,
            Self::TopicName,
            Self::Condition,
            Self::ReservedDataKey("from".to_owned()),
            Self::TooLarge,
            Self::AndroidTooLarge,
            Self::field("message.android.ttl", "TTL must be between 0 and 2419200 seconds."),
            Self::Unregistered,
            Self::SenderIdMismatch,
            Self::ThirdPartyAuth(Some(apns(403, "InvalidProviderToken"))),
            Self::DeviceQuota { quota: DeviceQuota::PerMinute(240), retry_after },
            Self::FanOutQuota { project: ProjectNumber(123_456_789_012), limit: 1_000, retry_after },
            Self::ProjectQuota { project: ProjectNumber(123_456_789_012), limit: 600_000, retry_after },
            Self::SubscriptionQuota {
                project: ProjectNumber(123_456_789_012),
                limit: 3_000,
                retry_after: Duration::from_secs(1),
            },
            Self::TooManyTopics { limit: 2_000 },
            Self::NotTraced,
            Self::Unavailable { retry_after: Duration::from_secs(5) },
            Self::Internal,
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn there_is_a_sample_of_each_kind_and_a_meaning_of_its_own() {
        let samples = Rejection::samples();
        let kinds: HashSet<_> = samples.iter().map(std::mem::discriminant).collect();
        let meanings: HashSet<_> = samples.iter().map(Rejection::meaning).collect();
        // As many as `meaning` has arms, which the compiler counts.
        assert_eq!((samples.len(), kinds.len(), meanings.len()), (26, 26, 26));
    }
}
