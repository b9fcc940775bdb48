//! Access tokens: had once, kept, renewed before they end, by one request at a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Request;
use http::header::CONTENT_TYPE;
use http_body_util::Full;
use serde_json::Value;

use crate::Error;
use crate::credentials::{MetadataServer, Secret, ServiceAccount, Source};
use crate::retry::{Deadline, Retries, Tries};
use crate::transport::{Answer, Transport};

/// How long before its end a token is renewed, as in most of Google's libraries.
const EARLY: Duration = Duration::from_secs(300);

/// When renewing failed and the token is still good, the next one tries after this.
const PAUSE: Duration = Duration::from_secs(10);

/// What most of Google's libraries take for a life when none is said.
const USUAL_LIFE: Duration = Duration::from_secs(3_600);

/// The access tokens of one client.
pub(crate) struct Bearer {
    source: Source,
    /// Asked instead of the key file's own.
    token_url: Option<String>,
    /// Whom JWTs of one's own are for, if it is one host; Google has several.
    audience: Option<String>,
    kept: Mutex<Kept>,
    /// Whoever asks for a token holds it.
    asking: tokio::sync::Mutex<()>,
    /// How many times it has been asked.
    asked: AtomicU64,
}

#[derive(Default)]
struct Kept {
    token: Option<AccessToken>,
    /// Why there is none, if the last request for one failed.
    failure: Option<Error>,
}

#[derive(Clone)]
struct AccessToken {
    value: Secret,
    renew_at: SystemTime,
    ends_at: SystemTime,
}

impl Bearer {
    pub(crate) fn new(source: Source, token_url: Option<String>, audience: Option<String>) -> Self {
        let (kept, asking, asked) = (Mutex::default(), tokio::sync::Mutex::default(), AtomicU64::new(0));
        Self { source, token_url, audience, kept, asking, asked }
    }

    /// A token that is good now; `None` if nobody is to be named.
    pub(crate) async fn token(
        &self,
        transport: &Transport,
        retries: &Retries,
        deadline: Deadline,
    ) -> Result<Option<Secret>, Error> {
        match &self.source {
            Source::Nobody => return Ok(None),
            Source::Static(token) => return Ok(Some(token.clone())),
            Source::ServiceAccount(_) | Source::User(_) | Source::Metadata(_) => {}
        }
        let asked = self.asked.load(Ordering::Acquire);
        let now = transport.surroundings.now();
        let kept = self.kept().token.clone();
        let _turn = match kept {
            Some(kept) if now < kept.renew_at => return Ok(Some(kept.value)),
            // While one renews it, it is good for the others.
            Some(kept) if now < kept.ends_at => match self.asking.try_lock() {
                Ok(turn) => turn,
                Err(_) => return Ok(Some(kept.value)),
            },
            _ => self.asking.lock().await,
        };
        self.ask_or_learn(asked, transport, retries, deadline).await.map(Some)
    }

    /// Says that a token was refused; whether another can be had.
    pub(crate) fn refuse(&self, token: &Secret) -> bool {
        if matches!(self.source, Source::Nobody | Source::Static(_)) {
            return false;
        }
        let mut kept = self.kept();
        // It may be another one already: many requests may have been refused for the same.
        if kept.token.as_ref().is_some_and(|kept| kept.value == *token) {
            kept.token = None;
        }
        true
    }

    /// Whoever waited for its turn while another asked has that one's answer.
    async fn ask_or_learn(
        &self,
        asked_before: u64,
        transport: &Transport,
        retries: &Retries,
        deadline: Deadline,
    ) -> Result<Secret, Error> {
        let now = transport.surroundings.now();
        let kept = {
            let kept = self.kept();
            match (&kept.token, &kept.failure) {
                (Some(token), _) if now < token.renew_at => return Ok(token.value.clone()),
                (None, Some(failure)) if self.asked.load(Ordering::Acquire) != asked_before => {
                    return Err(failure.clone());
                }
                (token, _) => token.clone().filter(|token| now < token.ends_at),
            }
        };
        // Nobody waits long for what is only early.
        let never = Retries::never();
        let retries = if kept.is_some() { &never } else { retries };
        let answered = self.ask(transport, retries, deadline).await;
        let mut keep = self.kept();
        self.asked.fetch_add(1, Ordering::Release);
        match (answered, kept) {
            (Ok(token), _) => {
                let value = token.value.clone();
                *keep = Kept { token: Some(token), failure: None };
                Ok(value)
            }
            (Err(_), Some(kept)) => {
                let renew_at = (now + PAUSE).min(kept.ends_at);
                keep.token = Some(AccessToken { renew_at, ..kept.clone() });
                Ok(kept.value)
            }
            (Err(error), None) => {
                *keep = Kept { token: None, failure: Some(error.clone()) };
                Err(error)
            }
        }
    }

