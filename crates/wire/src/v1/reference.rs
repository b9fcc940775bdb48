//! The reference pages of the send API: its messages, from the table that the parser walks, and its
//! errors, from the catalogue.

use std::fmt::Write as _;

use cresset_message::Rejection;
use serde_json::Value;

use super::error;
use super::schema::{Field, Kind, MessageType, every_message};

/// The messages, in Markdown.
pub fn messages_page() -> String {
    let mut page = String::from(
        "# Messages of the HTTP v1 API\n\n\
         <!-- cargo run -p cresset-wire --example reference messages -->\n\n\
         `POST /v1/projects/{project}/messages:send` takes a [SendMessageRequest](#sendmessagerequest). \
         Names may be written as here or in lowerCamel (`validateOnly`). What breaks a rule is answered with an [error](errors.md).\n",
    );
    for message in every_message() {
        section(message, &mut page);
    }
    page
}

/// The errors, in Markdown.
pub fn errors_page() -> String {
    let mut page = String::from(
        "# Errors of the HTTP v1 API\n\n\
         <!-- cargo run -p cresset-wire --example reference errors -->\n\n\
         Every refusal is `{\"error\": {\"code\", \"message\", \"status\", \"details\"}}`. `details` has, where the \
         table names one, an `FcmError` with that `errorCode`; a `BadRequest` with a violation for each faulty \
         field; a `QuotaFailure` or an `ErrorInfo` for quotas. Words in the texts that depend on the request are \
         examples. The last columns are what the Admin SDKs make of it.\n\n\
         | HTTP | status | errorCode | message | meaning | Node.js | Python |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for rejection in Rejection::samples() {
        page.push_str(&error_row(&rejection));
    }
    page
}

fn error_row(rejection: &Rejection) -> String {
    let answer = error::render(rejection);
    let body: Value = serde_json::from_str(&answer.body).expect("our own JSON");
    let error = &body["error"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (status, message) = (text(&error["status"]), text(&error["message"]));
    let details = error["details"].as_array().map_or(&[][..], Vec::as_slice);
    let code = details.iter().find_map(|detail| detail["errorCode"].as_str());
    let retry = answer.retry_after.map_or("", |_| ", `Retry-After`");
    format!(
        "| {}{retry} | `{status}` | {} | {} | {} | {} | {} |\n",
        answer.status,
        code.map_or(String::new(), |code| format!("`{code}`")),
        cell(&message),
        cell(rejection.meaning()),
        node(code.unwrap_or(&status)),
        python(code, &status),
    )
}

/// The code that Node's SDK gives, without `messaging/` (`clients/admin-sdks.md` §1).
fn node(code: &str) -> &'static str {
    match code {
        "INVALID_ARGUMENT" => "`invalid-argument`",
        "UNREGISTERED" | "NOT_FOUND" => "`registration-token-not-registered`",
        "SENDER_ID_MISMATCH" | "PERMISSION_DENIED" => "`mismatched-credential`",
        "QUOTA_EXCEEDED" | "RESOURCE_EXHAUSTED" => "`message-rate-exceeded`",
        "THIRD_PARTY_AUTH_ERROR" | "UNAUTHENTICATED" => "`third-party-auth-error`",
        "UNAVAILABLE" => "`server-unavailable`",
        "INTERNAL" => "`internal-error`",
        _ => "`unknown-error`",
    }
}

/// The exception that Python's SDK raises (`clients/admin-sdks.md` §2).
fn python(code: Option<&str>, status: &str) -> &'static str {
    match (code, status) {
        (Some("UNREGISTERED"), _) => "`UnregisteredError`",
        (Some("SENDER_ID_MISMATCH"), _) => "`SenderIdMismatchError`",
        (Some("QUOTA_EXCEEDED"), _) => "`QuotaExceededError`",
        (Some("THIRD_PARTY_AUTH_ERROR"), _) => "`ThirdPartyAuthError`",
        (_, "INVALID_ARGUMENT") => "`InvalidArgumentError`",
        (_, "FAILED_PRECONDITION") => "`FailedPreconditionError`",
        (_, "UNAUTHENTICATED") => "`UnauthenticatedError`",
        (_, "PERMISSION_DENIED") => "`PermissionDeniedError`",
        (_, "NOT_FOUND") => "`NotFoundError`",
        (_, "RESOURCE_EXHAUSTED") => "`ResourceExhaustedError`",
        (_, "UNAVAILABLE") => "`UnavailableError`",
        (_, "INTERNAL") => "`InternalError`",
        _ => "`UnknownError`",
    }
}

fn section(message: &MessageType, page: &mut String) {
    write!(page, "\n## {}\n\n{}\n", message.short_name(), message.doc).expect("a string has room");
    if message.fields.is_empty() {
        return;
    }
    page.push_str("\n| field | type | meaning |\n| --- | --- | --- |\n");
    for field in message.fields {
        writeln!(page, "| `{}` | {} | {} |", field.name, kind(field), cell(field.doc))
            .expect("a string has room");
    }
    for field in message.fields {
        if let Kind::Enum(choices) = field.kind {
            write!(page, "\n`{}` is one of:\n\n", field.name).expect("a string has room");
            for choice in choices.values {
                writeln!(page, "- `{}`: {}", choice.name, choice.doc).expect("a string has room");
            }
        }
    }
}

fn kind(field: &Field) -> String {
    let one = match field.kind {
        Kind::String => "text".to_owned(),
        Kind::Bool => "true or false".to_owned(),
        Kind::Int32 => "whole number".to_owned(),
        Kind::Float | Kind::FloatValue => "number".to_owned(),
        Kind::Duration => "duration, such as `3.5s`".to_owned(),
        Kind::Timestamp => "time, as RFC 3339 has it".to_owned(),
        Kind::Struct => "any JSON object".to_owned(),
        Kind::Map => "object of texts".to_owned(),
        Kind::Enum(_) => "one of the names below".to_owned(),
        Kind::Message(message) => {
            format!("[{0}](#{1})", message.short_name(), message.short_name().to_lowercase())
        }
    };
    let list = if field.repeated { "list: " } else { "" };
    let exclusive = field.oneof.map_or("", |_| " (one of)");
    format!("{list}{one}{exclusive}")
}

/// A bar would end the cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
