//! Mozilla's push protocol, by which Firefox is a device (`protocol/web-push.md` §2.4): WebSockets at `/`
//! of the HTTP listeners.
//!
//! [`Browsers`] is the carrier for those who are connected. Each connection is a WebSocket and a
//! [`session::Session`], the protocol as a plain value.

mod browsers;

mod connection;
pub mod session;

mod backend;
mod counters;

pub use backend::Channels;
pub use browsers::{Browsers, Limits, Origin, Parts, Peer};
pub use counters::Snapshot;
