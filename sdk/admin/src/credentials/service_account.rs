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
    /// Whom assertions are for, if not the endpoint that they are shown to.
    audience: Option<String>,
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
            audience: text("audience"),
            is_self_signed: universe != "googleapis.com",
        })
    }

    pub(super) fn self_signed(&self) -> Self {
        Self { is_self_signed: true, ..self.clone() }
    }

    /// The form that is exchanged for an access token at `url`. It is for that endpoint alone: one that
    /// is not Google's could otherwise use it at Google's.
    pub(crate) fn grant(&self, url: &str, now: SystemTime) -> Result<String, Error> {
        let audience = self.audience.as_deref().unwrap_or(url);
        let assertion = self.jwt(now, &json!({ "aud": audience, "scope": SCOPES.join(" ") }))?;
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
        Ok(form.append_pair("assertion", &assertion).finish())
    }

    /// A bearer token that the account gives itself: for one audience, or (for Google, where sends and
    /// topics have hosts of their own) for scopes.
    pub(crate) fn bearer(&self, audience: Option<&str>, now: SystemTime) -> Result<String, Error> {
        match audience {
            Some(audience) => self.jwt(now, &json!({ "sub": self.email, "aud": audience })),
            None => self.jwt(now, &json!({ "sub": self.email, "scope": SCOPES.join(" ") })),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> ServiceAccount {
        let key =
            rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
        let file = json!({ "client_email": "svc@demo.test", "private_key": key.serialize_pem() });
        ServiceAccount::read(&file).unwrap()
    }

    #[test]
    fn a_jwt_of_ones_own_is_for_one_host_or_for_googles_scopes() {
        let (account, now) = (account(), UNIX_EPOCH + Duration::from_secs(1_000));
        let claims = |audience| {
            let jwt = account.bearer(audience, now).unwrap();
            let part = BASE64_URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1).unwrap()).unwrap();
            serde_json::from_slice::<Value>(&part).unwrap()
        };
        let mut expected =
            json!({ "iss": "svc@demo.test", "sub": "svc@demo.test", "iat": 1_000, "exp": 4_600 });
        assert_eq!(account.token_uri, TOKEN_URI);
        expected["aud"] = json!("https://push.example.com/");
        assert_eq!(claims(Some("https://push.example.com/")), expected);
        expected.as_object_mut().unwrap().remove("aud");
        expected["scope"] = json!(SCOPES.join(" "));
        assert_eq!(claims(None), expected);
    }
}
