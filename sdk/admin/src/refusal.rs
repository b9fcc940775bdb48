//! An answer that says no (`protocol/http-v1.md` §5, `protocol/topics-and-batch.md` §2.7).

use std::fmt;
use std::time::Duration;

use serde_json::Value;

/// What the server said when it refused.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Refusal {
    pub http_status: u16,
    /// The platform's word, such as `NOT_FOUND`; empty where the server gave none.
    pub status: String,
    pub code: Code,
    /// For people.
    pub message: String,
    /// Which fields of the request are wrong.
    pub field_violations: Vec<FieldViolation>,
    /// What APNs said, where it was APNs that refused.
    pub apns: Option<ApnsError>,
    /// The platform's reason, such as `ACCESS_TOKEN_EXPIRED` or `RATE_LIMIT_EXCEEDED`.
    pub reason: Option<String>,
    pub retry_after: Option<Duration>,
    /// The answer as it came.
    pub body: String,
}

/// The name of a refusal: FCM's own error code if there is one, else what the platform calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Code {
    /// Something in the request is wrong, which the message and the field violations tell.
    InvalidArgument,
    /// The app instance is gone, or never was.
    Unregistered,
    /// The registration belongs to another project.
    SenderIdMismatch,
    /// Too many messages: of the project, to a topic, or to a device.
    QuotaExceeded,
    /// The service is busy.
    Unavailable,
    /// The service failed.
    Internal,
    /// APNs or a Web Push service does not take the project's credentials.
    ThirdPartyAuthError,
    /// The access token is missing, wrong or expired.
    Unauthenticated,
    /// The account may not do this, or not in this project.
    PermissionDenied,
    /// There is no such project or method.
    NotFound,
    /// Any other, as the server calls it.
    Other(String),
}

/// One field that is wrong, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    pub field: String,
    pub description: String,
}

/// What APNs said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApnsError {
    pub status_code: u16,
    pub reason: String,
}

impl Refusal {
    /// Reads an answer that is not a success.
    pub(crate) fn read(http_status: u16, body: &[u8], retry_after: Option<Duration>) -> Self {
        let body = String::from_utf8_lossy(body).into_owned();
        let json: Value = serde_json::from_str(&body).unwrap_or_default();
        let error = &json["error"];
        let details = Details(error["details"].as_array().map_or(&[], Vec::as_slice));
        // The topic service says the code, and nothing else.
        let status = text(&error["status"]).or_else(|| text(error)).unwrap_or_default();
        let fcm_code = details.of("google.firebase.fcm.v1.FcmError").and_then(|d| text(&d["errorCode"]));
        let code = fcm_code.as_deref().unwrap_or(&status);
        Self {
            http_status,
            code: if code.is_empty() { Code::of_http(http_status) } else { Code::of_name(code) },
            message: text(&error["message"]).unwrap_or_else(|| plain(&json, &body)),
            field_violations: details.field_violations(),
            apns: details.of("google.firebase.fcm.v1.ApnsError").map(ApnsError::read),
            reason: details.of("google.rpc.ErrorInfo").and_then(|d| text(&d["reason"])),
            status,
            retry_after,
            body,
        }
    }

    /// Whether the same request may succeed later.
    pub fn can_retry(&self) -> bool {
        match self.code {
            Code::QuotaExceeded | Code::Unavailable | Code::Internal => true,
            Code::Other(_) => self.http_status == 429 || self.http_status >= 500,
            _ => false,
        }
    }

    /// Whether it is the access token that was refused, which another one may not be. The same
    /// status says that a third party refused the project's credentials.
    pub(crate) fn is_of_access_token(&self) -> bool {
        self.http_status == 401 && self.code != Code::ThirdPartyAuthError
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused with {} {}", self.http_status, self.code)?;
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

impl Code {
    /// The word on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::Unregistered => "UNREGISTERED",
            Self::SenderIdMismatch => "SENDER_ID_MISMATCH",
            Self::QuotaExceeded => "QUOTA_EXCEEDED",
            Self::Unavailable => "UNAVAILABLE",
            Self::Internal => "INTERNAL",
            Self::ThirdPartyAuthError => "THIRD_PARTY_AUTH_ERROR",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::NotFound => "NOT_FOUND",
            Self::Other(name) => name,
        }
    }

    fn of_name(name: &str) -> Self {
        match name {
            "INVALID_ARGUMENT" => Self::InvalidArgument,
            "UNREGISTERED" => Self::Unregistered,
            "SENDER_ID_MISMATCH" => Self::SenderIdMismatch,
            // The platform's word stands alone when it is the project's quota that is used up.
            "QUOTA_EXCEEDED" | "RESOURCE_EXHAUSTED" => Self::QuotaExceeded,
            "UNAVAILABLE" => Self::Unavailable,
            "INTERNAL" => Self::Internal,
            "THIRD_PARTY_AUTH_ERROR" | "APNS_AUTH_ERROR" => Self::ThirdPartyAuthError,
            "UNAUTHENTICATED" => Self::Unauthenticated,
            "PERMISSION_DENIED" => Self::PermissionDenied,
            "NOT_FOUND" => Self::NotFound,
            other => Self::Other(other.to_owned()),
        }
    }

