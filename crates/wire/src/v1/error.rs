//! How a rejection is told over HTTP v1: `protocol/http-v1.md` §5, row by row.

use std::time::Duration;

use cresset_message::{ApnsError, DeviceQuota, FieldViolation, ProjectNumber, Rejection};
use serde::Serialize;

/// An answer other than 200. Its body is `application/json; charset=UTF-8`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorAnswer {
    pub status: u16,
    /// Seconds, for `Retry-After`.
    pub retry_after: Option<u64>,
    pub www_authenticate: Option<&'static str>,
    pub body: String,
}

/// The rejection as the real service tells it.
pub fn render(rejection: &Rejection) -> ErrorAnswer {
    let said = say(rejection);
    ErrorAnswer {
        status: said.status.code(),
        retry_after: retry_after(rejection),
        www_authenticate: www_authenticate(rejection),
        body: envelope(said.status.code(), said.status.name(), &said.message, &said.details),
    }
}

/// The code that a sender acts on: FCM's own where there is one, else Google's canonical one. A closed
/// list, fit for a label.
pub fn error_code(rejection: &Rejection) -> &'static str {
    let said = say(rejection);
    let own = said.details.iter().find_map(|detail| match detail {
        Detail::FcmError { error_code } => Some(*error_code),
        _ => None,
    });
    own.unwrap_or(said.status.name())
}

/// The body of a success: a message with nothing but its name (§4).
pub fn send_success(project: &str, id: &str) -> String {
    #[derive(Serialize)]
    struct Sent {
        name: String,
    }
    pretty(&Sent { name: format!("projects/{project}/messages/{id}") })
}

/// The envelope without details, for the APIs beside `messages:send`.
pub fn google_error(code: u16, status: &str, message: &str) -> String {
    envelope(code, status, message, &[])
}

/// Google's canonical codes, as far as they are used. None but those of §5 may be: the Java SDK
/// throws at a name it does not know.
#[derive(Clone, Copy)]
enum Status {
    InvalidArgument,
    FailedPrecondition,
    Unauthenticated,
    PermissionDenied,
    NotFound,
    ResourceExhausted,
    Internal,
    Unavailable,
}

impl Status {
    const fn code(self) -> u16 {
        match self {
            Self::InvalidArgument | Self::FailedPrecondition => 400,
            Self::Unauthenticated => 401,
            Self::PermissionDenied => 403,
            Self::NotFound => 404,
            Self::ResourceExhausted => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::NotFound => "NOT_FOUND",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
        }
    }
}

struct Said {
    status: Status,
    message: String,
    details: Vec<Detail>,
}

impl Said {
    fn new(status: Status, message: impl Into<String>, details: Vec<Detail>) -> Self {
        Self { status, message: message.into(), details }
    }

    /// A rule was broken: FCM's own detail, and where.
    fn invalid(field: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let violation = FieldViolation { field: field.to_owned(), description: message.clone() };
        let details = vec![fcm("INVALID_ARGUMENT"), bad_request(&[violation])];
        Self::new(Status::InvalidArgument, message, details)
    }
}

