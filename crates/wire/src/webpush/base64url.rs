use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};

/// Base64url without padding, as keys stand in URLs and JSON.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Base64url with padding. PyPI firebase-messaging stops for good on header values without it
/// (`protocol/payload-layout.md` §6).
pub fn encode_padded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE.encode(bytes)
}

/// Reads base64 of either alphabet, padded or not: clients send all four kinds.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let letter = |byte| match byte {
        b'+' => b'-',
        b'/' => b'_',
        other => other,
    };
    let text: Vec<u8> = text.trim_end_matches('=').bytes().map(letter).collect();
    URL_SAFE_NO_PAD.decode(text).ok()
}
