//! Tokens that Cresset gives out: self-describing and unforgeable, so that most bad ones are told
//! apart (malformed, forged, another project's) without touching the store.
//!
//! A registration token is `<prefix>:APA91b<base64url(claim, MAC)>`, the shape that clients and
//! SDK tests check (`protocol/device-registration.md` §2, `protocol/http-v1.md` §7). The notification
//! key of a device group is `APA91b<base64url(claim, MAC)>`, without a colon: SDKs tell it from a
//! token by that (`protocol/device-groups.md` §3). Everything else is `base64url(claim, MAC)` behind a cosmetic prefix. The MAC is HMAC-SHA-512 under one
//! secret of the data folder, over a label of the kind, so that no kind passes for another.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use cresset_message::{Fid, GroupId, ProjectNumber, RegistrationId};

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
    /// Ours: the device group whose notification key it is, which is accepted like a token too.
    Group(GroupId),
    /// Has the shape of a token or of a notification key, but was not made here.
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
    let body = turned(|turn| {
        let claim = claim(registration, turn);
        let mut bytes = claim.to_vec();
        bytes.extend_from_slice(key.sign("registration", prefix.as_bytes(), &claim).as_ref());
        BASE64.encode(bytes)
    });
    format!("{prefix}:{MARK}{body}")
}

/// The first text without the letters that push receivers take for a failure, wherever they stand
/// (`protocol/device-registration.md` §2).
fn turned(text: impl Fn(u8) -> String) -> String {
    (0..=u8::MAX)
        .map(text)
        .find(|text| !text.contains("Error"))
        .expect("256 independent tags in a row never hold the same five letters")
}

const GROUP: &str = "group";

/// The notification key of a device group. The same arguments give the same key.
pub fn group_key(key: &TokenKey, group: GroupId) -> String {
    let body = turned(|turn| {
        let mut claim = vec![VERSION];
        claim.extend_from_slice(&group.project.0.to_be_bytes());
        claim.extend_from_slice(&group.unique);
        claim.push(turn);
        key.seal(GROUP, &claim)
    });
    format!("{MARK}{body}")
}

/// The group of a notification key that was made here. Looking costs nothing for a registration
/// token.
pub fn open_group_key(key: &TokenKey, text: &str) -> Option<GroupId> {
    if !is_key_shaped(text) {
        return None;
    }
    let claim = key.open(GROUP, text.strip_prefix(MARK)?)?;
    let [VERSION, rest @ ..] = &*claim else { return None };
    let (project, rest) = rest.split_first_chunk::<8>()?;
    let (unique, turn) = rest.split_first_chunk::<32>()?;
    (turn.len() == 1)
        .then(|| GroupId { project: ProjectNumber(u64::from_be_bytes(*project)), unique: *unique })
}

/// Google's notification keys, and the registration ids of old GCM clients, which had no colon either.
fn is_key_shaped(text: &str) -> bool {
    text.starts_with(MARK) && (100..=4096).contains(&text.len()) && is_base64url(text)
}

fn is_base64url(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Reads what a sender gave as a token. Shape: `protocol/http-v1.md` §7.
pub fn present(key: &TokenKey, text: &str) -> Presented {
    if let Ok(fid) = text.parse() {
        return Presented::Fid(fid);
    }
    let Some((prefix, body)) = text.split_once(':') else {
        return match open_group_key(key, text) {
            Some(group) => Presented::Group(group),
            None if is_key_shaped(text) => Presented::Foreign,
            None => Presented::Malformed,
        };
    };
    if !(11..=22).contains(&prefix.len()) || !(100..=4096).contains(&body.len()) {
        return Presented::Malformed;
    }
    if !is_base64url(prefix) || !is_base64url(body) {
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
            "APA91bGHXQBB",
            &format!("APA91b{}", "+".repeat(134)),
            &format!("APA91c{}", "x".repeat(134)),
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

    #[test]
    fn a_notification_key_is_no_token_and_a_token_no_notification_key() {
        let group = GroupId { project: ProjectNumber(1234), unique: [5; 32] };
        let made = group_key(&key(), group);
        assert_eq!(made.len(), 148);
        assert_eq!(present(&key(), &made), Presented::Group(group));
        assert_eq!(group_key(&key(), group), made, "it can be told again");
        assert_eq!(present(&TokenKey::new(&[8; 32]), &made), Presented::Foreign);
        let with_prefix = format!("{FID}:{made}");
        assert_eq!(present(&key(), &with_prefix), Presented::Foreign);
        let registration = RegistrationId { project: ProjectNumber(1234), bucket: 5, slot: 6 };
        let token = registration_token(&key(), FID, registration);
        assert_eq!(present(&key(), &token[FID.len() + 1..]), Presented::Foreign);
        assert_eq!(open_group_key(&key(), &token), None);
        assert_eq!(present(&key(), &format!("APA91b{}", "n".repeat(134))), Presented::Foreign);
        assert_eq!(present(&key(), &format!("APA91b{}", "n".repeat(4_091))), Presented::Malformed);
    }

    proptest! {
        #[test]
        fn every_group_survives_its_key(project: u64, unique: [u8; 32]) {
            let group = GroupId { project: ProjectNumber(project), unique };
            let made = group_key(&key(), group);
            prop_assert!(made.starts_with("APA91b") && !made.contains("Error") && !made.contains(':'));
            prop_assert_eq!(present(&key(), &made), Presented::Group(group));
        }

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