    /// For answers that name nothing, such as those of a proxy.
    fn of_http(status: u16) -> Self {
        match status {
            400 => Self::InvalidArgument,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::NotFound,
            429 => Self::QuotaExceeded,
            500 => Self::Internal,
            502..=504 => Self::Unavailable,
            _ => Self::Other("UNKNOWN".into()),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ApnsError {
    fn read(detail: &Value) -> Self {
        let status_code = detail["statusCode"].as_u64().and_then(|code| code.try_into().ok());
        Self {
            status_code: status_code.unwrap_or_default(),
            reason: text(&detail["reason"]).unwrap_or_default(),
        }
    }
}

/// The entries of `details`, which stand in any order.
struct Details<'a>(&'a [Value]);

impl<'a> Details<'a> {
    fn of(&self, kind: &str) -> Option<&'a Value> {
        let is_it = |detail: &&Value| {
            detail["@type"].as_str().and_then(|name| name.rsplit('/').next()).is_some_and(|name| name == kind)
        };
        self.0.iter().find(is_it)
    }

    fn field_violations(&self) -> Vec<FieldViolation> {
        let bad_request = self.of("google.rpc.BadRequest").unwrap_or(&Value::Null);
        let violations = bad_request["fieldViolations"].as_array().into_iter().flatten();
        violations
            .map(|violation| FieldViolation {
                field: text(&violation["field"]).unwrap_or_default(),
                description: text(&violation["description"]).unwrap_or_default(),
            })
            .collect()
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// What can be shown of an answer that is not JSON: its first line.
fn plain(json: &Value, body: &str) -> String {
    const SHOWN: usize = 200;
    match json {
        Value::Null => body.trim().lines().next().unwrap_or_default().chars().take(SHOWN).collect(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fcm(http_status: u16, status: &str, code: Option<&str>) -> (u16, String) {
        let details: Vec<Value> = code
            .map(|code| json!({ "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code }))
            .into_iter()
            .collect();
        let error = json!({ "code": http_status, "message": "m", "status": status, "details": details });
        (http_status, json!({ "error": error }).to_string())
    }

    /// The catalogue of `protocol/http-v1.md` §5.2, and answers of the topic service and of proxies.
    #[test]
    fn refusals_have_their_codes() {
        let rows = [
            (fcm(400, "INVALID_ARGUMENT", None), Code::InvalidArgument, false),
            (fcm(404, "NOT_FOUND", Some("UNREGISTERED")), Code::Unregistered, false),
            (fcm(404, "NOT_FOUND", None), Code::NotFound, false),
            (fcm(403, "PERMISSION_DENIED", Some("SENDER_ID_MISMATCH")), Code::SenderIdMismatch, false),
            (fcm(403, "PERMISSION_DENIED", None), Code::PermissionDenied, false),
            (fcm(401, "UNAUTHENTICATED", Some("THIRD_PARTY_AUTH_ERROR")), Code::ThirdPartyAuthError, false),
            (fcm(401, "UNAUTHENTICATED", Some("APNS_AUTH_ERROR")), Code::ThirdPartyAuthError, false),
            (fcm(401, "UNAUTHENTICATED", None), Code::Unauthenticated, false),
            (fcm(429, "RESOURCE_EXHAUSTED", Some("QUOTA_EXCEEDED")), Code::QuotaExceeded, true),
            (fcm(429, "RESOURCE_EXHAUSTED", None), Code::QuotaExceeded, true),
            (fcm(503, "UNAVAILABLE", Some("UNAVAILABLE")), Code::Unavailable, true),
            (fcm(500, "INTERNAL", Some("INTERNAL")), Code::Internal, true),
            (fcm(409, "ABORTED", None), Code::Other("ABORTED".into()), false),
            ((400, r#"{"error":"INVALID_ARGUMENT"}"#.into()), Code::InvalidArgument, false),
            ((401, "<html><title>Unauthorized".into()), Code::Unauthenticated, false),
            ((502, "bad gateway".into()), Code::Unavailable, true),
            ((418, String::new()), Code::Other("UNKNOWN".into()), false),
        ];
        for ((status, body), code, can_retry) in rows {
            let refusal = Refusal::read(status, body.as_bytes(), None);
            assert_eq!((&refusal.code, refusal.can_retry()), (&code, can_retry), "{body}");
        }
    }

    #[test]
    fn details_are_found_in_any_order() {
        let body = json!({ "error": { "code": 400, "message": "bad", "status": "INVALID_ARGUMENT", "details": [
            { "@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [
                { "field": "message.token", "description": "Invalid registration token" } ] },
            { "@type": "type.googleapis.com/google.firebase.fcm.v1.ApnsError", "statusCode": 400, "reason": "BadDeviceToken" },
            { "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "WHY" },
            { "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "INVALID_ARGUMENT" },
        ] } });
        let refusal = Refusal::read(400, body.to_string().as_bytes(), None);
        assert_eq!(refusal.field_violations[0].field, "message.token");
        assert_eq!(refusal.field_violations[0].description, "Invalid registration token");
        assert_eq!(refusal.apns, Some(ApnsError { status_code: 400, reason: "BadDeviceToken".into() }));
        assert_eq!(refusal.reason.as_deref(), Some("WHY"));
        assert_eq!(refusal.to_string(), "refused with 400 INVALID_ARGUMENT: bad");
    }
}
