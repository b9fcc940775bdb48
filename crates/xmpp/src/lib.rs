//! The legacy XMPP connection server: app servers stay connected to it, send, and are sent what their
//! app instances have to say.
//!
//! A [`Listener`] accepts connections. Each is a socket and a [`session::Session`], the protocol as a
//! plain value.

mod listener;

mod connection;
mod downstream;
pub mod session;

mod counters;
mod refusals;

pub use counters::{NACKS, Snapshot};
pub use listener::{Clock, Limits, Listener, Parts};
