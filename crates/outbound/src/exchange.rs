//! One request and its answer, over either version of HTTP.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};

use crate::http1::Http1;
use crate::http2::Http2;

/// Bytes of an answer's body that are read: refusals have less than 500, and pages of HTML need not be
/// read to their end.
pub(crate) const MAX_BODY: usize = 4 * 1_024;

/// Bytes of an answer's header list.
pub(crate) const MAX_HEADERS: usize = 16 * 1_024;

/// A POST.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Host, with the port where it is not 443.
    pub(crate) authority: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// Its start: see [`MAX_BODY`].
    pub(crate) body: Bytes,
    /// Which of a pool's connections it came over.
    pub(crate) lane: u64,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(HeaderValue::to_str)?.ok()
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The peer certainly did nothing: it can be sent again at once, over another connection.
    NotProcessed(String),
    /// The peer may have done it. `whole`: the connection broke, not only this request.
    Broken {
        why: String,
        whole: bool,
    },
    /// As many requests wait as may.
    Full,
    /// No connection.
    Unreachable(String),
    /// Its addresses are not to be reached.
    Forbidden(String),
    TooSlow,
}

/// A connection that is open.
#[derive(Clone)]
pub(crate) enum Connection {
    Http1(Http1),
    Http2(Http2),
}

impl Connection {
    pub(crate) async fn exchange(&self, call: Call, patience: Duration) -> Result<Answer, Failure> {
        let answer = async {
            match self {
                Self::Http1(connection) => connection.exchange(call).await,
                Self::Http2(connection) => connection.exchange(call).await,
            }
        };
        tokio::time::timeout(patience, answer).await.unwrap_or(Err(Failure::TooSlow))
    }
}

/// The start of a body, which comes in pieces.
#[derive(Default)]
pub(crate) struct Start(BytesMut);

impl Start {
    /// Whether more is wanted.
    pub(crate) fn push(&mut self, piece: &[u8]) -> bool {
        let room = MAX_BODY - self.0.len();
        self.0.extend_from_slice(&piece[..piece.len().min(room)]);
        piece.len() <= room
    }

    pub(crate) fn finish(self) -> Bytes {
        self.0.freeze()
    }
}
