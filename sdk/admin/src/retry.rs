//! Trying again, as the official SDKs do (`clients/admin-sdks.md`): after 503 and after silence, a
//! few times, ever later, and not before the server wants it.

use std::time::{Duration, SystemTime};

use crate::{Error, Surroundings};

/// When a call is tried again, and how often.
#[derive(Clone, Debug, PartialEq)]
pub struct Retries {
    /// Tries after the first one.
    pub limit: u32,
    /// Before the first of them; each further one waits twice as long, up to `longest_wait`.
    pub first_wait: Duration,
    pub longest_wait: Duration,
    /// The longest `Retry-After` that is waited for. If the server asks for more, the call fails.
    pub longest_retry_after: Duration,
    /// Whether 429 is a reason too. FCM asks for a minute or more then: better send less.
    pub too_many_requests: bool,
}

impl Default for Retries {
    /// The numbers that most of the official SDKs have.
    fn default() -> Self {
        Self {
            limit: 4,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(4),
            longest_retry_after: Duration::from_secs(60),
            too_many_requests: false,
        }
    }
}

impl Retries {
    /// Every call is made once.
    pub fn never() -> Self {
        Self { limit: 0, ..Self::default() }
    }

    /// How long to wait after try number `made` failed with `error`; `None`: not again. Between half
    /// the time and all of it, so that clients that failed together do not come back together.
    fn wait(&self, made: u32, error: &Error, chance: f64) -> Option<Duration> {
        if made > self.limit || !self.is_reason(error) {
            return None;
        }
        let doubled = self.first_wait.saturating_mul(1 << (made - 1).min(16)).min(self.longest_wait);
        let wait = doubled.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
        match error.retry_after() {
            Some(asked) if asked > self.longest_retry_after => None,
            Some(asked) => Some(asked.max(wait)),
            None => Some(wait),
        }
    }

    fn is_reason(&self, error: &Error) -> bool {
        match error {
            Error::Refused(refusal) => match refusal.http_status {
                503 => true,
                429 => self.too_many_requests,
                _ => false,
            },
            // A token endpoint says by its own words that it may be asked again.
            Error::Credential { temporary, .. } => *temporary,
            Error::Unreachable { .. } | Error::TimedOut { .. } => true,
            _ => false,
        }
    }
}

/// The time that a call has, all its tries and waits together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Duration);

impl Deadline {
    pub(crate) fn after(time: Duration, surroundings: &dyn Surroundings) -> Self {
        Self(surroundings.elapsed().saturating_add(time))
    }

    pub(crate) fn left(self, surroundings: &dyn Surroundings) -> Duration {
        self.0.saturating_sub(surroundings.elapsed())
    }
}

/// The tries of one call.
pub(crate) struct Tries<'a> {
    retries: &'a Retries,
    surroundings: &'a dyn Surroundings,
    deadline: Deadline,
    made: u32,
}

impl<'a> Tries<'a> {
    pub(crate) fn new(retries: &'a Retries, surroundings: &'a dyn Surroundings, deadline: Deadline) -> Self {
        Self { retries, surroundings, deadline, made: 0 }
    }

    /// Waits until the next try is due, and says whether there is one.
    pub(crate) async fn again(&mut self, error: &Error) -> bool {
        self.made += 1;
        let Some(wait) = self.retries.wait(self.made, error, self.surroundings.chance()) else {
            return false;
        };
        if wait >= self.deadline.left(self.surroundings) {
            return false;
        }
        self.surroundings.sleep(wait).await;
        true
    }
}

/// `Retry-After`: seconds, or a date.
pub(crate) fn retry_after(header: &str, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(header).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_vary() {
        let lost = Error::Unreachable { host: "h".into(), reason: "r".into() };
        let wait = |made, chance| Retries::default().wait(made, &lost, chance).map(|wait| wait.as_millis());
        let rows = [
            (1, 1.0, Some(500)),
            (1, 0.0, Some(250)),
            (2, 1.0, Some(1_000)),
            (3, 1.0, Some(2_000)),
            (4, 1.0, Some(4_000)),
            (4, 0.5, Some(3_000)),
            (5, 1.0, None),
        ];
        for (made, chance, expected) in rows {
            assert_eq!(wait(made, chance), expected, "try {made}, chance {chance}");
        }
        let many = Retries { limit: u32::MAX, ..Retries::default() };
        assert_eq!(many.wait(u32::MAX, &lost, 1.0), Some(Duration::from_secs(4)));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let rows = [
            ("3", Some(3)),
            (" 120 ", Some(120)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ];
        for (header, expected) in rows {
            assert_eq!(retry_after(header, now), expected.map(Duration::from_secs), "{header}");
        }
    }
}
