//! Push services of others, on loopback: what they check is checked, what they do wrong can be asked for.
//!
//! The tests of `outbound` include this folder as it is, so it names nothing of its crate.

mod apns;
mod authority;
mod frames;
mod listener;
mod push_service;
mod refusal;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cresset_message::Timestamp;

pub use apns::{Apns, ApnsConfig, Notification};
pub use authority::{Authority, ClientIdentity};
pub use listener::{Counts, Listener, Protocols};
pub use push_service::{Arrival, PushService, PushServiceConfig, Style, Subscription};

pub type FakeError = Box<dyn std::error::Error + Send + Sync>;

/// What a fake takes for the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// Connections are counted from 1.
    pub connection: u64,
    pub method: http::Method,
    pub path: String,
    pub headers: http::HeaderMap,
    pub body: bytes::Bytes,
    /// What the client showed in TLS, and the CA of the fake signed.
    pub certificate: Option<Vec<u8>>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// How often a header stands there.
    pub(crate) fn times(&self, name: &str) -> usize {
        self.headers.get_all(name).iter().count()
    }
}

/// An answer, before it goes out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// What goes wrong with one request. Without one it is judged and answered.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Answered so, whatever it is; it is not taken.
    Answer(Answer),
    /// Taken, but answered so much later.
    Delay(Duration),
    /// Never answered, and not taken.
    Never,
    /// The stream is reset with this code; not taken.
    Reset(u32),
    /// The connection ends with a GOAWAY that holds this text. The request is not processed, nor are
    /// later ones.
    GoAway(String),
    /// The same; but this request counts as processed: it is taken and answered.
    GoAwayAfter(String),
    /// The connection is cut without a word after the request was taken.
    CutAfter,
    /// The connection is cut without a word; not taken.
    Cut,
    /// The connection stays open, but nothing is said on it any more; not taken.
    Freeze,
    /// So many streams are allowed from now on; then the request is taken as usual.
    Streams(u32),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
