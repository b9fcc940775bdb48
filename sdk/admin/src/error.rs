//! What can go wrong, whose fault it is, and whether trying again can help.

use std::sync::Arc;
use std::time::Duration;

pub use crate::refusal::{ApnsError, Code, FieldViolation, Refusal};

/// Why a call did not succeed. Clones are cheap: many calls may fail for one reason.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server answered, and said no.
    #[error("{0}")]
    Refused(Arc<Refusal>),
    /// There is no access token to send with.
    #[error("no access token from {source_name}: {reason}")]
    Credential {
        /// The URL of the token endpoint, or what else should have given one.
        source_name: Arc<str>,
        reason: Arc<str>,
        /// Whether it may give one later.
        temporary: bool,
        retry_after: Option<Duration>,
    },
    /// There was no answer: no connection, or one that broke.
    #[error("{host} cannot be reached: {reason}")]
    Unreachable { host: Arc<str>, reason: Arc<str> },
    /// The server's certificate does not convince.
    #[error("{host} is not trusted: {reason}")]
    Untrusted { host: Arc<str>, reason: Arc<str> },
    /// There was no answer in the time for it.
    #[error("{host} did not answer within {} ms", after.as_millis())]
    TimedOut { host: Arc<str>, after: Duration },
    /// There was an answer, but not one that FCM gives.
    #[error("{host} answered {http_status} with something unexpected: {reason}")]
    Unexpected { host: Arc<str>, http_status: u16, reason: Arc<str> },
    /// The call asks for what no server is asked for; nothing was sent.
    #[error("{0}")]
    Invalid(Arc<str>),
    /// The client cannot be made of this configuration.
    #[error("{0}")]
    Setup(Arc<str>),
}

impl Error {
    /// What the server's refusal is called, where it was the server that refused.
    pub fn code(&self) -> Option<&Code> {
        self.refusal().map(|refusal| &refusal.code)
    }

    /// All that the server said, where it was the server that refused.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Whether the registration is gone, so that its token should be forgotten.
    pub fn is_unregistered(&self) -> bool {
        self.code() == Some(&Code::Unregistered)
    }

    /// Whether the same call may succeed later.
    pub fn can_retry(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.can_retry(),
            Self::Credential { temporary, .. } => *temporary,
            Self::Unreachable { .. } | Self::TimedOut { .. } => true,
            Self::Unexpected { http_status, .. } => *http_status >= 500,
            Self::Untrusted { .. } | Self::Invalid(_) | Self::Setup(_) => false,
        }
    }

    /// How long the server wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            Self::Credential { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    pub(crate) fn invalid(reason: impl Into<Arc<str>>) -> Self {
        Self::Invalid(reason.into())
    }

    pub(crate) fn setup(reason: impl Into<Arc<str>>) -> Self {
        Self::Setup(reason.into())
    }
}
