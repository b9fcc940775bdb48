//! One attempt: sealed, signed, sent, and its answer judged.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cresset_message::Timestamp;
use cresset_wire::webpush::{KeyReuse, Sealer, WebPushError, aes128gcm};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::Instant;

use super::Endpoint;
use super::answer::{self, Verdict};
use super::origins::{Origin, Origins};
use super::request::{self, Push};
use super::tokens::Tokens;
use crate::dial::{Dialler, Proxy};
use crate::exchange::{Answer, Call, Failure};
use crate::http2::KeepAlive;
use crate::lanes::Policy;
use crate::pool::{Patience, Pool};
use crate::resolve::{HostPattern, Resolve};
use crate::tls::{self, TlsError};
use crate::{Blame, Outcome, Randomness, Scope, Told};

/// What an operator can set.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whom to trust; see [`tls::with_bundle`] for a CA of one's own.
    pub roots: RootCertStore,
    /// The only hosts that are contacted; all, if it is empty.
    pub only: Vec<HostPattern>,
    /// Hosts that may have addresses of private networks.
    pub private: Vec<HostPattern>,
    pub proxy: Option<Proxy>,
    pub key_reuse: KeyReuse,
    /// Origins at a time.
    pub origins: usize,
    /// HTTP/2 connections to an origin: one or two are usual (§1.6).
    pub connections: usize,
    /// HTTP/1.1 connections to an origin.
    pub exclusive_connections: usize,
    /// Requests at a time on one connection, whatever the service allows.
    pub streams: usize,
    /// Requests that wait for a connection of their origin.
    pub waiting: usize,
    pub connect_timeout: Duration,
    pub request_timeout: Duration,
}

impl Config {
    pub fn new(roots: RootCertStore) -> Self {
        Self {
            roots,
            only: Vec::new(),
            private: Vec::new(),
            proxy: None,
            key_reuse: KeyReuse::Never,
            origins: 1_024,
            connections: 2,
            // As many as browsers open to a host.
            exclusive_connections: 6,
            streams: 256,
            waiting: 1_024,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
        }
    }

    /// Whether the operator lets us contact the host of an endpoint.
    pub fn permits(&self, endpoint: &Endpoint) -> bool {
        self.only.is_empty() || self.only.iter().any(|pattern| pattern.matches(endpoint.host()))
    }
}

/// Tries within one attempt: the first, one with a new token, one without a topic, and some over new
/// connections.
const MAX_TRIES: usize = 6;

pub struct Client {
    config: Config,
    tls: Arc<ClientConfig>,
    resolver: Arc<dyn Resolve>,
    randomness: Randomness,
    sealer: Sealer,
    tokens: Tokens,
    origins: Origins,
}

/// What may be done once.
#[derive(Default)]
struct Tried {
    resigned: bool,
    topicless: bool,
}

impl Client {
    pub fn new(config: Config, resolver: Arc<dyn Resolve>, randomness: Randomness) -> Result<Self, TlsError> {
        let tls = tls::client(config.roots.clone(), &[b"h2", b"http/1.1"], None)?;
        let sealer = Sealer::new(config.key_reuse);
        let origins = Origins::new(config.origins);
        Ok(Self { config, tls, resolver, randomness, sealer, tokens: Tokens::default(), origins })
    }

    /// Whether the operator lets us contact the host of an endpoint.
    pub fn permits(&self, endpoint: &Endpoint) -> bool {
        self.config.permits(endpoint)
    }

    /// One attempt, which takes as long as its time-outs let it.
    pub async fn send(&self, push: &Push, now: Timestamp) -> Outcome {
        let started = Instant::now();
        if !self.config.permits(&push.endpoint) {
            let told = Told::unanswered("the operator does not permit this host");
            return Outcome::Rejected { blame: Blame::Token, told };
        }
        let body = match self.seal(push, now) {
            Ok(body) => body,
            Err(outcome) => return outcome,
        };
        let name = push.endpoint.origin();
        let Some(origin) = self.origins.get(&name, now, || self.pool(&push.endpoint)) else {
            return later(1, Scope::Origin, "as many origins are in use as may be");
        };
        self.attempt(push, &name, &origin, body, (now, started)).await
    }

    /// The request as the first try sends it: all that an attempt costs beside the network.
    pub fn request(&self, push: &Push, now: Timestamp) -> Result<http::Request<Bytes>, Outcome> {
        let body = self.seal(push, now)?;
        let call = self.call(push, &push.endpoint.origin(), push.topic.as_deref(), &body, now)?.0;
        let uri = format!("https://{}{}", call.authority, call.path);
        let request = http::Request::post(uri).body(call.body);
        let mut request = request.map_err(|e| rejected(Blame::Us, Told::unanswered(&e.to_string())))?;
        *request.headers_mut() = call.headers;
        Ok(request)
    }

    /// (origins, connections, requests on their way, requests that wait), for metrics.
    pub fn load(&self) -> (usize, usize, usize, usize) {
        self.origins.load()
    }

