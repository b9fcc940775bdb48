//! XMPP as the legacy connection server speaks it (`protocol/xmpp.md`; RFC 6120): what an app server
//! writes, read piece by piece wherever its bytes are cut; and what it is answered, in the very form
//! that clients branch on.

mod cut;
mod element;
mod json;
mod reader;
mod sasl;
mod write;

pub use element::Element;
pub use json::{
    Ack, RECEIPT_FROM, RECEIPT_PREFIX, Receipt, Upstream, ack, control_draining, group_ack, nack, receipt,
    upstream,
};
pub use reader::{Incoming, MAX_ATTRIBUTES, MAX_DEPTH, MAX_PIECE, Reader};
pub use sasl::Plain;
pub use write::{
    Sasl, StanzaError, bare, bind_features, bind_result, close, header, iq_result, iq_unavailable,
    sasl_challenge, sasl_failure, sasl_features, sasl_success, stanza_error, stream_error, to_app_server,
};

/// The namespaces that matter here (RFC 6120 §4.8, §6, §7; RFC 3921 §3; XEP-0199; `protocol/xmpp.md`).
pub mod namespace {
    pub const STREAM: &str = "http://etherx.jabber.org/streams";
    pub const CLIENT: &str = "jabber:client";
    pub const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
    pub const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
    pub const SESSION: &str = "urn:ietf:params:xml:ns:xmpp-session";
    pub const PING: &str = "urn:xmpp:ping";
    pub const STREAMS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
    pub const STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
    pub const GCM: &str = "google:mobile:data";
}

/// Why a stream cannot go on (RFC 6120 §4.9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum StreamError {
    /// It is no XML. Google says so of what RFC 6120 calls not well-formed (`protocol/xmpp.md` §8).
    #[error("invalid-xml")]
    InvalidXml,
    /// Comments, processing instructions, document types and entities of its own (RFC 6120 §11.1).
    #[error("restricted-xml")]
    RestrictedXml,
    #[error("bad-namespace-prefix")]
    BadNamespacePrefix,
    #[error("invalid-namespace")]
    InvalidNamespace,
    #[error("unsupported-encoding")]
    UnsupportedEncoding,
    #[error("unsupported-stanza-type")]
    UnsupportedStanzaType,
    /// Larger, deeper or with more attributes than is read.
    #[error("policy-violation")]
    PolicyViolation,
    #[error("not-authorized")]
    NotAuthorized,
    #[error("connection-timeout")]
    ConnectionTimeout,
    #[error("resource-constraint")]
    ResourceConstraint,
    #[error("internal-server-error")]
    InternalServerError,
    #[error("system-shutdown")]
    SystemShutdown,
}
