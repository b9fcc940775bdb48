//! What both codings share: HKDF, and AES-128-GCM records with a counter in the nonce
//! (RFC 8188 §2.3; the draft counts in the same way).

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};

use super::{TAG, WebPushError};

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-SHA-256, extract and expand.
pub(super) fn hkdf<const N: usize>(salt: &[u8], secret: &[u8], info: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    let key = Salt::new(HKDF_SHA256, salt).extract(secret);
    // Fails only for outputs of more than 255 hashes.
    key.expand(info, Length(N)).and_then(|okm| okm.fill(&mut out)).expect("N is at most 32");
    out
}

pub(super) struct RecordKey {
    key: LessSafeKey,
    nonce: [u8; NONCE_LEN],
}

impl RecordKey {
    pub(super) fn new(key: &[u8; 16], nonce: [u8; NONCE_LEN]) -> Self {
        let key = UnboundKey::new(&AES_128_GCM, key).expect("the key has the cipher's length");
        Self { key: LessSafeKey::new(key), nonce }
    }

    fn nonce(&self, sequence: usize) -> Nonce {
        let mut nonce = self.nonce;
        for (byte, counter) in nonce[4..].iter_mut().zip((sequence as u64).to_be_bytes()) {
            *byte ^= counter;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    /// Seals everything from `start` on as the first and only record.
    pub(super) fn seal_only(&self, body: &mut Vec<u8>, start: usize) -> Result<(), WebPushError> {
        let tag = self
            .key
            .seal_in_place_separate_tag(self.nonce(0), Aad::empty(), &mut body[start..])
            .map_err(|_| WebPushError::TooLarge)?;
        body.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens record after record of `size` sealed bytes; `unpad` takes the padding off each and
    /// is told whether it is the last.
    pub(super) fn open_all(
        &self,
        body: &[u8],
        size: usize,
        unpad: impl Fn(&[u8], bool) -> Option<&[u8]>,
    ) -> Result<Vec<u8>, WebPushError> {
        if size <= TAG || body.is_empty() {
            return Err(WebPushError::Parameters);
        }
        let records = body.len().div_ceil(size);
        let mut plaintext = Vec::with_capacity(body.len());
        for (sequence, record) in body.chunks(size).enumerate() {
            let mut record = record.to_vec();
            let opened = self.key.open_in_place(self.nonce(sequence), Aad::empty(), &mut record);
            let opened = opened.map_err(|_| WebPushError::Decrypt)?;
            let last = sequence + 1 == records;
            plaintext.extend_from_slice(unpad(opened, last).ok_or(WebPushError::Decrypt)?);
        }
        Ok(plaintext)
    }
}
