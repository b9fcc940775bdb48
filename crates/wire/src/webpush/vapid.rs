//! VAPID (RFC 8292): who sends. Both ends: the token that our sender signs, and the one that others
//! bring to our push service.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::agreement::{ECDH_P256, ParsedPublicKey, UnparsedPublicKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SecureRandom;
use cresset_message::Timestamp;
use serde_json::{Value, json};

use super::{decode_base64, encode_base64};
use crate::es256::{Jwt, KeyError, SigningKey};

/// The longest that a token may live (RFC 8292 §2).
const MAX_LIFE: Duration = Duration::from_secs(86_400);

/// How long ours live: half of what is allowed, as Mozilla and Google refuse what is a second more.
pub const LIFE: Duration = Duration::from_secs(43_200);

/// How far clocks may differ (`protocol/web-push.md` §2.2).
pub const SKEW: Duration = Duration::from_secs(60);

/// Bytes of an `Authorization` or `Crypto-Key` value that are read: senders' have about 500.
pub const MAX_HEADER: usize = 4_096;

/// The credential of our sender: one key, one contact.
#[derive(Debug)]
pub struct VapidKey {
    pub key: SigningKey,
    /// `mailto:` or `https:`; Apple refuses a missing one and an implausible one.
    pub subject: String,
}

impl VapidKey {
    /// The value of `Authorization` for an origin, valid for [`LIFE`] from now on.
    pub fn authorization(
        &self,
        origin: &str,
        now: Timestamp,
        randomness: &dyn SecureRandom,
    ) -> Result<String, KeyError> {
        let claims = json!({ "aud": origin, "exp": (now + LIFE).as_secs(), "sub": self.subject });
        let jwt = self.key.jwt(randomness, r#"{"typ":"JWT","alg":"ES256"}"#, &claims.to_string())?;
        Ok(format!("vapid t={jwt}, k={}", encode_base64(self.key.public())))
    }
}

/// Whether push services take it for a contact: `mailto:` with a public-looking domain, or `https:`.
pub fn is_subject(subject: &str) -> bool {
    let is_domain = |domain: &str| {
        domain.contains('.')
            && domain.split('.').all(|label| {
                !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            })
    };
    if subject.len() > 512 || !subject.bytes().all(|b| b.is_ascii_graphic()) {
        return false;
    }
    if let Some(address) = subject.strip_prefix("mailto:") {
        return address.rsplit_once('@').is_some_and(|(name, domain)| !name.is_empty() && is_domain(domain));
    }
    let host = subject.strip_prefix("https://").and_then(|rest| rest.split(['/', '?', '#', ':']).next());
    host.is_some_and(is_domain)
}

/// What is wrong with a request's VAPID; each has words of its own at Google (§1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VapidError {
    #[error("there is no authorization")]
    Missing,
    #[error("the authorization header has no form that is known")]
    Format,
    #[error("the Crypto-Key header has no form that is known")]
    CryptoKeyFormat,
    #[error("there is no public key")]
    KeyMissing,
    #[error("the public key is empty")]
    KeyEmpty,
    #[error("the public key is not base64")]
    KeyEncoding,
    #[error("the public key does not have 65 bytes")]
    KeyLength,
    #[error("the public key is not in uncompressed form")]
    KeyForm,
    #[error("the public key is not a point of P-256")]
    KeyCurve,
    #[error("the token is no JWT that this key signed")]
    Jwt,
    #[error("the aud claim is missing or unreadable")]
    AudienceInvalid,
    #[error("the aud claim is not this service's origin")]
    AudienceOther,
    #[error("the exp claim is missing")]
    ExpiryMissing,
    #[error("the exp claim is more than 24 hours from now")]
    ExpiryTooFar,
    #[error("the token has expired")]
    Expired,
}

/// What a request brings, parsed but not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented<'a> {
    pub token: &'a str,
    pub key: [u8; 65],
}

