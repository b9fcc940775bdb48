//! When a provider token is signed anew (`protocol/apns.md` §1.3): a plain value.

use std::sync::Arc;
use std::time::Duration;

use cresset_message::Timestamp;

/// Tokens are refused after an hour.
const RENEWED_AFTER: Duration = Duration::from_secs(45 * 60);

/// So much earlier at the most, that keys of many projects are not all renewed at once.
const JITTER: Duration = Duration::from_secs(5 * 60);

/// Apple answers TooManyProviderTokenUpdates to whoever renews more often.
pub(super) const LEAST_AGE: Duration = Duration::from_secs(20 * 60);

/// One for a key, whatever the number of its connections.
#[derive(Debug, Default)]
pub(super) struct ProviderToken(Option<Signed>);

#[derive(Debug)]
struct Signed {
    text: Arc<str>,
    at: Timestamp,
    /// Between zero and [`JITTER`].
    early: Duration,
    /// Apple said that it is too old.
    expired: bool,
}

impl ProviderToken {
    /// The token to send with; `sign` makes one for now.
    pub(super) fn get<E>(
        &mut self,
        now: Timestamp,
        chance: u64,
        sign: impl FnOnce() -> Result<String, E>,
    ) -> Result<Arc<str>, E> {
        if let Some(signed) = &self.0
            && !signed.is_due(now)
        {
            return Ok(Arc::clone(&signed.text));
        }
        let text: Arc<str> = sign()?.into();
        let early = Duration::from_micros(chance % JITTER.as_micros() as u64);
        self.0 = Some(Signed { text: Arc::clone(&text), at: now, early, expired: false });
        Ok(text)
    }

    /// Apple answered ExpiredProviderToken to this text. One that was signed since stays.
    pub(super) fn expired(&mut self, text: &str) {
        if let Some(signed) = self.0.as_mut().filter(|signed| &*signed.text == text) {
            signed.expired = true;
        }
    }
}

impl Signed {
    fn is_due(&self, now: Timestamp) -> bool {
        let age = now.since(self.at);
        self.expired || (age >= RENEWED_AFTER - self.early && age >= LEAST_AGE)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(1_700_000_000 + seconds)
    }

    fn get(token: &mut ProviderToken, seconds: u64, chance: u64) -> String {
        let sign = || Ok::<_, ()>(format!("signed at {seconds}"));
        token.get(at(seconds), chance, sign).unwrap().to_string()
    }

    #[test]
    fn a_token_serves_for_three_quarters_of_an_hour() {
        let mut token = ProviderToken::default();
        assert_eq!(get(&mut token, 0, 0), "signed at 0");
        assert_eq!(get(&mut token, 2_699, 0), "signed at 0");
        assert_eq!(get(&mut token, 2_700, 0), "signed at 2700");
        let mut early = ProviderToken::default();
        get(&mut early, 0, 299_000_000);
        assert_eq!(get(&mut early, 2_400, 0), "signed at 0");
        assert_eq!(get(&mut early, 2_401, 0), "signed at 2401");
    }

    #[test]
    fn only_apples_word_makes_a_token_old_before_its_time() {
        let mut token = ProviderToken::default();
        get(&mut token, 0, 0);
        token.expired("another");
        assert_eq!(get(&mut token, 1, 0), "signed at 0");
        token.expired("signed at 0");
        assert_eq!(get(&mut token, 2, 0), "signed at 2");
        // Those who were on their way with the first say so as well.
        token.expired("signed at 0");
        assert_eq!(get(&mut token, 3, 0), "signed at 2");
        // The clock is set back.
        assert_eq!(get(&mut token, 1, 0), "signed at 2");
    }

    proptest! {
        #[test]
        fn without_that_word_twenty_minutes_lie_between(
            steps in proptest::collection::vec((0_u64..4_000, any::<u64>()), 1..50),
        ) {
            let (mut token, mut now, mut last) = (ProviderToken::default(), 0, None);
            for (step, chance) in steps {
                now += step;
                let text = get(&mut token, now, chance);
                if text == format!("signed at {now}") {
                    prop_assert!(last.is_none_or(|last| now - last >= 1_200 || now == last));
                    last = Some(now);
                }
                // And none is used that Apple would refuse.
                prop_assert!(last.is_some_and(|last| now - last < 3_600));
            }
        }
    }
}
