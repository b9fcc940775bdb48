//! Two services' ways of saying the same, by the path of the endpoint (`protocol/web-push.md` §1.5).

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use cresset_delivery::Pushed;
use cresset_message::Rejection;
use cresset_wire::webpush::vapid::VapidError;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;

use crate::body::BodyError;

pub(super) const TEXT: &str = "text/plain; charset=UTF-8";

const MORE_INFO: &str = "https://autopush.readthedocs.io/en/latest/http.html#error-codes";

/// What Mozilla's service asks for when it cannot now.
const RETRY_AFTER: Duration = Duration::from_secs(120);

/// How long a subscription that is gone stays gone.
const GONE_FOR: HeaderValue = HeaderValue::from_static("max-age=86400");

/// How a push may be answered, as metrics name it.
pub(crate) const OUTCOMES: [&str; 13] = [
    "accepted",
    "unknown",
    "gone",
    "too_large",
    "unreadable",
    "unauthorized",
    "other_key",
    "ttl",
    "topic",
    "urgency",
    "coding",
    "too_many",
    "failed",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// A line of text.
    Google,
    /// JSON with a number.
    Mozilla,
}

/// Why a push is not taken.
#[derive(Debug)]
pub(super) enum Refused {
    Unknown,
    Gone,
    TooLarge,
    TooSlow,
    Unreadable,
    Vapid(VapidError),
    /// The subscription is another's.
    OtherKey,
    Ttl,
    NegativeTtl,
    Topic,
    Urgency,
    Coding(&'static str),
    TooMany(Duration),
    Unavailable(Duration),
    Internal,
}

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::DeviceQuota { retry_after, .. } | Rejection::ProjectQuota { retry_after, .. } => {
                Self::TooMany(retry_after)
            }
            Rejection::Unavailable { .. } => Self::Unavailable(RETRY_AFTER),
            _ => Self::Internal,
        }
    }
}

impl From<BodyError> for Refused {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::TooLarge,
            BodyError::TooSlow => Self::TooSlow,
            BodyError::Unreadable => Self::Unreadable,
        }
    }
}

impl Refused {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Gone => "gone",
            Self::TooLarge => "too_large",
            Self::TooSlow | Self::Unreadable => "unreadable",
            Self::Vapid(_) => "unauthorized",
            Self::OtherKey => "other_key",
            Self::Ttl | Self::NegativeTtl => "ttl",
            Self::Topic => "topic",
            Self::Urgency => "urgency",
            Self::Coding(_) => "coding",
            Self::TooMany(_) => "too_many",
            Self::Unavailable(_) | Self::Internal => "failed",
        }
    }

    pub(super) fn answer(&self, style: Style) -> Response {
        let status = self.status(style);
        let mut response = match style {
            Style::Google => crate::with_type(status, TEXT, format!("{}\n", self.line())),
            Style::Mozilla => crate::json(status, self.json(status).to_string()),
        };
        let headers = response.headers_mut();
        match self {
            Self::Gone => _ = headers.insert(header::CACHE_CONTROL, GONE_FOR),
            Self::TooMany(after) | Self::Unavailable(after) => {
                // Whole seconds, and never before it helps.
                let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
                headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
            }
            Self::Vapid(_) | Self::OtherKey if status == StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("vapid"));
            }
            _ => {}
        }
        response
    }

    fn status(&self, style: Style) -> StatusCode {
        match (self, style) {
            (Self::Unknown, _) => StatusCode::NOT_FOUND,
            (Self::Gone, _) => StatusCode::GONE,
            (Self::TooLarge, _) => StatusCode::PAYLOAD_TOO_LARGE,
            (Self::TooSlow, _) => StatusCode::REQUEST_TIMEOUT,
            (Self::Vapid(VapidError::Missing), _) | (Self::Vapid(_) | Self::OtherKey, Style::Mozilla) => {
                StatusCode::UNAUTHORIZED
            }
            (Self::Vapid(_) | Self::OtherKey, Style::Google) => StatusCode::FORBIDDEN,
            (Self::TooMany(_), _) => StatusCode::TOO_MANY_REQUESTS,
            (Self::Unavailable(_), _) => StatusCode::SERVICE_UNAVAILABLE,
            (Self::Internal, _) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// Mozilla's number.
    fn errno(&self) -> u16 {
        match self {
            Self::Unknown => 102,
            Self::Gone => 106,
            Self::TooLarge => 104,
            Self::Vapid(_) | Self::OtherKey => 109,
            Self::Coding(_) => 110,
            Self::Ttl => 111,
            Self::Topic => 113,
            Self::NegativeTtl => 114,
            Self::TooMany(_) | Self::Unavailable(_) => 201,
            Self::TooSlow | Self::Unreadable | Self::Urgency | Self::Internal => 999,
        }
    }

    fn json(&self, status: StatusCode) -> serde_json::Value {
        json!({
            "code": status.as_u16(),
            "errno": self.errno(),
            "error": status.canonical_reason().unwrap_or_default(),
            "message": self.line(),
            "more_info": MORE_INFO,
        })
    }

    /// Google's words where clients match them (`protocol/web-push.md` §1.5).
    fn line(&self) -> &'static str {
        match self {
            Self::Unknown => "The URL is no push subscription endpoint of this server.",
            Self::Gone => "push subscription has unsubscribed or expired.",
            Self::TooLarge => "The body has more than 4096 bytes.",
            Self::TooSlow => "The body did not arrive in time.",
            Self::Unreadable => "The body cannot be read.",
            Self::Vapid(error) => vapid_line(*error),
            Self::OtherKey => {
                "the VAPID credentials in the authorization header do not correspond to the credentials used to create the subscriptions."
            }
            Self::Ttl => "TTL must be a number of seconds.",
            Self::NegativeTtl => "TTL must not be negative.",
            Self::Topic => "Topic must have 1 to 32 characters of A-Z, a-z, 0-9, - and _.",
            Self::Urgency => "Urgency must be one of very-low, low, normal and high.",
            Self::Coding(what) => what,
            Self::TooMany(_) => "There were too many pushes; wait for as long as Retry-After says.",
            Self::Unavailable(_) => "The push cannot be stored now; try again later.",
            Self::Internal => "Something is wrong with this server.",
        }
    }
}

fn vapid_line(error: VapidError) -> &'static str {
    match error {
        VapidError::Missing => "authorization header must be specified.",
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
        VapidError::KeyEncoding => {
            "public application server key in authorization header must be base64 encoded in URL and filename safe format."
        }
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

/// It is durable, or was now or never; whether its browser is there is nobody's to know.
pub(super) fn accepted(origin: &str, pushed: &Pushed) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::CREATED;
    let location = HeaderValue::from_str(&format!("{origin}/m/{}", pushed.handle));
    let headers = response.headers_mut();
    // Origins are names and ports.
    headers.extend(location.ok().map(|location| (header::LOCATION, location)));
    headers.insert(HeaderName::from_static("ttl"), HeaderValue::from(pushed.ttl.as_secs()));
    response
}
