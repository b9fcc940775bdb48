use std::io;

use cresset_wire::mcs::FrameError;
use cresset_wire::webpush::WebPushError;

/// What can go wrong between a device and its server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("an endpoint is unusable: {0}")]
    Endpoint(String),
    #[error("the root certificates cannot be read: {0}")]
    Roots(String),
    #[error("{address} cannot be reached: {source}")]
    Connect { address: String, source: io::Error },
    #[error("TLS with {address} failed: {source}")]
    Tls { address: String, source: io::Error },
    #[error("an HTTP request failed: {0}")]
    Http(#[from] hyper::Error),
    /// The server answered, but not with success.
    #[error("{path} was answered with {status}: {body}")]
    Refused { path: String, status: u16, body: String },
    /// The code after `Error=` (`protocol/device-registration.md` §2).
    #[error("registration was refused: {0}")]
    Register(String),
    #[error("{path} was answered with something else than expected: {body}")]
    Answer { path: String, body: String },
    #[error("the login was refused: {code} {message}")]
    LoginRefused { code: i32, message: String },
    #[error("the connection ended before the login was answered")]
    LoginUnanswered,
    #[error("the server sent what cannot be read: {0}")]
    Frame(#[from] FrameError),
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("a message cannot be opened: {0}")]
    Seal(#[from] WebPushError),
}
