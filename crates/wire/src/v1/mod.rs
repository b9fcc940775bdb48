//! HTTP v1: the body of `messages:send` in, its answers out (`protocol/http-v1.md`).
//!
//! [`json`] reads text, [`schema`] says what the messages look like, [`read`] puts the two together
//! and collects every violation, [`convert`] makes the [`Message`] of the result.

mod convert;
mod discovery;
pub mod error;
pub(crate) mod json;
mod read;
mod reference;
mod scalar;
mod schema;

pub use discovery::discovery;
pub use error::{ErrorAnswer, error_code, google_error, render, send_success};
pub use reference::{errors_page, messages_page};
pub use scalar::rfc3339;

use cresset_message::{Message, Rejection};

/// A send as it was asked for. Its shape is right; `cresset_message::limits` has the rules.
#[derive(Clone, Debug, PartialEq)]
pub struct SendRequest {
    pub message: Message,
    /// Go through all checks, deliver nothing.
    pub validate_only: bool,
}

/// Reads the body of `messages:send`. Every violation of its shape is told at once; the first rule
/// that reading can see (no target, a part that misses a required field) only when there is none.
pub fn parse_send_request(body: &[u8]) -> Result<SendRequest, Rejection> {
    // No body is an empty message, not a syntax error (§3).
    let body = if body.is_empty() { b"{}" } else { body };
    convert::send_request(read::read(body, &schema::SEND_REQUEST)?)
}