impl<'a> Presented<'a> {
    /// `vapid t=…, k=…` in any order, separated by `,` or `;`; or `WebPush` and `Bearer` with the key in
    /// `Crypto-Key: p256ecdsa=…` (§1.3).
    pub fn parse(authorization: &'a str, crypto_key: Option<&str>) -> Result<Self, VapidError> {
        if authorization.len() > MAX_HEADER || crypto_key.is_some_and(|key| key.len() > MAX_HEADER) {
            return Err(VapidError::Format);
        }
        let (scheme, rest) = authorization.trim().split_once(' ').ok_or(VapidError::Format)?;
        let is = |name: &str| scheme.eq_ignore_ascii_case(name);
        let (token, key) = if is("vapid") {
            let token = parameter(rest, "t").ok_or(VapidError::Format)?;
            (token, parameter(rest, "k").ok_or(VapidError::KeyMissing)?)
        } else if is("WebPush") || is("Bearer") {
            let header = crypto_key.ok_or(VapidError::KeyMissing)?;
            (rest.trim(), parameter(header, "p256ecdsa").ok_or(VapidError::CryptoKeyFormat)?)
        } else {
            return Err(VapidError::Format);
        };
        Ok(Self { token, key: public_key(key)? })
    }

    /// What holds at any time: the signature, and the claims that tell when and for whom.
    fn claims(&self) -> Result<Claims, VapidError> {
        let jwt = Jwt::parse(self.token).ok_or(VapidError::Jwt)?;
        let claims = Claims::read(&jwt.claims)?;
        if jwt.is_signed_by(&self.key) { Ok(claims) } else { Err(VapidError::Jwt) }
    }
}

