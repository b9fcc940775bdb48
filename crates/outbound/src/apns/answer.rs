//! What an answer means (`protocol/apns.md` §1.4), as a table: the first row that fits.

use std::time::Duration;

use cresset_message::Timestamp;

use crate::{Blame, Outcome, Scope, Told};

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    Gone,
    Rejected(Blame),
    /// No sooner than after so many seconds.
    Later(u64, Scope),
    /// Once more in the other environment, if there is a credential for it; then the token is dead.
    OtherEnvironment,
    /// Once more with the key of the other environment, if there is another.
    OtherKey,
    /// Once more with a token that was signed anew.
    Resign,
    /// Once more over another connection; then later.
    Reconnect,
    /// Once more over another connection; then it is the credential.
    ReconnectAs,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// From, to.
    pub status: (u16, u16),
    /// Empty for any, known or not.
    pub reason: &'static str,
    pub verdict: Verdict,
}

const fn row(status: u16, reason: &'static str, verdict: Verdict) -> Row {
    Row { status: (status, status), reason, verdict }
}

/// What Apple does not name is judged by its status, and no token dies of it.
const fn unnamed(first: u16, last: u16, verdict: Verdict) -> Row {
    Row { status: (first, last), reason: "", verdict }
}

pub const ROWS: [Row; 46] = [
    unnamed(200, 200, Verdict::Accepted),
    row(400, "BadDeviceToken", Verdict::OtherEnvironment),
    row(400, "DeviceTokenNotForTopic", Verdict::Rejected(Blame::Token)),
    row(400, "BadCollapseId", Verdict::Rejected(Blame::Request)),
    row(400, "BadExpirationDate", Verdict::Rejected(Blame::Request)),
    row(400, "BadMessageId", Verdict::Rejected(Blame::Request)),
    row(400, "BadPriority", Verdict::Rejected(Blame::Request)),
    row(400, "BadTopic", Verdict::Rejected(Blame::Request)),
    row(400, "InvalidPushType", Verdict::Rejected(Blame::Request)),
    row(400, "DuplicateHeaders", Verdict::Rejected(Blame::Request)),
    row(400, "IdleTimeout", Verdict::Reconnect),
    row(400, "MissingDeviceToken", Verdict::Rejected(Blame::Us)),
    row(400, "PayloadEmpty", Verdict::Rejected(Blame::Us)),
    // The app has no bundle id.
    row(400, "MissingTopic", Verdict::Rejected(Blame::Credential)),
    row(400, "TopicDisallowed", Verdict::Rejected(Blame::Credential)),
    // Of broadcasts, which we do not send.
    row(400, "BadChannelId", Verdict::Rejected(Blame::Us)),
    row(400, "ChannelNotRegistered", Verdict::Rejected(Blame::Us)),
    unnamed(400, 400, Verdict::Rejected(Blame::Request)),
    row(403, "BadCertificate", Verdict::Rejected(Blame::Credential)),
    row(403, "BadCertificateEnvironment", Verdict::Rejected(Blame::Credential)),
    row(403, "ExpiredProviderToken", Verdict::Resign),
    row(403, "Forbidden", Verdict::Rejected(Blame::Credential)),
    row(403, "InvalidProviderToken", Verdict::Rejected(Blame::Credential)),
    row(403, "MissingProviderToken", Verdict::Rejected(Blame::Credential)),
    row(403, "UnrelatedKeyIdInToken", Verdict::ReconnectAs),
    // As documented, and as it is on the wire.
    row(403, "BadEnvironmentKeyIdInToken", Verdict::OtherKey),
    row(403, "BadEnvironmentKeyInToken", Verdict::OtherKey),
    unnamed(403, 403, Verdict::Rejected(Blame::Credential)),
    row(404, "BadPath", Verdict::Rejected(Blame::Us)),
    unnamed(404, 404, Verdict::Rejected(Blame::Us)),
    row(405, "MethodNotAllowed", Verdict::Rejected(Blame::Us)),
    unnamed(405, 405, Verdict::Rejected(Blame::Us)),
    row(410, "Unregistered", Verdict::Gone),
    row(410, "ExpiredToken", Verdict::Gone),
    unnamed(410, 410, Verdict::Rejected(Blame::Request)),
    row(413, "PayloadTooLarge", Verdict::Rejected(Blame::Request)),
    unnamed(413, 413, Verdict::Rejected(Blame::Request)),
    row(429, "TooManyProviderTokenUpdates", Verdict::Later(1_200, Scope::Credential)),
    row(429, "TooManyRequests", Verdict::Later(1, Scope::Recipient)),
    unnamed(429, 429, Verdict::Later(1, Scope::Recipient)),
    row(500, "InternalServerError", Verdict::Later(1, Scope::Origin)),
    row(503, "ServiceUnavailable", Verdict::Later(1, Scope::Origin)),
    row(503, "Shutdown", Verdict::Reconnect),
    unnamed(401, 401, Verdict::Rejected(Blame::Credential)),
    unnamed(400, 499, Verdict::Rejected(Blame::Us)),
    unnamed(0, 999, Verdict::Later(1, Scope::Origin)),
];