    async fn ask(
        &self,
        transport: &Transport,
        retries: &Retries,
        deadline: Deadline,
    ) -> Result<AccessToken, Error> {
        let mut tries = Tries::new(retries, &*transport.surroundings, deadline);
        loop {
            let now = transport.surroundings.now();
            let answered = match &self.source {
                Source::ServiceAccount(account) if account.is_self_signed => {
                    return Ok(AccessToken::new(
                        account.bearer(self.audience.as_deref(), now)?,
                        ServiceAccount::LIFE,
                        now,
                    ));
                }
                Source::ServiceAccount(account) => {
                    let url = self.token_url(&account.token_uri);
                    exchange(transport, url, account.grant(url, now)?, deadline).await
                }
                Source::User(user) => {
                    exchange(transport, self.token_url(&user.token_uri), user.grant(), deadline).await
                }
                Source::Metadata(server) => {
                    let url = server.token_url();
                    had(&url, transport, server.request(&url)?, deadline).await
                }
                Source::Nobody | Source::Static(_) => return Err(Error::setup("no token is asked for")),
            };
            match answered {
                Ok(token) => return Ok(token),
                Err(error) if tries.again(&error).await => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn token_url<'a>(&'a self, own: &'a str) -> &'a str {
        self.token_url.as_deref().unwrap_or(own)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AccessToken {
    fn new(value: impl Into<Arc<str>>, life: Duration, now: SystemTime) -> Self {
        let ends_at = now + life;
        Self { value: Secret(value.into()), renew_at: ends_at - EARLY.min(life / 2), ends_at }
    }
}

impl MetadataServer {
    pub(crate) fn request(&self, url: &str) -> Result<Request<Full<Bytes>>, Error> {
        let request = Request::get(url).header("Metadata-Flavor", "Google").body(Full::default());
        request.map_err(|error| Error::setup(format!("{url} is no metadata server: {error}")))
    }
}

async fn exchange(
    transport: &Transport,
    url: &str,
    form: String,
    deadline: Deadline,
) -> Result<AccessToken, Error> {
    let request = Request::post(url)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from(form)))
        .map_err(|error| Error::setup(format!("{url} cannot be asked for tokens: {error}")))?;
    had(url, transport, request, deadline).await
}

async fn had(
    url: &str,
    transport: &Transport,
    request: Request<Full<Bytes>>,
    deadline: Deadline,
) -> Result<AccessToken, Error> {
    let asked_at = transport.surroundings.now();
    read(url, &transport.send(request, deadline).await?, asked_at)
}

/// An answer of a token endpoint (`protocol/oauth.md` §2.3 and §2.4); `asked_at` is when it was
/// asked, so that a slow answer does not make a token live longer.
fn read(url: &str, answer: &Answer, asked_at: SystemTime) -> Result<AccessToken, Error> {
    let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let ok = (200..300).contains(&answer.status);
    if ok && let Some(token) = json["access_token"].as_str() {
        let seconds = json["expires_in"].as_u64().map(Duration::from_secs);
        // A token is not believed to live for more than a day: the clock need not bear it.
        let life = seconds.unwrap_or(USUAL_LIFE).min(24 * USUAL_LIFE);
        return Ok(AccessToken::new(token, life, asked_at));
    }
    let word = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
    let (error, description) = (word("error"), word("error_description"));
    let told = [format!("it answered {}", answer.status), error.clone(), description];
    let told: Vec<String> = told.into_iter().filter(|part| !part.is_empty()).collect();
    let says_later =
        ["internal_failure", "server_error", "temporarily_unavailable"].contains(&error.as_str());
    Err(Error::Credential {
        source_name: url.split('?').next().unwrap_or(url).into(),
        reason: told.join(": ").into(),
        temporary: says_later || matches!(answer.status, 408 | 429 | 500 | 502..=504),
        retry_after: answer.retry_after,
    })
}
