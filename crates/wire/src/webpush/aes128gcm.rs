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
    if plaintext.len() > MAX_PLAINTEXT {
        return Err(WebPushError::TooLarge);
    }
    let shared = ephemeral.agree(&keys.p256dh)?;
    let key = derive(&shared, &keys.auth, &salt, &keys.p256dh, ephemeral.public());
    let mut body = Vec::with_capacity(HEADER + plaintext.len() + 1 + TAG);
    body.extend_from_slice(&salt);
    body.extend_from_slice(&(RECORD_SIZE as u32).to_be_bytes());
    body.push(65);
    body.extend_from_slice(ephemeral.public());
    body.extend_from_slice(plaintext);
    body.push(LAST);
    key.seal_only(&mut body, HEADER)?;
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
    let key = derive(&shared, auth, salt, pair.public(), sender);
    key.open_all(records, u32::from_be_bytes(*size) as usize, unpad)
}

fn derive(
    shared: &[u8; 32],
    auth: &[u8; 16],
    salt: &[u8; 16],
    receiver: &[u8; 65],
    sender: &[u8; 65],
) -> RecordKey {
    let secret: [u8; 32] = hkdf(auth, shared, &[b"WebPush: info\0", receiver, sender]);
    let key = hkdf(salt, &secret, &[b"Content-Encoding: aes128gcm\0"]);
    RecordKey::new(&key, hkdf(salt, &secret, &[b"Content-Encoding: nonce\0"]))
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
