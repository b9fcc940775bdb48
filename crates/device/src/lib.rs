//! The connections that devices stay on: MCS over TLS, and what browsers of Mozilla's speak over WebSockets.
//!
//! A [`Listener`] accepts connections and is the carrier for the devices behind them. Each
//! connection is a socket and a [`session::Session`], the protocol as a plain value.

mod listener;

mod connection;
pub mod session;

mod backend;
mod counters;
pub mod mozilla;
mod refusals;
mod tls;

pub use backend::{Answer, BackendError, Inbox, Logins};
pub use counters::Snapshot;
pub use listener::{Clock, Limits, Listener, Parts};
pub use tls::server_config;
