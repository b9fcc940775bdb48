//! The legacy protocols' message (`protocol/legacy-http.md` §4, §5; `protocol/xmpp.md` §4): JSON and
//! forms in, answers out. HTTP and XMPP read the same object.
//!
//! [`schema`] says what it looks like, [`read`] puts it together with the text, [`convert`] finds out
//! whom it is for, and [`platforms`] makes of it what v1 would say to each platform.

pub mod answer;
mod convert;
mod error;
mod form;
mod platforms;
mod read;
mod schema;

pub use error::{Expected, LegacyError, Nack};
pub use form::read_form;

use cresset_message::{Message, Timestamp};

/// Recipients of one request (`protocol/legacy-http.md` §4.1).
pub const MAX_RECIPIENTS: usize = 1_000;

/// A message as it was asked for. Its shape is right; `cresset_message::limits` has the rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Downstream {
    pub targets: Targets,
    /// Its target is that of `targets`; where these are many tokens, a token without text: all receive
    /// the same message.
    pub message: Message,
    /// Go through all checks, deliver nothing.
    pub dry_run: bool,
    pub delivery_receipt_requested: bool,
    /// XMPP's: chosen by the app server. HTTP has no such field.
    pub message_id: Option<String>,
    /// XMPP's: `ack`, or none. HTTP has no such field.
    pub message_type: Option<String>,
}

/// Whom a message is for, as text of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Targets {
    /// `to`: a registration token, or the notification key of a device group.
    To(String),
    /// `registration_ids`: 1 to [`MAX_RECIPIENTS`].
    Tokens(Vec<String>),
    /// The name, without `/topics/`.
    Topic(String),
    Condition(String),
}

/// A message that is refused before anybody is looked for: why, and what is known of it, so that an
/// answer can name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub error: LegacyError,
    pub targets: Option<Targets>,
    pub message_id: Option<String>,
    pub message_type: Option<String>,
}

impl Targets {
    /// As the request had it, for XMPP's `from`; empty for many.
    pub fn text(&self) -> String {
        match self {
            Self::To(text) | Self::Condition(text) => text.clone(),
            Self::Topic(name) => format!("/topics/{name}"),
            Self::Tokens(_) => String::new(),
        }
    }
}

/// Reads a JSON object. `now` is when it came: APNs is told the moment when a message expires.
pub fn read_json(body: &[u8], now: Timestamp) -> Result<Downstream, Refused> {
    match read::read(body, &schema::MESSAGE) {
        Ok(outcome) => convert::downstream(outcome, now),
        Err(error) => Err(Refused { error, targets: None, message_id: None, message_type: None }),
    }
}
