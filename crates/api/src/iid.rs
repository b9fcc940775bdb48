//! The Instance ID service: what Admin SDKs manage topics with (`protocol/topics-and-batch.md` §2).
//! Its errors are one word, not an envelope.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use cresset_delivery::{Described, MembershipError};
use cresset_identity::{App, AppleToken, Sender, is_passing};
use cresset_message::{Platform, Rejection, Timestamp, Topic};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use serde_json::{Map, Value, json};

use crate::Api;
use crate::body::{self, BodyError, Form};
use crate::groups::server_key;
use crate::v1::send::{Answer, bearer};

/// App instances of one call (§2.1).
const MAX_TOKENS: usize = 1_000;

/// APNs tokens of one call (`protocol/apns.md` §2.6).
const MAX_APNS_TOKENS: usize = 100;

/// A thousand tokens have some 180 KB; Python's SDK writes JSON with spaces.
const MAX_BODY: usize = 512 * 1_024;

/// Why not: a status, and the word of `error`.
struct Refusal {
    status: StatusCode,
    word: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

fn refusal(status: StatusCode, word: impl Into<String>) -> Refusal {
    Refusal { status, word: word.into(), headers: Vec::new() }
}

fn invalid() -> Refusal {
    refusal(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT")
}

/// `v1:batchAdd` and its neighbours.
pub(crate) async fn batch(
    State(api): State<Api>,
    Path(method): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let join = match method.as_str() {
        "v1:batchAdd" => true,
        "v1:batchRemove" => false,
        "v1:batchImport" => return answer(import(&api, &headers, body).await),
        _ => return crate::not_found(Method::POST, uri).await,
    };
    answer(change(&api, &headers, body, join).await)
}

async fn change(api: &Api, headers: &HeaderMap, body: Body, join: bool) -> Result<Value, Refusal> {
    let sender = admit(api, headers)?;
    // Old clients show these texts; what Google says today is one word (`protocol/legacy-http.md` §9).
    let by_key = server_key(headers).is_some();
    let wrong = |text: &str| if by_key { refusal(StatusCode::BAD_REQUEST, text) } else { invalid() };
    let request = read(headers, body).await?;
    let topic: Option<Topic> = request["to"].as_str().and_then(|to| to.parse().ok());
    let topic = topic.ok_or_else(|| wrong("Topic name format is invalid"))?;
    let tokens = request["registration_tokens"].as_array().filter(|tokens| !tokens.is_empty());
    let tokens = tokens.ok_or_else(|| wrong("MissingIIdToken"))?;
    let tokens: Option<Vec<String>> = tokens.iter().map(|token| token.as_str().map(Into::into)).collect();
    let tokens = tokens.filter(|tokens| tokens.len() <= MAX_TOKENS).ok_or_else(invalid)?;
    let now = (api.clock)();
    let outcomes = match join {
        true => api.dispatcher.subscribe(sender.number, &topic, &tokens, now).await?,
        false => api.dispatcher.unsubscribe(sender.number, &topic, &tokens, now).await?,
    };
    // Nothing but an empty object is a success to every SDK.
    let results = outcomes.into_iter().map(|outcome| match outcome {
        Ok(()) => json!({}),
        Err(error) => json!({ "error": error.as_str() }),
    });
    Ok(json!({ "results": results.collect::<Vec<_>>() }))
}

/// APNs tokens of an app become registrations (`protocol/apns.md` §2.6).
async fn import(api: &Api, headers: &HeaderMap, body: Body) -> Result<Value, Refusal> {
    let sender = admit(api, headers)?;
    let request = read(headers, body).await?;
    let application = request["application"].as_str().unwrap_or_default();
    let project = api.identity.project(&sender.number.to_string()).ok_or_else(invalid)?;
    let is_app = |app: &&App| app.platform == Platform::Ios && app.package == application;
    let app = project.apps.iter().find(is_app).ok_or_else(invalid)?;
    let sandbox = match &request["sandbox"] {
        Value::Null => false,
        Value::Bool(sandbox) => *sandbox,
        _ => return Err(invalid()),
    };
    let tokens = request["apns_tokens"].as_array().ok_or_else(invalid)?;
    let tokens: Option<Vec<&str>> = tokens.iter().map(Value::as_str).collect();
    let tokens = tokens.filter(|tokens| (1..=MAX_APNS_TOKENS).contains(&tokens.len())).ok_or_else(invalid)?;
    let mut results = Vec::with_capacity(tokens.len());
    for text in tokens {
        let token = AppleToken::new(text, sandbox, &app.package).filter(|token| !token.token.is_empty());
        let made = match token {
            Some(token) => {
                api.identity.import_apple(&project, &token, (api.clock)()).await.map_err(|cause| {
                    crate::store_failed("an import", is_passing(&cause), &cause);
                    "Internal Server Error"
                })
            }
            None => Err("Invalid APNs token"),
        };
        results.push(match made {
            Ok(made) => json!({ "apns_token": text, "registration_token": made, "status": "OK" }),
            Err(status) => json!({ "apns_token": text, "status": status }),
        });
    }
    Ok(json!({ "results": results }))
}

/// One app instance joins a topic.
pub(crate) async fn join(
    State(api): State<Api>,
    Path((token, topic)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    answer(relate(&api, &headers, &token, &topic, true).await)
}

/// Or leaves it.
pub(crate) async fn leave(
    State(api): State<Api>,
    Path((token, topic)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    answer(relate(&api, &headers, &token, &topic, false).await)
}

async fn relate(
    api: &Api,
    headers: &HeaderMap,
    token: &str,
    topic: &str,
    join: bool,
) -> Result<Value, Refusal> {
    let sender = admit(api, headers)?;
    let topic: Topic = topic.parse().map_err(|_| invalid())?;
    let now = (api.clock)();
    let id = api.dispatcher.registration_named(sender.number, token, now).await?;
    match join {
        true => api.dispatcher.subscribe_one(id, &topic, now).await?,
        false => api.dispatcher.unsubscribe_one(id, &topic, now).await?,
    };
    Ok(json!({}))
}

/// What is known of an app instance (§2.3).
pub(crate) async fn info(
    State(api): State<Api>,
    Path(token): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let details = Form::parse(uri.query().unwrap_or_default().as_bytes()).get("details") == "true";
    answer(describe(&api, &headers, &token, details).await)
}

async fn describe(api: &Api, headers: &HeaderMap, token: &str, details: bool) -> Result<Value, Refusal> {
    let sender = admit(api, headers)?;
    let now = (api.clock)();
    let unknown = || refusal(StatusCode::NOT_FOUND, "No information found about this instance id.");
    let id = match api.dispatcher.registration_named(sender.number, token, now).await {
        Err(Rejection::MalformedToken) => return Err(refusal(StatusCode::BAD_REQUEST, "InvalidToken")),
        Err(Rejection::Unregistered) => return Err(unknown()),
        other => other?,
    };
    let Described { application, platform } = api.dispatcher.describe(id, now).await?.ok_or_else(unknown)?;
    let mut told = json!({
        "authorizedEntity": sender.number.to_string(),
        "scope": "*",
        "platform": match platform {
            Platform::Android => "ANDROID",
            Platform::Ios => "IOS",
            Platform::Web => "CHROME",
        },
    });
    if let Some(application) = application {
        told["application"] = application.into();
    }
    let topics = if details { api.dispatcher.topics_of(id, now).await? } else { Vec::new() };
    if !topics.is_empty() {
        let topic = |(topic, since): (Topic, Timestamp)| {
            (topic.as_str().to_owned(), json!({ "addDate": day(since) }))
        };
        told["rel"] = json!({ "topics": topics.into_iter().map(topic).collect::<Map<_, _>>() });
    }
    Ok(told)
}

/// `YYYY-MM-DD`
fn day(time: Timestamp) -> String {
    cresset_wire::v1::rfc3339(time)[..10].to_owned()
}

/// The project of the credential, whatever its kind.
fn admit(api: &Api, headers: &HeaderMap) -> Result<Sender, Refusal> {
    Ok(match server_key(headers) {
        Some(key) => api.identity.authenticate_server_key(key)?,
        None => api.identity.authenticate(bearer(headers), (api.clock)())?,
    })
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Value, Refusal> {
    let bytes = body::read(headers, body, MAX_BODY).await.map_err(|e| match e {
        BodyError::TooLarge => refusal(StatusCode::PAYLOAD_TOO_LARGE, "INVALID_ARGUMENT"),
        BodyError::TooSlow | BodyError::Unreadable => invalid(),
    })?;
    serde_json::from_slice(&bytes).map_err(|_| invalid())
}

fn answer(outcome: Result<Value, Refusal>) -> Response {
    match outcome {
        Ok(value) => crate::json(StatusCode::OK, value.to_string()),
        Err(Refusal { status, word, headers }) => {
            let mut response = crate::json(status, json!({ "error": word }).to_string());
            response.headers_mut().extend(headers);
            response
        }
    }
}

/// Status and headers are those of v1, the word is the service's (§2.7).
impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        let word = match &rejection {
            Rejection::CredentialsMissing | Rejection::CredentialsInvalid | Rejection::CredentialsExpired => {
                "UNAUTHENTICATED"
            }
            Rejection::ScopeInsufficient
            | Rejection::PermissionDenied { .. }
            | Rejection::SenderIdMismatch => MembershipError::PermissionDenied.as_str(),
            Rejection::MalformedToken => MembershipError::InvalidArgument.as_str(),
            Rejection::Unregistered => MembershipError::NotFound.as_str(),
            Rejection::TooManyTopics { .. } => MembershipError::TooManyTopics.as_str(),
            Rejection::SubscriptionQuota { .. } => MembershipError::ResourceExhausted.as_str(),
            Rejection::Unavailable { .. } => "UNAVAILABLE",
            _ => MembershipError::Internal.as_str(),
        };
        let Answer { status, headers, .. } = Answer::refusal(&rejection);
        Self { status, word: word.to_owned(), headers }
    }
}
