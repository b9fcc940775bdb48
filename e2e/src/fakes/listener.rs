//! Connections of a fake: TLS, both versions of HTTP, and the faults that were asked for.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::frames::{Tongue, between};
use super::{Answer, Authority, FakeError, Fault, Request, lock};

/// Bytes of a request's body that are read.
const MAX_BODY: usize = 64 * 1_024;

/// What a fake thinks of requests.
pub(super) trait Judge: Send + Sync + 'static {
    fn judge(&self, request: &Request) -> Answer;

    /// How many streams are allowed at first; and after an answer, if it changes something.
    fn first_streams(&self) -> Option<u32>;
    fn streams_after(&self, connection: u64, answer: &Answer) -> Option<u32>;
}

/// Which versions of HTTP are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    Both,
    Http1,
    Http2,
}

/// What came so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub connections: u64,
    pub requests: u64,
    /// Requests at a time on one connection, the most there were.
    pub most_at_once: u64,
}

/// The connections of a fake: what came on them, and what is to go wrong. They end with it.
pub struct Listener {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    judge: Arc<dyn Judge>,
    http2_only: bool,
    faults: Mutex<VecDeque<Fault>>,
    refusing: AtomicBool,
    connections: AtomicU64,
    requests: AtomicU64,
    most_at_once: AtomicU64,
    tongues: Mutex<HashMap<u64, Tongue>>,
    /// Connections on which a fault ended what was on its way, or may have.
    troubled: Mutex<HashSet<u64>>,
}

