//! Firebase Installations (`protocol/device-registration.md` §4).

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use cresset_identity::{Installation, InstallationRefusal, is_passing};
use cresset_wire::v1::error::google_error;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::Api;
use crate::body::{self, BodyError, header_text};

const MAX_BODY: usize = 64 * 1_024;

pub(crate) async fn create(
    State(api): State<Api>,
    Path(project): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let project = match api.identity.project_by_api_key(&project, api_key(&headers)) {
        Ok(project) => project,
        Err(refusal) => return refuse(&refusal),
    };
    let request = match read_json(&headers, body).await {
        Ok(request) => request,
        Err(refusal) => return refusal,
    };
    let create = async {
        let text = |name: &str| request[name].as_str();
        let app_id = text("appId").unwrap_or_default();
        api.identity.create_installation(&project, app_id, text("fid"), (api.clock)()).await
    };
    match create.await {
        Ok(made) => {
            let answer = json!({
                "name": format!("projects/{}/installations/{}", made.project, made.fid),
                "fid": made.fid.as_str(),
                "refreshToken": made.refresh_token,
                "authToken": auth_token(&made),
            });
            crate::json(StatusCode::OK, answer.to_string())
        }
        Err(refusal) => refuse(&refusal),
    }
}

/// `…/authTokens:generate`.
pub(crate) async fn generate(
    State(api): State<Api>,
    Path((project, fid, method)): Path<(String, String, String)>,
    headers: HeaderMap,
    uri: http::Uri,
) -> Response {
    if method != "authTokens:generate" {
        return crate::not_found(http::Method::POST, uri).await;
    }
    let generate = async {
        let project = api.identity.project_by_api_key(&project, api_key(&headers))?;
        api.identity.refresh_installation(&project, &fid, refresh_token(&headers), (api.clock)()).await
    };
    match generate.await {
        Ok(made) => crate::json(StatusCode::OK, auth_token(&made).to_string()),
        Err(refusal) => refuse(&refusal),
    }
}

pub(crate) async fn delete(
    State(api): State<Api>,
    Path((project, fid)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let delete = async {
        let project = api.identity.project_by_api_key(&project, api_key(&headers))?;
        api.identity.delete_installation(&project, &fid, refresh_token(&headers), (api.clock)()).await
    };
    match delete.await {
        Ok(()) => crate::json(StatusCode::OK, "{}"),
        Err(refusal) => refuse(&refusal),
    }
}

/// The life is decimal seconds and `s`, without a fraction: Android insists.
fn auth_token(made: &Installation) -> Value {
    json!({ "token": made.auth_token, "expiresIn": format!("{}s", made.auth_token_life_seconds) })
}

pub(crate) fn api_key(headers: &HeaderMap) -> Option<&str> {
    Some(header_text(headers, "x-goog-api-key"))
}

fn refresh_token(headers: &HeaderMap) -> &str {
    let value = header_text(headers, "authorization");
    value.strip_prefix("FIS_v2 ").unwrap_or(value)
}

/// Whatever the content type: several clients send JSON as `text/plain`. A body that was too slow is
/// no 4xx, after which Android would stay away for a day.
pub(crate) async fn read_json(headers: &HeaderMap, body: Body) -> Result<Value, Response> {
    let invalid = |message| error(400, "INVALID_ARGUMENT", message);
    let bytes = body::read(headers, body, MAX_BODY).await.map_err(|e| match e {
        BodyError::TooSlow => unavailable(),
        BodyError::TooLarge => invalid("The request body is too large."),
        BodyError::Unreadable => invalid("The request body could not be read."),
    })?;
    serde_json::from_slice(&bytes).map_err(|_| invalid("Invalid JSON payload received."))
}

pub(crate) fn refuse(refusal: &InstallationRefusal) -> Response {
    let (code, status) = match refusal {
        InstallationRefusal::ApiKey | InstallationRefusal::App(_) => (400, "INVALID_ARGUMENT"),
        InstallationRefusal::ApiKeyMissing | InstallationRefusal::Project(_) => (403, "PERMISSION_DENIED"),
        InstallationRefusal::FidTaken => (409, "ALREADY_EXISTS"),
        InstallationRefusal::NotFound => (404, "NOT_FOUND"),
        InstallationRefusal::Unauthenticated => (401, "UNAUTHENTICATED"),
        InstallationRefusal::Store(cause) => {
            crate::store_failed("an installation", is_passing(cause), cause);
            return unavailable();
        }
    };
    error(code, status, &refusal.to_string())
}

pub(crate) fn unavailable() -> Response {
    error(503, "UNAVAILABLE", "The service is currently unavailable.")
}

pub(crate) fn error(code: u16, status: &str, message: &str) -> Response {
    let http_status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    crate::json(http_status, google_error(code, status, message))
}
