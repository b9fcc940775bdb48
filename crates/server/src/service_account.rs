//! A service-account file, used as SDKs use it: the JWT bearer grant (`protocol/oauth.md` §2).

use cresset_message::Timestamp;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

/// The signed assertion; an error goes on after «the service account».
pub(crate) fn assertion(file: &Value, now: Timestamp) -> Result<String, String> {
    let field = |name: &str| file[name].as_str().unwrap_or_default();
    let key = PrivateKeyDer::from_pem_slice(field("private_key").as_bytes())
        .map_err(|e| format!("has no good private key: {e}"))?;
    let claims = json!({
        "iss": field("client_email"),
        "scope": "https://www.googleapis.com/auth/firebase.messaging",
        "aud": "https://oauth2.googleapis.com/token",
        "iat": now.as_secs(),
        "exp": now.as_secs() + 3_600,
    });
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256);
    let key = jsonwebtoken::EncodingKey::from_rsa_der(pkcs1_of(key.secret_der()));
    jsonwebtoken::encode(&header, &claims, &key).map_err(|e| format!("cannot sign: {e}"))
}

/// The form that exchanges it for an access token.
pub(crate) fn grant_form(assertion: &str) -> String {
    format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}")
}

/// The RSA key inside a PKCS#8 envelope, which the library wants bare: it is the last element, an
/// octet string, behind a version and an algorithm of fixed length.
fn pkcs1_of(pkcs8: &[u8]) -> &[u8] {
    // SEQUENCE (4) INTEGER (3) SEQUENCE rsaEncryption NULL (15) OCTET STRING (4): keys of 2,048
    // bits and more have two-byte lengths.
    const ENVELOPE: usize = 26;
    pkcs8.get(ENVELOPE..).unwrap_or_default()
}
