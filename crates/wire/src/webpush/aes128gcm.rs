//! `Content-Encoding: aes128gcm` (RFC 8291 over RFC 8188): the parameters stand in the body.

use cresset_message::WebKeys;

use super::record::{RecordKey, hkdf};
use super::{KeyPair, RECORD_SIZE, TAG, WebPushError};

/// salt, record size, length of the key id, and the key id: the sender's point.
const HEADER: usize = 16 + 4 + 1 + 65;
/// What ends the content of the last record, and of the others (RFC 8188 §2).
const LAST: u8 = 2;
const NOT_LAST: u8 = 1;

/// The largest plaintext: push services need not take bodies of more than 4096 bytes (RFC 8030 §7.2).
pub const MAX_PLAINTEXT: usize = RECORD_SIZE - HEADER - TAG - 1;

/// Seals for a subscription. `ephemeral` must be used for this message alone.
pub fn seal(
    keys: &WebKeys,
    plaintext: &[u8],
    salt: [u8; 16],
    ephemeral: &KeyPair,
) -> Result<Vec<u8>, WebPushError> {
    seal_with(&secret(keys, ephemeral)?, ephemeral.public(), plaintext, salt)
}

/// What a sender's pair and a subscription have in common: the input keying material of RFC 8188,
/// which may serve for many bodies as long as no salt is used twice.
pub(super) fn secret(keys: &WebKeys, sender: &KeyPair) -> Result<[u8; 32], WebPushError> {
    let shared = sender.agree(&keys.p256dh)?;
    Ok(combine(&shared, &keys.auth, &keys.p256dh, sender.public()))
}

pub(super) fn seal_with(
    secret: &[u8; 32],
    sender: &[u8; 65],
    plaintext: &[u8],
    salt: [u8; 16],
) -> Result<Vec<u8>, WebPushError> {
    if plaintext.len() > MAX_PLAINTEXT {
        return Err(WebPushError::TooLarge);
    }
    let mut body = Vec::with_capacity(HEADER + plaintext.len() + 1 + TAG);
    body.extend_from_slice(&salt);
    body.extend_from_slice(&(RECORD_SIZE as u32).to_be_bytes());
    body.push(65);
    body.extend_from_slice(sender);
    body.extend_from_slice(plaintext);
    body.push(LAST);
    record_key(secret, &salt).seal_only(&mut body, HEADER)?;
    Ok(body)
}

/// Opens what was sealed for `pair` and `auth`.
pub fn open(pair: &KeyPair, auth: &[u8; 16], body: &[u8]) -> Result<Vec<u8>, WebPushError> {
    let (salt, rest) = body.split_first_chunk::<16>().ok_or(WebPushError::Parameters)?;
    let (size, rest) = rest.split_first_chunk::<4>().ok_or(WebPushError::Parameters)?;
    let (&[id_length], rest) = rest.split_first_chunk::<1>().ok_or(WebPushError::Parameters)?;
    let (sender, records) = rest.split_first_chunk::<65>().ok_or(WebPushError::Parameters)?;
    if id_length != 65 {
        return Err(WebPushError::Parameters);
    }
    let shared = pair.agree(sender)?;
    let secret = combine(&shared, auth, pair.public(), sender);
    open_with(&secret, salt, u32::from_be_bytes(*size), records)
}

/// The sender's point, read without any key: what a push service can check cheaply.
pub fn sender(body: &[u8]) -> Option<&[u8; 65]> {
    let id_length = *body.get(20)?;
    let point: &[u8; 65] = body.get(21..HEADER)?.try_into().ok()?;
    (id_length == 65 && point[0] == 4 && body.len() > HEADER + TAG).then_some(point)
}

/// Records under input keying material (RFC 8188 §2).
fn open_with(secret: &[u8], salt: &[u8; 16], size: u32, records: &[u8]) -> Result<Vec<u8>, WebPushError> {
    // §2.1: smaller ones hold nothing.
    if size < 18 {
        return Err(WebPushError::Parameters);
    }
    record_key(secret, salt).open_all(records, size as usize, unpad)
}

fn combine(shared: &[u8; 32], auth: &[u8; 16], receiver: &[u8; 65], sender: &[u8; 65]) -> [u8; 32] {
    hkdf(auth, shared, &[b"WebPush: info\0", receiver, sender])
}

fn record_key(secret: &[u8], salt: &[u8; 16]) -> RecordKey {
    let [key, nonce] =
        [&[b"Content-Encoding: aes128gcm\0".as_slice()], &[b"Content-Encoding: nonce\0".as_slice()]];
    RecordKey::new(&hkdf(salt, secret, key), hkdf(salt, secret, nonce))
}

