//! The OAuth 2.0 token endpoint (`protocol/oauth.md` §2 and §4).

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use cresset_identity::{GrantRequest, OauthError};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;

use crate::Api;
use crate::body::{self, Form, header_text};

/// An assertion is some 800 bytes.
const MAX_BODY: usize = 64 * 1_024;

pub(crate) async fn grant(
    State(api): State<Api>,
    headers: HeaderMap,
    uri: http::Uri,
    body: Body,
) -> Response {
    let Ok(bytes) = body::read(&headers, body, MAX_BODY).await else {
        return refuse(&OauthError {
            status: 400,
            error: "invalid_request",
            description: "The request body could not be read.".into(),
        });
    };
    let request = read(&bytes, host(&headers, &uri));
    match api.identity.grant(&request, (api.clock)()) {
        Ok(granted) => {
            let mut answer = json!({
                "access_token": granted.token,
                "expires_in": granted.expires_in_seconds,
                "token_type": "Bearer",
            });
            if let Some(scope) = granted.scope {
                answer["scope"] = scope.into();
            }
            no_store(crate::json(StatusCode::OK, answer.to_string()))
        }
        Err(error) => refuse(&error),
    }
}

/// A form; from some libraries JSON.
fn read(bytes: &[u8], host: String) -> GrantRequest {
    if let Ok(serde_json::Value::Object(fields)) = serde_json::from_slice(bytes) {
        let text = |name: &str| fields.get(name).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
        return grant_request(text, host);
    }
    let form = Form::parse(bytes);
    grant_request(|name| form.get(name).to_owned(), host)
}

fn grant_request(text: impl Fn(&str) -> String, host: String) -> GrantRequest {
    GrantRequest {
        grant_type: text("grant_type"),
        assertion: text("assertion"),
        client_id: text("client_id"),
        client_secret: text("client_secret"),
        refresh_token: text("refresh_token"),
        scope: text("scope"),
        host,
    }
}

/// HTTP/2 says it in the URI, HTTP/1.1 in `Host`.
fn host(headers: &HeaderMap, uri: &http::Uri) -> String {
    uri.authority().map_or_else(|| header_text(headers, "host").to_owned(), |a| a.to_string())
}

fn refuse(error: &OauthError) -> Response {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
    let body = json!({ "error": error.error, "error_description": error.description });
    no_store(crate::json(status, body.to_string()))
}

fn no_store(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
