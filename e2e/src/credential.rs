//! What an app server needs before it sends: trust in the private CA, and an access token
//! (`protocol/oauth.md` §2).

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use cresset_message::Timestamp;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};

use crate::{Http2, Outcome};

/// The CA of a data folder.
#[derive(Clone, Debug)]
pub struct Trust {
    pub pem: String,
}

impl Trust {
    pub fn of_folder(folder: &Path) -> Outcome<Self> {
        Ok(Self { pem: std::fs::read_to_string(folder.join("ca.pem"))? })
    }

    /// A TLS client that offers these protocols (ALPN), if any.
    pub fn client(&self, protocols: &[&[u8]]) -> Outcome<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.pem.as_bytes()) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

/// Exchanges a service-account file for an access token, over TLS and HTTP/2 as SDKs do.
pub async fn access_token(https: SocketAddr, trust: &Trust, file: &Value) -> Outcome<String> {
    access_token_at(https, trust, file, now()).await
}

/// The same for a server whose clock shows another time than ours.
pub(crate) async fn access_token_at(
    https: SocketAddr,
    trust: &Trust,
    file: &Value,
    now: Timestamp,
) -> Outcome<String> {
    let assertion = assertion(file, now.as_secs())?;
    let form =
        format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}");
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let client = Http2::connect(https, "oauth2.googleapis.com", trust).await?;
    let answer = client.post("/token", &headers, Bytes::from(form)).await?;
    let token = answer.json()["access_token"].as_str().map(str::to_owned);
    token.ok_or_else(|| format!("no access token: {} {}", answer.status, answer.text()).into())
}

fn assertion(file: &Value, now: u64) -> Outcome<String> {
    let field = |name: &str| file[name].as_str().ok_or_else(|| format!("the service account has no {name}"));
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": field("private_key_id")? });
    let claims = json!({
        "iss": field("client_email")?,
        "scope": "https://www.googleapis.com/auth/firebase.messaging",
        "aud": field("token_uri")?,
        "iat": now,
        "exp": now + 3_600,
    });
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let key = PrivatePkcs8KeyDer::from_pem_slice(field("private_key")?.as_bytes())?;
    let key = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der())?;
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)?;
    Ok(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
}

/// The time of day, for JWTs and for rows of the server's.
#[expect(clippy::disallowed_methods, reason = "a test tool, not a part of the server")]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