    async fn attempt(
        &self,
        push: &Push,
        name: &str,
        origin: &Origin,
        body: Bytes,
        (begun, started): (Timestamp, Instant),
    ) -> Outcome {
        let now = || begun + started.elapsed();
        let mut tried = Tried::default();
        let mut last = later(1, Scope::Origin, "no answer");
        for tries in 0..MAX_TRIES {
            if tries > 0 && started.elapsed() >= self.config.request_timeout {
                break;
            }
            let topic = push.topic.as_deref().filter(|_| !tried.topicless);
            let (call, token) = match self.call(push, name, topic, &body, now()) {
                Ok(call) => call,
                Err(outcome) => return outcome,
            };
            let answer = match origin.pool.send(call).await {
                Ok(answer) => answer,
                Err(Failure::NotProcessed(why)) => {
                    last = later(1, Scope::Origin, &why);
                    continue;
                }
                Err(failure) => return failed(&failure),
            };
            let told = answer::told(&answer);
            let verdict = answer::verdict(&told);
            last = answer::settle(verdict, told.clone(), None, None);
            match verdict {
                Verdict::Resign(_) if !tried.resigned => {
                    tried.resigned = true;
                    self.tokens.forget(&push.vapid, name, &token);
                }
                Verdict::WithoutTopic if topic.is_some() => tried.topicless = true,
                verdict => return settled(verdict, told, &answer, push, origin, now()),
            }
        }
        last
    }

    fn seal(&self, push: &Push, now: Timestamp) -> Result<Bytes, Outcome> {
        let sealed = self.sealer.seal(&push.keys, &push.plaintext, &*self.randomness, now);
        sealed.map(Bytes::from).map_err(|e| unsealed(e, push.plaintext.len()))
    }

    /// The call, and the token in it.
    fn call(
        &self,
        push: &Push,
        origin: &str,
        topic: Option<&str>,
        body: &Bytes,
        now: Timestamp,
    ) -> Result<(Call, Arc<str>), Outcome> {
        let token = self.tokens.get(&push.vapid, origin, now, &*self.randomness);
        let token =
            token.map_err(|_| rejected(Blame::Us, Told::unanswered("the VAPID key does not sign")))?;
        let headers = request::headers(push, topic, &token, body.len());
        let (authority, path) = (push.endpoint.authority(), push.endpoint.path().to_owned());
        Ok((Call { authority, path, headers, body: body.clone() }, token))
    }

    fn pool(&self, endpoint: &Endpoint) -> Pool {
        let config = &self.config;
        let dialler = Dialler {
            host: endpoint.host().to_owned(),
            port: endpoint.port(),
            private: config.private.iter().any(|pattern| pattern.matches(endpoint.host())),
            proxy: config.proxy.clone(),
            resolver: Arc::clone(&self.resolver),
            tls: Arc::clone(&self.tls),
            patience: config.connect_timeout,
        };
        let policy = Policy {
            shared: config.connections,
            exclusive: config.exclusive_connections,
            waiting: config.waiting,
            streams: config.streams,
            patience: Duration::from_millis(100),
            warm_up: false,
        };
        let patience = Patience {
            waiting: config.request_timeout,
            answer: config.request_timeout,
            keep_alive: KeepAlive {
                busy: Duration::from_secs(30),
                idle: Duration::from_secs(3_600),
                patience: config.connect_timeout,
            },
        };
        Pool::new(dialler, policy, patience)
    }
}

fn unsealed(error: WebPushError, size: usize) -> Outcome {
    let most = aes128gcm::MAX_PLAINTEXT;
    match error {
        WebPushError::TooLarge => {
            let told = format!("Message is too big: {size} bytes, and {most} are the most");
            rejected(Blame::Request, Told::unanswered(&told))
        }
        WebPushError::Key => rejected(Blame::Token, Told::unanswered("the subscription's keys are none")),
        WebPushError::Parameters
        | WebPushError::Decrypt
        | WebPushError::Randomness
        | WebPushError::Elsewhere => rejected(Blame::Us, Told::unanswered(&error.to_string())),
    }
}

fn failed(failure: &Failure) -> Outcome {
    match failure {
        Failure::NotProcessed(why) | Failure::Broken { why, .. } | Failure::Unreachable(why) => {
            later(1, Scope::Origin, why)
        }
        Failure::Full => later(1, Scope::Origin, "too many requests wait for this service"),
        Failure::TooSlow => later(1, Scope::Origin, "no answer in time"),
        // Names move; but not from one second to the next.
        Failure::Forbidden(why) => later(600, Scope::Origin, why),
    }
}

fn settled(
    verdict: Verdict,
    told: Told,
    answer: &Answer,
    push: &Push,
    origin: &Origin,
    now: Timestamp,
) -> Outcome {
    let (wait, granted) = (answer::retry_after(answer, now), answer::granted_ttl(answer));
    match answer::settle(verdict, told, wait, granted) {
        Outcome::Later { after, scope, told } => {
            let throttled = matches!(answer.status, 406 | 429);
            let whole = throttled && origin.throttles(identity(&push.endpoint), now);
            Outcome::Later { after, scope: if whole { Scope::Origin } else { scope }, told }
        }
        other => other,
    }
}

/// Of an endpoint, within this process.
fn identity(endpoint: &Endpoint) -> u64 {
    let mut hasher = DefaultHasher::new();
    endpoint.hash(&mut hasher);
    hasher.finish()
}

fn rejected(blame: Blame, told: Told) -> Outcome {
    Outcome::Rejected { blame, told }
}

fn later(seconds: u64, scope: Scope, why: &str) -> Outcome {
    Outcome::Later { after: Duration::from_secs(seconds), scope, told: Told::unanswered(why) }
}
