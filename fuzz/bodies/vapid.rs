//! VAPID as senders bring it. Two lines of text: `Authorization`, and `Crypto-Key` if there is one.

use cresset_message::Timestamp;
use cresset_wire::webpush::vapid::{MAX_HEADER, Presented, VerifiedTokens};

const ORIGIN: &str = "https://push.example.net";
/// An hour before the token of RFC 8292 expires.
const NOW: Timestamp = Timestamp::from_secs(1_453_520_168);

/// Any header values are read or refused, and the same is said when they are asked again. What is read
/// is a key of the curve and a part of what was sent.
pub(crate) fn vapid(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (authorization, crypto_key) = match text.split_once('\n') {
        Some((authorization, crypto_key)) => (authorization, Some(crypto_key)),
        None => (&*text, None),
    };
    let Ok(presented) = Presented::parse(authorization, crypto_key) else { return };
    assert!(authorization.contains(presented.token) && authorization.len() <= MAX_HEADER);
    assert_eq!(presented.key[0], 4);
    let tokens = VerifiedTokens::new(1);
    let verified = tokens.verify(&presented, &[ORIGIN], NOW);
    assert_eq!(tokens.verify(&presented, &[ORIGIN], NOW), verified);
    assert_eq!(tokens.len(), 1);
    if let Ok(key) = verified {
        assert_eq!(key, presented.key);
        assert!(tokens.verify(&presented, &["https://other.example.net"], NOW).is_err());
    }
}
