//! What the headers of a push say.

use std::time::Duration;

use bytes::Bytes;
use cresset_delivery::Push;
use cresset_message::{Layout, Priority, RawPush, Recipient, Timestamp, limits};
use cresset_wire::webpush::vapid::{Presented, VapidError};
use cresset_wire::webpush::{aes128gcm, aesgcm, decode_base64};
use http::HeaderMap;

use super::PushService;
use super::answer::{Refused, Style};
use crate::body::header_text;

/// RFC 8030 §5.4.
const MAX_TOPIC: usize = 32;

/// A pad length and a tag: nothing is shorter (`aesgcm`).
const MIN_AESGCM: usize = 18;

/// Whose push it is. A token that is shown must be good, also where none is asked for.
pub(super) fn sender(
    headers: &HeaderMap,
    subscription: &Recipient,
    service: &PushService,
    now: Timestamp,
) -> Result<Option<[u8; 65]>, Refused> {
    let owner = owner(subscription);
    let authorization = header_text(headers, "authorization");
    if authorization.trim().is_empty() {
        return if owner.is_none() { Ok(None) } else { Err(Refused::Vapid(VapidError::Missing)) };
    }
    let crypto_key = Some(header_text(headers, "crypto-key")).filter(|value| !value.is_empty());
    let presented = Presented::parse(authorization, crypto_key).map_err(Refused::Vapid)?;
    let origins = service.origins.all();
    let key = service.verified.verify(&presented, &origins, now).map_err(Refused::Vapid)?;
    match owner {
        // The key is public: that it is compared in constant time would protect nothing.
        Some(owner) if owner != key => Err(Refused::OtherKey),
        _ => Ok(Some(key)),
    }
}

/// Whose key a subscription is restricted to: that which it was made with, if it was.
fn owner(subscription: &Recipient) -> Option<[u8; 65]> {
    let Layout::WebPush { sender, .. } = &subscription.layout else { return None };
    decode_base64(sender)?.try_into().ok()
}

pub(super) fn push(
    headers: &HeaderMap,
    style: Style,
    body: Bytes,
    key: Option<&[u8; 65]>,
) -> Result<Push, Refused> {
    Ok(Push {
        ttl: ttl(headers)?,
        topic: topic(headers)?.map(Into::into),
        priority: priority(headers, style)?,
        content: content(headers, body, key)?,
    })
}

/// Seconds; what is longer than we keep is shortened, and the answer says so.
fn ttl(headers: &HeaderMap) -> Result<Duration, Refused> {
    let text = header_text(headers, "ttl").trim();
    match text.as_bytes() {
        [b'-', digits @ ..] if is_number(digits) => Err(Refused::NegativeTtl),
        digits if is_number(digits) => {
            let seconds = text.parse().unwrap_or(u64::MAX);
            Ok(Duration::from_secs(seconds).min(limits::MAX_TTL))
        }
        _ => Err(Refused::Ttl),
    }
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

fn topic(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
    let Some(value) = headers.get("topic") else { return Ok(None) };
    let base64url = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    match value.to_str() {
        Ok(topic) if (1..=MAX_TOPIC).contains(&topic.len()) && topic.bytes().all(base64url) => {
            Ok(Some(topic))
        }
        _ => Err(Refused::Topic),
    }
}

/// Mozilla's service does not look at it (`protocol/web-push.md` §2.2).
fn priority(headers: &HeaderMap, style: Style) -> Result<Priority, Refused> {
    let mut values = headers.get_all("urgency").iter();
    let urgency = values.next().map(|value| value.to_str().unwrap_or_default().trim().to_ascii_lowercase());
    match (urgency.as_deref(), values.next()) {
        (None | Some("very-low" | "low" | "normal"), None) => Ok(Priority::Normal),
        (Some("high"), None) => Ok(Priority::High),
        _ if style == Style::Mozilla => Ok(Priority::Normal),
        _ => Err(Refused::Urgency),
    }
}

/// Of a body that is there, the coding must be one that browsers read; whether it was well encrypted,
/// they see.
fn content(headers: &HeaderMap, body: Bytes, key: Option<&[u8; 65]>) -> Result<RawPush, Refused> {
    if body.is_empty() {
        return Ok(RawPush::Empty);
    }
    let (encryption, crypto_key) = (header_text(headers, "encryption"), header_text(headers, "crypto-key"));
    match header_text(headers, "content-encoding").trim().to_ascii_lowercase().as_str() {
        "aes128gcm" => {
            if has(encryption, "salt") || has(crypto_key, "dh") {
                return Err(Refused::Coding(
                    "Content-Encoding aes128gcm has its parameters in the body, not in headers",
                ));
            }
            let sender = aes128gcm::sender(&body);
            let sender = sender.ok_or(Refused::Coding("The body is no record of aes128gcm"))?;
            if key == Some(sender) {
                return Err(Refused::Coding("The key that encrypts must not be the key that signs"));
            }
            Ok(RawPush::Aes128gcm(body.into()))
        }
        "aesgcm" => {
            let parameters = aesgcm::normalize(crypto_key, encryption);
            let (crypto_key, encryption) = parameters.filter(|_| body.len() >= MIN_AESGCM).ok_or(
                Refused::Coding("Content-Encoding aesgcm needs Encryption: salt= and Crypto-Key: dh="),
            )?;
            Ok(RawPush::Aesgcm { body: body.into(), encryption, crypto_key })
        }
        "" => Err(Refused::Coding("A body needs a Content-Encoding")),
        _ => Err(Refused::Coding("Content-Encoding is neither aes128gcm nor aesgcm")),
    }
}

fn has(header: &str, name: &str) -> bool {
    header
        .split([',', ';'])
        .any(|part| part.trim().split_once('=').is_some_and(|(key, _)| key.trim().eq_ignore_ascii_case(name)))
}
