//! Sealed bodies and their parameters. Two lines of text, `crypto-key` and `encryption`, then the body.

use cresset_message::WebKeys;
use cresset_wire::webpush::{KeyPair, aes128gcm, aesgcm, decode_base64, subscription};

/// Any parameters and any body are opened or refused. Header values that have a common shape keep
/// their meaning in it, and keys that are taken can be sealed for.
pub(crate) fn webpush(input: &[u8]) {
    let pair = KeyPair::from_scalar(&[7; 32]).expect("a scalar");
    let auth = [9; 16];
    drop(aes128gcm::open(&pair, &auth, input));
    let mut parts = input.splitn(3, |byte| *byte == b'\n');
    let mut text = || parts.next().and_then(|part| str::from_utf8(part).ok()).unwrap_or_default();
    let (crypto_key, encryption) = (text(), text());
    let body = parts.next().unwrap_or_default();
    let opened = aesgcm::open(&pair, &auth, crypto_key, encryption, body);
    drop(aes128gcm::open(&pair, &auth, body));
    if let Some((key, salt)) = aesgcm::normalize(crypto_key, encryption) {
        assert_eq!(aesgcm::open(&pair, &auth, &key, &salt, body), opened);
        assert_eq!(aesgcm::normalize(&key, &salt), Some((key, salt)));
    }
    drop(decode_base64(crypto_key));
    if let Ok(WebKeys { p256dh, auth }) = subscription(crypto_key, encryption) {
        let keys = WebKeys { p256dh, auth };
        let sealed = aes128gcm::seal(&keys, b"x", [1; 16], &pair).expect("keys that were taken");
        assert!(sealed.len() > 1);
    }
}
