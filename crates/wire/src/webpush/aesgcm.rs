//! `Content-Encoding: aesgcm`: the parameters travel beside the body, in two header values.

use cresset_message::WebKeys;

use super::record::{RecordKey, hkdf};
use super::{KeyPair, RECORD_SIZE, TAG, WebPushError, decode_base64, encode_base64_padded};

/// Bytes of the pad length in front of every record.
const PAD_LENGTH: usize = 2;

/// The largest plaintext: the sealed body may have 4096 bytes, and one record is all that
/// receivers take (`protocol/payload-layout.md` §6).
pub const MAX_PLAINTEXT: usize = RECORD_SIZE - TAG - PAD_LENGTH;

/// A sealed body and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The value of `crypto-key`: `dh=` and nothing else.
    pub crypto_key: String,
    /// The value of `encryption`: `salt=` and nothing else.
    pub encryption: String,
    pub body: Vec<u8>,
}

/// Seals for a subscription. `ephemeral` must be used for this message alone.
pub fn seal(
    keys: &WebKeys,
    plaintext: &[u8],
    salt: [u8; 16],
    ephemeral: &KeyPair,
) -> Result<Sealed, WebPushError> {
    if plaintext.len() > MAX_PLAINTEXT {
        return Err(WebPushError::TooLarge);
    }
    let shared = ephemeral.agree(&keys.p256dh)?;
    let key = derive(&shared, &keys.auth, &salt, &keys.p256dh, ephemeral.public());
    let mut body = Vec::with_capacity(PAD_LENGTH + plaintext.len() + TAG);
    body.extend_from_slice(&[0; PAD_LENGTH]);
    body.extend_from_slice(plaintext);
    key.seal_only(&mut body, 0)?;
    Ok(Sealed { crypto_key: dh(ephemeral.public()), encryption: format_salt(&salt), body })
}

/// Opens what was sealed for `pair` and `auth`. Takes header values of any shape in use.
pub fn open(
    pair: &KeyPair,
    auth: &[u8; 16],
    crypto_key: &str,
    encryption: &str,
    body: &[u8],
) -> Result<Vec<u8>, WebPushError> {
    let sender = sender_key(crypto_key)?;
    let salt = salt(encryption)?;
    let size = match parameter(encryption, "rs") {
        Some(size) => size.parse().ok().filter(|size| *size > PAD_LENGTH && *size <= 1 << 20),
        None => Some(RECORD_SIZE),
    };
    let sealed_size = size.ok_or(WebPushError::Parameters)? + TAG;
    let shared = pair.agree(&sender)?;
    derive(&shared, auth, &salt, pair.public(), &sender)
        .open_all(body, sealed_size, |record, _| unpad(record))
}

/// The header values in the one shape that every receiver reads: `(crypto-key, encryption)`
/// re-padded and without other parameters (`protocol/payload-layout.md` §6). `None` when they
/// are no `aesgcm` parameters, or ask for another record size.
pub fn normalize(crypto_key: &str, encryption: &str) -> Option<(String, String)> {
    if parameter(encryption, "rs").is_some_and(|size| size != "4096") {
        return None;
    }
    Some((dh(&sender_key(crypto_key).ok()?), format_salt(&salt(encryption).ok()?)))
}

fn derive(
    shared: &[u8; 32],
    auth: &[u8; 16],
    salt: &[u8; 16],
    receiver: &[u8; 65],
    sender: &[u8; 65],
) -> RecordKey {
    const POINT_LENGTH: &[u8] = &[0, 65];
    let secret: [u8; 32] = hkdf(auth, shared, &[b"Content-Encoding: auth\0"]);
    let info = |what: &'static [u8]| {
        [what, b"P-256\0", POINT_LENGTH, receiver.as_slice(), POINT_LENGTH, sender.as_slice()]
    };
    let key = hkdf(salt, &secret, &info(b"Content-Encoding: aesgcm\0"));
    RecordKey::new(&key, hkdf(salt, &secret, &info(b"Content-Encoding: nonce\0")))
}

fn unpad(record: &[u8]) -> Option<&[u8]> {
    let (length, rest) = record.split_first_chunk::<PAD_LENGTH>()?;
    rest.get(usize::from(u16::from_be_bytes(*length))..)
}

fn dh(public: &[u8; 65]) -> String {
    format!("dh={}", encode_base64_padded(public))
}

fn format_salt(salt: &[u8; 16]) -> String {
    format!("salt={}", encode_base64_padded(salt))
}

fn sender_key(crypto_key: &str) -> Result<[u8; 65], WebPushError> {
    fixed(crypto_key, "dh")
}

fn salt(encryption: &str) -> Result<[u8; 16], WebPushError> {
    fixed(encryption, "salt")
}

fn fixed<const N: usize>(header: &str, name: &str) -> Result<[u8; N], WebPushError> {
    let bytes = parameter(header, name).and_then(decode_base64).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or(WebPushError::Parameters)
}

