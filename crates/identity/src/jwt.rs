//! RS256 JWTs signed by a service account: assertions of the token endpoint (RFC 7523), and bearer
//! tokens in their own right (`protocol/oauth.md` §2 and §3).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use cresset_message::Timestamp;
use serde::Deserialize;

use crate::Identity;
use crate::project::{Project, ServiceAccount};

/// How far the clocks of client and server may differ; Google allows about as much
/// (`protocol/oauth.md` §2.2).
pub(crate) const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// Longest life that a JWT may claim.
const MAX_LIFE: Duration = Duration::from_secs(3_600);

/// Verified bearer JWTs that are remembered, so that a sender does not pay for RSA on each send.
const MAX_REMEMBERED: usize = 4_096;

/// Larger than any JWT that a client of FCM makes.
const MAX_LENGTH: usize = 16 * 1_024;

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    #[serde(default)]
    pub(crate) sub: Option<String>,
    #[serde(default)]
    pub(crate) aud: Option<String>,
    #[serde(default)]
    pub(crate) scope: Option<Scope>,
    #[serde(default)]
    pub(crate) target_audience: Option<String>,
    pub(crate) iat: f64,
    pub(crate) exp: f64,
}

/// One string with spaces, or (in some Node versions) a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Scope {
    Text(String),
    List(Vec<String>),
}

impl Scope {
    pub(crate) fn names(&self) -> Vec<&str> {
        match self {
            Self::Text(text) => text.split_ascii_whitespace().collect(),
            Self::List(list) => list.iter().map(String::as_str).collect(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JwtError {
    Malformed,
    UnknownIssuer,
    Signature,
    /// Not valid at this time, or claimed for too long.
    Times,
    Expired,
}

impl Claims {
    pub(crate) fn check_times(&self, now: Timestamp) -> Result<(), JwtError> {
        let now = now.as_secs() as f64;
        let skew = CLOCK_SKEW.as_secs_f64();
        if !(self.iat.is_finite() && self.exp.is_finite()) {
            return Err(JwtError::Times);
        }
        if self.iat > now + skew || self.exp - self.iat > MAX_LIFE.as_secs_f64() || self.exp <= self.iat {
            return Err(JwtError::Times);
        }
        if self.exp <= now - skew { Err(JwtError::Expired) } else { Ok(()) }
    }
}

/// Bearer JWTs whose signature was found good, and the project as it was then.
#[derive(Default)]
pub(crate) struct Verified(Mutex<HashMap<[u8; 32], (Claims, Arc<Project>)>>);

impl Verified {
    fn map(&self) -> MutexGuard<'_, HashMap<[u8; 32], (Claims, Arc<Project>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, digest: [u8; 32], known: (Claims, Arc<Project>)) {
        let mut map = self.map();
        if map.len() >= MAX_REMEMBERED {
            map.clear();
        }
        map.insert(digest, known);
    }
}

impl Identity {
    /// As [`verify_jwt`](Self::verify_jwt), for a JWT that comes with each request.
    pub(crate) fn verify_bearer_jwt(&self, text: &str) -> Result<(Claims, Arc<Project>), JwtError> {
        let digest = sha256(text.as_bytes());
        let known = self.verified_jwts.map().get(&digest).cloned();
        if let Some((claims, project)) = known
            && self.directory().by_account(&claims.iss).is_some_and(|now| Arc::ptr_eq(&now, &project))
        {
            return Ok((claims, project));
        }
        let verified = self.verify_jwt(text)?;
        self.verified_jwts.insert(digest, verified.clone());
        Ok(verified)
    }

    /// Whether a service account of ours signed it; not whether it is valid now, nor for what.
    pub(crate) fn verify_jwt(&self, text: &str) -> Result<(Claims, Arc<Project>), JwtError> {
        if text.len() > MAX_LENGTH {
            return Err(JwtError::Malformed);
        }
        let header = jsonwebtoken::decode_header(text).map_err(|_| JwtError::Malformed)?;
        if header.alg != jsonwebtoken::Algorithm::RS256 {
            return Err(JwtError::Malformed);
        }
        let claims = unverified_claims(text).ok_or(JwtError::Malformed)?;
        let project = self.directory().by_account(&claims.iss).ok_or(JwtError::UnknownIssuer)?;
        let account = project.service_accounts.iter().find(|a| a.email == claims.iss);
        let account = account.ok_or(JwtError::UnknownIssuer)?;
        if !signed_by(account, header.kid.as_deref(), text) {
            return Err(JwtError::Signature);
        }
        Ok((claims, project))
    }
}

/// The key that `kid` names; all of them when there is no such name (`protocol/oauth.md` §2.1: Node
/// sends none).
fn signed_by(account: &ServiceAccount, kid: Option<&str>, text: &str) -> bool {
    let named = account.keys.iter().filter(|key| Some(key.id.as_str()) == kid);
    let mut keys: Vec<_> = named.collect();
    if keys.is_empty() && kid.is_none() {
        keys = account.keys.iter().collect();
    }
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    keys.iter().any(|key| {
        let key = jsonwebtoken::DecodingKey::from_rsa_der(&key.public_key);
        jsonwebtoken::decode::<serde::de::IgnoredAny>(text, &key, &validation).is_ok()
    })
}

fn unverified_claims(text: &str) -> Option<Claims> {
    let body = text.split('.').nth(1)?;
    let bytes = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(body.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&bytes).ok()
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    out
}
