//! A service account's key: the JWT bearer grant, and JWTs that are bearer tokens themselves
//! (`protocol/oauth.md` §2 and §3).

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::{SCOPES, TOKEN_URI, required};
use crate::Error;

#[derive(Clone)]
pub(crate) struct ServiceAccount {
    email: String,
    key_id: Option<String>,
    key: Arc<RsaKeyPair>,
    pub(crate) token_uri: String,
    pub(crate) is_self_signed: bool,
}

impl ServiceAccount {
    /// The longest that a JWT may claim to live.
    pub(crate) const LIFE: Duration = Duration::from_secs(3_600);

    pub(super) fn read(file: &Value) -> Result<Self, Error> {
        let text = |name: &str| file[name].as_str().map(str::to_owned);
        // Google's libraries ask no token endpoint for accounts of another universe.
        let universe = file["universe_domain"].as_str().unwrap_or("googleapis.com");
        Ok(Self {
            email: required(file, "client_email")?,
            key_id: text("private_key_id"),
            key: Arc::new(key(&required(file, "private_key")?)?),
            token_uri: text("token_uri").unwrap_or_else(|| TOKEN_URI.into()),
            is_self_signed: universe != "googleapis.com",
        })
    }

    pub(super) fn self_signed(&self) -> Self {
        Self { is_self_signed: true, ..self.clone() }
    }

    /// The form that is exchanged for an access token.
    pub(crate) fn grant(&self, now: SystemTime) -> Result<String, Error> {
        let assertion = self.jwt(now, &json!({ "aud": self.token_uri, "scope": SCOPES.join(" ") }))?;
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
        Ok(form.append_pair("assertion", &assertion).finish())
    }

    /// A bearer token that the account gives itself. It names scopes instead of an audience, and so
    /// is good for sends and for topics.
    pub(crate) fn bearer(&self, now: SystemTime) -> Result<String, Error> {
        self.jwt(now, &json!({ "sub": self.email, "scope": SCOPES.join(" ") }))
    }

    fn jwt(&self, now: SystemTime, more: &Value) -> Result<String, Error> {
        let issued = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": self.key_id });
        let mut claims = json!({
            "iss": self.email,
            "iat": issued.as_secs(),
            "exp": (issued + Self::LIFE).as_secs(),
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| Error::setup("the service account's key cannot sign"))?;
        Ok(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceAccount({})", self.email)
    }
}

fn key(pem: &str) -> Result<RsaKeyPair, Error> {
    let bad =
        |why: &dyn fmt::Display| Error::setup(format!("the credentials' private key is not good: {why}"));
    let key = match PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| bad(&error))? {
        PrivateKeyDer::Pkcs8(key) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
        _ => return Err(bad(&"not an RSA key")),
    };
    key.map_err(|error| bad(&error))
}
