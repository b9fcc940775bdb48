//! The HTTP listeners: sockets, TLS, HTTP/1.1 and HTTP/2, and how they end.

pub(crate) mod door;
pub(crate) mod front;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use cresset_admission::accept;
use cresset_device::mozilla::Peer;
use cresset_wire::http2::Repair;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::failure::Failure;
use crate::server::stopped;
use door::{Door, Refusal, Visit};
use front::Front;

/// Time from the first byte to the first request, and for the headers of each.
const PATIENCE: Duration = Duration::from_secs(30);

/// Streams of one HTTP/2 connection at a time: the SDKs count on 100 (`protocol/http-v1.md` §1.1),
/// and Node's sends 500 in a burst.
const MAX_STREAMS: u32 = 500;

/// Bytes of one request's headers. Access tokens may have 2 KB, cookies do not come here.
const MAX_HEADERS: u32 = 64 * 1_024;

/// Binds, or says in one line why not.
pub(crate) fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener, Failure> {
    let bound = std::net::TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    });
    bound.map_err(|e| match e.kind() {
        io::ErrorKind::AddrInUse => Failure::new(format!(
            "{address} is in use by another process; stop it, or choose another port with {flag}"
        )),
        io::ErrorKind::PermissionDenied => {
            Failure::new(format!("{address}: permission denied; choose a port above 1023 with {flag}"))
        }
        _ => Failure::new(format!("cannot listen on {address}: {e}")),
    })
}

/// What every HTTP listener shares.
#[derive(Clone)]
pub(crate) struct Http {
    pub front: Front,
    pub door: Arc<Door>,
    /// Turns true when the server is to end.
    pub stop: watch::Receiver<bool>,
}

impl Http {
    /// Serves until told to stop, then until the connections are done.
    pub(crate) async fn serve(self, listener: TcpListener, tls: Option<TlsAcceptor>) {
        let mut stop = self.stop.clone();
        let connections = tracker::Tracker::default();
        loop {
            let (stream, peer) = tokio::select! {
                accepted = accept(&listener, |e| self.door.accept_failed(&e)) => accepted,
                () = stopped(&mut stop) => break,
            };
            // Who is to be refused is refused at once, also while others wait for room.
            let Some(places) = self.door.places(peer.ip()) else { continue };
            let permit = tokio::select! {
                permit = self.door.room() => permit,
                () = stopped(&mut stop) => break,
            };
            let visit = self.door.enter(places, permit);
            let http = self.clone();
            let tls = tls.clone();
            let guard = connections.enter();
            tokio::spawn(async move {
                http.connection(stream, peer, tls, visit).await;
                drop(guard);
            });
        }
        drop(listener);
        connections.all_left().await;
    }

    async fn connection(
        self,
        stream: TcpStream,
        peer: SocketAddr,
        tls: Option<TlsAcceptor>,
        visit: Arc<Visit>,
    ) {
        let _ = stream.set_nodelay(true);
        let peer = Peer { address: peer.ip(), secure: tls.is_some() };
        let Some(tls) = tls else {
            return self.requests(TokioIo::new(stream), Protocol::Any, peer, visit).await;
        };
        let mut stop = self.stop.clone();
        let handshake = tokio::select! {
            handshake = tls.accept(stream) => handshake,
            refusal = visit.too_silent() => return visit.give_up(refusal),
            () = stopped(&mut stop) => return,
        };
        let stream = match handshake {
            Ok(stream) => stream,
            Err(e) => {
                return visit.door.refuse(Refusal::TlsFailed, || format!("a TLS handshake failed: {e}"));
            }
        };
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            self.requests(TokioIo::new(Mended::new(stream)), Protocol::Http2, peer, visit).await;
        } else {
            self.requests(TokioIo::new(stream), Protocol::Any, peer, visit).await;
        }
    }

    async fn requests<I>(self, io: I, protocol: Protocol, peer: Peer, visit: Arc<Visit>)
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let mut stop = self.stop;
        let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADERS)
            .keep_alive_interval(Duration::from_secs(60))
            .keep_alive_timeout(PATIENCE);
        if let Protocol::Http2 = protocol {
            builder = builder.http2_only();
        }
        let front = self.front;
        let service = hyper::service::service_fn({
            let visit = visit.clone();
            move |mut request: hyper::Request<hyper::body::Incoming>| {
                visit.asks();
                request.extensions_mut().insert(peer);
                front.answer(request)
            }
        });
        // A browser that stays is no longer a visitor: it has a place of its own (`device::mozilla`).
        let connection = builder.serve_connection_with_upgrades(io, service);
        tokio::pin!(connection);
        // The library waits for ever for the first byte, which tells the protocol.
        let silent = visit.too_silent();
        tokio::pin!(silent);
        let (mut stopping, mut waiting) = (false, true);
        let ended = loop {
            tokio::select! {
                ended = connection.as_mut() => break ended,
                () = stopped(&mut stop), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                refusal = silent.as_mut(), if waiting => {
                    waiting = false;
                    if !visit.has_asked() {
                        return visit.give_up(refusal);
                    }
                }
            }
        };
        match ended {
            Err(e) if is_unreadable(&*e) => {
                visit.door.refuse(Refusal::Unreadable, || format!("a connection is no HTTP: {e}"));
            }
            Err(e) => tracing::debug!("a connection ended: {e}"),
            Ok(()) => {}
        }
    }
}

fn is_unreadable(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse)
}

enum Protocol {
    /// HTTP/1.1, or HTTP/2 by its preface.
    Any,
    Http2,
}

/// A connection whose HTTP/2 header blocks are mended before HTTP/2 is spoken, for as long as they
/// need it (`protocol/http-v1.md` §1.1).
struct Mended<S> {
    stream: S,
    repair: Option<Repair>,
    /// Mended, not yet read.
    ready: Vec<u8>,
    at: usize,
}

/// Read from the connection at a time, while it is being mended.
const CHUNK: usize = 16 * 1_024;

impl<S> Mended<S> {
    fn new(stream: S) -> Self {
        Self { stream, repair: Some(Repair::new()), ready: Vec::new(), at: 0 }
    }

    fn give(&mut self, out: &mut ReadBuf<'_>) {
        let give = out.remaining().min(self.ready.len() - self.at);
        out.put_slice(&self.ready[self.at..self.at + give]);
        self.at += give;
        if self.at == self.ready.len() {
            self.at = 0;
            self.ready.clear();
            if self.repair.as_ref().is_some_and(Repair::is_transparent) {
                self.repair = None;
                self.ready = Vec::new();
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Mended<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.at < this.ready.len() {
                this.give(out);
                return Poll::Ready(Ok(()));
            }
            let Some(repair) = &mut this.repair else {
                return Pin::new(&mut this.stream).poll_read(cx, out);
            };
            let mut chunk = [0; CHUNK];
            let mut read = ReadBuf::new(&mut chunk);
            std::task::ready!(Pin::new(&mut this.stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            repair.feed(read.filled(), &mut this.ready).map_err(io::Error::other)?;
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Mended<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Counts those inside, so that the last one out can be waited for.
mod tracker {
    use tokio::sync::watch;

    pub(super) struct Tracker(watch::Sender<()>);

    pub(super) struct Guard(#[expect(dead_code, reason = "held, not read")] watch::Receiver<()>);

    impl Default for Tracker {
        fn default() -> Self {
            Self(watch::channel(()).0)
        }
    }

    impl Tracker {
        pub(super) fn enter(&self) -> Guard {
            Guard(self.0.subscribe())
        }

        pub(super) async fn all_left(self) {
            self.0.closed().await;
        }
    }
}
