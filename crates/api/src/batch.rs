//! `POST /batch`: up to 500 sends in one request, each answered for itself
//! (`protocol/topics-and-batch.md` §1).

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use cresset_message::Rejection;
use cresset_wire::batch::{self, BatchError, Boundary, MAX_PARTS, Part};
use cresset_wire::v1::google_error;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Method, StatusCode, Uri, header};

use crate::Api;
use crate::body::{self, BodyError, header_text};
use crate::v1::send::{self, Answer, Asked, Query, bearer, bearer_in};

/// Bytes of a batch. Each of its parts may have the 4,096 bytes that a message can carry, three times
/// as long because Python writes `ü` as `\u00fc`, and 4 KB for its names, headers and access token.
/// 500 times the largest body that a single send may have would be 64 MB.
const MAX_BODY: usize = MAX_PARTS * 16 * 1_024;

/// The same without a credential for the whole: strangers get no more memory than at check-in.
const MAX_STRANGERS_BODY: usize = 256 * 1_024;

/// Sends of one batch at a time: as many as SDKs have under way without one (`protocol/http-v1.md` §1.1).
const PARALLEL: usize = 100;

pub(crate) async fn batch(State(api): State<Api>, uri: Uri, headers: HeaderMap, body: Body) -> Response {
    let query = Query::parse(uri.query().unwrap_or_default());
    let credential = bearer(&headers).or(query.access_token.as_deref());
    match execute_all(&api, credential, &query, &headers, body).await {
        Ok(answers) => multipart(&answers),
        Err(refusal) => refusal,
    }
}

/// Where Go's SDK posts its batches when it was given an endpoint (§1).
pub(crate) async fn batch_at_endpoint(api: State<Api>, uri: Uri, headers: HeaderMap, body: Body) -> Response {
    match batch::is_multipart(header_text(&headers, "content-type")) {
        true => batch(api, uri, headers, body).await,
        false => crate::not_found(Method::POST, uri).await,
    }
}

/// The answers in the order of the parts, or one refusal of the whole.
async fn execute_all(
    api: &Api,
    credential: Option<&str>,
    query: &Query,
    headers: &HeaderMap,
    body: Body,
) -> Result<Vec<batch::Answer>, Response> {
    // Without one, each part may have its own.
    if credential.is_some() {
        api.identity.authenticate(credential, (api.clock)()).map_err(|rejection| refuse(&rejection))?;
    }
    query.check().map_err(|rejection| refuse(&rejection))?;
    let boundary = Boundary::of(header_text(headers, "content-type")).map_err(malformed)?;
    let limit = if credential.is_some() { MAX_BODY } else { MAX_STRANGERS_BODY };
    let bytes = read(headers, body, limit).await?;
    let parts = batch::read(&boundary, &bytes).map_err(malformed)?;
    if credential.is_none() && parts.iter().all(is_anonymous) {
        return Err(refuse(&Rejection::CredentialsMissing));
    }
    let sends: Vec<_> = parts.iter().map(|part| execute(api, credential, part)).collect();
    Ok(stream::iter(sends).buffered(PARALLEL).collect().await)
}

async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Response> {
    body::read(headers, body, limit).await.map_err(|e| match e {
        BodyError::TooLarge => refuse(&Rejection::BodyTooLarge { limit }),
        BodyError::TooSlow | BodyError::Unreadable => {
            invalid("The body of the batch request could not be read.")
        }
    })
}

fn is_anonymous(part: &Part<'_>) -> bool {
    part.authorization.is_none() && Query::parse(part.query).access_token.is_none()
}

/// One part, as if it had come alone.
async fn execute(api: &Api, credential: Option<&str>, part: &Part<'_>) -> batch::Answer {
    let answer = match project_of(part) {
        Some(project) => send(api, credential, project, part).await,
        None => {
            let (status, body) = crate::nothing_at(part.path);
            Answer { status, headers: Vec::new(), body }
        }
    };
    let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let mut headers = vec![(header::CONTENT_TYPE.to_string(), crate::JSON.to_owned())];
    headers.extend(answer.headers.iter().map(|(name, value)| (name.to_string(), text(value))));
    batch::Answer {
        content_id: part.content_id.clone(),
        status: answer.status.as_u16(),
        headers,
        body: answer.body,
    }
}

async fn send(api: &Api, credential: Option<&str>, project: &str, part: &Part<'_>) -> Answer {
    let query = Query::parse(part.query);
    // A part's own header stands for the outer one, even where there is no bearer in it.
    let credential = match &part.authorization {
        Some(own) => bearer_in(own),
        None => query.access_token.as_deref().or(credential),
    };
    let asked = Asked { project, credential, query: &query };
    let outcome = async {
        let sender = asked.admit(api)?;
        send::accept(api, &sender, part.body).await
    };
    Answer::of(api, &asked, outcome.await)
}

/// The project of a `messages:send`, under both of its paths.
fn project_of<'a>(part: &Part<'a>) -> Option<&'a str> {
    let path = part.path.strip_prefix("/v1").unwrap_or(part.path);
    let (project, method) = path.strip_prefix("/projects/")?.split_once('/')?;
    let is_send = method == send::METHOD || method.eq_ignore_ascii_case("messages%3Asend");
    (part.method == "POST" && is_send && !project.is_empty()).then_some(project)
}

fn multipart(answers: &[batch::Answer]) -> Response {
    let batch::Response { content_type, body } = batch::write(answers);
    let mut response = Response::new(body.into());
    let content_type = content_type.parse().expect("a name and digits");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

fn refuse(rejection: &Rejection) -> Response {
    Answer::refusal(rejection).into_response()
}

fn malformed(error: BatchError) -> Response {
    invalid(&error.to_string())
}

fn invalid(message: &str) -> Response {
    let body = google_error(400, "INVALID_ARGUMENT", message);
    crate::json(StatusCode::BAD_REQUEST, body)
}
