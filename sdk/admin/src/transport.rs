//! HTTP/2 where the server offers it, else HTTP/1.1, over connections that are kept.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{HttpConnector, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OwnedMutexGuard;

use crate::retry::{Deadline, retry_after};
use crate::{Error, Surroundings};

/// Far more than any answer there is: the longest tells of 1,000 tokens in some 40 kB.
const LONGEST_ANSWER: usize = 1 << 20;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Google's front ends keep idle connections for some four minutes; many a NAT for less.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection on which requests wait in vain is asked whether it lives, and given up within the
/// time for one try: the next one then has a connection of its own.
const PING_AFTER: Duration = Duration::from_secs(8);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends one request, once.
pub(crate) struct Transport {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    turns: Mutex<HashMap<String, Arc<Turns>>>,
    pub(crate) surroundings: Arc<dyn Surroundings>,
    /// The longest that one try takes.
    attempt_timeout: Duration,
}

/// An answer, whatever it says.
pub(crate) struct Answer {
    pub(crate) host: Arc<str>,
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Bytes,
}

impl Transport {
    pub(crate) fn new(
        roots: RootCertStore,
        attempt_timeout: Duration,
        surroundings: Arc<dyn Surroundings>,
    ) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::setup(format!("TLS cannot be used: {error}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http2_keep_alive_interval(PING_AFTER)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .build(connector);
        Ok(Self { client, turns: Mutex::default(), surroundings, attempt_timeout })
    }

    /// The answer to `request`, if it comes in time.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        deadline: Deadline,
    ) -> Result<Answer, Error> {
        let host: Arc<str> = request.uri().authority().map_or("", |authority| authority.as_str()).into();
        let time = self.attempt_timeout.min(deadline.left(&*self.surroundings));
        let answered = tokio::time::timeout(time, self.exchange(request, host.clone())).await;
        answered.unwrap_or(Err(Error::TimedOut { host, after: time }))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>, host: Arc<str>) -> Result<Answer, Error> {
        let response = self.respond(request).await.map_err(|error| failed(host.clone(), &error))?;
        let status = response.status().as_u16();
        let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = header.and_then(|header| retry_after(header, self.surroundings.now()));
        match Limited::new(response.into_body(), LONGEST_ANSWER).collect().await {
            Ok(body) => Ok(Answer { host, status, retry_after, body: body.to_bytes() }),
            // Not as if there were no answer: what was asked for has been done, or refused.
            Err(error) => {
                let reason = match error.downcast_ref::<LengthLimitError>() {
                    Some(_) => format!("more than {LONGEST_ANSWER} bytes"),
                    None => format!("it broke off: {}", told(&*error)),
                };
                Err(Error::Unexpected { host, http_status: status, reason: reason.into() })
            }
        }
    }

    async fn respond(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, hyper_util::client::legacy::Error> {
        let Some(turns) = self.turns(request.uri()) else { return self.client.request(request).await };
        let Some(turn) = turns.take().await else { return self.client.request(request).await };
        let mut connection = capture_connection(&mut request);
        let mut response = std::pin::pin!(self.client.request(request));
        tokio::select! {
            biased;
            // A refused connection: the next in turn may find a better one.
            response = &mut response => return response,
            known = connection.wait_for_connection_metadata() => {
                if let Some(known) = &*known {
                    turns.connected(known.is_negotiated_h2());
                }
            }
        }
        drop(turn);
        response.await
    }

    /// Those who want a connection to a host; `None` where HTTP/2 is not to be had.
    fn turns(&self, uri: &http::Uri) -> Option<Arc<Turns>> {
        if uri.scheme() != Some(&http::uri::Scheme::HTTPS) {
            return None;
        }
        let host = uri.authority()?.as_str();
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = turns.get(host) {
            return Some(known.clone());
        }
        Some(turns.entry(host.to_owned()).or_default().clone())
    }
}

/// Requests take their connection one after the other, for as long as the host speaks HTTP/2: a
/// burst of a hundred would otherwise open a hundred connections to learn that one serves them all.
#[derive(Default)]
struct Turns {
    speaks_http1: AtomicBool,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Turns {
    /// `None`: no turns are taken.
    async fn take(&self) -> Option<OwnedMutexGuard<()>> {
        if self.speaks_http1.load(Ordering::Relaxed) {
            return None;
        }
        let turn = self.turn.clone().lock_owned().await;
        // Learned while waiting.
        (!self.speaks_http1.load(Ordering::Relaxed)).then_some(turn)
    }

    fn connected(&self, by_http2: bool) {
        self.speaks_http1.store(!by_http2, Ordering::Relaxed);
    }
}

/// The system's certificates (or those that `SSL_CERT_FILE` names instead), and `extra` ones.
pub(crate) fn roots(extra: &[String]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    // A machine without any may still have extra ones; a host that is not trusted is told of then.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for pem in extra {
        let bad = |why: &dyn std::fmt::Display| {
            Error::setup(format!("the extra root certificates cannot be read: {why}"))
        };
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            roots.add(certificate.map_err(|error| bad(&error))?).map_err(|error| bad(&error))?;
        }
        if roots.len() == before {
            return Err(bad(&"no certificate is in them"));
        }
    }
    Ok(roots)
}

fn failed(host: Arc<str>, error: &hyper_util::client::legacy::Error) -> Error {
    let reason = told(error).into();
    if is_about_trust(error) {
        Error::Untrusted { host, reason }
    } else {
        Error::Unreachable { host, reason }
    }
}

/// A certificate that does not convince now will not later.
fn is_about_trust(error: &(dyn StdError + 'static)) -> bool {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return matches!(tls, rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented);
    }
    // An I/O error passes over what it holds when it is asked for its source.
    let held = error.downcast_ref::<io::Error>().and_then(|error| error.get_ref());
    match held {
        Some(held) => is_about_trust(held),
        None => error.source().is_some_and(is_about_trust),
    }
}

/// An error with its causes: the first one alone says little.
fn told(error: &(dyn StdError + 'static)) -> String {
    let mut told: Vec<String> = Vec::new();
    for cause in causes(error).map(ToString::to_string) {
        if !told.last().is_some_and(|last| last.contains(&cause)) {
            told.push(cause);
        }
    }
    told.join(": ")
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}