fn parameter<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.split([',', ';']).find_map(|part| {
        let (key, value) = part.trim().split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

fn public_key(text: &str) -> Result<[u8; 65], VapidError> {
    if text.trim_end_matches('=').is_empty() {
        return Err(VapidError::KeyEmpty);
    }
    let bytes = decode_base64(text).ok_or(VapidError::KeyEncoding)?;
    let key: [u8; 65] = bytes.try_into().map_err(|_| VapidError::KeyLength)?;
    if key[0] != 4 {
        return Err(VapidError::KeyForm);
    }
    ParsedPublicKey::try_from(UnparsedPublicKey::new(&ECDH_P256, &key)).map_err(|_| VapidError::KeyCurve)?;
    Ok(key)
}

/// The claims that matter.
#[derive(Clone, Debug, PartialEq)]
struct Claims {
    audiences: Vec<String>,
    expiry: f64,
}

impl Claims {
    fn read(claims: &Value) -> Result<Self, VapidError> {
        let audiences: Option<Vec<String>> = match &claims["aud"] {
            Value::String(one) => Some(vec![one.clone()]),
            // RFC 7519 §4.1.3 allows a list.
            Value::Array(many) => many.iter().map(|one| one.as_str().map(str::to_owned)).collect(),
            _ => None,
        };
        let audiences = audiences.filter(|list| !list.is_empty()).ok_or(VapidError::AudienceInvalid)?;
        let expiry = claims["exp"].as_f64().ok_or(VapidError::ExpiryMissing)?;
        Ok(Self { audiences, expiry })
    }

    fn check(&self, origins: &[&str], now: Timestamp) -> Result<(), VapidError> {
        if !self.audiences.iter().any(|audience| origins.contains(&audience.as_str())) {
            return Err(VapidError::AudienceOther);
        }
        let (now, skew) = (now.as_secs() as f64, SKEW.as_secs_f64());
        if self.expiry <= now - skew {
            return Err(VapidError::Expired);
        }
        if self.expiry > now + MAX_LIFE.as_secs_f64() + skew {
            return Err(VapidError::ExpiryTooFar);
        }
        Ok(())
    }
}

/// Tokens whose signature has been looked at: senders use each for hours, and a look costs 80 µs.
///
/// Bounded: two generations of at most `capacity` each. When the younger is full, the older is
/// forgotten; a sender that is still there pays once more.
#[derive(Debug)]
pub struct VerifiedTokens {
    capacity: usize,
    generations: Mutex<[HashMap<[u8; 32], Result<Claims, VapidError>>; 2]>,
}

impl VerifiedTokens {
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), generations: Mutex::default() }
    }

    /// The key that signed, if the token is good for one of `origins` now.
    pub fn verify(
        &self,
        presented: &Presented<'_>,
        origins: &[&str],
        now: Timestamp,
    ) -> Result<[u8; 65], VapidError> {
        let id = identity(presented);
        let known = self.lock().iter().find_map(|generation| generation.get(&id).cloned());
        let claims = known.unwrap_or_else(|| {
            let claims = presented.claims();
            self.remember(id, claims.clone());
            claims
        })?;
        claims.check(origins, now)?;
        Ok(presented.key)
    }

    /// How many are remembered: for metrics, and to see the bound.
    pub fn len(&self) -> usize {
        self.lock().iter().map(HashMap::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn remember(&self, id: [u8; 32], claims: Result<Claims, VapidError>) {
        let mut generations = self.lock();
        if generations[0].len() >= self.capacity {
            generations.swap(0, 1);
            generations[0].clear();
        }
        generations[0].insert(id, claims);
    }

    fn lock(&self) -> MutexGuard<'_, [HashMap<[u8; 32], Result<Claims, VapidError>>; 2]> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of token and key: the same token with another key is another question.
fn identity(presented: &Presented<'_>) -> [u8; 32] {
    let both = [presented.key.as_slice(), presented.token.as_bytes()].concat();
    digest(&SHA256, &both).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;

    use super::*;

    const ORIGIN: &str = "https://push.example.net";
    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
    /// RFC 8292 §2.4.
    const RFC: &str = "vapid t=eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiJ9.eyJhdWQiOiJodHRwczovL3B1c2guZXhhbXBsZS5uZXQiLCJleHAiOjE0NTM1MjM3NjgsInN1YiI6Im1haWx0bzpwdXNoQGV4YW1wbGUuY29tIn0.i3CYb7t4xfxCDquptFOepC9GAu_HLGkMlMuCGSK2rpiUfnK9ojFwDXb1JrErtmysazNjjvW2L9OkSSHzvoD1oA, k=BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs";

    fn key() -> VapidKey {
        VapidKey { key: SigningKey::from_scalar(&[3; 32]).unwrap(), subject: "mailto:a@b.test".into() }
    }

    fn verify(header: &str, origins: &[&str], now: Timestamp) -> Result<[u8; 65], VapidError> {
        VerifiedTokens::new(8).verify(&Presented::parse(header, None)?, origins, now)
    }

    #[test]
    fn the_rfcs_example_verifies_until_it_expires() {
        let expiry = Timestamp::from_secs(1_453_523_768);
        let before = Timestamp::from_secs(1_453_523_768 - 3_600);
        assert!(verify(RFC, &[ORIGIN], before).is_ok());
        assert!(verify(RFC, &[ORIGIN], expiry + Duration::from_secs(59)).is_ok());
        assert_eq!(verify(RFC, &[ORIGIN], expiry + Duration::from_secs(60)), Err(VapidError::Expired));
        let early = Timestamp::from_secs(1_453_523_768 - 86_461);
        assert_eq!(verify(RFC, &[ORIGIN], early), Err(VapidError::ExpiryTooFar));
        for origin in ["https://push.example.net:8443", "http://push.example.net", "https://push.example"] {
            assert_eq!(verify(RFC, &[origin], before), Err(VapidError::AudienceOther), "{origin}");
        }
    }

    #[test]
    fn what_we_sign_verifies_in_every_form_in_use() {
        let rng = SystemRandom::new();
        let ours = key().authorization("https://push.test:8443", NOW, &rng).unwrap();
        let (token, k) = ours.strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
        let crypto_key = format!("dh=BAAA;p256ecdsa=\"{k}=\"");
        for (authorization, crypto_key) in [
            (ours.clone(), None),
            (format!("VAPID k={k}; t={token}"), None),
            (format!("vapid t={token},k={k}=,x=y"), None),
            (format!("vapid T = \"{token}\" ; K = \"{k}\""), None),
            (format!("WebPush {token}"), Some(crypto_key.as_str())),
            (format!("bearer {token}"), Some(crypto_key.as_str())),
        ] {
            let presented = Presented::parse(&authorization, crypto_key).unwrap();
            let key = VerifiedTokens::new(1).verify(&presented, &["https://push.test:8443"], NOW);
            assert_eq!(key, Ok(*super::tests::key().key.public()), "{authorization}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_apart() {
        let k = encode_base64(key().key.public());
        let mut off_curve = *key().key.public();
        off_curve[64] ^= 1;
        let of = |bytes: &[u8]| format!("vapid t=x,k={}", encode_base64(bytes));
        let long = "x".repeat(MAX_HEADER);
        for (header, crypto_key, expected) in [
            ("", None, VapidError::Format),
            ("vapid", None, VapidError::Format),
            ("Basic abc", None, VapidError::Format),
            (&long, None, VapidError::Format),
            (&format!("vapid k={k}"), None, VapidError::Format),
            ("vapid t=x", None, VapidError::KeyMissing),
            ("vapid t=x,k=", None, VapidError::KeyEmpty),
            ("vapid t=x,k=%", None, VapidError::KeyEncoding),
            ("vapid t=x,k=AAAA", None, VapidError::KeyLength),
            (&of(&[2; 65]), None, VapidError::KeyForm),
            (&of(&off_curve), None, VapidError::KeyCurve),
            ("WebPush x", None, VapidError::KeyMissing),
            ("WebPush x", Some("dh=AAAA"), VapidError::CryptoKeyFormat),
        ] {
            assert_eq!(Presented::parse(header, crypto_key).err(), Some(expected), "{header}");
        }
    }

    #[test]
    fn claims_are_checked() {
        let rng = SystemRandom::new();
        let signed = |claims: Value| {
            let key = key();
            let jwt = key.key.jwt(&rng, r#"{"alg":"ES256"}"#, &claims.to_string()).unwrap();
            verify(&format!("vapid t={jwt},k={}", encode_base64(key.key.public())), &[ORIGIN], NOW)
        };
        let later = NOW.as_secs() + 100;
        assert!(signed(json!({ "aud": ["https://other.test", ORIGIN], "exp": later as f64 + 0.5 })).is_ok());
        for (claims, expected) in [
            (json!({ "exp": later }), VapidError::AudienceInvalid),
            (json!({ "aud": 1, "exp": later }), VapidError::AudienceInvalid),
            (json!({ "aud": [], "exp": later }), VapidError::AudienceInvalid),
            (json!({ "aud": [1], "exp": later }), VapidError::AudienceInvalid),
            (json!({ "aud": format!("{ORIGIN}/"), "exp": later }), VapidError::AudienceOther),
            (json!({ "aud": ORIGIN }), VapidError::ExpiryMissing),
            (json!({ "aud": ORIGIN, "exp": later.to_string() }), VapidError::ExpiryMissing),
            (json!({ "aud": ORIGIN, "exp": 0 }), VapidError::Expired),
            (json!({ "aud": ORIGIN, "exp": later + 90_000 }), VapidError::ExpiryTooFar),
        ] {
            assert_eq!(signed(claims.clone()), Err(expected), "{claims}");
        }
        let other = SigningKey::from_scalar(&[4; 32]).unwrap();
        let ours = key().authorization(ORIGIN, NOW, &rng).unwrap();
        let stolen = format!("{},k={}", ours.split_once(',').unwrap().0, encode_base64(other.public()));
        assert_eq!(verify(&stolen, &[ORIGIN], NOW), Err(VapidError::Jwt));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_still_checked() {
        let rng = SystemRandom::new();
        let tokens = VerifiedTokens::new(4);
        for second in 0..50 {
            let text = key().authorization(ORIGIN, NOW + Duration::from_secs(second), &rng).unwrap();
            let presented = Presented::parse(&text, None).unwrap();
            for (origin, now, good) in [
                (ORIGIN, NOW, true),
                ("https://other.test", NOW, false),
                (ORIGIN, NOW + LIFE + Duration::from_secs(200), false),
            ] {
                assert_eq!(tokens.verify(&presented, &[origin], now).is_ok(), good);
            }
            assert!(tokens.len() <= 8);
        }
        assert!(!tokens.is_empty());
    }

    #[test]
    fn subjects_that_apple_refuses_are_known() {
        for good in ["mailto:push@example.com", "https://example.com/contact", "https://a.example.com:8443"] {
            assert!(is_subject(good), "{good}");
        }
        for bad in [
            "",
            "push@example.com",
            "mailto:x@localhost",
            "mailto:@a.b",
            "https://localhost",
            "http://a.b",
            "mailto:a b@c.d",
        ] {
            assert!(!is_subject(bad), "{bad}");
        }
    }
}
