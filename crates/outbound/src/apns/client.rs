//! One attempt: signed, sent over the connections of its credential, and its answer judged.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cresset_message::Timestamp;
use rustls::RootCertStore;
use tokio::time::Instant;

use super::Environment;
use super::answer::{self, Verdict};
use super::credentials::{Credential, Kind};
use super::request::{self, Push};
use crate::dial::{Dialler, Proxy};
use crate::exchange::{Call, Failure};
use crate::http2::KeepAlive;
use crate::lanes::Policy;
use crate::pool::{Patience, Pool};
use crate::resolve::Resolve;
use crate::tls::{self, TlsError};
use crate::{Blame, Outcome, Randomness, Scope, Told};

/// Where an environment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    pub name: String,
    pub port: u16,
}

/// What an operator can set.
#[derive(Clone, Debug)]
pub struct Config {
    pub production: Host,
    pub sandbox: Host,
    /// Whom to trust; see [`tls::with_bundle`] for a CA of one's own.
    pub roots: RootCertStore,
    pub proxy: Option<Proxy>,
    /// (Environment, credential) pairs with connections at a time.
    pub identities: usize,
    /// Connections of each.
    pub connections: usize,
    /// Requests at a time on one connection, whatever Apple allows.
    pub streams: usize,
    /// Requests that wait for a connection of their credential.
    pub waiting: usize,
    pub connect_timeout: Duration,
    pub request_timeout: Duration,
    /// How often Apple is asked whether it is there: with requests on their way, and without.
    pub ping_busy: Duration,
    pub ping_idle: Duration,
}

impl Config {
    /// Apple's own hosts.
    pub fn new(roots: RootCertStore) -> Self {
        let host = |name: &str| Host { name: name.to_owned(), port: 443 };
        Self {
            production: host("api.push.apple.com"),
            sandbox: host("api.sandbox.push.apple.com"),
            roots,
            proxy: None,
            identities: 1_024,
            connections: 4,
            streams: 1_000,
            waiting: 4_096,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            ping_busy: Duration::from_secs(30),
            ping_idle: Duration::from_secs(3_600),
        }
    }

    fn host(&self, environment: Environment) -> &Host {
        match environment {
            Environment::Production => &self.production,
            Environment::Sandbox => &self.sandbox,
        }
    }
}

/// Tries within one attempt: one for each of the things that are done once, and some over new
/// connections.
const MAX_TRIES: usize = 8;

type Identity = (Environment, [u8; 32]);

pub struct Client {
    config: Config,
    resolver: Arc<dyn Resolve>,
    randomness: Randomness,
    /// The last use of each stands with it.
    pools: Mutex<HashMap<Identity, (Arc<Pool>, Timestamp)>>,
}

/// What may be done once.
#[derive(Default)]
struct Tried {
    resigned: bool,
    reconnected: bool,
    environment: bool,
    key: bool,
}

/// Who sends, and where to.
struct As {
    environment: Environment,
    credential: Arc<Credential>,
}

/// How one try ended.
enum End {
    Settled(Outcome),
    Again(Outcome),
}

impl Client {
    pub fn new(config: Config, resolver: Arc<dyn Resolve>, randomness: Randomness) -> Self {
        Self { config, resolver, randomness, pools: Mutex::default() }
    }

    /// One attempt, which takes as long as its time-outs let it.
    pub async fn send(&self, push: &Push, now: Timestamp) -> Outcome {
        let started = Instant::now();
        let Some(path) = request::path(&push.token) else {
            return rejected(Blame::Token, Told::unanswered("not the token of a device"));
        };
        let environment = push.environment;
        let Some(credential) = push.credentials.of(environment).cloned() else {
            return rejected(Blame::Credential, Told::unanswered("no credential for APNs"));
        };
        let (mut tried, mut who) = (Tried::default(), As { environment, credential });
        let mut last = later(1, Scope::Origin, "no answer");
        for tries in 0..MAX_TRIES {
            if tries > 0 && started.elapsed() >= self.config.request_timeout {
                break;
            }
            match self.attempt(push, &path, &mut who, &mut tried, now + started.elapsed()).await {
                // What the other environment thinks of its credential says nothing of the token.
                End::Settled(Outcome::Rejected { blame: Blame::Credential, .. }) if tried.environment => {
                    return last;
                }
                End::Settled(outcome) => return outcome,
                End::Again(outcome) => last = outcome,
            }
        }
        last
    }

    /// (identities, connections, requests on their way, requests that wait), for metrics.
    pub fn load(&self) -> (usize, usize, usize, usize) {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.values().fold((0, 0, 0, 0), |sum, (pool, _)| {
            let (connections, flying, waiting) = pool.load();
            (sum.0 + 1, sum.1 + connections, sum.2 + flying, sum.3 + waiting)
        })
    }

    async fn attempt(&self, push: &Push, path: &str, who: &mut As, tried: &mut Tried, now: Timestamp) -> End {
        let pool = match self.pool(who, now) {
            Ok(Some(pool)) => pool,
            Ok(None) => {
                return End::Settled(later(1, Scope::Origin, "as many credentials are in use as may be"));
            }
            Err(e) => return End::Settled(rejected(Blame::Credential, Told::unanswered(&e.to_string()))),
        };
        let token = match &who.credential.kind {
            Kind::Certificate(_) => None,
            Kind::Key(key) => match key.token(now, &self.randomness) {
                Ok(token) => Some(token),
                Err(e) => return End::Settled(rejected(Blame::Us, Told::unanswered(&e.to_string()))),
            },
        };
        let host = self.config.host(who.environment);
        let authority =
            if host.port == 443 { host.name.clone() } else { format!("{}:{}", host.name, host.port) };
        let headers = request::headers(push, token.as_deref());
        let call = Call { authority, path: path.to_owned(), headers, body: push.payload.clone() };
        let answer = match pool.send(call).await {
            Ok(answer) => answer,
            Err(failure) => return unanswered(&failure, tried),
        };
        let (told, since) = answer::read(answer.status, &answer.body);
        let verdict = answer::verdict(answer.status, &told.reason);
        // A refusal of these kinds is about the connection.
        if matches!(verdict, Verdict::Reconnect | Verdict::ReconnectAs) {
            pool.leave(answer.lane);
        }
        if let (Verdict::Resign, Kind::Key(key), Some(token)) = (verdict, &who.credential.kind, &token) {
            key.expired(token);
        }
        let again = again(verdict, push, who, tried);
        let outcome = settled(verdict, push, who, told, since);
        if again { End::Again(outcome) } else { End::Settled(outcome) }
    }

