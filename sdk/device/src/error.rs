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
    #[error("{path} was not answered in time")]
    Unanswered { path: String },
    #[error("the login was refused: {code} {message}")]
    LoginRefused { code: i32, message: String },
    #[error("the connection ended before the login was answered")]
    LoginUnanswered,
    #[error("the server ended the connection")]
    Ended,
    #[error("the server does not answer a heartbeat")]
    Silent,
    #[error("the server sent what cannot be read: {0}")]
    Frame(#[from] FrameError),
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("a message cannot be opened: {0}")]
    Seal(#[from] WebPushError),
    /// The app's state could not be read or written.
    #[error("the state cannot be kept: {0}")]
    Store(io::Error),
    #[error("the state that was kept cannot be read: {0}")]
    State(String),
    #[error("{0:?}: a {1}")]
    Topic(String, cresset_message::IdError),
}

/// Codes of register3 after which asking again is no use (`protocol/device-registration.md` §2).
const FINAL_CODES: [&str; 5] = [
    "INVALID_SENDER",
    "INVALID_PARAMETERS",
    "QUOTA_EXCEEDED",
    "TOO_MANY_REGISTRATIONS",
    "INVALID_TARGET_VERSION",
];

/// Codes that speak of the device, not of the app.
const DEVICE_CODES: [&str; 3] = ["PHONE_REGISTRATION_ERROR", "AUTHENTICATION_FAILED", "RST"];

impl Error {
    /// Whether the same may succeed later. A network that answers for others, and whose certificates
    /// are not trusted, is left some time.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Endpoint(_) | Self::Roots(_) | Self::Seal(_) | Self::Store(_) | Self::State(_) => false,
            Self::Topic(..) => false,
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 500..),
            Self::Register(code) => !FINAL_CODES.iter().any(|known| code.contains(known)),
            _ => true,
        }
    }

    /// Whether the server may no longer know the device.
    pub(crate) fn doubts_device(&self) -> bool {
        match self {
            Self::LoginRefused { .. } => true,
            Self::Register(code) => DEVICE_CODES.iter().any(|known| code.contains(known)),
            _ => false,
        }
    }
}
