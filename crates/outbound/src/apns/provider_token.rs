//! When a provider token is signed anew (`protocol/apns.md` §1.3): a plain value.
//!
//! Apple counts the tokens of a key over all connections and processes, and refuses a second one within
//! twenty minutes. So `iat` is not the moment of signing, but the last of a row of moments that follow from
//! the key: a server that starts again, or another app with the same key, signs the same claims.

use std::sync::Arc;
use std::time::Duration;

use cresset_message::Timestamp;

/// Between two of those moments. Tokens are refused after an hour.
const PERIOD: Duration = Duration::from_secs(45 * 60);

/// Apple answers TooManyProviderTokenUpdates to whoever renews more often.
pub(super) const LEAST_AGE: Duration = Duration::from_secs(20 * 60);

/// One for a key, whatever the number of its connections.
#[derive(Debug)]
pub(super) struct ProviderToken {
    /// When the row begins, in seconds: not all keys are renewed at once.
    offset: u64,
    signed: Option<Signed>,
}

#[derive(Debug)]
struct Signed {
    text: Arc<str>,
    /// In seconds.
    iat: u64,
    /// Apple called the one before too old, and this one is out of the row.
    forced: bool,
    /// Apple said that it is too old.
    expired: bool,
}

impl ProviderToken {
    /// `key` is any number that follows from the key alone.
    pub(super) fn new(key: u64) -> Self {
        Self { offset: key % PERIOD.as_secs(), signed: None }
    }

    /// The token to send with; `sign` makes one of this `iat`.
    pub(super) fn get<E>(
        &mut self,
        now: Timestamp,
        sign: impl FnOnce(u64) -> Result<String, E>,
    ) -> Result<Arc<str>, E> {
        let now = now.as_secs();
        let due = now - (now.saturating_sub(self.offset) % PERIOD.as_secs()).min(now);
        let (iat, forced) = match &self.signed {
            Some(signed) if signed.expired => (now, true),
            Some(signed) if !signed.is_over(due, now) => return Ok(Arc::clone(&signed.text)),
            _ => (due, false),
        };
        let text: Arc<str> = sign(iat)?.into();
        self.signed = Some(Signed { text: Arc::clone(&text), iat, forced, expired: false });
        Ok(text)
    }

    /// Apple answered ExpiredProviderToken to this text. One that was signed since stays.
    pub(super) fn expired(&mut self, text: &str) {
        if let Some(signed) = self.signed.as_mut().filter(|signed| &*signed.text == text) {
            signed.expired = true;
        }
    }
}

impl Signed {
    /// Whether one of `due` takes its place.
    fn is_over(&self, due: u64, now: u64) -> bool {
        let old_enough = !self.forced || now.saturating_sub(self.iat) >= LEAST_AGE.as_secs();
        due > self.iat && old_enough
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A moment of the row of a key whose number is 0.
    const START: u64 = 629_630 * 2_700;

    fn get(token: &mut ProviderToken, seconds: u64) -> u64 {
        let sign = |iat: u64| Ok::<_, ()>(iat.to_string());
        let text = token.get(Timestamp::from_secs(START + seconds), sign).unwrap();
        text.parse::<u64>().unwrap() - START + 2_700
    }

    fn text(seconds: u64) -> String {
        (START + seconds).to_string()
    }

    #[test]
    fn a_token_serves_for_three_quarters_of_an_hour() {
        let mut token = ProviderToken::new(0);
        assert_eq!([100, 2_699, 2_700, 5_399].map(|at| get(&mut token, at)), [2_700, 2_700, 5_400, 5_400]);
    }

    #[test]
    fn who_starts_again_signs_the_same() {
        for key in [0, 1, 77, u64::MAX] {
            let mut first = ProviderToken::new(key);
            for seconds in [10_000, 10_900, 12_345] {
                let mut second = ProviderToken::new(key);
                assert_eq!(get(&mut first, seconds), get(&mut second, seconds));
            }
        }
    }

    #[test]
    fn only_apples_word_makes_a_token_old_before_its_time() {
        let mut token = ProviderToken::new(0);
        get(&mut token, 0);
        token.expired("another");
        assert_eq!(get(&mut token, 1), 2_700);
        token.expired(&text(0));
        assert_eq!(get(&mut token, 2_000), 4_700);
        // Those who were on their way with the first say so as well.
        token.expired(&text(0));
        assert_eq!(get(&mut token, 2_001), 4_700);
        // The next of the row comes too soon, and waits until it may.
        assert_eq!([2_700, 3_199, 3_200].map(|at| get(&mut token, at)), [4_700, 4_700, 5_400]);
        // The clock is set back.
        assert_eq!(get(&mut token, 1), 5_400);
    }

    proptest! {
        #[test]
        fn without_that_word_twenty_minutes_lie_between(
            key: u64,
            steps in proptest::collection::vec(0_u64..4_000, 1..50),
        ) {
            let (mut token, mut now, mut last) = (ProviderToken::new(key), 3_000, None);
            for step in steps {
                now += step;
                let iat = get(&mut token, now) - 2_700;
                prop_assert!(last.is_none_or(|last| iat == last || iat - last >= 1_200));
                // And none is used that Apple would refuse.
                prop_assert!(iat <= now && now - iat < 3_600);
                last = Some(iat);
            }
        }
    }
}
