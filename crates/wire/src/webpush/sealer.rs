//! Which key pair a message is sealed with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand::SecureRandom;
use cresset_message::{Timestamp, WebKeys};
use zeroize::Zeroizing;

use super::vapid::SKEW;
use super::{KeyPair, WebPushError, aes128gcm, random};

/// How a sender chooses its key pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum KeyReuse {
    /// A fresh pair for each message, as RFC 8291 §3.1 describes: who reads the server's memory learns
    /// nothing of what was sent before.
    #[default]
    Never,
    /// One pair for `period`, and what it has in common with each subscription kept for as long: thirty
    /// times cheaper. Receivers cannot tell. Who reads the server's memory can open all that was sent
    /// within the period (`protocol/web-push.md` §1.2).
    Rotating { period: Duration, capacity: usize },
}

/// Seals messages, each with a salt of its own.
#[derive(Default)]
pub struct Sealer {
    reuse: KeyReuse,
    current: Mutex<Option<Arc<Shared>>>,
}

/// A pair in use, and the secrets it has in common with subscriptions. Wiped when it goes.
struct Shared {
    pair: KeyPair,
    since: Timestamp,
    secrets: Mutex<HashMap<([u8; 65], [u8; 16]), Zeroizing<[u8; 32]>>>,
}

impl Sealer {
    pub fn new(reuse: KeyReuse) -> Self {
        Self { reuse, current: Mutex::default() }
    }

    /// A body of `Content-Encoding: aes128gcm`.
    pub fn seal(
        &self,
        keys: &WebKeys,
        plaintext: &[u8],
        randomness: &dyn SecureRandom,
        now: Timestamp,
    ) -> Result<Vec<u8>, WebPushError> {
        let salt = random(randomness)?;
        let KeyReuse::Rotating { period, capacity } = self.reuse else {
            return aes128gcm::seal(keys, plaintext, salt, &KeyPair::generate(randomness)?);
        };
        let shared = self.shared(period, randomness, now)?;
        let secret = shared.secret(keys, capacity)?;
        aes128gcm::seal_with(&secret, shared.pair.public(), plaintext, salt)
    }

    /// How many secrets are kept.
    pub fn kept(&self) -> usize {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().map_or(0, |shared| lock(&shared.secrets).len())
    }

    fn shared(
        &self,
        period: Duration,
        randomness: &dyn SecureRandom,
        now: Timestamp,
    ) -> Result<Arc<Shared>, WebPushError> {
        let mut current = lock(&self.current);
        // A clock that was set back must not keep a pair for longer; but moments come out of order.
        let usable =
            |shared: &&Arc<Shared>| shared.since.since(now) < SKEW && now.since(shared.since) < period;
        if let Some(shared) = current.as_ref().filter(usable) {
            return Ok(Arc::clone(shared));
        }
        let pair = KeyPair::generate(randomness)?;
        let fresh = Arc::new(Shared { pair, since: now, secrets: Mutex::default() });
        *current = Some(Arc::clone(&fresh));
        Ok(fresh)
    }
}

impl Shared {
    /// Where `capacity` is reached the secret is computed each time; no other is forgotten for it.
    fn secret(&self, keys: &WebKeys, capacity: usize) -> Result<Zeroizing<[u8; 32]>, WebPushError> {
        let of = (keys.p256dh, keys.auth);
        if let Some(secret) = lock(&self.secrets).get(&of) {
            return Ok(secret.clone());
        }
        let secret = Zeroizing::new(aes128gcm::secret(keys, &self.pair)?);
        let mut secrets = lock(&self.secrets);
        if secrets.len() < capacity {
            secrets.insert(of, secret.clone());
        }
        Ok(secret)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("reuse", &self.reuse).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
    const PERIOD: Duration = Duration::from_secs(600);

    fn subscription() -> (KeyPair, WebKeys) {
        let rng = SystemRandom::new();
        let pair = KeyPair::generate(&rng).unwrap();
        let keys = WebKeys { p256dh: *pair.public(), auth: random(&rng).unwrap() };
        (pair, keys)
    }

    /// The sender's point, and the salt, as they stand in the body.
    fn sender(body: &[u8]) -> (&[u8], &[u8]) {
        (&body[21..86], &body[..16])
    }

    #[test]
    fn without_reuse_every_message_has_a_pair_of_its_own() {
        let (pair, keys) = subscription();
        let sealer = Sealer::default();
        let seal = || sealer.seal(&keys, b"hello", &SystemRandom::new(), NOW).unwrap();
        let (one, two) = (seal(), seal());
        assert_ne!(sender(&one).0, sender(&two).0);
        assert_eq!(aes128gcm::open(&pair, &keys.auth, &one).unwrap(), b"hello");
        assert_eq!(sealer.kept(), 0);
    }

    #[test]
    fn a_rotating_pair_has_a_salt_for_each_message_and_is_forgotten_in_time() {
        let sealer = Sealer::new(KeyReuse::Rotating { period: PERIOD, capacity: 2 });
        let receivers: Vec<_> = (0..3).map(|_| subscription()).collect();
        let mut salts = std::collections::HashSet::new();
        let mut pairs = std::collections::HashSet::new();
        for (moment, kept) in [(0, 2), (599, 2), (600, 2), (1_300, 2)] {
            for (pair, keys) in receivers.iter().chain(&receivers) {
                let now = NOW + Duration::from_secs(moment);
                let body = sealer.seal(keys, b"hello", &SystemRandom::new(), now).unwrap();
                assert_eq!(aes128gcm::open(pair, &keys.auth, &body).unwrap(), b"hello");
                pairs.insert(sender(&body).0.to_vec());
                assert!(salts.insert(sender(&body).1.to_vec()));
            }
            assert_eq!(sealer.kept(), kept);
        }
        assert_eq!(pairs.len(), 3);
        // The clock is set back.
        let body = sealer.seal(&receivers[0].1, b"x", &SystemRandom::new(), NOW).unwrap();
        assert!(pairs.insert(sender(&body).0.to_vec()));
        assert_eq!(sealer.kept(), 1);
    }
}