fn unpad(record: &[u8], last: bool) -> Option<&[u8]> {
    let end = record.iter().rposition(|byte| *byte != 0)?;
    (record[end] == if last { LAST } else { NOT_LAST }).then(|| &record[..end])
}

#[cfg(test)]
mod tests {
    use super::super::{decode_base64, encode_base64, random};
    use super::*;
    use aws_lc_rs::rand::SystemRandom;

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        decode_base64(text).unwrap().try_into().unwrap()
    }

    /// RFC 8291 §5 and appendix A.
    #[test]
    fn the_rfcs_example_seals_and_opens() {
        let sender = KeyPair::from_scalar(&bytes("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw")).unwrap();
        let receiver = KeyPair::from_scalar(&bytes("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94")).unwrap();
        let keys = WebKeys { p256dh: *receiver.public(), auth: bytes("BTBZMqHH6r4Tts7J_aSIgg") };
        let plaintext = b"When I grow up, I want to be a watermelon";
        let body = seal(&keys, plaintext, bytes("DGv6ra1nlYgDCS1FRnbzlw"), &sender).unwrap();
        assert_eq!(
            encode_base64(&body),
            "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8\
             wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
        );
        assert_eq!(open(&receiver, &keys.auth, &body).unwrap(), plaintext);
    }

    /// RFC 8188 §3: other keys than Web Push's, of other lengths, and more than one record.
    #[test]
    fn the_examples_of_the_coding_open() {
        for (key, body, id_length) in [
            (
                "yqdlZ-tYemfogSmv7Ws5PQ",
                "I1BsxtFttlv3u_Oo94xnmwAAEAAA-NAVub2qFgBEuQKRapoZu-IxkIva3MEB1PD-ly8Thjg",
                0,
            ),
            (
                "BO3ZVPxUlnLORbVGMpbT1Q",
                "uNCkWiNYzKTnBN9ji3-qWAAAABkCYTHOG8chz_gnvgOqdGYovxyjuqRyJFjEDyoF1Fvkj6hQPdPHI51OEUKEpgz3SsLWIqS_uA",
                2,
            ),
        ] {
            let body = decode_base64(body).unwrap();
            let (salt, size) = (body[..16].try_into().unwrap(), body[16..20].try_into().unwrap());
            let records = &body[21 + id_length..];
            let opened = open_with(&decode_base64(key).unwrap(), salt, u32::from_be_bytes(size), records);
            assert_eq!(opened.unwrap(), b"I am the walrus");
        }
    }

    #[test]
    fn what_a_service_can_see_of_a_body_is_told() {
        let rng = SystemRandom::new();
        let pair = KeyPair::generate(&rng).unwrap();
        let keys = WebKeys { p256dh: *pair.public(), auth: random(&rng).unwrap() };
        let ephemeral = KeyPair::generate(&rng).unwrap();
        let body = seal(&keys, b"", random(&rng).unwrap(), &ephemeral).unwrap();
        assert_eq!(body.len(), 103);
        assert_eq!(body[16..20], 4096_u32.to_be_bytes());
        assert_eq!(sender(&body), Some(ephemeral.public()));
        assert_eq!(sender(&body[..102]), None);
        let damaged = |at: usize| {
            let mut body = body.clone();
            body[at] = 1;
            sender(&body).is_none()
        };
        assert!(damaged(20) && damaged(21));
    }

    #[test]
    fn sizes_up_to_the_limit_survive_and_damage_is_seen() {
        let rng = SystemRandom::new();
        let pair = KeyPair::generate(&rng).unwrap();
        let keys = WebKeys { p256dh: *pair.public(), auth: random(&rng).unwrap() };
        let ephemeral = KeyPair::generate(&rng).unwrap();
        for size in [0, 1, MAX_PLAINTEXT] {
            let mut body = seal(&keys, &vec![0; size], random(&rng).unwrap(), &ephemeral).unwrap();
            assert_eq!(open(&pair, &keys.auth, &body).unwrap(), vec![0; size]);
            *body.last_mut().unwrap() ^= 1;
            assert_eq!(open(&pair, &keys.auth, &body), Err(WebPushError::Decrypt));
        }
        assert_eq!(open(&pair, &keys.auth, &[1; 30]), Err(WebPushError::Parameters));
        assert!(seal(&keys, &[0; MAX_PLAINTEXT + 1], [0; 16], &ephemeral).is_err());
    }
}