impl Listener {
    pub(super) async fn start(
        authority: &Authority,
        names: &[String],
        protocols: Protocols,
        port: u16,
        judge: Arc<dyn Judge>,
    ) -> Result<Self, FakeError> {
        let offered: &[&[u8]] = match protocols {
            Protocols::Both => &[b"h2", b"http/1.1"],
            Protocols::Http1 => &[b"http/1.1"],
            Protocols::Http2 => &[b"h2"],
        };
        let tls = authority.server(names, offered)?;
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = socket.local_addr()?;
        let shared = Arc::new(Shared {
            judge,
            http2_only: protocols == Protocols::Http2,
            faults: Mutex::default(),
            refusing: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            most_at_once: AtomicU64::new(0),
            tongues: Mutex::default(),
            troubled: Mutex::default(),
        });
        let task = tokio::spawn(accept(socket, tls, Arc::clone(&shared)));
        Ok(Self { address, shared, task })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next requests meet this.
    pub fn next(&self, count: usize, fault: &Fault) {
        lock(&self.shared.faults).extend(std::iter::repeat_n(fault.clone(), count));
    }

    /// Faults that no request has met yet.
    pub fn faults_left(&self) -> usize {
        lock(&self.shared.faults).len()
    }

    pub fn forget_faults(&self) {
        lock(&self.shared.faults).clear();
    }

    /// The connections that a fault has hit, so that an answer may not have got through.
    pub fn troubled(&self) -> HashSet<u64> {
        lock(&self.shared.troubled).clone()
    }

    pub fn refuse_connections(&self, refuse: bool) {
        self.shared.refusing.store(refuse, Ordering::SeqCst);
    }

    pub fn counts(&self) -> Counts {
        Counts {
            connections: self.shared.connections.load(Ordering::SeqCst),
            requests: self.shared.requests.load(Ordering::SeqCst),
            most_at_once: self.shared.most_at_once.load(Ordering::SeqCst),
        }
    }

    /// On all HTTP/2 connections there are.
    pub async fn set_streams(&self, most: u32) {
        for tongue in self.tongues() {
            tongue.streams(most).await;
        }
    }

    pub async fn cut_all(&self) {
        let all: Vec<_> =
            lock(&self.shared.tongues).iter().map(|(id, tongue)| (*id, tongue.clone())).collect();
        for (connection, tongue) in all {
            self.shared.trouble(connection);
            tongue.cut().await;
        }
    }

    fn tongues(&self) -> Vec<Tongue> {
        lock(&self.shared.tongues).values().cloned().collect()
    }
}

impl Shared {
    fn trouble(&self, connection: u64) {
        lock(&self.troubled).insert(connection);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(socket: TcpListener, tls: Arc<ServerConfig>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = socket.accept() => {
                if shared.refusing.load(Ordering::SeqCst) {
                    // Before TLS: as a service that is down behind its load balancer.
                    continue;
                }
                let (tls, shared) = (Arc::clone(&tls), Arc::clone(&shared));
                connections.spawn(async move { serve(stream, tls, shared).await });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// `None`: the client did not get as far as a request.
async fn serve(stream: TcpStream, tls: Arc<ServerConfig>, shared: Arc<Shared>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let stream = TlsAcceptor::from(tls).accept(stream).await.ok()?;
    let connection = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
    let session = stream.get_ref().1;
    let certificate = session.peer_certificates().and_then(|chain| chain.first()).map(|first| first.to_vec());
    // APNs speaks nothing else, and asks nobody (aioapns does not negotiate).
    let is_http2 = shared.http2_only || session.alpn_protocol() == Some(b"h2");
    let client = Client { shared, connection, certificate };
    if is_http2 {
        client.http2(stream).await
    } else {
        client.http1(stream).await
    }
    Some(())
}

/// One connection.
#[derive(Clone)]
struct Client {
    shared: Arc<Shared>,
    connection: u64,
    certificate: Option<Vec<u8>>,
}

type Tls = tokio_rustls::server::TlsStream<TcpStream>;

impl Client {
    async fn http2(self, stream: Tls) {
        let (io, tongue, pump) = between(stream, self.shared.judge.first_streams());
        lock(&self.shared.tongues).insert(self.connection, tongue.clone());
        let requests = async {
            let mut streams = JoinSet::new();
            let mut server = h2::server::Builder::new().handshake::<_, Bytes>(io).await?;
            let ledger: Arc<Mutex<Ledger>> = Arc::default();
            let flying = Arc::new(AtomicU64::new(0));
            while let Some(accepted) = server.accept().await {
                let (request, respond) = accepted?;
                let at_once = flying.fetch_add(1, Ordering::SeqCst) + 1;
                self.shared.most_at_once.fetch_max(at_once, Ordering::SeqCst);
                let stream = Stream {
                    client: self.clone(),
                    tongue: tongue.clone(),
                    ledger: Arc::clone(&ledger),
                    flying: Arc::clone(&flying),
                };
                streams.spawn(stream.answer(request, respond));
                while streams.try_join_next().is_some() {}
            }
            Ok::<(), h2::Error>(())
        };
        tokio::select! {
            () = pump => {}
            // The last frames are the pump's to write; it ends when the client does.
            _ = async { drop(requests.await); std::future::pending::<()>().await } => {}
        }
        lock(&self.shared.tongues).remove(&self.connection);
    }

    async fn http1(self, stream: Tls) {
        let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let client = self.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = http_body_util::Limited::new(body, MAX_BODY).collect().await;
                let body = body.map_err(|_| "the body is too long")?.to_bytes();
                let request = client.request(head, body);
                let answer = client.plain(&request).await.ok_or("cut")?;
                let mut response = http::Response::builder().status(answer.status);
                for (name, value) in answer.headers {
                    response = response.header(name, value);
                }
                response.body(Full::new(Bytes::from(answer.body))).map_err(|_| "the answer is none")
            }
        });
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        drop(connection.await);
    }

    /// `None`: the connection is cut.
    async fn plain(&self, request: &Request) -> Option<Answer> {
        match self.fault() {
            Some(Fault::Answer(answer)) => Some(answer),
            Some(Fault::Delay(wait)) => {
                tokio::time::sleep(wait).await;
                Some(self.shared.judge.judge(request))
            }
            Some(Fault::Never | Fault::Freeze) => std::future::pending().await,
            Some(Fault::CutAfter) => {
                self.shared.judge.judge(request);
                None
            }
            Some(Fault::Cut | Fault::Reset(_) | Fault::GoAway(_) | Fault::GoAwayAfter(_)) => None,
            Some(Fault::Streams(_)) | None => Some(self.shared.judge.judge(request)),
        }
    }

    fn fault(&self) -> Option<Fault> {
        let fault = lock(&self.shared.faults).pop_front();
        if matches!(
            fault,
            Some(Fault::GoAway(_) | Fault::GoAwayAfter(_) | Fault::CutAfter | Fault::Cut | Fault::Freeze)
        ) {
            self.shared.trouble(self.connection);
        }
        fault
    }

    fn request(&self, head: http::request::Parts, body: Bytes) -> Request {
        self.shared.requests.fetch_add(1, Ordering::SeqCst);
        Request {
            connection: self.connection,
            method: head.method,
            path: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            headers: head.headers,
            body,
            certificate: self.certificate.clone(),
        }
    }
}

/// One request over HTTP/2.
struct Stream {
    client: Client,
    tongue: Tongue,
    ledger: Arc<Mutex<Ledger>>,
    flying: Arc<AtomicU64>,
}

/// What a GOAWAY may say: no stream is processed above its last, and all that were are below.
#[derive(Default)]
struct Ledger {
    highest: u32,
    last: Option<u32>,
}

impl Ledger {
    /// Whether this stream is to be processed; from then on it counts as such.
    fn process(&mut self, id: u32) -> bool {
        let process = self.last.is_none_or(|last| id <= last);
        if process {
            self.highest = self.highest.max(id);
        }
        process
    }