/// The catalogue (§5.2). What is not in it has Cresset's own words.
fn say(rejection: &Rejection) -> Said {
    match rejection {
        Rejection::CredentialsMissing
        | Rejection::CredentialsInvalid
        | Rejection::CredentialsExpired
        | Rejection::ScopeInsufficient
        | Rejection::PermissionDenied { .. } => say_who_may(rejection),

        Rejection::Unparsable(violations) => say_unparsable(violations),
        Rejection::BodyTooLarge { limit } => {
            let message = format!("Request payload size exceeds the limit: {limit} bytes.");
            Said::new(Status::InvalidArgument, message, vec![])
        }

        Rejection::NoTarget => Said::invalid("message", "Recipient of the message is not set."),
        Rejection::MalformedToken => {
            Said::invalid("message.token", "The registration token is not a valid FCM registration token")
        }
        Rejection::TopicName => Said::invalid("message", "Topic name contains invalid characters."),
        // No details at all.
        Rejection::Condition => {
            Said::new(Status::InvalidArgument, "Request contains an invalid argument.", vec![])
        }
        Rejection::ReservedDataKey(key) => {
            Said::invalid("message.data", format!("Invalid data payload key: {key}"))
        }
        Rejection::TooLarge => Said::new(
            Status::InvalidArgument,
            "Message is too large. The maximum is 4K (4096 bytes).",
            vec![fcm("INVALID_ARGUMENT"), bad_request(&[])],
        ),
        Rejection::AndroidTooLarge => Said::invalid("message.android", "Android message is too big"),
        Rejection::InvalidField(violation) => Said::invalid(&violation.field, &violation.description),

        Rejection::Unregistered => {
            Said::new(Status::NotFound, "Requested entity was not found.", vec![fcm("UNREGISTERED")])
        }
        Rejection::SenderIdMismatch => {
            Said::new(Status::PermissionDenied, "SenderId mismatch", vec![fcm("SENDER_ID_MISMATCH")])
        }
        // Without a credential there is no answer of APNs to tell (`protocol/apns.md` §1.5).
        Rejection::ThirdPartyAuth(error) => Said::new(
            Status::Unauthenticated,
            "Auth error from APNS or Web Push Service",
            std::iter::once(fcm("THIRD_PARTY_AUTH_ERROR")).chain(error.iter().map(apns)).collect(),
        ),
        Rejection::DeviceQuota { quota, .. } => say_device_quota(*quota),
        Rejection::FanOutQuota { project, limit, .. } => say_fan_out_quota(*project, *limit),
        Rejection::ProjectQuota { project, limit, .. } => say_project_quota(*project, *limit),
        Rejection::SubscriptionQuota { project, limit, .. } => say_subscription_quota(*project, *limit),
        // Waiting does not help, so that it is not 429 (`protocol/topics-and-batch.md` §4).
        Rejection::TooManyTopics { limit } => Said::new(
            Status::FailedPrecondition,
            format!("The app instance is subscribed to {limit} topics, which is the limit."),
            vec![fcm("INVALID_ARGUMENT")],
        ),
        Rejection::NotTraced => Said::new(
            Status::NotFound,
            "Nothing is known of this message: it was not sent for this project, or long ago.",
            vec![],
        ),
        Rejection::Unavailable { .. } => {
            Said::new(Status::Unavailable, "The service is currently unavailable.", vec![fcm("UNAVAILABLE")])
        }
        Rejection::Internal => {
            Said::new(Status::Internal, "Internal error encountered.", vec![fcm("INTERNAL")])
        }
    }
}

const EXPECTED_CREDENTIAL: &str = "Expected OAuth 2 access token, login cookie or other valid authentication \
     credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.";

fn say_who_may(rejection: &Rejection) -> Said {
    let unauthenticated = |problem: &str, reason| {
        let details = vec![fcm_method_info(reason)];
        Said::new(Status::Unauthenticated, format!("{problem} {EXPECTED_CREDENTIAL}"), details)
    };
    match rejection {
        Rejection::CredentialsMissing => {
            unauthenticated("Request is missing required authentication credential.", "CREDENTIALS_MISSING")
        }
        Rejection::CredentialsExpired => {
            unauthenticated("Request had invalid authentication credentials.", "ACCESS_TOKEN_EXPIRED")
        }
        Rejection::ScopeInsufficient => Said::new(
            Status::PermissionDenied,
            "Request had insufficient authentication scopes.",
            vec![fcm_method_info("ACCESS_TOKEN_SCOPE_INSUFFICIENT")],
        ),
        Rejection::PermissionDenied { project } => say_permission_denied(project),
        _ => unauthenticated("Request had invalid authentication credentials.", "ACCESS_TOKEN_INVALID"),
    }
}

