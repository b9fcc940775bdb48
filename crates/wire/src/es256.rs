//! ES256: JWTs signed with P-256 (RFC 7518 §3.4), as Web Push (RFC 8292) and APNs take them.

use aws_lc_rs::encoding::AsBigEndian as _;
use aws_lc_rs::rand::SecureRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::webpush::{KeyPair, decode_base64, encode_base64};

/// Larger than any private key's PEM: a PKCS#8 one has 250 bytes.
const MAX_PEM: usize = 16 * 1_024;

/// Not a private key of P-256 in a form that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a private key of P-256")]
pub struct KeyError;

/// A key that signs.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    public: [u8; 65],
}

impl SigningKey {
    pub fn generate(randomness: &dyn SecureRandom) -> Result<Self, KeyError> {
        let pair = KeyPair::generate(randomness).map_err(|_| KeyError)?;
        Self::from_scalar(&pair.scalar().map_err(|_| KeyError)?)
    }

    /// As browsers' and Firebase's tools write a VAPID key, once its base64url is undone.
    pub fn from_scalar(scalar: &[u8; 32]) -> Result<Self, KeyError> {
        let public = *KeyPair::from_scalar(scalar).map_err(|_| KeyError)?.public();
        let alg = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair =
            EcdsaKeyPair::from_private_key_and_public_key(alg, scalar, &public).map_err(|_| KeyError)?;
        Ok(Self { pair, public })
    }

    /// A PEM `PRIVATE KEY` (PKCS#8), which is what Apple's `.p8` files are.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
        const END: &str = "-----END PRIVATE KEY-----";
        if pem.len() > MAX_PEM {
            return Err(KeyError);
        }
        let (_, rest) = pem.split_once(BEGIN).ok_or(KeyError)?;
        let (body, _) = rest.split_once(END).ok_or(KeyError)?;
        let body: String = body.split_ascii_whitespace().collect();
        Self::from_pkcs8(&BASE64_STANDARD.decode(body).map_err(|_| KeyError)?)
    }

    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).map_err(|_| KeyError)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| KeyError)?;
        Ok(Self { pair, public })
    }

    /// The uncompressed point.
    pub fn public(&self) -> &[u8; 65] {
        &self.public
    }

    pub fn scalar(&self) -> Result<[u8; 32], KeyError> {
        let scalar: aws_lc_rs::encoding::EcPrivateKeyBin<'_> =
            self.pair.private_key().as_be_bytes().map_err(|_| KeyError)?;
        scalar.as_ref().try_into().map_err(|_| KeyError)
    }

    /// Header and claims, which are JSON, and their signature.
    pub fn jwt(&self, randomness: &dyn SecureRandom, header: &str, claims: &str) -> Result<String, KeyError> {
        let mut jwt = format!("{}.{}", encode_base64(header), encode_base64(claims));
        let signature = self.pair.sign(randomness, jwt.as_bytes()).map_err(|_| KeyError)?;
        jwt.push('.');
        jwt.push_str(&encode_base64(signature));
        Ok(jwt)
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

/// The parts of a JWT, not verified.
pub struct Jwt<'a> {
    pub header: Value,
    pub claims: Value,
    signed: &'a str,
    signature: Vec<u8>,
}

impl<'a> Jwt<'a> {
    /// `None` for what is no JWT of two JSON objects signed with ES256.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let object = |text: &str| {
            let value: Value = serde_json::from_slice(&decode_base64(text)?).ok()?;
            value.is_object().then_some(value)
        };
        let header = object(header)?;
        // RFC 7515 §4.1.11: what is critical and not understood makes it invalid.
        if header["alg"] != "ES256" || header.get("crit").is_some() {
            return None;
        }
        let signature = decode_base64(signature).filter(|signature| signature.len() == 64)?;
        Some(Self { header, claims: object(claims)?, signed, signature })
    }

    /// Costs about 80 µs: what is cheap is checked before.
    pub fn is_signed_by(&self, public: &[u8; 65]) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public);
        key.verify(self.signed.as_bytes(), &self.signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;

    use super::*;

    #[test]
    fn a_jwt_is_its_keys_and_nobody_elses() {
        let rng = SystemRandom::new();
        let key = SigningKey::generate(&rng).unwrap();
        let again = SigningKey::from_scalar(&key.scalar().unwrap()).unwrap();
        assert_eq!(again.public(), key.public());
        let text = again.jwt(&rng, r#"{"alg":"ES256","kid":"K"}"#, r#"{"iss":"T"}"#).unwrap();
        let jwt = Jwt::parse(&text).unwrap();
        assert_eq!((&jwt.header["kid"], &jwt.claims["iss"]), (&"K".into(), &"T".into()));
        assert!(jwt.is_signed_by(key.public()));
        assert!(!jwt.is_signed_by(SigningKey::generate(&rng).unwrap().public()));
    }

    #[test]
    fn what_is_no_jwt_is_none() {
        let part = |json: &str| encode_base64(json);
        let (es256, claims) = (part(r#"{"alg":"ES256"}"#), part("{}"));
        let signature = encode_base64([0; 64]);
        assert!(Jwt::parse(&format!("{es256}.{claims}.{signature}")).is_some());
        for text in [
            String::new(),
            "a.b.c".to_owned(),
            format!("{es256}.{claims}"),
            format!("{es256}.{claims}.{}", encode_base64([0; 63])),
            format!("{es256}.{}.{signature}", part("[]")),
            format!("{es256}.{claims}.{signature}.{signature}"),
            format!("{}.{claims}.{signature}", part(r#"{"alg":"none"}"#)),
            format!("{}.{claims}.{signature}", part(r#"{"alg":"HS256"}"#)),
            format!("{}.{claims}.{signature}", part(r#"{"alg":"ES256","crit":["b64"]}"#)),
        ] {
            assert!(Jwt::parse(&text).is_none(), "{text}");
        }
    }

    /// Made with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`.
    #[test]
    fn keys_are_read_from_pem() {
        const PEM: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgaTPrK11BTxOyDVBp\nRq+Hb9hf+t53t42cpnc2YiISyW6hRANCAAS7KkJg5RAa0V+NOLqflmvlRAG5T7ho\nrN0ZTGQO+TTr44XB3eAEeOa4F+HrLfOXzBznv/ZSPrVYlTcTM860gsjA\n-----END PRIVATE KEY-----\n";
        let key = SigningKey::from_pem(PEM).unwrap();
        let same = SigningKey::from_pem(&PEM.replace('\n', "\r\n")).unwrap();
        assert_eq!(key.scalar(), same.scalar());
        for bad in
            ["", "-----BEGIN PRIVATE KEY-----", &PEM.replace("MIG", "MIF"), &PEM.replace("PRIVATE", "EC")]
        {
            assert_eq!(SigningKey::from_pem(bad).err(), Some(KeyError), "{bad}");
        }
        assert_eq!(SigningKey::from_scalar(&[0; 32]).err(), Some(KeyError));
    }
}
