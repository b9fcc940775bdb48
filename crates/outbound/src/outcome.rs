use std::time::Duration;

use cresset_message::Timestamp;

use crate::apns::Environment;

/// What became of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The service has it.
    Accepted {
        /// How long it keeps it, if it said so.
        granted_ttl: Option<Duration>,
        /// Which environment of APNs took it, where it is not the one that was recorded.
        environment: Option<Environment>,
    },
    /// The registration is dead; of APNs, since when. One made later than that is alive.
    Gone { since: Option<Timestamp>, told: Told },
    /// Never will be delivered.
    Rejected { blame: Blame, told: Told },
    /// Not now. `after` is the least that the service asks for; who fails again waits longer each time.
    Later { after: Duration, scope: Scope, told: Told },
}

/// Whose fault it is that a delivery is refused for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The sender's headers or payload: INVALID_ARGUMENT.
    Request,
    /// The project's key or certificate: THIRD_PARTY_AUTH_ERROR. Registrations stay.
    Credential,
    /// The device's token or the subscription, which can never work with this app or key.
    Token,
    /// A request that we should not have made: INTERNAL, and a line in the log.
    Us,
}

/// What else had better wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This recipient only.
    Recipient,
    /// All of the same push service.
    Origin,
    /// All that go out under the same credential.
    Credential,
}

/// The service's own words.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Told {
    /// None, if there was no answer.
    pub status: Option<u16>,
    pub reason: Box<str>,
}

impl Told {
    /// Bytes of a reason: the longest known, Google's, has 190.
    pub const MAX_REASON: usize = 256;

    /// Control characters and what is too long are left out: it goes to logs and to senders.
    pub fn new(status: Option<u16>, reason: &str) -> Self {
        let mut reason: String = reason.trim().chars().filter(|c| !c.is_control()).collect();
        if reason.len() > Self::MAX_REASON {
            let end = (0..=Self::MAX_REASON).rev().find(|end| reason.is_char_boundary(*end));
            reason.truncate(end.unwrap_or_default());
        }
        Self { status, reason: reason.into() }
    }

    pub(crate) fn unanswered(reason: &str) -> Self {
        Self::new(None, reason)
    }
}