    /// The last stream for a GOAWAY that is to be `id` or a later one that was processed already.
    fn end(&mut self, id: u32) -> u32 {
        let last = id.max(self.highest);
        *self.last.insert(self.last.map_or(last, |before| before.min(last)))
    }
}

type Respond = h2::server::SendResponse<Bytes>;

impl Stream {
    async fn answer(self, request: http::Request<h2::RecvStream>, mut respond: Respond) {
        let (head, body) = request.into_parts();
        let Some(body) = read(body).await else { return };
        let request = self.client.request(head, body);
        let id = u32::from(respond.stream_id());
        let fault = self.client.fault();
        if let Some(Fault::GoAway(text)) = &fault {
            let last = lock(&self.ledger).end(id.saturating_sub(2));
            self.tongue.go_away(last, text).await;
        }
        if !lock(&self.ledger).process(id) {
            return std::future::pending().await;
        }
        let judge = || self.client.shared.judge.judge(&request);
        let answer = match fault {
            // Later ones were processed already, and so this must be.
            None | Some(Fault::GoAway(_)) => judge(),
            Some(Fault::Answer(answer)) => answer,
            Some(Fault::Delay(wait)) => {
                tokio::time::sleep(wait).await;
                judge()
            }
            Some(Fault::Never) => return std::future::pending().await,
            Some(Fault::Reset(code)) => return respond.send_reset(code.into()),
            Some(Fault::GoAwayAfter(text)) => {
                let last = lock(&self.ledger).end(id);
                self.tongue.go_away(last, &text).await;
                judge()
            }
            Some(Fault::CutAfter) => {
                judge();
                return self.tongue.cut().await;
            }
            Some(Fault::Cut) => return self.tongue.cut().await,
            Some(Fault::Freeze) => {
                self.tongue.freeze().await;
                return std::future::pending().await;
            }
            Some(Fault::Streams(most)) => {
                self.tongue.streams(most).await;
                judge()
            }
        };
        self.send(&mut respond, answer).await;
    }

    async fn send(&self, respond: &mut Respond, answer: Answer) {
        if let Some(most) = self.client.shared.judge.streams_after(self.client.connection, &answer) {
            self.tongue.streams(most).await;
        }
        self.flying.fetch_sub(1, Ordering::SeqCst);
        let mut response = http::Response::builder().status(answer.status);
        for (name, value) in answer.headers {
            response = response.header(name, value);
        }
        let Ok(response) = response.body(()) else { return };
        if let Ok(mut stream) = respond.send_response(response, answer.body.is_empty())
            && !answer.body.is_empty()
        {
            drop(stream.send_data(Bytes::from(answer.body), true));
        }
    }
}

async fn read(mut body: h2::RecvStream) -> Option<Bytes> {
    let mut whole = BytesMut::new();
    while let Some(piece) = body.data().await {
        let piece = piece.ok()?;
        drop(body.flow_control().release_capacity(piece.len()));
        if whole.len() + piece.len() > MAX_BODY {
            return None;
        }
        whole.extend_from_slice(&piece);
    }
    Some(whole.freeze())
}
