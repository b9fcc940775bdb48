//! An HTTP/2 connection: requests on it, and what its driver has to tell.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong, Reason};
use http::{Method, Request, Uri};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};

use crate::exchange::{Answer, Call, Failure, MAX_HEADERS, Start};

/// How often a peer is asked whether it is still there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeepAlive {
    /// While requests are on their way.
    pub(crate) busy: Duration,
    pub(crate) idle: Duration,
    /// Until the answer.
    pub(crate) patience: Duration,
}

/// What happens to a connection.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// So many requests at a time are allowed from now on.
    Limit(usize),
    Closed(String),
}

#[derive(Clone)]
pub(crate) struct Http2 {
    send: SendRequest<Bytes>,
    flying: Arc<AtomicUsize>,
}

/// What the driver polls.
pub(crate) struct Driver<T: AsyncRead + AsyncWrite + Unpin> {
    connection: Connection<T, Bytes>,
    flying: Arc<AtomicUsize>,
}

pub(crate) async fn open<T>(io: T) -> Result<(Http2, Driver<T>), h2::Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (send, connection) = Builder::new()
        // One until the peer has told how many.
        .initial_max_send_streams(1)
        .enable_push(false)
        .max_header_list_size(MAX_HEADERS as u32)
        .max_send_buffer_size(64 * 1_024)
        .handshake(io)
        .await?;
    let flying = Arc::new(AtomicUsize::new(0));
    Ok((Http2 { send, flying: Arc::clone(&flying) }, Driver { connection, flying }))
}

impl Http2 {
    pub(crate) async fn exchange(&self, call: Call) -> Result<Answer, Failure> {
        let _flying = Flying::new(&self.flying);
        let request = request(&call)?;
        let not_sent = |e: h2::Error| Failure::NotProcessed(told(&e));
        let mut send = self.send.clone().ready().await.map_err(not_sent)?;
        let (answer, mut stream) = send.send_request(request, call.body.is_empty()).map_err(not_sent)?;
        if !call.body.is_empty() {
            // An answer may come first, and the body is not wanted any more.
            drop(stream.send_data(call.body, true));
        }
        let (head, mut body) = answer.await.map_err(|e| failure(&e))?.into_parts();
        let mut start = Start::default();
        while let Some(piece) = body.data().await {
            // What is there tells more than that the rest is missing.
            let Ok(piece) = piece else { break };
            let wants_more = start.push(&piece);
            drop(body.flow_control().release_capacity(piece.len()));
            if !wants_more {
                break;
            }
        }
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: start.finish(), lane: 0 })
    }
}

fn request(call: &Call) -> Result<Request<()>, Failure> {
    let uri = Uri::builder().scheme("https").authority(call.authority.as_str());
    let uri = uri.path_and_query(call.path.as_str()).build();
    let request = uri.and_then(|uri| Request::builder().method(Method::POST).uri(uri).body(()));
    // Hosts and paths are checked when they are read.
    let mut request = request.map_err(|e| Failure::Unreachable(e.to_string()))?;
    *request.headers_mut() = call.headers.clone();
    Ok(request)
}

/// RFC 9113 §6.8 and §8.7: above the last stream of a GOAWAY, and refused, is never processed. `h2` gives
/// the error of a remote GOAWAY to the streams above the last one only.
fn failure(error: &h2::Error) -> Failure {
    let refused = error.reason() == Some(Reason::REFUSED_STREAM) && error.is_reset();
    if refused || (error.is_go_away() && error.is_remote()) {
        return Failure::NotProcessed(told(error));
    }
    Failure::Broken { why: told(error), whole: !error.is_reset() }
}

/// The peer's own words, which `h2` shows with quotes and escapes.
fn told(error: &h2::Error) -> String {
    error.to_string().replace('\\', "")
}

struct Flying<'a>(&'a AtomicUsize);

impl<'a> Flying<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Flying<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    /// Until the connection ends. Without it nothing moves.
    pub(crate) async fn drive(mut self, keep_alive: KeepAlive, tell: impl Fn(LinkEvent)) {
        let mut pulse = self.connection.ping_pong().map(|pings| Pulse::new(pings, keep_alive));
        let mut limit = None;
        let why = poll_fn(|cx| {
            if let Poll::Ready(end) = Pin::new(&mut self.connection).poll(cx) {
                return Poll::Ready(end.err().map_or_else(|| "closed".to_owned(), |e| told(&e)));
            }
            let now = self.connection.max_concurrent_send_streams();
            if limit.replace(now) != Some(now) {
                tell(LinkEvent::Limit(now));
            }
            let busy = self.flying.load(Ordering::Relaxed) > 0;
            match pulse.as_mut().map(|pulse| pulse.poll(busy, cx)) {
                Some(Poll::Ready(())) => Poll::Ready("no answer to a PING".to_owned()),
                _ => Poll::Pending,
            }
        })
        .await;
        tell(LinkEvent::Closed(why));
    }
}

/// PINGs, and whether they are answered.
struct Pulse {
    pings: PingPong,
    keep_alive: KeepAlive,
    timer: Pin<Box<Sleep>>,
    last: Instant,
    asked: bool,
}

impl Pulse {
    fn new(pings: PingPong, keep_alive: KeepAlive) -> Self {
        let timer = Box::pin(tokio::time::sleep(keep_alive.busy));
        Self { pings, keep_alive, timer, last: Instant::now(), asked: false }
    }

    /// Ready when the peer is gone.
    fn poll(&mut self, busy: bool, cx: &mut Context<'_>) -> Poll<()> {
        if self.asked && self.pings.poll_pong(cx).is_ready() {
            self.asked = false;
            self.last = Instant::now();
            self.timer.as_mut().reset(self.last + self.keep_alive.busy);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.asked {
                return Poll::Ready(());
            }
            self.beat(busy);
        }
        Poll::Pending
    }

    fn beat(&mut self, busy: bool) {
        let now = Instant::now();
        let due = busy || now.duration_since(self.last) >= self.keep_alive.idle;
        self.asked = due && self.pings.send_ping(Ping::opaque()).is_ok();
        let wait = if self.asked { self.keep_alive.patience } else { self.keep_alive.busy };
        self.timer.as_mut().reset(now + wait);
    }
}
