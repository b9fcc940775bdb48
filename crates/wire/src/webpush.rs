//! Encryption of push messages between an app server and a subscription: `aes128gcm` (RFC 8291)
//! and its forerunner `aesgcm` (draft-ietf-webpush-encryption-04), which is what every MCS client
//! understands (`protocol/payload-layout.md` §5.1 and §6).
//!
//! Sealing is a pure function of its arguments; salt and key pair are made from the randomness
//! that the caller brings.

pub mod aes128gcm;
pub mod aesgcm;
mod base64url;
mod keys;
mod origins;
mod record;
mod sealer;
pub mod vapid;

pub use base64url::{
    decode as decode_base64, encode as encode_base64, encode_padded as encode_base64_padded,
};
pub use keys::{KeyPair, random, subscription};
pub use origins::{Origins, check_origin};
pub use sealer::{KeyReuse, Sealer};

/// The record size both codings use when nothing else is said, and the only one all receivers take.
pub(crate) const RECORD_SIZE: usize = 4096;
/// Bytes AES-GCM adds to a record.
pub(crate) const TAG: usize = 16;

/// Why something could not be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebPushError {
    #[error("a key is not a point of P-256, or a secret has the wrong length")]
    Key,
    #[error("the plaintext does not fit into one record")]
    TooLarge,
    #[error("the parameters of the coding cannot be read")]
    Parameters,
    #[error("the body was not encrypted for these keys")]
    Decrypt,
    #[error("no randomness could be had")]
    Randomness,
    #[error("its messages do not travel over a connection of ours")]
    Elsewhere,
}