fn say_permission_denied(project: &str) -> Said {
    const PERMISSION: &str = "cloudmessaging.messages.create";
    let message = format!(
        "Permission '{PERMISSION}' denied on resource \
         '//cloudresourcemanager.googleapis.com/projects/{project}' (or it may not exist)."
    );
    let detail = Detail::ErrorInfo {
        reason: "IAM_PERMISSION_DENIED",
        domain: "cloudresourcemanager.googleapis.com",
        metadata: [("resource", format!("projects/{project}")), ("permission", PERMISSION.to_owned())].into(),
    };
    Said::new(Status::PermissionDenied, message, vec![detail])
}

/// All texts, one to a line, and each again with its place; no detail of FCM's own (§3.1).
fn say_unparsable(violations: &[FieldViolation]) -> Said {
    let texts: Vec<&str> = violations.iter().map(|v| v.description.as_str()).collect();
    Said::new(Status::InvalidArgument, texts.join("\n"), vec![bad_request(violations)])
}

/// The real text is unknown (§5.2).
fn say_device_quota(quota: DeviceQuota) -> Said {
    let description = match quota {
        DeviceQuota::PerMinute(limit) => format!("More than {limit} messages to this device in a minute."),
        DeviceQuota::PerHour(limit) => format!("More than {limit} messages to this device in an hour."),
        DeviceQuota::Collapsible(burst) => {
            format!("More than {burst} collapsible messages to this app instance, refilled slowly.")
        }
    };
    let violation = QuotaViolation { subject: "device", description };
    Said::new(
        Status::ResourceExhausted,
        "Device message rate exceeded.",
        vec![fcm("QUOTA_EXCEEDED"), Detail::QuotaFailure { violations: vec![violation] }],
    )
}

fn say_fan_out_quota(project: ProjectNumber, limit: u32) -> Said {
    let violation = QuotaViolation {
        subject: "project",
        description: format!("More than {limit} concurrent fan-outs of project {project}."),
    };
    Said::new(
        Status::ResourceExhausted,
        "Topic quota exceeded.",
        vec![fcm("QUOTA_EXCEEDED"), Detail::QuotaFailure { violations: vec![violation] }],
    )
}

/// The real text is unknown; status and code are documented (`protocol/topics-and-batch.md` §3).
fn say_subscription_quota(project: ProjectNumber, limit: u32) -> Said {
    let description = format!(
        "More than {limit} app instances of project {project} subscribed or unsubscribed in a second."
    );
    let violation = QuotaViolation { subject: "project", description };
    Said::new(
        Status::ResourceExhausted,
        "Topic subscription rate exceeded.",
        vec![fcm("QUOTA_EXCEEDED"), Detail::QuotaFailure { violations: vec![violation] }],
    )
}

fn say_project_quota(project: ProjectNumber, limit: u32) -> Said {
    let message = format!(
        "Quota exceeded for quota metric 'Send requests' and limit 'Send requests per minute' of service \
         'fcm.googleapis.com' for consumer 'project_number:{project}'."
    );
    let info = Detail::ErrorInfo {
        reason: "RATE_LIMIT_EXCEEDED",
        domain: "googleapis.com",
        metadata: [
            ("service", "fcm.googleapis.com".to_owned()),
            ("consumer", format!("projects/{project}")),
            ("quota_metric", "fcm.googleapis.com/send_requests".to_owned()),
            ("quota_limit", "SendsPerMinutePerProject".to_owned()),
            ("quota_unit", "1/min/{project}".to_owned()),
            ("quota_location", "global".to_owned()),
            ("quota_limit_value", limit.to_string()),
        ]
        .into(),
    };
    let help = Detail::Help {
        links: vec![HelpLink {
            description: "Request a higher quota limit.",
            url: "https://cloud.google.com/docs/quotas/help/request_increase",
        }],
    };
    Said::new(Status::ResourceExhausted, message, vec![info, help])
}

fn retry_after(rejection: &Rejection) -> Option<u64> {
    let ceiling = |wait: &Duration| wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    match rejection {
        Rejection::DeviceQuota { retry_after, .. }
        | Rejection::FanOutQuota { retry_after, .. }
        | Rejection::ProjectQuota { retry_after, .. }
        | Rejection::SubscriptionQuota { retry_after, .. }
        | Rejection::Unavailable { retry_after } => Some(ceiling(retry_after)),
        _ => None,
    }
}