    fn pool(&self, who: &As, now: Timestamp) -> Result<Option<Arc<Pool>>, TlsError> {
        let identity = (who.environment, who.credential.identity);
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((pool, used)) = pools.get_mut(&identity) {
            *used = now;
            return Ok(Some(Arc::clone(pool)));
        }
        if pools.len() >= self.config.identities {
            let unused = pools.iter().filter(|(_, (pool, _))| Arc::strong_count(pool) == 1 && pool.is_idle());
            let Some(oldest) = unused.min_by_key(|(_, (_, used))| *used).map(|(identity, _)| *identity)
            else {
                return Ok(None);
            };
            pools.remove(&oldest);
        }
        let pool = Arc::new(self.open(who)?);
        pools.insert(identity, (Arc::clone(&pool), now));
        Ok(Some(pool))
    }

    fn open(&self, who: &As) -> Result<Pool, TlsError> {
        let config = &self.config;
        let certificate = match &who.credential.kind {
            Kind::Certificate(certificate) => Some(certificate),
            Kind::Key(_) => None,
        };
        let host = config.host(who.environment);
        let dialler = Dialler {
            host: host.name.clone(),
            port: host.port,
            // The operator's own setting, and no client's.
            private: true,
            proxy: config.proxy.clone(),
            resolver: Arc::clone(&self.resolver),
            tls: tls::client(config.roots.clone(), &[b"h2"], certificate)?,
            patience: config.connect_timeout,
        };
        let policy = Policy {
            shared: config.connections,
            // Apple speaks HTTP/2 alone.
            exclusive: 1,
            waiting: config.waiting,
            streams: config.streams,
            patience: Duration::from_millis(100),
            warm_up: who.credential.is_key(),
        };
        let keep_alive =
            KeepAlive { busy: config.ping_busy, idle: config.ping_idle, patience: config.connect_timeout };
        let patience =
            Patience { waiting: config.request_timeout, answer: config.request_timeout, keep_alive };
        Ok(Pool::new(dialler, policy, patience))
    }
}

fn unanswered(failure: &Failure, tried: &mut Tried) -> End {
    match failure {
        Failure::NotProcessed(why) => match answer::condemned(why) {
            Some(reason) => {
                let outcome = rejected(Blame::Credential, Told::unanswered(reason));
                // The GOAWAY may have been about another's request.
                let first = !std::mem::replace(&mut tried.reconnected, true);
                if first { End::Again(outcome) } else { End::Settled(outcome) }
            }
            None => End::Again(later(1, Scope::Origin, why)),
        },
        Failure::Broken { why, .. } | Failure::Unreachable(why) | Failure::Forbidden(why) => {
            End::Settled(later(1, Scope::Origin, why))
        }
        Failure::Full => End::Settled(later(1, Scope::Credential, "too many requests wait for APNs")),
        Failure::TooSlow => End::Settled(later(1, Scope::Origin, "no answer in time")),
    }
}

/// Whether what the verdict asks for can be done, and was not yet; then it is.
fn again(verdict: Verdict, push: &Push, who: &mut As, tried: &mut Tried) -> bool {
    let once = |done: &mut bool| !std::mem::replace(done, true);
    match verdict {
        Verdict::Resign => who.credential.is_key() && once(&mut tried.resigned),
        Verdict::Reconnect | Verdict::ReconnectAs => once(&mut tried.reconnected),
        Verdict::OtherEnvironment => {
            let other = who.environment.other();
            let Some(credential) = push.credentials.of(other).filter(|_| !tried.environment) else {
                return false;
            };
            tried.environment = true;
            *who = As { environment: other, credential: Arc::clone(credential) };
            true
        }
        Verdict::OtherKey => {
            let other = push.credentials.of(who.environment.other());
            let other = other.filter(|other| other.is_key() && other.identity != who.credential.identity);
            let Some(credential) = other.filter(|_| !tried.key) else { return false };
            tried.key = true;
            who.credential = Arc::clone(credential);
            true
        }
        Verdict::Accepted | Verdict::Gone | Verdict::Rejected(_) | Verdict::Later(..) => false,
    }
}

fn settled(verdict: Verdict, push: &Push, who: &As, told: Told, since: Option<Timestamp>) -> Outcome {
    match answer::settle(verdict, told, since) {
        Outcome::Accepted { granted_ttl, .. } => {
            let elsewhere = (who.environment != push.environment).then_some(who.environment);
            Outcome::Accepted { granted_ttl, environment: elsewhere }
        }
        other => other,
    }
}

fn rejected(blame: Blame, told: Told) -> Outcome {
    Outcome::Rejected { blame, told }
}

fn later(seconds: u64, scope: Scope, why: &str) -> Outcome {
    Outcome::Later { after: Duration::from_secs(seconds), scope, told: Told::unanswered(why) }
}
