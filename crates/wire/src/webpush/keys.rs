use aws_lc_rs::agreement::{ECDH_P256, ParsedPublicKey, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::encoding::{AsBigEndian, EcPrivateKeyBin, EcPublicKeyUncompressedBin};
use aws_lc_rs::rand::SecureRandom;
use cresset_message::WebKeys;

use super::{WebPushError, decode_base64};

/// A P-256 key pair: an app server's for one message, or a subscription's own.
pub struct KeyPair {
    private: PrivateKey,
    public: [u8; 65],
}

impl KeyPair {
    pub fn generate(randomness: &dyn SecureRandom) -> Result<Self, WebPushError> {
        // Two in 2^32 scalars are no key, so a second try is already rare.
        for _ in 0..4 {
            if let Ok(pair) = Self::from_scalar(&random(randomness)?) {
                return Ok(pair);
            }
        }
        Err(WebPushError::Randomness)
    }

    pub fn from_scalar(scalar: &[u8; 32]) -> Result<Self, WebPushError> {
        let private = PrivateKey::from_private_key(&ECDH_P256, scalar).map_err(|_| WebPushError::Key)?;
        let public = private.compute_public_key().map_err(|_| WebPushError::Key)?;
        let public: EcPublicKeyUncompressedBin<'_> = public.as_be_bytes().map_err(|_| WebPushError::Key)?;
        let public = public.as_ref().try_into().map_err(|_| WebPushError::Key)?;
        Ok(Self { private, public })
    }

    /// The private half, for clients that keep their subscription.
    pub fn scalar(&self) -> Result<[u8; 32], WebPushError> {
        let scalar: EcPrivateKeyBin<'_> = self.private.as_be_bytes().map_err(|_| WebPushError::Key)?;
        scalar.as_ref().try_into().map_err(|_| WebPushError::Key)
    }

    /// The uncompressed point.
    pub fn public(&self) -> &[u8; 65] {
        &self.public
    }

    pub(super) fn agree(&self, peer: &[u8; 65]) -> Result<[u8; 32], WebPushError> {
        let peer = UnparsedPublicKey::new(&ECDH_P256, peer);
        let secret = |secret: &[u8]| secret.try_into().map_err(|_| WebPushError::Key);
        agree(&self.private, peer, WebPushError::Key, secret)
    }
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyPair(..)")
    }
}

/// So many random bytes: a salt, an authentication secret, a scalar.
pub fn random<const N: usize>(randomness: &dyn SecureRandom) -> Result<[u8; N], WebPushError> {
    let mut bytes = [0; N];
    randomness.fill(&mut bytes).map_err(|_| WebPushError::Randomness)?;
    Ok(bytes)
}

/// A subscription's keys as clients send them. Refuses what is no point of the curve, so that
/// every later message can be sealed.
pub fn subscription(p256dh: &str, auth: &str) -> Result<WebKeys, WebPushError> {
    let fixed = |text| decode_base64(text).ok_or(WebPushError::Key);
    let p256dh: [u8; 65] = fixed(p256dh)?.try_into().map_err(|_| WebPushError::Key)?;
    let auth = fixed(auth)?.try_into().map_err(|_| WebPushError::Key)?;
    ParsedPublicKey::try_from(UnparsedPublicKey::new(&ECDH_P256, &p256dh)).map_err(|_| WebPushError::Key)?;
    Ok(WebKeys { p256dh, auth })
}
