//! Who we are for Apple: a key that signs tokens, or a certificate.

use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use cresset_message::Timestamp;
use cresset_wire::es256::{KeyError, SigningKey};

use super::Environment;
use super::provider_token::ProviderToken;
use crate::Randomness;
use crate::tls::{ClientCertificate, TlsError};

/// Characters of a key id and of a team id.
const ID_LENGTH: usize = 10;

#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error("a key id and a team id have ten letters and digits")]
    Id,
    #[error("the .p8 file holds no private key of P-256")]
    Key(#[from] KeyError),
    #[error(transparent)]
    Certificate(#[from] TlsError),
}

/// One of them. Connections are shared by all who have the same.
#[derive(Debug)]
pub struct Credential {
    /// Connections are this one's alone.
    pub(super) identity: [u8; 32],
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Key(Box<AuthKey>),
    Certificate(ClientCertificate),
}

#[derive(Debug)]
pub(super) struct AuthKey {
    key: SigningKey,
    key_id: String,
    team_id: String,
    token: Mutex<ProviderToken>,
}

impl Credential {
    /// A `.p8` file with its ids.
    pub fn key(pem: &str, key_id: &str, team_id: &str) -> Result<Self, CredentialError> {
        let is_id = |id: &str| id.len() == ID_LENGTH && id.bytes().all(|b| b.is_ascii_alphanumeric());
        if !is_id(key_id) || !is_id(team_id) {
            return Err(CredentialError::Id);
        }
        let key = SigningKey::from_pem(pem)?;
        let identity = sha256(&[key_id.as_bytes(), team_id.as_bytes(), key.public()].concat());
        let (key_id, team_id) = (key_id.to_owned(), team_id.to_owned());
        let number = identity[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let token = Mutex::new(ProviderToken::new(number));
        let key = AuthKey { key, key_id, team_id, token };
        Ok(Self { identity, kind: Kind::Key(Box::new(key)) })
    }

    /// A certificate with its chain and its key, as PEM.
    pub fn certificate(chain: &[u8], key: &[u8]) -> Result<Self, CredentialError> {
        let certificate = ClientCertificate::from_pem(chain, key)?;
        let identity = sha256(&certificate.chain.first().map(|first| first.to_vec()).unwrap_or_default());
        Ok(Self { identity, kind: Kind::Certificate(certificate) })
    }

    /// Live activities and location pushes need one (§1.2).
    pub fn is_key(&self) -> bool {
        matches!(self.kind, Kind::Key(_))
    }
}

impl AuthKey {
    /// The provider token, not yet too old.
    pub(super) fn token(&self, now: Timestamp, randomness: &Randomness) -> Result<Arc<str>, KeyError> {
        let mut token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        token.get(now, |iat| {
            let header = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, self.key_id);
            let claims = format!(r#"{{"iss":"{}","iat":{}}}"#, self.team_id, iat);
            self.key.jwt(&**randomness, &header, &claims)
        })
    }

    pub(super) fn expired(&self, token: &str) {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).expired(token);
    }
}

/// What the operator gave for one app; shared by all of its pushes, so that tokens are signed once.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    pub production: Vec<Arc<Credential>>,
    pub sandbox: Vec<Arc<Credential>>,
}

impl Credentials {
    /// The one for an environment: a key wins over a certificate.
    pub fn of(&self, environment: Environment) -> Option<&Arc<Credential>> {
        let slot = self.slot(environment);
        slot.iter().find(|credential| credential.is_key()).or(slot.first())
    }

    fn slot(&self, environment: Environment) -> &[Arc<Credential>] {
        match environment {
            Environment::Production => &self.production,
            Environment::Sandbox => &self.sandbox,
        }
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes")
}
