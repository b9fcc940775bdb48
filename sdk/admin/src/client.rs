use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http_body_util::Full;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::bearer::Bearer;
use crate::builder::checked_project;
use crate::credentials::{MetadataServer, Secret};
use crate::refusal::Refusal;
use crate::retry::{Deadline, Tries};
use crate::transport::{Answer, Transport};
use crate::{BatchResponse, Builder, Error, Message, Multicast, Retries};

/// Most messages of one `send_each`, and targets of one multicast; as in the official SDKs.
pub const MOST_MESSAGES: usize = 500;

/// Who we are, where the official SDKs say who they are.
const SDK: &str = concat!("fire-admin-rust-cresset/", env!("CARGO_PKG_VERSION"));
const API_CLIENT: &str = concat!("gl-rust fire-admin-rust-cresset/", env!("CARGO_PKG_VERSION"));

/// Sends messages for one project. Clones share connections and access tokens.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    validate_only: bool,
}

pub(crate) struct Inner {
    pub(crate) project: Project,
    pub(crate) quota_project: Option<String>,
    pub(crate) bearer: Bearer,
    pub(crate) transport: Transport,
    /// URLs that paths are added to.
    pub(crate) fcm: String,
    pub(crate) iid: String,
    pub(crate) retries: Retries,
    pub(crate) deadline: Duration,
    pub(crate) concurrency: usize,
}

/// The project that is sent for.
pub(crate) enum Project {
    Named(String),
    /// Asked for once.
    OfMetadataServer(Arc<MetadataServer>, OnceCell<String>),
}

#[derive(Serialize)]
struct SendRequest<'a> {
    message: &'a Message,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    validate_only: bool,
}

impl Client {
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(inner: Inner) -> Self {
        Self { inner: Arc::new(inner), validate_only: false }
    }

    /// The same client, whose messages are checked and answered as usual, but not delivered.
    #[must_use]
    pub fn dry_run(&self) -> Self {
        Self { validate_only: true, ..self.clone() }
    }

    /// Sends a message, and gives its name: `projects/<project>/messages/<id>`.
    ///
    /// What has no answer is sent again ([`Retries`]), so a message may arrive twice when an answer
    /// was lost.
    pub async fn send(&self, message: &Message) -> Result<String, Error> {
        self.send_request(json(&SendRequest { message, validate_only: self.validate_only })?).await
    }

    /// Sends a request that is JSON already: the body of `messages:send`, as it is. Whether it is a
    /// dry run stands in it.
    pub async fn send_request(&self, body: impl Into<Bytes>) -> Result<String, Error> {
        let deadline = self.inner.deadline();
        let project = self.inner.project(deadline).await?;
        let url = format!("{}/v1/projects/{project}/messages:send", self.inner.fcm);
        let answer = self.inner.post(&url, &[], body.into(), deadline).await?;
        let success: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match success["name"].as_str() {
            Some(name) => Ok(name.to_owned()),
            None => Err(answer.unexpected("a success without a name")),
        }
    }

    /// Sends up to 500 messages, some at once. Each has a result of its own, in the same order.
    pub async fn send_each(&self, messages: &[Message]) -> Result<BatchResponse, Error> {
        check_count("messages", messages.len(), MOST_MESSAGES)?;
        let sends: Vec<_> = messages.iter().map(|message| self.send(message)).collect();
        let results = stream::iter(sends).buffered(self.inner.concurrency).collect().await;
        Ok(BatchResponse { results })
    }

    /// Sends one content to up to 500 tokens and installations: results in the order of
    /// [`Multicast::targets`].
    pub async fn send_each_for_multicast(&self, multicast: &Multicast) -> Result<BatchResponse, Error> {
        check_count("targets", multicast.targets().len(), MOST_MESSAGES)?;
        self.send_each(&multicast.messages()).await
    }