/// The challenge that a 401 must carry (RFC 9110 §11.6.1), in the terms of RFC 6750 §3.
fn www_authenticate(rejection: &Rejection) -> Option<&'static str> {
    match rejection {
        Rejection::CredentialsMissing => Some("Bearer realm=\"https://accounts.google.com/\""),
        // RFC 9110 §11.6.1 wants one with each 401, and the credential that is wrong is not the caller's.
        Rejection::ThirdPartyAuth(_) => Some("Bearer realm=\"https://accounts.google.com/\""),
        Rejection::CredentialsInvalid | Rejection::CredentialsExpired => {
            Some("Bearer realm=\"https://accounts.google.com/\", error=\"invalid_token\"")
        }
        _ => None,
    }
}

/// The entries of `details` (§5.1).
#[derive(Serialize)]
#[serde(tag = "@type")]
enum Detail {
    #[serde(rename = "type.googleapis.com/google.firebase.fcm.v1.FcmError")]
    FcmError {
        #[serde(rename = "errorCode")]
        error_code: &'static str,
    },
    #[serde(rename = "type.googleapis.com/google.firebase.fcm.v1.ApnsError")]
    ApnsError {
        #[serde(rename = "statusCode")]
        status_code: u16,
        reason: String,
    },
    #[serde(rename = "type.googleapis.com/google.rpc.BadRequest")]
    BadRequest {
        #[serde(rename = "fieldViolations", skip_serializing_if = "Vec::is_empty")]
        field_violations: Vec<Violation>,
    },
    #[serde(rename = "type.googleapis.com/google.rpc.ErrorInfo")]
    ErrorInfo {
        reason: &'static str,
        domain: &'static str,
        metadata: std::collections::BTreeMap<&'static str, String>,
    },
    #[serde(rename = "type.googleapis.com/google.rpc.QuotaFailure")]
    QuotaFailure { violations: Vec<QuotaViolation> },
    #[serde(rename = "type.googleapis.com/google.rpc.Help")]
    Help { links: Vec<HelpLink> },
}

#[derive(Serialize)]
struct Violation {
    /// Absent for the root (§3.1).
    #[serde(skip_serializing_if = "String::is_empty")]
    field: String,
    description: String,
}

#[derive(Serialize)]
struct QuotaViolation {
    subject: &'static str,
    description: String,
}

#[derive(Serialize)]
struct HelpLink {
    description: &'static str,
    url: &'static str,
}

fn fcm(error_code: &'static str) -> Detail {
    Detail::FcmError { error_code }
}

fn apns(error: &ApnsError) -> Detail {
    Detail::ApnsError { status_code: error.status, reason: error.reason.clone() }
}

fn bad_request(violations: &[FieldViolation]) -> Detail {
    let told = |v: &FieldViolation| Violation { field: v.field.clone(), description: v.description.clone() };
    Detail::BadRequest { field_violations: violations.iter().map(told).collect() }
}

fn fcm_method_info(reason: &'static str) -> Detail {
    let metadata = [
        ("service", "fcm.googleapis.com".to_owned()),
        ("method", "google.firebase.fcm.v1.FcmService.SendMessage".to_owned()),
    ];
    Detail::ErrorInfo { reason, domain: "googleapis.com", metadata: metadata.into() }
}

fn envelope(code: u16, status: &str, message: &str, details: &[Detail]) -> String {
    #[derive(Serialize)]
    struct Envelope<'a> {
        error: Body<'a>,
    }
    #[derive(Serialize)]
    struct Body<'a> {
        code: u16,
        message: &'a str,
        status: &'a str,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        details: &'a [Detail],
    }
    pretty(&Envelope { error: Body { code, message, status, details } })
}

/// Two spaces, and a newline at the end, as `prettyPrint` is on by default (§1.3).
pub(super) fn pretty(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("plain structures with text keys");
    text.push('\n');
    text
}
