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
    /// What the target would need is not served yet; says what.
    Unsupported(&'static str),

    // --- limits ---
    DeviceQuota {
        quota: DeviceQuota,
        retry_after: Duration,
    },
    /// Sends of a project in a minute.
    ProjectQuota {
        project: ProjectNumber,
        limit: u32,
        retry_after: Duration,
    },

    // --- ours ---
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