    pub(crate) async fn post_to_topics(&self, method: &str, body: &impl Serialize) -> Result<Answer, Error> {
        let url = format!("{}/iid/v1:{method}", self.inner.iid);
        // Else the service takes the authorization for a legacy server key.
        let headers = [("access_token_auth", "true")];
        self.inner.post(&url, &headers, json(body)?, self.inner.deadline()).await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.inner.fcm)
    }
}

impl Inner {
    fn deadline(&self) -> Deadline {
        Deadline::after(self.deadline, &*self.transport.surroundings)
    }

    /// A success, or why there is none.
    async fn post(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        body: Bytes,
        deadline: Deadline,
    ) -> Result<Answer, Error> {
        let mut tries = Tries::new(&self.retries, &*self.transport.surroundings, deadline);
        let mut renewed = false;
        loop {
            let token = self.token(deadline).await?;
            let request = self.request(url, headers, token.as_ref(), body.clone())?;
            let error = match self.transport.send(request, deadline).await.and_then(Answer::success) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let of_token = error.refusal().is_some_and(Refusal::is_of_access_token);
            if of_token && !renewed && token.is_some_and(|token| self.bearer.refuse(&token)) {
                renewed = true;
            } else if !tries.again(&error).await {
                return Err(error);
            }
        }
    }

    /// Others may be asking for one: that takes its time too.
    async fn token(&self, deadline: Deadline) -> Result<Option<Secret>, Error> {
        let left = deadline.left(&*self.transport.surroundings);
        let token = self.bearer.token(&self.transport, &self.retries, deadline);
        let late = || Error::TimedOut { host: "the token endpoint".into(), after: left };
        tokio::time::timeout(left, token).await.unwrap_or_else(|_| Err(late()))
    }

    fn request(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        token: Option<&Secret>,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, Error> {
        let mut request = Request::post(url)
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .header("x-goog-api-format-version", "2")
            .header("x-goog-api-client", API_CLIENT)
            .header("x-firebase-client", SDK);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.0));
        }
        if let Some(project) = &self.quota_project {
            request = request.header("x-goog-user-project", project);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Full::new(body)).map_err(|error| Error::setup(format!("{url} cannot be asked: {error}")))
    }

    async fn project(&self, deadline: Deadline) -> Result<&str, Error> {
        match &self.project {
            Project::Named(name) => Ok(name),
            Project::OfMetadataServer(server, known) => {
                let asked = known.get_or_try_init(async || {
                    let request = server.request(&server.project_url())?;
                    let answer = self.transport.send(request, deadline).await?.success()?;
                    checked_project(String::from_utf8_lossy(&answer.body).trim().to_owned())
                });
                asked.await.map(String::as_str)
            }
        }
    }
}

impl Project {
    pub(crate) fn of_metadata_server(server: Arc<MetadataServer>) -> Self {
        Self::OfMetadataServer(server, OnceCell::new())
    }
}

impl Answer {
    fn success(self) -> Result<Self, Error> {
        match self.status {
            200..300 => Ok(self),
            // Nobody is asked to go elsewhere with a token in hand.
            300..400 => Err(self.unexpected("a redirection")),
            status => Err(Error::Refused(Arc::new(Refusal::read(status, &self.body, self.retry_after)))),
        }
    }

    pub(crate) fn unexpected(&self, reason: &str) -> Error {
        Error::Unexpected { host: self.host.clone(), http_status: self.status, reason: reason.into() }
    }
}

/// None at all is as wrong as too many, for the official SDKs too.
pub(crate) fn check_count(what: &str, count: usize, most: usize) -> Result<(), Error> {
    match count {
        0 => Err(Error::invalid(format!("there are no {what}"))),
        _ if count > most => Err(Error::invalid(format!("{count} {what}; the most is {most}"))),
        _ => Ok(()),
    }
}

fn json(body: &impl Serialize) -> Result<Bytes, Error> {
    let bytes = serde_json::to_vec(body);
    bytes.map(Bytes::from).map_err(|error| Error::invalid(format!("it cannot be written as JSON: {error}")))
}
