//! What an application server encrypted for a subscription, carried unchanged (RFC 8030).

/// The body of a Web Push, by its coding.
#[derive(Clone, PartialEq, Eq)]
pub enum RawPush {
    /// An event without data.
    Empty,
    /// RFC 8291: all parameters stand in the body.
    Aes128gcm(Vec<u8>),
    /// Its forerunner: the parameters are header values, in the one shape that every receiver reads.
    Aesgcm { body: Vec<u8>, encryption: String, crypto_key: String },
}

impl RawPush {
    /// The encrypted bytes.
    pub fn body(&self) -> &[u8] {
        match self {
            Self::Empty => &[],
            Self::Aes128gcm(body) | Self::Aesgcm { body, .. } => body,
        }
    }
}

impl std::fmt::Debug for RawPush {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let coding = match self {
            Self::Empty => "Empty",
            Self::Aes128gcm(_) => "Aes128gcm",
            Self::Aesgcm { .. } => "Aesgcm",
        };
        write!(f, "RawPush::{coding}({} bytes)", self.body().len())
    }
}
