//! What is written to app servers. Clients branch on which attributes there are, and one matches the
//! literal text (`protocol/xmpp.md` §3): these forms are Google's, to the byte where they are known.

use std::fmt::Write as _;

use super::element::is_character;
use super::{StreamError, namespace};

/// The header of our side of the stream; `from` is whatever the client called us.
pub fn header(from: &str, id: u64) -> String {
    format!(
        "<stream:stream from=\"{}\" id=\"{id:016X}\" version=\"1.0\" xmlns:stream=\"{}\" xmlns=\"{}\">",
        attribute(from),
        namespace::STREAM,
        namespace::CLIENT
    )
}

/// What can be done before the login. Google's list has two mechanisms of its own before PLAIN.
pub fn sasl_features() -> String {
    format!(
        "<stream:features><mechanisms xmlns=\"{}\"><mechanism>PLAIN</mechanism></mechanisms></stream:features>",
        namespace::SASL
    )
}

/// And after it.
pub fn bind_features() -> String {
    format!(
        "<stream:features><bind xmlns=\"{}\"/><session xmlns=\"{}\"/></stream:features>",
        namespace::BIND,
        namespace::SESSION
    )
}

pub fn sasl_success() -> String {
    format!("<success xmlns=\"{}\"/>", namespace::SASL)
}

/// Asks for the rest of a login.
pub fn sasl_challenge() -> String {
    format!("<challenge xmlns=\"{}\"/>", namespace::SASL)
}

/// How a login fails (RFC 6120 §6.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sasl {
    Aborted,
    IncorrectEncoding,
    InvalidMechanism,
    MalformedRequest,
    NotAuthorized,
    TemporaryAuthFailure,
}

pub fn sasl_failure(why: Sasl) -> String {
    let condition = match why {
        Sasl::Aborted => "aborted",
        Sasl::IncorrectEncoding => "incorrect-encoding",
        Sasl::InvalidMechanism => "invalid-mechanism",
        Sasl::MalformedRequest => "malformed-request",
        Sasl::NotAuthorized => "not-authorized",
        Sasl::TemporaryAuthFailure => "temporary-auth-failure",
    };
    format!("<failure xmlns=\"{}\"><{condition}/></failure>", namespace::SASL)
}

pub fn bind_result(id: &str, jid: &str) -> String {
    format!(
        "<iq id=\"{}\" type=\"result\"><bind xmlns=\"{}\"><jid>{}</jid></bind></iq>",
        attribute(id),
        namespace::BIND,
        text(jid)
    )
}

pub fn iq_result(id: &str) -> String {
    format!("<iq id=\"{}\" type=\"result\"/>", attribute(id))
}

pub fn iq_unavailable(id: &str) -> String {
    format!(
        "<iq id=\"{}\" type=\"error\"><error type=\"cancel\"><service-unavailable xmlns=\"{}\"/></error></iq>",
        attribute(id),
        namespace::STANZAS
    )
}

/// An ack, a nack or a control message: no attribute at all.
pub fn bare(json: &str) -> String {
    format!("<message><data:gcm xmlns:data=\"{}\">{}</data:gcm></message>", namespace::GCM, text(json))
}

/// An upstream message or a receipt: three attributes, in this order.
pub fn to_app_server(sender: u64, json: &str) -> String {
    format!(
        "<message to=\"{sender}@gcm.googleapis.com\" from=\"devices@gcm.googleapis.com\" type=\"normal\">\
         <gcm xmlns=\"{}\">{}</gcm></message>",
        namespace::GCM,
        text(json)
    )
}

/// What is wrong with a stanza, where no nack can say it (`protocol/xmpp.md` §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StanzaError {
    /// 400: it cannot be read, or has no `message_id`.
    BadRequest,
    /// 406: an ack for what was not sent on this connection.
    NotAcceptable,
    /// 503: more than is taken.
    ServiceUnavailable,
}

/// `gcm`: what that element held; `None` if there was none.
pub fn stanza_error(id: &str, to: &str, gcm: Option<&str>, error: StanzaError, why: &str) -> String {
    let (code, kind, condition) = match error {
        StanzaError::BadRequest => (400, "modify", "bad-request"),
        StanzaError::NotAcceptable => (406, "modify", "not-acceptable"),
        StanzaError::ServiceUnavailable => (503, "wait", "service-unavailable"),
    };
    let mut out = format!("<message id=\"{}\" type=\"error\" to=\"{}\">", attribute(id), attribute(to));
    if let Some(gcm) = gcm {
        let _ = write!(out, "<gcm xmlns=\"{}\">{}</gcm>", namespace::GCM, text(gcm));
    }
    let _ = write!(
        out,
        "<error code=\"{code}\" type=\"{kind}\"><{condition} xmlns=\"{0}\"/><text xmlns=\"{0}\">{1}</text></error></message>",
        namespace::STANZAS,
        text(why)
    );
    out
}

/// Why the stream ends, and its end.
pub fn stream_error(error: StreamError) -> String {
    format!("<stream:error><{error} xmlns=\"{}\"/></stream:error></stream:stream>", namespace::STREAMS)
}

pub fn close() -> &'static str {
    "</stream:stream>"
}

/// A value between double quotes; white space in it is kept (XML 1.0 §3.3.3).
fn attribute(value: &str) -> String {
    escaped(value, true)
}

/// Text between tags. Line feeds are kept as they are, but not what would be read as one (§2.11).
fn text(value: &str) -> String {
    escaped(value, false)
}

fn escaped(value: &str, quoted: bool) -> String {
    let mut out = String::with_capacity(value.len() + value.len() / 8);
    for c in value.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\r' => out.push_str("&#13;"),
            '"' if quoted => out.push_str("&quot;"),
            '\t' if quoted => out.push_str("&#9;"),
            '\n' if quoted => out.push_str("&#10;"),
            // Of a JSON string's escapes, where a text repeats what was in it.
            c if !is_character(c) => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
    }
    out
}
