//! Tokens that Cresset gives out: self-describing and unforgeable, so that most bad ones are told
//! apart (malformed, forged, another project's) without touching the store.
//!
//! A registration token is `<prefix>:APA91b<base64url(claim, MAC)>`, the shape that clients and
//! SDK tests check (`protocol/device-registration.md` §2, `protocol/http-v1.md` §7). Everything
//! else is `base64url(claim, MAC)` behind a cosmetic prefix. The MAC is HMAC-SHA-512 under one
//! secret of the data folder, over a label of the kind, so that no kind passes for another.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use cresset_message::{Fid, ProjectNumber, RegistrationId};

const VERSION: u8 = 1;
const MAC_LEN: usize = 64;
const MARK: &str = "APA91b";

/// The secret under which all tokens of one installation of Cresset are sealed.
#[derive(Clone)]
pub struct TokenKey(hmac::Key);

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

impl TokenKey {
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA512, secret))
    }

    /// A claim and its MAC as base64url. `kind` is the label that keeps kinds apart.
    pub fn seal(&self, kind: &'static str, claim: &[u8]) -> String {
        let mut bytes = claim.to_vec();
        bytes.extend_from_slice(self.sign(kind, b"", claim).as_ref());
        BASE64.encode(bytes)
    }

    /// The claim of a sealed token, if it is ours and of this kind.
    pub fn open(&self, kind: &'static str, text: &str) -> Option<Vec<u8>> {
        let mut bytes = BASE64.decode(text).ok()?;
        let claim_len = bytes.len().checked_sub(MAC_LEN)?;
        self.verify(kind, b"", &bytes[..claim_len], &bytes[claim_len..]).then(|| {
            bytes.truncate(claim_len);
            bytes
        })
    }

    /// Sealed tokens of 16 bytes that are stable for a claim: server keys, security tokens and the
    /// like, which must be the same each time they are asked for.
    pub fn derive(&self, kind: &'static str, claim: &[u8]) -> [u8; 64] {
        let mut out = [0; 64];
        out.copy_from_slice(self.sign(kind, b"", claim).as_ref());
        out
    }

    fn sign(&self, kind: &str, prefix: &[u8], claim: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [kind.as_bytes(), prefix, claim] {
            context.update(&(part.len() as u32).to_be_bytes());
            context.update(part);
        }
        context.sign()
    }

    fn verify(&self, kind: &str, prefix: &[u8], claim: &[u8], mac: &[u8]) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.sign(kind, prefix, claim).as_ref(), mac)
            .is_ok()
    }
}

/// What a sender put where a registration token belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presented {
    /// Ours: the registration it names.
    Registration(RegistrationId),
    /// A FID, which is accepted wherever a token is (`protocol/device-registration.md` §5).
    Fid(Fid),
    /// Has the shape of a token, but was not made here.
    Foreign,
    Malformed,
}

/// version, project number, bucket, slot, and a byte that is turned until the text has no word in
/// it that clients search for.
fn claim(registration: RegistrationId, turn: u8) -> [u8; 16] {
    let mut claim = [0; 16];
    claim[0] = VERSION;
    claim[1..9].copy_from_slice(&registration.project.0.to_be_bytes());
    claim[9..13].copy_from_slice(&registration.bucket.to_be_bytes());
    claim[13..15].copy_from_slice(&registration.slot.to_be_bytes());
    claim[15] = turn;
    claim
}

fn parse_claim(claim: &[u8]) -> Option<RegistrationId> {
    let [VERSION, rest @ ..] = claim else { return None };
    let (project, rest) = rest.split_first_chunk::<8>()?;
    let (bucket, rest) = rest.split_first_chunk::<4>()?;
    let (slot, rest) = rest.split_first_chunk::<2>()?;
    (rest.len() == 1).then(|| RegistrationId {
        project: ProjectNumber(u64::from_be_bytes(*project)),
        bucket: u32::from_be_bytes(*bucket),
        slot: u16::from_be_bytes(*slot),
    })
}

