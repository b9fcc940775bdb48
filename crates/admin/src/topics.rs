//! Topics, targets and messages of a project, to look at and to set. Who may send for a project may call it,
//! with the same access token; so it stands on every listener, and speaks of errors as HTTP v1 does.

mod messages;
mod table;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{MethodRouter, on};
use cresset_delivery::{Dispatcher, MAX_TOPICS};
use cresset_identity::Identity;
use cresset_message::{FieldViolation, ProjectNumber, RegistrationId, Rejection, Target, Timestamp, Topic};
use cresset_wire::v1::{error, rfc3339};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{Clock, in_json, render};
use table::{Endpoint, Serve, endpoints};

/// What the calls stand on.
#[derive(Clone)]
pub struct TopicsApi {
    pub identity: Arc<Identity>,
    pub dispatcher: Arc<Dispatcher>,
    pub clock: Clock,
    /// With this bearer token any project may be asked about; `None` where strangers can listen.
    pub operator: Option<Arc<str>>,
}

const MAX_BODY: usize = 256 * 1_024;

const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1_000;

/// The routes of the table.
pub fn topics_router(api: TopicsApi) -> Router {
    let routes = endpoints().into_iter().fold(Router::new(), |router, endpoint| {
        let path = endpoint.path;
        router.route(path, serve(endpoint))
    });
    routes.method_not_allowed_fallback(no_such_method).with_state(api)
}

fn serve(endpoint: Endpoint) -> MethodRouter<TopicsApi> {
    type Names = Result<Path<HashMap<String, String>>, PathRejection>;
    let method = endpoint.method.filter();
    let endpoint = Arc::new(endpoint);
    on(method, move |State(api): State<TopicsApi>, names: Names, request: Request<Body>| async move {
        let names = names.map(|Path(names)| names).unwrap_or_default();
        match answer(api, &endpoint, names, request).await {
            Ok(value) => crate::ok(value),
            Err(rejection) => refuse(&rejection),
        }
    })
}

async fn answer(
    api: TopicsApi,
    endpoint: &Endpoint,
    names: HashMap<String, String>,
    request: Request<Body>,
) -> Result<Value, Rejection> {
    let serve = match endpoint.serve {
        Serve::Anybody(serve) => return Ok(serve()),
        Serve::Project(serve) => serve,
    };
    let now = (api.clock)();
    let project = names.get("project").map(String::as_str).unwrap_or_default();
    let project = project_of(&api, bearer(request.headers()), project, now)?;
    let query = read_query(endpoint, request.uri().query().unwrap_or_default())?;
    let body = if endpoint.body.is_some() { read_body(request.into_body()).await? } else { Vec::new() };
    serve(api, Call { project, names, query, body, now }).await
}

fn project_of(
    api: &TopicsApi,
    credential: Option<&str>,
    project: &str,
    now: Timestamp,
) -> Result<ProjectNumber, Rejection> {
    if crate::is_token(api.operator.as_deref(), credential) {
        let known = api.identity.project(project).map(|known| known.number);
        return known.ok_or_else(|| Rejection::PermissionDenied { project: project.to_owned() });
    }
    Ok(api.identity.authorize(credential, project, now)?.number)
}

/// A request that may be served.
struct Call {
    project: ProjectNumber,
    /// What stands in the path, by the names that the table gives.
    names: HashMap<String, String>,
    query: HashMap<String, String>,
    body: Vec<u8>,
    now: Timestamp,
}

type Answering = Pin<Box<dyn Future<Output = Result<Value, Rejection>> + Send>>;

impl Call {
    fn name(&self, name: &str) -> &str {
        self.names.get(name).map(String::as_str).unwrap_or_default()
    }

    fn page_size(&self) -> Result<usize, Rejection> {
        let Some(text) = self.query.get("pageSize") else { return Ok(DEFAULT_PAGE) };
        let size = text.parse().ok().filter(|size| (1..=MAX_PAGE).contains(size));
        size.ok_or_else(|| Rejection::field("pageSize", format!("pageSize must be 1 to {MAX_PAGE}.")))
    }

    /// Where the last page ended.
    fn page_token<T: std::str::FromStr>(&self) -> Result<Option<T>, Rejection> {
        let token = self.query.get("pageToken").filter(|token| !token.is_empty());
        let token = token.map(|token| token.parse()).transpose();
        token.map_err(|_| Rejection::field("pageToken", "pageToken was not given by this call."))
    }

    fn body<T: DeserializeOwned>(&self) -> Result<T, Rejection> {
        serde_json::from_slice(&self.body).map_err(|e| {
            Rejection::Unparsable(vec![FieldViolation { field: String::new(), description: e.to_string() }])
        })
    }

    async fn registration(&self, api: &TopicsApi) -> Result<RegistrationId, Rejection> {
        api.dispatcher.registration_named(self.project, self.name("registration"), self.now).await
    }
}

async fn list_topics(api: TopicsApi, call: Call) -> Result<Value, Rejection> {
    let after: Option<Topic> = call.page_token()?;
    let limit = call.page_size()?;
    let page = api.dispatcher.topics_of_project(call.project, after.as_ref(), limit, call.now).await?;
    let topic = |(topic, members): &(Topic, u64)| json!({ "name": topic.as_str(), "members": members });
    let topics: Vec<Value> = page.topics.iter().map(topic).collect();
    let next = page.next.as_ref().map(Topic::as_str);
    Ok(with_next(json!({ "topics": topics }), next))
}

