//! `POST /v1/projects/{project}/messages:send` (`protocol/http-v1.md` §1).

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use cresset_identity::Sender;
use cresset_message::{FieldViolation, Rejection};
use cresset_wire::v1::error::{self, ErrorAnswer};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};

use crate::Api;
use crate::body::{self, BodyError};

/// Bytes of a request body. The largest message has four blocks of 4 KB, and JSON may write a byte
/// as six.
const MAX_BODY: usize = 128 * 1_024;

const TOO_LARGE: Rejection = Rejection::BodyTooLarge { limit: MAX_BODY };

pub(crate) const METHOD: &str = "messages:send";

pub(crate) async fn send(
    State(api): State<Api>,
    Path((project, method)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if method != METHOD {
        return crate::not_found(Method::POST, uri).await;
    }
    answer(&api, &project, &uri, &headers, body).await
}

fn project_of_send<'a>(method: &Method, uri: &'a Uri) -> Option<&'a str> {
    let project = uri.path().strip_prefix("/v1/projects/")?.strip_suffix(METHOD)?.strip_suffix('/')?;
    // A router would decode it.
    let is_plain = !project.is_empty() && !project.contains(['/', '%']);
    (*method == Method::POST && is_plain).then_some(project)
}

/// Answers a send in its plainest form as the router does, without the router: to match its path and to pass
/// it from box to box costs a tenth of all that is done for a send, and most requests are sends. Gives back
/// what is something else.
pub fn send_now(
    api: &Api,
    request: Request<Body>,
) -> Result<impl Future<Output = Response> + Send + use<>, Request<Body>> {
    let Some(project) = project_of_send(request.method(), request.uri()).map(str::to_owned) else {
        return Err(request);
    };
    let api = api.clone();
    Ok(async move {
        let (parts, body) = request.into_parts();
        answer(&api, &project, &parts.uri, &parts.headers, body).await
    })
}

async fn answer(api: &Api, project: &str, uri: &Uri, headers: &HeaderMap, body: Body) -> Response {
    let query = Query::parse(uri.query().unwrap_or_default());
    let asked = Asked { project, credential: bearer(headers), query: &query };
    let outcome = async {
        let sender = asked.admit(api)?;
        let bytes = read(headers, body).await?;
        accept(api, &sender, &bytes).await
    };
    Answer::of(api, &asked, outcome.await).into_response()
}

/// A send without its body, alone or as a part of a batch.
pub(crate) struct Asked<'a> {
    pub(crate) project: &'a str,
    pub(crate) credential: Option<&'a str>,
    pub(crate) query: &'a Query,
}

impl Asked<'_> {
    /// The refusals that need no body, in their order: credential, project, query
    /// (`protocol/http-v1.md` §5.2).
    pub(crate) fn admit(&self, api: &Api) -> Result<Sender, Rejection> {
        let credential = self.credential.or(self.query.access_token.as_deref());
        let sender = api.identity.authorize(credential, self.project, (api.clock)())?;
        self.query.check()?;
        Ok(sender)
    }
}

/// The rest: shape, then rules. `Ok` means durable, and is the id that the sender is told.
pub(crate) async fn accept(api: &Api, sender: &Sender, body: &[u8]) -> Result<String, Rejection> {
    // A part of a batch may be larger than what comes alone.
    if body.len() > MAX_BODY {
        return Err(TOO_LARGE);
    }
    let request = cresset_wire::v1::parse_send_request(body)?;
    let to_many = request.message.target.is_set();
    let sent = api.dispatcher.send(sender.number, request.message, request.validate_only, (api.clock)());
    let id = sent.await?;
    // For topics and conditions it is a decimal number (`protocol/http-v1.md` §4).
    Ok(if to_many { id.micros.to_string() } else { id.to_string() })
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Rejection> {
    body::read(headers, body, MAX_BODY).await.map_err(|e| match e {
        BodyError::TooLarge => TOO_LARGE,
        BodyError::TooSlow | BodyError::Unreadable => unreadable(),
    })
}

/// How a send is answered, alone or as a part of a batch. The body is JSON.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Besides the type of the body.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn of(api: &Api, asked: &Asked<'_>, outcome: Result<String, Rejection>) -> Self {
        api.sends.count(&outcome);
        match outcome {
            Ok(id) => Self::success(asked.project, &id, asked.query.pretty),
            Err(rejection) => Self::refusal(&rejection),
        }
    }

    fn success(project: &str, id: &str, pretty: bool) -> Self {
        let mut body = error::send_success(project, id);
        if !pretty {
            // One field of one line: what is not needed is white space outside the string.
            body = body.replace("{\n  \"name\": ", "{\"name\":").replace("\n}\n", "}");
        }
        Self { status: StatusCode::OK, headers: Vec::new(), body }
    }

    pub(crate) fn refusal(rejection: &Rejection) -> Self {
        let ErrorAnswer { status, retry_after, www_authenticate, body } = error::render(rejection);
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = retry_after.map(|seconds| (header::RETRY_AFTER, HeaderValue::from(seconds)));
        let challenge =
            www_authenticate.map(|text| (header::WWW_AUTHENTICATE, HeaderValue::from_static(text)));
        Self { status, headers: retry_after.into_iter().chain(challenge).collect(), body }
    }

    pub(crate) fn into_response(self) -> Response {
        let mut response = crate::json(self.status, self.body);
        response.headers_mut().extend(self.headers);
        response
    }
}

/// `Bearer` in any case; anything else is no credential.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    bearer_in(headers.get(header::AUTHORIZATION)?.to_str().ok()?)
}

/// The credential in the value of `Authorization`.
pub(crate) fn bearer_in(value: &str) -> Option<&str> {
    let (scheme, credential) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim())
}

/// System parameters of Google's APIs (`protocol/http-v1.md` §1.3).
pub(crate) struct Query {
    pub(crate) access_token: Option<String>,
    pretty: bool,
    /// The first name that no method has.
    unknown: Option<String>,
}

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
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

    pub(crate) fn check(&self) -> Result<(), Rejection> {
        self.unknown.as_deref().map_or(Ok(()), |name| Err(unknown_parameter(name)))
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
    fn a_send_in_its_plainest_form_is_known() {
        let project = |method, path| {
            let uri = Uri::from_static(path);
            project_of_send(&method, &uri).map(str::to_owned)
        };
        let post = |path| project(Method::POST, path);
        assert_eq!(post("/v1/projects/demo/messages:send?alt=json").as_deref(), Some("demo"));
        assert_eq!(post("/v1/projects/messages:send"), None);
        assert_eq!(post("/v1/projects//messages:send"), None);
        assert_eq!(post("/v1/projects/a/b/messages:send"), None);
        assert_eq!(post("/v1/projects/a%2Fb/messages:send"), None);
        assert_eq!(post("/projects/demo/messages:send"), None);
        assert_eq!(project(Method::GET, "/v1/projects/demo/messages:send"), None);
    }

    #[test]
    fn the_bearer_scheme_is_read_in_any_case() {
        let with = |value| HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))]);
        assert_eq!(bearer(&with("bEARER abc")), Some("abc"));
        assert_eq!(bearer(&with("Basic abc")), None);
        assert_eq!(bearer(&HeaderMap::new()), None);
    }
}
