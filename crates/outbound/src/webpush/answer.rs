//! What an answer means (`protocol/web-push.md` §1.5 and §1.6), as a table: the first row that fits.

use std::time::Duration;

use cresset_message::Timestamp;

use crate::exchange::Answer;
use crate::{Blame, Outcome, Scope, Told};

/// Whose service it is, by the host of the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Mozilla,
    Google,
    Apple,
    Microsoft,
    Other,
}

impl Service {
    pub fn of(host: &str) -> Self {
        const HOSTS: [(&str, Service); 5] = [
            ("push.services.mozilla.com", Service::Mozilla),
            ("fcm.googleapis.com", Service::Google),
            ("jmt17.google.com", Service::Google),
            ("push.apple.com", Service::Apple),
            ("notify.windows.com", Service::Microsoft),
        ];
        let is = |domain: &str| {
            host.strip_suffix(domain).is_some_and(|below| below.is_empty() || below.ends_with('.'))
        };
        HOSTS.iter().find(|(domain, _)| is(domain)).map_or(Self::Other, |(_, service)| *service)
    }
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    Gone,
    Rejected(Blame),
    /// No sooner than after so many seconds, if the answer does not say itself when.
    Later(u64, Scope),
    /// Once more with a token that was signed anew; then the blame.
    Resign(Blame),
    /// Once more without `Topic`; then it is the sender's.
    WithoutTopic,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// From, to.
    pub status: (u16, u16),
    /// What the reason must contain, in any letter case; empty for anything.
    pub reason: &'static str,
    pub verdict: Verdict,
}

const fn row(first: u16, last: u16, reason: &'static str, verdict: Verdict) -> Row {
    Row { status: (first, last), reason, verdict }
}

/// In order. Status codes without a row of their own are the last three's.
pub const ROWS: [Row; 34] = [
    row(200, 202, "", Verdict::Accepted),
    row(204, 204, "", Verdict::Accepted),
    row(404, 404, "", Verdict::Gone),
    row(410, 410, "", Verdict::Gone),
    row(413, 413, "", Verdict::Rejected(Blame::Request)),
    // The subscription is another key's: after the one more try it can never work.
    row(400, 403, "VapidPkHashMismatch", Verdict::Resign(Blame::Token)),
    row(400, 403, "do not correspond", Verdict::Resign(Blame::Token)),
    // Google; seen for a day at a time, and then it was good again.
    row(401, 401, "invalid push subscription endpoint", Verdict::Later(600, Scope::Recipient)),
    row(401, 401, "", Verdict::Resign(Blame::Credential)),
    row(403, 403, "", Verdict::Resign(Blame::Credential)),
    row(400, 400, "UnauthorizedRegistration", Verdict::Resign(Blame::Credential)),
    row(400, 400, "BadJwtToken", Verdict::Resign(Blame::Credential)),
    row(400, 400, "BadVapidPublicKey", Verdict::Resign(Blame::Credential)),
    // Google: no token of its own.
    row(400, 400, "InvalidTokenFormat", Verdict::Rejected(Blame::Token)),
    row(400, 400, "BadWebPushTopic", Verdict::WithoutTopic),
    row(400, 400, "BadTtl", Verdict::Rejected(Blame::Request)),
    row(400, 400, "BadUrgency", Verdict::Rejected(Blame::Request)),
    row(400, 400, "BadWebPushRequest", Verdict::Rejected(Blame::Us)),
    // Mozilla's numbers: router type, encryption headers, TTL, topic, negative TTL.
    row(400, 400, "errno 108", Verdict::Rejected(Blame::Token)),
    row(400, 400, "errno 110", Verdict::Rejected(Blame::Us)),
    row(400, 400, "errno 111", Verdict::Rejected(Blame::Request)),
    row(400, 400, "errno 113", Verdict::WithoutTopic),
    row(400, 400, "errno 114", Verdict::Rejected(Blame::Request)),
    // Microsoft.
    row(400, 400, "X-WNS-Cache-Policy", Verdict::Rejected(Blame::Us)),
    row(406, 406, "", Verdict::Later(60, Scope::Recipient)),
    row(408, 408, "", Verdict::Later(1, Scope::Recipient)),
    row(429, 429, "", Verdict::Later(60, Scope::Recipient)),
    // Not followed: it could lead anywhere.
    row(300, 399, "", Verdict::Later(1, Scope::Origin)),
    row(500, 504, "", Verdict::Later(1, Scope::Origin)),
    row(405, 405, "", Verdict::Rejected(Blame::Us)),
    row(411, 411, "", Verdict::Rejected(Blame::Us)),
    row(415, 415, "", Verdict::Rejected(Blame::Us)),
    row(400, 499, "", Verdict::Rejected(Blame::Us)),
    row(0, 999, "", Verdict::Later(1, Scope::Origin)),
];

/// What an answer means where nothing can be tried again: for tests, and for whoever wants to know.
pub fn judge(status: u16, retry_after: Option<&str>, body: &[u8], now: Timestamp) -> Outcome {
    let told = Told::new(Some(status), &reason(body));
    let wait = retry_after.and_then(|text| read_retry_after(text, now));
    settle(verdict(&told), told, wait, None)
}

