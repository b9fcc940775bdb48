//! APNs: one notification for one device token, under the credential of its app.

mod answer;
mod client;
mod credentials;
mod provider_token;
mod request;

pub use answer::{ROWS, Row, Verdict, judge};
pub use client::{Client, Config, Host};
pub use credentials::{Credential, CredentialError, Credentials};
pub use request::{Push, apns_id};

/// The two that Apple runs. A device token belongs to one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Environment {
    Production,
    /// Of apps that run out of Xcode.
    Sandbox,
}

impl Environment {
    pub const fn other(self) -> Self {
        match self {
            Self::Production => Self::Sandbox,
            Self::Sandbox => Self::Production,
        }
    }
}