async fn list_members(api: TopicsApi, call: Call) -> Result<Value, Rejection> {
    let topic = call.name("topic").parse().map_err(|_| Rejection::TopicName)?;
    let from = call.page_token()?;
    let page = api.dispatcher.members_of(call.project, &topic, from, call.page_size()?, call.now).await?;
    let member = |member: &cresset_delivery::Member| json!({ "token": member.token, "platform": render::name(member.platform) });
    let members: Vec<Value> = page.members.iter().map(member).collect();
    Ok(with_next(json!({ "members": members }), page.next.map(|next| next.to_string()).as_deref()))
}

/// The last page has no `nextPageToken`.
fn with_next(mut page: Value, next: Option<&str>) -> Value {
    if let Some(next) = next {
        page["nextPageToken"] = next.into();
    }
    page
}

/// What is not known is left out.
async fn app_instance(api: TopicsApi, call: Call) -> Result<Value, Rejection> {
    let id = call.registration(&api).await?;
    let found = api.dispatcher.app_instance(id, call.now).await?.ok_or(Rejection::Unregistered)?;
    let mut value = json!({
        "platform": render::name(found.platform),
        "created": rfc3339(found.created),
        "connected": found.connected,
        "waiting": found.waiting,
    });
    if let Some(application) = found.application {
        value["application"] = application.into();
    }
    if let Some(seen) = found.seen {
        value["lastSeen"] = rfc3339(seen).into();
    }
    Ok(value)
}

async fn topics_of(api: TopicsApi, call: Call) -> Result<Value, Rejection> {
    let id = call.registration(&api).await?;
    let topics = api.dispatcher.topics_of(id, call.now).await?;
    let topic =
        |(topic, since): &(Topic, Timestamp)| json!({ "name": topic.as_str(), "since": rfc3339(*since) });
    Ok(json!({ "topics": topics.iter().map(topic).collect::<Vec<_>>() }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replace {
    topics: Vec<String>,
}

async fn replace_topics(api: TopicsApi, call: Call) -> Result<Value, Rejection> {
    let Replace { topics } = call.body()?;
    if topics.len() > MAX_TOPICS {
        return Err(Rejection::field("topics", format!("topics has more than {MAX_TOPICS} entries.")));
    }
    let topics: Result<Vec<Topic>, _> = topics.iter().map(|topic| topic.parse()).collect();
    let topics = topics.map_err(|_| Rejection::TopicName)?;
    let id = call.registration(&api).await?;
    let replaced = api.dispatcher.replace_topics(id, &topics, call.now).await?;
    Ok(json!({ "added": replaced.added, "removed": replaced.removed }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Preview {
    topic: Option<String>,
    condition: Option<String>,
    token: Option<String>,
}

async fn preview(api: TopicsApi, call: Call) -> Result<Value, Rejection> {
    let Preview { topic, condition, token } = call.body()?;
    let target = match (topic, condition, token) {
        (Some(topic), None, None) => Target::Topic(topic),
        (None, Some(condition), None) => Target::Condition(condition),
        (None, None, Some(token)) => Target::Token(token),
        (None, None, None) => return Err(Rejection::NoTarget),
        _ => return Err(Rejection::field("", "Only one of topic, condition and token may be set.")),
    };
    let preview = api.dispatcher.preview_target(call.project, &target, call.now).await?;
    Ok(json!({
        "registrations": preview.registrations,
        "platforms": { "android": preview.android, "ios": preview.ios, "web": preview.web },
        "connected": preview.connected,
    }))
}

async fn fanouts(api: TopicsApi, call: Call) -> Result<Value, Rejection> {
    Ok(json!({ "open": api.dispatcher.fanouts_open_of(call.project) }))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, credential) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim())
}

/// The parameters that the table has of this endpoint; a misspelt one is refused, not ignored.
fn read_query(endpoint: &Endpoint, text: &str) -> Result<HashMap<String, String>, Rejection> {
    let mut query = HashMap::new();
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        if !endpoint.has_query(&name) {
            return Err(Rejection::field(&*name, format!("Unknown query parameter \"{name}\".")));
        }
        query.insert(name.into_owned(), value.into_owned());
    }
    Ok(query)
}

async fn read_body(body: Body) -> Result<Vec<u8>, Rejection> {
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => Ok(body.to_bytes().to_vec()),
        Err(e) if e.downcast_ref::<LengthLimitError>().is_some() => {
            Err(Rejection::BodyTooLarge { limit: MAX_BODY })
        }
        Err(_) => Err(Rejection::field("", "The body could not be read.")),
    }
}

async fn no_such_method() -> Response {
    let body = error::google_error(404, "NOT_FOUND", "This path has no such method.");
    in_json(StatusCode::NOT_FOUND, body)
}

fn refuse(rejection: &Rejection) -> Response {
    let told = error::render(rejection);
    let status = StatusCode::from_u16(told.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = in_json(status, told.body);
    if let Some(seconds) = told.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    if let Some(challenge) = told.www_authenticate {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response
}
