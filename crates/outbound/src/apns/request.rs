//! What goes to APNs for one delivery.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use cresset_message::{MessageId, RegistrationId};
use cresset_wire::payload::apns;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Credentials, Environment};

/// Digits of a device token: 64 today, up to 200 for live activities (`protocol/apns.md` §1.2).
const MAX_TOKEN: usize = 200;

/// A notification that is ready for its device.
#[derive(Clone, Debug)]
pub struct Push {
    pub credentials: Arc<Credentials>,
    /// Where the device token was made, as far as is known.
    pub environment: Environment,
    /// The device's token, or a live activity's; in hex.
    pub token: String,
    /// Apple's, names in lower case: `apns-topic` and `apns-id` are among them.
    pub headers: Vec<(String, String)>,
    pub payload: Bytes,
}

impl Push {
    /// Of a request that was rendered; a live activity's token takes the place of `token`.
    pub fn new(
        request: apns::Request,
        credentials: Arc<Credentials>,
        environment: Environment,
        token: String,
    ) -> Self {
        Self {
            credentials,
            environment,
            token: request.live_activity_token.unwrap_or(token),
            headers: request.headers,
            payload: request.payload.into(),
        }
    }
}

/// The UUID of a delivery, the same for each try: by it Apple knows a message that comes twice.
pub fn apns_id(message: MessageId, registration: RegistrationId) -> String {
    let name = format!("{message} {} {} {}", registration.project, registration.bucket, registration.slot);
    let mut bytes: [u8; 16] = digest(&SHA256, name.as_bytes()).as_ref()[..16].try_into().expect("32 bytes");
    // RFC 9562 §5.8: a UUID of our own making.
    bytes[6] = 0x80 | (bytes[6] & 0x0f);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// The path of a device; `None` for what is no token.
pub(super) fn path(token: &str) -> Option<String> {
    let hex = !token.is_empty() && token.bytes().all(|b| b.is_ascii_hexdigit());
    let fits = token.len() <= MAX_TOKEN && token.len().is_multiple_of(2);
    (hex && fits).then(|| format!("/3/device/{}", token.to_ascii_lowercase()))
}

pub(super) fn headers(push: &Push, token: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(Ok(mut bearer)) = token.map(|token| HeaderValue::from_str(&format!("bearer {token}"))) {
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
    }
    for (name, value) in push.headers.iter().filter(|(name, _)| name.starts_with("apns-")) {
        let (name, value) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value));
        if let (Ok(name), Ok(mut value)) = (name, value) {
            // What differs from push to push would drive out of HPACK's table what does not (§1.1); a
            // sensitive value is never put there.
            value.set_sensitive(matches!(name.as_str(), "apns-id" | "apns-expiration" | "apns-collapse-id"));
            headers.insert(name, value);
        }
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, push.payload.len().into());
    headers
}

#[cfg(test)]
mod tests {
    use cresset_message::ProjectNumber;

    use super::*;

    #[test]
    fn a_delivery_has_one_id_and_no_other_has_it() {
        let id = |micros, slot| {
            let registration = RegistrationId { project: ProjectNumber(1), bucket: 2, slot };
            apns_id(MessageId { micros, unique: 3 }, registration)
        };
        assert_eq!(id(1, 1), id(1, 1));
        assert!(id(1, 1) != id(1, 2) && id(1, 1) != id(2, 1));
        let lengths: Vec<usize> = id(1, 1).split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert!(id(7, 7).bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-')));
    }

    #[test]
    fn tokens_are_hex_and_of_a_bounded_length() {
        assert_eq!(path("AB01").as_deref(), Some("/3/device/ab01"));
        let longest = "a".repeat(200);
        assert!(path(&longest).is_some());
        for bad in ["", "abc", "zz", "ab/../cd", &format!("{longest}ab")] {
            assert_eq!(path(bad), None, "{bad}");
        }
    }
}
