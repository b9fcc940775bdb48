//! How each kind of Web Push service refuses (`protocol/web-push.md` §1.5).

use cresset_wire::webpush::vapid::VapidError;
use serde_json::json;

use super::{Answer, Style};

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Unknown,
    Gone,
    TooLarge,
    Unauthorized(VapidError),
    OtherKey,
    Ttl,
    Topic,
    Urgency,
    /// Coding, or a body that cannot have been encrypted for anybody.
    Encryption,
}

impl Refusal {
    pub(super) fn answer(self, style: Style) -> Answer {
        match style {
            Style::Mozilla => self.mozilla(),
            Style::Google => self.google(),
            Style::Apple => self.apple(),
            Style::Microsoft => self.microsoft(),
        }
    }

    fn mozilla(self) -> Answer {
        let (status, errno, message) = match self {
            Self::Unknown => (404, 102, "Invalid URL endpoint"),
            Self::Gone => (410, 106, "No such subscription"),
            Self::TooLarge => (413, 104, "Payload too large"),
            Self::Unauthorized(_) => (401, 109, "Invalid VAPID"),
            Self::OtherKey => (401, 109, "Key mismatch"),
            Self::Ttl => (400, 111, "Missing TTL value"),
            Self::Topic => (400, 113, "Invalid topic"),
            // It has no number of its own, as Mozilla does not look.
            Self::Urgency | Self::Encryption => (400, 110, "Invalid crypto headers"),
        };
        let body = json!({ "code": status, "errno": errno, "error": "Refused", "message": message });
        let answer = Answer::new(status, body.to_string()).with("content-type", "application/json");
        if status == 410 { answer.with("cache-control", "max-age=86400") } else { answer }
    }

    fn google(self) -> Answer {
        let (status, line) = match self {
            Self::Unknown => (
                404,
                "A valid push subscription endpoint should be specified in the URL as such: https://fcm.googleapis.com/wp/dHIoDxE7Hdg:APA91bH1Zj0kNa...",
            ),
            Self::Gone => (410, "push subscription has unsubscribed or expired."),
            Self::TooLarge => (413, "maximum size accepted by FCM is 4096"),
            Self::Unauthorized(VapidError::Missing) => (401, "authorization header must be specified."),
            Self::Unauthorized(error) => (403, google_vapid(error)),
            Self::OtherKey => (
                403,
                "the VAPID credentials in the authorization header do not correspond to the credentials used to create the subscriptions.",
            ),
            Self::Ttl => (400, "TTL header must be specified."),
            Self::Topic => (400, "invalid topic"),
            Self::Urgency => (400, "invalid urgency"),
            Self::Encryption => (400, "invalid content-encoding"),
        };
        Answer::new(status, format!("{line}\n")).with("content-type", "text/plain; charset=utf-8")
    }

    fn apple(self) -> Answer {
        let (status, reason) = match self {
            Self::Unknown => (404, "BadPath"),
            Self::Gone => (410, "Unregistered"),
            Self::TooLarge => (413, "PayloadTooLarge"),
            Self::Unauthorized(VapidError::KeyLength | VapidError::KeyForm | VapidError::KeyCurve) => {
                (403, "BadVapidPublicKey")
            }
            Self::Unauthorized(_) => (403, "BadJwtToken"),
            Self::OtherKey => (400, "VapidPkHashMismatch"),
            Self::Ttl => (400, "BadTtl"),
            Self::Topic => (400, "BadWebPushTopic"),
            Self::Urgency => (400, "BadUrgency"),
            Self::Encryption => (400, "BadWebPushRequest"),
        };
        Answer::new(status, json!({ "reason": reason }).to_string()).with("content-type", "application/json")
    }

    fn microsoft(self) -> Answer {
        let (status, description) = match self {
            Self::Unknown => (404, "The channel is unknown."),
            Self::Gone => (410, "The channel expired."),
            Self::TooLarge => (413, "The payload is too large."),
            Self::Unauthorized(_) => (401, "The token is bad."),
            Self::OtherKey => (403, "The channel is not this sender's."),
            Self::Ttl => (400, "Ttl value conflicts with X-WNS-Cache-Policy."),
            Self::Topic | Self::Urgency | Self::Encryption => (400, "A header is bad."),
        };
        Answer::new(status, "").with("x-wns-error-description", description).with("x-wns-status", "dropped")
    }
}

fn google_vapid(error: VapidError) -> &'static str {
    match error {
        VapidError::Missing => "sender is not authenticated.",
        VapidError::Format => {
            "authorization header had invalid format. authorization header should have the following format: t=jwtToken; k=base64(publicApplicationServerKey)"
        }
        VapidError::CryptoKeyFormat => {
            "crypto-key header had invalid format. crypto-key header should have the following format: p256ecdsa=base64(publicApplicationServerKey)"
        }
        VapidError::KeyMissing => {
            "authorization header had no public application server key specified. Authorization header should have the following format: vapid t=jwtToken; k=base64(publicApplicationServerKey)"
        }
        VapidError::KeyEmpty => {
            "authorization header had empty public application server key. Authorization header should have the following format: vapid t=jwtToken; k=base64(publicApplicationServerKey)"
        }
        VapidError::KeyEncoding => "make sure the public key is base64url-encoded [RFC7515]",
        VapidError::KeyLength => "public key must be 65 bytes long",
        VapidError::KeyForm => "public key must be in uncompressed form. (First byte needs to be 0x04)",
        VapidError::KeyCurve => "VAPID public key must be on the P-256 curve",
        VapidError::Jwt => "invalid JWT provided",
        VapidError::AudienceInvalid => "invalid aud claim",
        VapidError::AudienceOther => {
            "aud claim in the token MUST include the origin of the push resource URL"
        }
        VapidError::ExpiryMissing => "exp claim is missing",
        VapidError::ExpiryTooFar => "exp claim MUST NOT be more than 24 hours from the time of the request",
        VapidError::Expired => "token has expired",
    }
}