/// A parameter of a `Crypto-Key` or `Encryption` header: entries are separated by commas, their
/// parameters by semicolons, values may be quoted.
fn parameter<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    header.split([',', ';']).find_map(|part| {
        let (key, value) = part.trim().split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::super::{random, subscription};
    use super::*;
    use aws_lc_rs::rand::SystemRandom;

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        decode_base64(text).unwrap().try_into().unwrap()
    }

    /// draft-ietf-webpush-encryption-04 §5 (its keys are those of appendix A).
    #[test]
    fn the_drafts_example_opens() {
        let pair = KeyPair::from_scalar(&bytes("9FWl15_QUQAWDaD3k3l50ZBZQJ4au27F1V4F0uLSD_M")).unwrap();
        let plaintext = open(
            &pair,
            &bytes("R29vIGdvbyBnJyBqb29iIQ"),
            "dh=BNoRDbb84JGm8g5Z5CFxurSqsXWJ11ItfXEWYVLE85Y7CYkDjXsIEc4aqxYaQ1G8BqkXCJ6DPpDrWtdWj_mugHU",
            "salt=lngarbyKfMoi9Z75xYXmkg",
            &decode_base64("6nqAQUME8hNqw5J3kl8cpVVJylXKYqZOeseZG8UueKpA").unwrap(),
        );
        assert_eq!(plaintext.unwrap(), b"I am the walrus");
    }

    #[test]
    fn what_is_sealed_opens_and_nobody_elses_key_fits() {
        let rng = SystemRandom::new();
        let pair = KeyPair::generate(&rng).unwrap();
        let keys = WebKeys { p256dh: *pair.public(), auth: random(&rng).unwrap() };
        for size in [0, 1, 17, 1000, MAX_PLAINTEXT] {
            let plaintext = vec![b'x'; size];
            let ephemeral = KeyPair::generate(&rng).unwrap();
            let sealed = seal(&keys, &plaintext, random(&rng).unwrap(), &ephemeral).unwrap();
            assert_eq!(sealed.body.len(), size + 18);
            let open =
                |pair: &KeyPair| open(pair, &keys.auth, &sealed.crypto_key, &sealed.encryption, &sealed.body);
            assert_eq!(open(&pair).unwrap(), plaintext);
            assert_eq!(open(&ephemeral), Err(WebPushError::Decrypt));
        }
        let ephemeral = KeyPair::generate(&rng).unwrap();
        let refused = seal(&keys, &[0; MAX_PLAINTEXT + 1], [0; 16], &ephemeral);
        assert_eq!(refused, Err(WebPushError::TooLarge));
    }

    #[test]
    fn header_values_are_padded_and_bare() {
        let pair = KeyPair::from_scalar(&[7; 32]).unwrap();
        let keys = WebKeys { p256dh: *pair.public(), auth: [1; 16] };
        let sealed = seal(&keys, b"{}", [2; 16], &pair).unwrap();
        assert_eq!(sealed.encryption, "salt=AgICAgICAgICAgICAgICAg==");
        assert!(sealed.crypto_key.starts_with("dh=B") && sealed.crypto_key.len() == 3 + 88);
        assert!(sealed.crypto_key.ends_with('='));
    }

    #[test]
    fn foreign_header_values_take_the_common_shape() {
        let point = *KeyPair::from_scalar(&[7; 32]).unwrap().public();
        let padded = encode_base64_padded(point);
        let salt = "salt=AgICAgICAgICAgICAgICAg==".to_owned();
        let expected = Some((format!("dh={padded}"), salt));
        let bare = padded.trim_end_matches('=');
        for key in [
            format!("dh={bare}"),
            format!("keyid=p256dh;dh=\"{bare}\";p256ecdsa=BA"),
            format!("p256ecdsa=BA, DH={padded}"),
        ] {
            for encryption in
                ["salt=AgICAgICAgICAgICAgICAg", "keyid=a; salt=AgICAgICAgICAgICAgICAg==;rs=4096"]
            {
                assert_eq!(normalize(&key, encryption), expected, "{key} {encryption}");
            }
        }
        assert_eq!(normalize("dh=AAAA", "salt=AgICAgICAgICAgICAgICAg"), None);
        assert_eq!(normalize(&format!("dh={bare}"), "salt=AgICAgICAgICAgICAgICAg;rs=200"), None);
    }

    #[test]
    fn subscriptions_are_read_leniently_but_must_be_points() {
        let point = KeyPair::from_scalar(&[7; 32]).unwrap();
        let padded = encode_base64_padded(point.public());
        let standard = padded.replace('-', "+").replace('_', "/");
        let bare = padded.trim_end_matches('=').to_owned();
        for p256dh in [&padded, &standard, &bare] {
            assert_eq!(subscription(p256dh, "AQEBAQEBAQEBAQEBAQEBAQ==").unwrap().p256dh, *point.public());
        }
        let mut off_curve = *point.public();
        off_curve[64] ^= 1;
        let auth = "AQEBAQEBAQEBAQEBAQEBAQ";
        for (p256dh, auth) in [(encode_base64_padded(off_curve).as_str(), auth), (&padded, "AQ"), ("", auth)]
        {
            assert_eq!(subscription(p256dh, auth), Err(WebPushError::Key));
        }
    }
}
