//! The TLS listener that devices stay connected to.
//!
//! A [`Listener`] accepts connections and is the carrier for the devices behind them. Each
//! connection is a socket and a [`session::Session`], the protocol as a plain value.

mod listener;

mod connection;
pub mod session;

mod addresses;
mod backend;
mod counters;
mod newcomers;
mod refusals;
mod registry;
mod tls;

pub use addresses::{PerAddress, Place};
pub use backend::{Answer, BackendError, Inbox, Logins};
pub use counters::Snapshot;
pub use listener::{Clock, Limits, Listener, Parts};
pub use refusals::RareLog;
pub use tls::server_config;