/// The registration token of a registration. `prefix` is its FID, or the 11-character instance id.
/// The same arguments give the same token.
pub fn registration_token(key: &TokenKey, prefix: &str, registration: RegistrationId) -> String {
    for turn in 0..=u8::MAX {
        let claim = claim(registration, turn);
        let mut bytes = claim.to_vec();
        bytes.extend_from_slice(key.sign("registration", prefix.as_bytes(), &claim).as_ref());
        let body = BASE64.encode(bytes);
        // Push receivers take a body that holds these letters for a failure
        // (`protocol/device-registration.md` §2).
        if !body.contains("Error") {
            return format!("{prefix}:{MARK}{body}");
        }
    }
    unreachable!("256 independent tags in a row held the same five letters")
}

/// Reads what a sender gave as a token. Shape: `protocol/http-v1.md` §7.
pub fn present(key: &TokenKey, text: &str) -> Presented {
    if let Ok(fid) = text.parse() {
        return Presented::Fid(fid);
    }
    let base64url = |s: &str| s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let Some((prefix, body)) = text.split_once(':') else { return Presented::Malformed };
    if !(11..=22).contains(&prefix.len()) || !(100..=4096).contains(&body.len()) {
        return Presented::Malformed;
    }
    if !base64url(prefix) || !base64url(body) {
        return Presented::Malformed;
    }
    open_body(key, prefix, body).map_or(Presented::Foreign, Presented::Registration)
}

fn open_body(key: &TokenKey, prefix: &str, body: &str) -> Option<RegistrationId> {
    let bytes = BASE64.decode(body.strip_prefix(MARK)?).ok()?;
    let (claim, mac) = bytes.split_at_checked(bytes.len().checked_sub(MAC_LEN)?)?;
    let registration = parse_claim(claim)?;
    key.verify("registration", prefix.as_bytes(), claim, mac).then_some(registration)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> TokenKey {
        TokenKey::new(&[7; 32])
    }

    const FID: &str = "cAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn tokens_are_told_apart_as_fcm_does() {
        let registration = RegistrationId { project: ProjectNumber(1234), bucket: 5, slot: 6 };
        let token = registration_token(&key(), FID, registration);
        assert_eq!(present(&key(), &token), Presented::Registration(registration));
        let unlucky = "cErrorAAAAAAAAAAAAAAAA";
        let named = registration_token(&key(), unlucky, registration);
        assert_eq!(present(&key(), &named), Presented::Registration(registration));
        assert_eq!(present(&TokenKey::new(&[8; 32]), &token), Presented::Foreign);
        assert_eq!(
            present(&key(), &token.replacen('c', "d", 1)),
            Presented::Foreign,
            "the prefix is sealed too"
        );
        let google = format!("fGw0qy4TGgk:APA91b{}", "x".repeat(134));
        assert_eq!(present(&key(), &google), Presented::Foreign);
        assert_eq!(present(&key(), FID), Presented::Fid(FID.parse().unwrap()));
        for malformed in [
            "",
            "not-a-token",
            "also-not-a-token",
            "INVALID_TOKEN",
            "token1",
            "a:b",
            &format!("{FID}:{}", "!".repeat(140)),
        ] {
            assert_eq!(present(&key(), malformed), Presented::Malformed, "{malformed}");
        }
    }

    #[test]
    fn kinds_do_not_pass_for_each_other() {
        let sealed = key().seal("access", b"claim");
        assert_eq!(key().open("access", &sealed).as_deref(), Some(&b"claim"[..]));
        assert_eq!(key().open("refresh", &sealed), None);
    }

    proptest! {
        #[test]
        fn every_registration_survives_its_token(project: u64, bucket: u32, slot: u16) {
            let registration = RegistrationId { project: ProjectNumber(project), bucket, slot };
            let token = registration_token(&key(), "fGw0qy4TGgk", registration);
            prop_assert!(!token.contains("Error"));
            prop_assert_eq!(present(&key(), &token), Presented::Registration(registration));
        }

        #[test]
        fn any_text_is_read_without_panic(text in ".{0,200}") {
            present(&key(), &text);
        }
    }
}
