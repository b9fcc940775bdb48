//! Signed VAPID tokens, one for each key and origin: services remember those that they verified.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::rand::SecureRandom;
use cresset_message::Timestamp;
use cresset_wire::es256::KeyError;
use cresset_wire::webpush::vapid::{LIFE, SKEW, VapidKey};

/// Tokens that are kept. Origins are few (four, and WNS's regions); keys are as many as projects.
const MAX_TOKENS: usize = 16_384;

#[derive(Default)]
pub(super) struct Tokens(Mutex<HashMap<([u8; 65], String), (Arc<str>, Timestamp)>>);

impl Tokens {
    /// The value of `Authorization`; signed anew at half of its life, or when the clock was set back.
    pub(super) fn get(
        &self,
        key: &VapidKey,
        origin: &str,
        now: Timestamp,
        randomness: &dyn SecureRandom,
    ) -> Result<Arc<str>, KeyError> {
        let id = (*key.key.public(), origin.to_owned());
        if let Some((token, signed)) = self.lock().get(&id)
            && signed.since(now) < SKEW
            && now.since(*signed) < LIFE / 2
        {
            return Ok(Arc::clone(token));
        }
        let token: Arc<str> = key.authorization(origin, now, randomness)?.into();
        let mut tokens = self.lock();
        if tokens.len() >= MAX_TOKENS {
            tokens.clear();
        }
        tokens.insert(id, (Arc::clone(&token), now));
        Ok(token)
    }

    /// This token was refused. One that was signed since stays.
    pub(super) fn forget(&self, key: &VapidKey, origin: &str, token: &str) {
        let id = (*key.key.public(), origin.to_owned());
        let mut tokens = self.lock();
        if tokens.get(&id).is_some_and(|(kept, _)| &**kept == token) {
            tokens.remove(&id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<([u8; 65], String), (Arc<str>, Timestamp)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_lc_rs::rand::SystemRandom;
    use cresset_wire::es256::SigningKey;

    use super::*;

    #[test]
    fn a_token_is_signed_at_half_life_and_when_it_was_refused() {
        let key =
            VapidKey { key: SigningKey::from_scalar(&[3; 32]).unwrap(), subject: "mailto:a@b.test".into() };
        let tokens = Tokens::default();
        let start = Timestamp::from_secs(1_700_000_000);
        let get = |origin, seconds| {
            tokens.get(&key, origin, start + Duration::from_secs(seconds), &SystemRandom::new()).unwrap()
        };
        let first = get("https://a.test", 0);
        assert_eq!(get("https://a.test", 21_599), first);
        assert_ne!(get("https://b.test", 0), first);
        let second = get("https://a.test", 21_600);
        assert_ne!(second, first);
        tokens.forget(&key, "https://a.test", &first);
        assert_eq!(get("https://a.test", 21_600), second);
        tokens.forget(&key, "https://a.test", &second);
        assert_ne!(get("https://a.test", 21_600), second);
        // Others' moments are a little earlier; the clock is set back.
        assert_eq!(get("https://d.test", 100), get("https://d.test", 41));
        assert_ne!(get("https://c.test", 100), get("https://c.test", 40));
    }
}
