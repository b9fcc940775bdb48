//! Device groups (`protocol/device-groups.md` §1 to §5). Clients compare the texts of errors, and look
//! at the body, not at the status.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use cresset_delivery::{GroupChange, GroupError};
use cresset_message::{ProjectNumber, Rejection};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use serde_json::{Value, json};

use crate::Api;
use crate::body::{self, BodyError, header_text};
use crate::v1::send::{Answer, bearer};

/// Twenty tokens have 4 KB; removing many at a time must have room too.
const MAX_BODY: usize = 64 * 1_024;

const NAME: &str = "notification_key_name";

/// Create, add or remove.
pub(crate) async fn change(State(api): State<Api>, headers: HeaderMap, body: Body) -> Response {
    let changed = async {
        let project = admit(&api, &headers)?;
        let request = read(&headers, body).await?;
        carry_out(&api, project, &request).await
    };
    answer(changed.await)
}

/// The key of a group by its name.
pub(crate) async fn find(State(api): State<Api>, headers: HeaderMap, uri: Uri) -> Response {
    let found = async {
        let project = admit(&api, &headers)?;
        let query = body::Form::parse(uri.query().unwrap_or_default().as_bytes());
        match query.get(NAME) {
            "" => Err(invalid("notification_key_name is missing")),
            name => Ok(api.dispatcher.group_by_name(project, name, (api.clock)()).await?),
        }
    };
    answer(found.await)
}

/// Groups that an app manages without a server: its user would be signed in with Google.
pub(crate) async fn client_managed() -> Response {
    Refusal::into_response(invalid(
        "client-managed device groups are not served: they need Google sign-in; use /fcm/notification",
    ))
}

/// Why not: a status, and the text of `error`.
struct Refusal {
    status: StatusCode,
    text: String,
    headers: Vec<(http::HeaderName, HeaderValue)>,
}

fn invalid(text: impl Into<String>) -> Refusal {
    Refusal { status: StatusCode::BAD_REQUEST, text: text.into(), headers: Vec::new() }
}

/// The project of the credential, which the header `project_id` names by its number. A credential
/// that is missing or bad beats everything else.
fn admit(api: &Api, headers: &HeaderMap) -> Result<ProjectNumber, Refusal> {
    let number: Option<ProjectNumber> = header_text(headers, "project_id").parse().ok();
    let sender = match (server_key(headers), number) {
        (Some(key), Some(number)) => api.identity.authorize_server_key(key, number).map(Some),
        (Some(key), None) => api.identity.authenticate_server_key(key).map(|_| None),
        (None, Some(number)) => {
            api.identity.authorize(bearer(headers), &number.to_string(), (api.clock)()).map(Some)
        }
        (None, None) => api.identity.authenticate(bearer(headers), (api.clock)()).map(|_| None),
    };
    match sender? {
        Some(sender) => Ok(sender.number),
        None => Err(invalid("the header project_id must be the sender ID (the project number)")),
    }
}

/// What follows `key=`.
pub(crate) fn server_key(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = header_text(headers, "authorization").split_once('=')?;
    scheme.trim().eq_ignore_ascii_case("key").then(|| key.trim())
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Value, Refusal> {
    let bytes = body::read(headers, body, MAX_BODY).await.map_err(|e| match e {
        BodyError::TooLarge => invalid("the request body is too large"),
        BodyError::TooSlow | BodyError::Unreadable => invalid("the request body could not be read"),
    })?;
    match serde_json::from_slice(&bytes) {
        Ok(request @ Value::Object(_)) => Ok(request),
        _ => Err(invalid("the request body is not a JSON object")),
    }
}

async fn carry_out(api: &Api, project: ProjectNumber, request: &Value) -> Result<String, Refusal> {
    let (dispatcher, now) = (&api.dispatcher, (api.clock)());
    let name = text(request, NAME)?;
    let key = text(request, "notification_key")?;
    let operation = text(request, "operation")?;
    let registration_ids = &*registration_ids(request)?;
    let change = || match key {
        Some(notification_key) => Ok(GroupChange { notification_key, name, registration_ids }),
        None => Err(invalid("notification_key is missing")),
    };
    let changed = match operation {
        Some("create") => {
            let name = name.ok_or_else(|| invalid("notification_key_name is missing"))?;
            dispatcher.create_group(project, name, registration_ids, now).await
        }
        Some("add") => dispatcher.add_to_group(project, change()?, now).await,
        Some("remove") => dispatcher.remove_from_group(project, change()?, now).await,
        _ => return Err(invalid("operation must be create, add or remove")),
    };
    Ok(changed?)
}

/// A field that is text; absent, null and empty are the same.
fn text<'a>(request: &'a Value, name: &str) -> Result<Option<&'a str>, Refusal> {
    match &request[name] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        _ => Err(invalid(format!("{name} must be a string"))),
    }
}

/// Absent is empty: then none of them is valid.
fn registration_ids(request: &Value) -> Result<Vec<&str>, Refusal> {
    let wrong = || invalid("registration_ids must be an array of strings");
    match &request["registration_ids"] {
        Value::Null => Ok(Vec::new()),
        Value::Array(ids) => ids.iter().map(|id| id.as_str().ok_or_else(wrong)).collect(),
        _ => Err(wrong()),
    }
}

fn answer(outcome: Result<String, Refusal>) -> Response {
    match outcome {
        Ok(key) => crate::json(StatusCode::OK, json!({ "notification_key": key }).to_string()),
        Err(refusal) => refusal.into_response(),
    }
}

impl Refusal {
    fn into_response(self) -> Response {
        let mut response = crate::json(self.status, format!("{}\n", json!({ "error": self.text })));
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<GroupError> for Refusal {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::Failed(rejection) => rejection.into(),
            other => invalid(other.to_string()),
        }
    }
}

/// Status and headers are those of v1; the texts are ours.
impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        let text = match &rejection {
            Rejection::CredentialsMissing => "the request has no credential",
            Rejection::CredentialsInvalid => "the credential is not valid",
            Rejection::CredentialsExpired => "the access token is too old",
            Rejection::ScopeInsufficient => "the access token has no scope that lets it send messages",
            Rejection::PermissionDenied { .. } => "project_id is not the project of the credential",
            Rejection::Unavailable { .. } => "the service is currently unavailable",
            _ => "internal error",
        };
        let Answer { status, headers, .. } = Answer::refusal(&rejection);
        Self { status, text: text.to_owned(), headers }
    }
}
