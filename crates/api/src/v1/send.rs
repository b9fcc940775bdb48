//! `POST /v1/projects/{project}/messages:send` (`protocol/http-v1.md` §1).

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use cresset_message::{FieldViolation, Rejection};
use cresset_wire::v1::error::{self, ErrorAnswer};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};

use crate::Api;
use crate::body::{self, BodyError};

/// Bytes of a request body. The largest message has four blocks of 4 KB, and JSON may write a byte
/// as six.
const MAX_BODY: usize = 128 * 1_024;

pub(crate) async fn send(
    State(api): State<Api>,
    Path((project, method)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if method != "messages:send" {
        return crate::not_found(http::Method::POST, uri).await;
    }
    let query = Query::parse(uri.query().unwrap_or_default());
    match accept(&api, &project, &query, &headers, body).await {
        Ok(id) => success(&project, &id.to_string(), query.pretty),
        Err(rejection) => refuse(&rejection),
    }
}

/// The order of refusals: credential, project, query, body, rules (`protocol/http-v1.md` §5.2).
async fn accept(
    api: &Api,
    project: &str,
    query: &Query,
    headers: &HeaderMap,
    body: Body,
) -> Result<cresset_message::MessageId, Rejection> {
    let credential = bearer(headers).or(query.access_token.as_deref());
    let sender = api.identity.authorize(credential, project, (api.clock)())?;
    if let Some(name) = &query.unknown {
        return Err(unknown_parameter(name));
    }
    let bytes = body::read(headers, body, MAX_BODY).await.map_err(|e| match e {
        BodyError::TooLarge => Rejection::BodyTooLarge { limit: MAX_BODY },
        BodyError::TooSlow | BodyError::Unreadable => unreadable(),
    })?;
    let request = cresset_wire::v1::parse_send_request(&bytes)?;
    api.dispatcher.send(sender.number, request.message, request.validate_only, (api.clock)()).await
}

/// `Bearer` in any case; anything else is no credential.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credential) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim())
}

/// System parameters of Google's APIs (`protocol/http-v1.md` §1.3).
struct Query {
    access_token: Option<String>,
    pretty: bool,
    /// The first name that no method has.
    unknown: Option<String>,
}

impl Query {
    fn parse(text: &str) -> Self {
        let mut query = Self { access_token: None, pretty: true, unknown: None };
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            match name.strip_prefix('$').unwrap_or(&name) {
                "access_token" | "oauth_token" | "bearer_token" => {
                    query.access_token = Some(value.into_owned())
                }
                "prettyPrint" | "pp" => query.pretty = !matches!(&*value, "false" | "0"),
                "alt" | "fields" | "key" | "quotaUser" | "callback" | ".xgafv" | "uploadType"
                | "upload_protocol" | "userIp" => {}
                _ => query.unknown = query.unknown.or(Some(name.into_owned())),
            }
        }
        query
    }
}

fn unknown_parameter(name: &str) -> Rejection {
    Rejection::Unparsable(vec![FieldViolation {
        field: String::new(),
        description: format!(
            "Invalid JSON payload received. Unknown name \"{name}\": Cannot bind query parameter. Field '{name}' could not be found in request message."
        ),
    }])
}

fn unreadable() -> Rejection {
    Rejection::Unparsable(vec![FieldViolation {
        field: String::new(),
        description: "Invalid JSON payload received. The body could not be read.".into(),
    }])
}

fn success(project: &str, id: &str, pretty: bool) -> Response {
    let body = error::send_success(project, id);
    if pretty {
        return crate::json(StatusCode::OK, body);
    }
    // One field of one line: what is not needed is white space outside the string.
    crate::json(StatusCode::OK, body.replace("{\n  \"name\": ", "{\"name\":").replace("\n}\n", "}"))
}

fn refuse(rejection: &Rejection) -> Response {
    let ErrorAnswer { status, retry_after, www_authenticate, body } = error::render(rejection);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = crate::json(status, body);
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(challenge) = www_authenticate {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_parameters_are_known_with_and_without_a_dollar() {
        let query = Query::parse("$alt=json&prettyPrint=false&$.xgafv=2&access_token=a%20b&key=k");
        assert_eq!(query.access_token.as_deref(), Some("a b"));
        assert!(!query.pretty && query.unknown.is_none());
        assert_eq!(Query::parse("foo=1&bar=2").unknown.as_deref(), Some("foo"));
    }

    #[test]
    fn the_bearer_scheme_is_read_in_any_case() {
        let with = |value| HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))]);
        assert_eq!(bearer(&with("bEARER abc")), Some("abc"));
        assert_eq!(bearer(&with("Basic abc")), None);
        assert_eq!(bearer(&HeaderMap::new()), None);
    }
}
