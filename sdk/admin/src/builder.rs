//! How a client is set up.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use crate::bearer::Bearer;
use crate::client::{Client, Inner, Project};
use crate::credentials::Source;
use crate::surroundings::Machine;
use crate::transport::{self, Transport};
use crate::{Credentials, Error, Retries, Surroundings};

const FCM: &str = "https://fcm.googleapis.com";
/// Topics have a host of their own.
const IID: &str = "https://iid.googleapis.com";

/// As Node's SDK.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);

/// As Python's SDK, which has one timeout.
const DEADLINE: Duration = Duration::from_secs(120);

/// As the workers of Go's SDK. Servers allow a hundred streams on a connection, or more.
const CONCURRENCY: usize = 50;

/// Sets up a [`Client`].
#[must_use]
pub struct Builder {
    credentials: Option<Credentials>,
    project: Option<String>,
    base_url: Option<String>,
    token_url: Option<String>,
    roots: Vec<String>,
    retries: Retries,
    attempt_timeout: Duration,
    deadline: Duration,
    concurrency: usize,
    surroundings: Option<Arc<dyn Surroundings>>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            credentials: None,
            project: None,
            base_url: None,
            token_url: None,
            roots: Vec::new(),
            retries: Retries::default(),
            attempt_timeout: ATTEMPT_TIMEOUT,
            deadline: DEADLINE,
            concurrency: CONCURRENCY,
            surroundings: None,
        }
    }
}

impl Builder {
    /// Who sends. Must be said; [`Credentials::application_default`] finds what Google's libraries find.
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// The project that is sent for; else that of the credentials.
    pub fn project(mut self, project: impl Into<String>) -> Self {
        self.project = Some(project.into());
        self
    }

    /// A Cresset, such as `https://push.example.com` or `http://127.0.0.1:8080`, instead of Google:
    /// for sends, for topics, and for access tokens of a key file. It sees what credentials show, so
    /// they should be its own: not those of a user at Google.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = Some(url.into());
        self
    }

    /// The token endpoint, instead of the key file's or the one at the base URL.
    pub fn token_url(mut self, url: impl Into<String>) -> Self {
        self.token_url = Some(url.into());
        self
    }

    /// Certificates (PEM) that are trusted besides the system's: of a private CA.
    pub fn root_certificates(mut self, pem: impl Into<String>) -> Self {
        self.roots.push(pem.into());
        self
    }

    pub fn retries(mut self, retries: Retries) -> Self {
        self.retries = retries;
        self
    }

    /// The longest that one try takes; 15 s by default.
    pub fn attempt_timeout(mut self, time: Duration) -> Self {
        self.attempt_timeout = time;
        self
    }

    /// The longest that one message takes, with all tries and waits; two minutes by default.
    pub fn deadline(mut self, time: Duration) -> Self {
        self.deadline = time;
        self
    }

    /// How many messages of one `send_each` are on their way at once; 50 by default, at least one.
    pub fn concurrency(mut self, messages: usize) -> Self {
        self.concurrency = messages.max(1);
        self
    }

    /// Another clock and other dice than the machine's.
    pub fn surroundings(mut self, surroundings: Arc<dyn Surroundings>) -> Self {
        self.surroundings = Some(surroundings);
        self
    }

    /// Must be called within a tokio runtime, as all calls of the client.
    pub fn build(self) -> Result<Client, Error> {
        let missing = "say who sends: credentials(…), which may be Credentials::none()";
        let credentials = self.credentials.ok_or_else(|| Error::setup(missing))?;
        let base = self.base_url.as_deref().map(checked_url).transpose()?;
        let token_url = self.token_url.or_else(|| base.as_ref().map(|base| format!("{base}/token")));
        let audience = base.as_ref().map(|base| format!("{base}/"));
        let surroundings = self.surroundings.unwrap_or_else(|| Arc::new(Machine::new()));
        let inner = Inner {
            project: project(self.project.or(credentials.project), &credentials.source)?,
            quota_project: credentials.quota_project,
            bearer: Bearer::new(credentials.source, token_url, audience),
            transport: Transport::new(transport::roots(&self.roots)?, self.attempt_timeout, surroundings)?,
            fcm: base.clone().unwrap_or_else(|| FCM.into()),
            iid: base.unwrap_or_else(|| IID.into()),
            retries: self.retries,
            deadline: self.deadline,
            concurrency: self.concurrency,
        };
        Ok(Client::new(inner))
    }
}

/// Without the slash at its end.
fn checked_url(url: &str) -> Result<String, Error> {
    let bad = |why: &str| Error::setup(format!("the base URL {url}: {why}"));
    let uri: Uri = url.parse().map_err(|_| bad("not a URL"))?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.query().is_none() => Ok(url.trim_end_matches('/').to_owned()),
        Some("http" | "https") => Err(bad("a query cannot be part of it")),
        _ => Err(bad("it begins with neither http:// nor https://")),
    }
}

fn project(named: Option<String>, source: &Source) -> Result<Project, Error> {
    match (named, source) {
        (Some(name), _) => Ok(Project::Named(checked_project(name)?)),
        (None, Source::Metadata(server)) => Ok(Project::of_metadata_server(server.clone())),
        (None, _) => Err(Error::setup("the credentials do not name the project: say it with project(…)")),
    }
}

/// It becomes part of a path.
pub(crate) fn checked_project(name: String) -> Result<String, Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    if !name.is_empty() && name.chars().all(plain) {
        return Ok(name);
    }
    Err(Error::setup(format!("`{name}` is not the name of a project")))
}