/// The outcome of a verdict that nothing more is tried for.
pub(super) fn settle(
    verdict: Verdict,
    told: Told,
    retry_after: Option<Duration>,
    granted_ttl: Option<Duration>,
) -> Outcome {
    match verdict {
        Verdict::Accepted => Outcome::Accepted { granted_ttl, environment: None },
        Verdict::Gone => Outcome::Gone { since: None, told },
        Verdict::Rejected(blame) | Verdict::Resign(blame) => Outcome::Rejected { blame, told },
        Verdict::WithoutTopic => Outcome::Rejected { blame: Blame::Request, told },
        Verdict::Later(seconds, scope) => {
            Outcome::Later { after: retry_after.unwrap_or(Duration::from_secs(seconds)), scope, told }
        }
    }
}

/// The longest that `Retry-After` is believed (§1.6).
const MAX_WAIT: Duration = Duration::from_secs(3_600);

pub(super) fn verdict(told: &Told) -> Verdict {
    let status = told.status.unwrap_or_default();
    let reason = told.reason.to_ascii_lowercase();
    let fits = |row: &&Row| {
        (row.status.0..=row.status.1).contains(&status) && reason.contains(&row.reason.to_ascii_lowercase())
    };
    // The last row fits everything.
    ROWS.iter().find(fits).map_or(Verdict::Later(1, Scope::Origin), |row| row.verdict)
}

/// The service's words, out of whichever place it has them in.
pub(super) fn told(answer: &Answer) -> Told {
    let wns = ["x-wns-error-description", "x-wns-status", "x-wns-notificationstatus"];
    let header = wns.iter().find_map(|name| answer.header(name)).filter(|_| answer.status >= 300);
    let reason = match header {
        Some(reason) => reason.to_owned(),
        None => reason(&answer.body),
    };
    Told::new(Some(answer.status), &reason)
}

/// Apple's `{"reason"}`, Mozilla's `{"errno","message"}`, Google's one line, or the title of a page.
pub(super) fn reason(body: &[u8]) -> String {
    if let Ok(json) = serde_json::from_slice::<serde_json::Value>(body) {
        if let Some(reason) = json["reason"].as_str() {
            return reason.to_owned();
        }
        if let Some(errno) = json["errno"].as_u64() {
            return format!("errno {errno}: {}", json["message"].as_str().unwrap_or_default());
        }
    }
    let text = String::from_utf8_lossy(body);
    let lower = text.to_ascii_lowercase();
    if let (Some(start), Some(end)) = (lower.find("<title>"), lower.find("</title>"))
        && start + 7 <= end
    {
        return text[start + 7..end].to_owned();
    }
    text.lines().next().unwrap_or_default().to_owned()
}

/// Seconds, or a date (RFC 9110 §10.2.3).
pub(super) fn retry_after(answer: &Answer, now: Timestamp) -> Option<Duration> {
    read_retry_after(answer.header("retry-after")?, now)
}

fn read_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let wait = match text.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = httpdate::parse_http_date(text.trim()).ok()?;
            let since_1970 = date.duration_since(std::time::UNIX_EPOCH).ok()?;
            Timestamp::from_secs(since_1970.as_secs()).since(now)
        }
    };
    Some(wait.min(MAX_WAIT))
}

pub(super) fn granted_ttl(answer: &Answer) -> Option<Duration> {
    answer.header("ttl")?.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_known_by_their_hosts() {
        for (host, service) in [
            ("updates.push.services.mozilla.com", Service::Mozilla),
            ("fcm.googleapis.com", Service::Google),
            ("web.push.apple.com", Service::Apple),
            ("wns2-par02p.notify.windows.com", Service::Microsoft),
            ("evilnotify.windows.com", Service::Other),
            ("push.example.com", Service::Other),
        ] {
            assert_eq!(Service::of(host), service, "{host}");
        }
    }

    #[test]
    fn reasons_are_found_wherever_they_stand() {
        for (body, expected) in [
            (r#"{"reason":"BadJwtToken"}"#, "BadJwtToken"),
            (
                r#"{"code":410,"errno":106,"error":"Gone","message":"No such subscription"}"#,
                "errno 106: No such subscription",
            ),
            ("invalid JWT provided\n", "invalid JWT provided"),
            ("<HTML>\n<HEAD>\n<TITLE>NotRegistered</TITLE>", "NotRegistered"),
            ("</title><title>", "</title><title>"),
            ("", ""),
            ("[1]", "[1]"),
        ] {
            assert_eq!(reason(body.as_bytes()), expected);
        }
        assert_eq!(reason(b"\xff\xfe"), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        let now = Timestamp::from_secs(784_111_777);
        for (text, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("86400", Some(3_600)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(read_retry_after(text, now), seconds.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn every_status_has_a_verdict() {
        for status in 0..1_000 {
            let told = Told::new(Some(status), "");
            let verdict = verdict(&told);
            let keeps = !matches!(verdict, Verdict::Gone | Verdict::Resign(Blame::Token));
            assert!(keeps || matches!(status, 404 | 410), "{status}: only these two end a subscription");
            assert_eq!(verdict == Verdict::Accepted, matches!(status, 200..=202 | 204), "{status}");
        }
    }
}
