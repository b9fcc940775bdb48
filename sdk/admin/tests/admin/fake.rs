//! A server on loopback that answers as a test says, and remembers what it was asked.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cresset_admin_client::{Builder, Client, Credentials, Surroundings};
use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// What a client meets at the door.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Door {
    Plain,
    /// TLS, and only HTTP/1.1 behind it.
    Http1,
    /// TLS with HTTP/2.
    Http2,
}

/// A request, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// What is answered.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
    hangs_up: bool,
}

pub(crate) struct Fake {
    pub(crate) url: String,
    pub(crate) ca: Option<String>,
    state: Arc<State>,
}

struct State {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    /// One for each answer that may be given.
    permits: Semaphore,
    answer: Box<dyn Fn(&Seen) -> Reply + Send + Sync>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

impl Reply {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::text(status, &body.to_string())
    }

    pub(crate) fn text(status: u16, body: &str) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), hangs_up: false }
    }

    pub(crate) fn sent() -> Self {
        Self::json(200, &json!({ "name": "projects/demo/messages/0:1%2" }))
    }

    pub(crate) fn access_token(value: &str) -> Self {
        Self::json(200, &json!({ "access_token": value, "expires_in": 3_600, "token_type": "Bearer" }))
    }

    /// An error as FCM gives it; without a code of its own if `code` is empty.
    pub(crate) fn refusal(http: u16, status: &str, code: &str) -> Self {
        let detail =
            json!({ "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code });
        let details = if code.is_empty() { vec![] } else { vec![detail] };
        let error = json!({ "code": http, "message": "so it is", "status": status, "details": details });
        Self::json(http, &json!({ "error": error }))
    }

    pub(crate) fn busy() -> Self {
        Self::refusal(503, "UNAVAILABLE", "UNAVAILABLE")
    }

    /// The connection is closed instead.
    pub(crate) fn hang_up() -> Self {
        Self { hangs_up: true, ..Self::text(200, "") }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl Fake {
    pub(crate) async fn start(door: Door, answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let fake = Self::start_closed(door, answer).await;
        fake.let_answer(Semaphore::MAX_PERMITS);
        fake
    }

    /// Answers the first request with the first of `replies`, and so on; the last one again and again.
    pub(crate) async fn playing(replies: Vec<Reply>) -> Self {
        let next = AtomicUsize::new(0);
        Self::start(Door::Plain, move |_| {
            let index = next.fetch_add(1, Ordering::Relaxed).min(replies.len() - 1);
            replies[index].clone()
        })
        .await
    }

    /// Answers only as often as [`Fake::let_answer`] says.
    pub(crate) async fn start_closed(
        door: Door,
        answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tls, ca) = match door {
            Door::Plain => (None, None),
            Door::Http1 | Door::Http2 => {
                let (config, ca) = tls(door == Door::Http2);
                (Some(TlsAcceptor::from(config)), Some(ca))
            }
        };
        let state = Arc::new(State {
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            permits: Semaphore::new(0),
            answer: Box::new(answer),
        });
        let scheme = if tls.is_some() { "https" } else { "http" };
        let fake = Self { url: format!("{scheme}://localhost:{}", address.port()), ca, state: state.clone() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, tls) = (state.clone(), tls.clone());
                tokio::spawn(async move {
                    state.connections.fetch_add(1, Ordering::Relaxed);
                    match tls {
                        None => serve(TokioIo::new(stream), false, state).await,
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            serve(TokioIo::new(stream), door == Door::Http2, state).await;
                        }
                    }
                });
            }
        });
        fake
    }

    pub(crate) fn let_answer(&self, count: usize) {
        self.state.permits.add_permits(count);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// A client of this server that names nobody, and whose waits take no time.
    pub(crate) fn client(&self, still: &Arc<Still>) -> Client {
        self.builder(still).credentials(Credentials::none()).build().unwrap()
    }

    pub(crate) fn builder(&self, still: &Arc<Still>) -> Builder {
        let builder = Client::builder().base_url(&self.url).project("demo").surroundings(still.clone());
        match &self.ca {
            Some(ca) => builder.root_certificates(ca),
            None => builder,
        }
    }
}

async fn serve<I>(io: TokioIo<I>, http2: bool, state: Arc<State>)
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| respond(request, state.clone()));
    let _ = match http2 {
        true => {
            hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await
        }
        false => hyper::server::conn::http1::Builder::new().serve_connection(io, service).await,
    };
}

async fn respond(
    request: Request<Incoming>,
    state: Arc<State>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let seen = Seen {
        method: head.method.to_string(),
        path: head.uri.path_and_query().unwrap().to_string(),
        version: head.version,
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    state.seen.lock().unwrap().push(seen.clone());
    state.permits.acquire().await.unwrap().forget();
    let reply = (state.answer)(&seen);
    if reply.hangs_up {
        return Err(std::io::Error::other("as the test wants it"));
    }
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::from(reply.body)).unwrap())
}

/// A certificate for `localhost` of a CA of its own, and the CA.
fn tls(http2: bool) -> (Arc<ServerConfig>, String) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .unwrap();
    config.alpn_protocols = if http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { Vec::new() };
    (Arc::new(config), ca_pem)
}

/// Surroundings in which waiting takes no time, and is remembered.
#[derive(Default)]
pub(crate) struct Still {
    passed: Mutex<Duration>,
    waits: Mutex<Vec<Duration>>,
}

/// When tests take place.
pub(crate) const START: Duration = Duration::from_secs(784_111_777);

impl Still {
    pub(crate) fn waits_ms(&self) -> Vec<u128> {
        self.waits.lock().unwrap().iter().map(Duration::as_millis).collect()
    }

    pub(crate) fn pass(&self, time: Duration) {
        *self.passed.lock().unwrap() += time;
    }
}

impl Surroundings for Still {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + START + self.elapsed()
    }

    fn elapsed(&self) -> Duration {
        *self.passed.lock().unwrap()
    }

    fn chance(&self) -> f64 {
        1.0
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.waits.lock().unwrap().push(duration);
        self.pass(duration);
        Box::pin(std::future::ready(()))
    }
}

/// A service account's key file; making an RSA key takes a moment, so there is one for all tests.
pub(crate) fn key_file(more: &Value) -> String {
    static KEY: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let key = KEY.get_or_init(|| {
        let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
        key.serialize_pem()
    });
    let mut file = json!({
        "type": "service_account",
        "project_id": "demo",
        "private_key_id": "key-1",
        "private_key": key,
        "client_email": "svc@demo.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    });
    for (name, value) in more.as_object().unwrap() {
        file[name] = value.clone();
    }
    file.to_string()
}