pub(super) fn verdict(status: u16, reason: &str) -> Verdict {
    let fits = |row: &&Row| {
        (row.status.0..=row.status.1).contains(&status) && (row.reason.is_empty() || row.reason == reason)
    };
    // The last row fits everything.
    ROWS.iter().find(fits).map_or(Verdict::Later(1, Scope::Origin), |row| row.verdict)
}

/// What an answer means where nothing can be tried again: for tests, and for whoever wants to know.
pub fn judge(status: u16, body: &[u8]) -> Outcome {
    let (told, since) = read(status, body);
    settle(verdict(status, &told.reason), told, since)
}

/// The outcome of a verdict that nothing more is tried for.
pub(super) fn settle(verdict: Verdict, told: Told, since: Option<Timestamp>) -> Outcome {
    let rejected = |blame, told| Outcome::Rejected { blame, told };
    match verdict {
        Verdict::Accepted => Outcome::Accepted { granted_ttl: None, environment: None },
        Verdict::Gone => Outcome::Gone { since, told },
        Verdict::Rejected(blame) => rejected(blame, told),
        Verdict::Later(seconds, scope) => Outcome::Later { after: Duration::from_secs(seconds), scope, told },
        Verdict::OtherEnvironment => rejected(Blame::Token, told),
        Verdict::OtherKey | Verdict::Resign | Verdict::ReconnectAs => rejected(Blame::Credential, told),
        Verdict::Reconnect => Outcome::Later { after: Duration::from_secs(1), scope: Scope::Origin, told },
    }
}

/// The reason in the text of a GOAWAY, if it is one that condemns the credential.
pub(super) fn condemned(goaway: &str) -> Option<&'static str> {
    let condemns = |row: &&Row| row.verdict == Verdict::Rejected(Blame::Credential) && !row.reason.is_empty();
    let named = |row: &&Row| goaway.contains(&format!("\"{}\"", row.reason));
    ROWS.iter().filter(condemns).find(named).map(|row| row.reason)
}

/// `{"reason": …, "timestamp": …}`: the words, and since when a token is dead.
pub(super) fn read(status: u16, body: &[u8]) -> (Told, Option<Timestamp>) {
    let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let since = json["timestamp"].as_u64().map(Timestamp::from_millis);
    (Told::new(Some(status), json["reason"].as_str().unwrap_or_default()), since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apple_does_not_name_ends_no_token() {
        for status in 0..1_000 {
            let verdict = verdict(status, "SomethingNew");
            assert!(
                !matches!(
                    verdict,
                    Verdict::Gone | Verdict::Rejected(Blame::Token) | Verdict::OtherEnvironment
                ),
                "{status}"
            );
            assert_eq!(verdict == Verdict::Accepted, status == 200);
        }
    }

    #[test]
    fn no_row_hides_another() {
        for row in ROWS.iter().filter(|row| !row.reason.is_empty()) {
            assert_eq!(verdict(row.status.0, row.reason), row.verdict, "{}", row.reason);
        }
    }

    #[test]
    fn bodies_are_read_whatever_they_are() {
        let of = |text: &'static str| read(410, text.as_bytes());
        let (told, since) = of(r#"{"reason":"Unregistered","timestamp":1443484800000}"#);
        assert_eq!((&*told.reason, since), ("Unregistered", Some(Timestamp::from_millis(1_443_484_800_000))));
        for text in ["", "[]", "{", r#"{"reason":1,"timestamp":"x"}"#] {
            assert_eq!(of(text), (Told::new(Some(410), ""), None), "{text}");
        }
    }

    #[test]
    fn a_goaway_may_condemn_a_credential() {
        let text =
            r#"connection error received: not a result of an error (b"{"reason":"InvalidProviderToken"}")"#;
        assert_eq!(condemned(text), Some("InvalidProviderToken"));
        for other in ["", r#"{"reason":"Shutdown"}"#, r#"{"reason":"BadDeviceToken"}"#] {
            assert_eq!(condemned(other), None);
        }
    }
}
