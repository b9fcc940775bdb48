//! `projects.registrations.topicSubscriptions` (`protocol/topics-and-batch.md` §4), and the calls by
//! which apps subscribe themselves (`protocol/device-registration.md` §5, topics).

use axum::extract::{Path, State};
use axum::response::Response;
use cresset_message::{FieldViolation, RegistrationId, Rejection, Timestamp, Topic};
use cresset_wire::v1::rfc3339;
use http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};

use super::send::{Answer, bearer};
use crate::Api;
use crate::body::Form;
use crate::installations::{api_key, refuse as refuse_project};
use crate::registrations::{auth_token, refuse};

/// Topics of one page (§4).
const PAGE: usize = 1_000;
const MAX_PAGE: usize = 2_000;

/// Why not; one that is there already is no refusal of a message.
enum Refusal {
    Rejected(Rejection),
    Exists,
    NotFound,
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

/// The registration that a path names.
struct Asked<'a> {
    api: &'a Api,
    project: &'a str,
    name: &'a str,
    id: RegistrationId,
    now: Timestamp,
}

impl<'a> Asked<'a> {
    async fn admit(
        api: &'a Api,
        headers: &HeaderMap,
        project: &'a str,
        name: &'a str,
    ) -> Result<Self, Refusal> {
        let now = (api.clock)();
        let sender = api.identity.authorize(bearer(headers), project, now)?;
        let id = api.dispatcher.registration_named(sender.number, name, now).await?;
        Ok(Self { api, project, name, id, now })
    }

    async fn subscribe(&self, topic: &Topic) -> Result<bool, Refusal> {
        Ok(self.api.dispatcher.subscribe_one(self.id, topic, self.now).await?)
    }

    async fn find(&self, topic: &Topic) -> Result<Value, Refusal> {
        let since = self.api.dispatcher.subscription(self.id, topic, self.now).await?;
        Ok(self.told(topic, since.ok_or(Refusal::NotFound)?))
    }

    /// In both spellings: clients that are generated read one, the documents show the other.
    fn told(&self, topic: &Topic, since: Timestamp) -> Value {
        let name =
            format!("projects/{}/registrations/{}/topicSubscriptions/{topic}", self.project, self.name);
        let time = rfc3339(since);
        json!({
            "name": name,
            "topicName": topic.as_str(),
            "createTime": time,
            "topic_name": topic.as_str(),
            "create_time": time,
        })
    }
}

pub(crate) async fn create(
    State(api): State<Api>,
    Path((project, registration)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let created = async {
        let asked = Asked::admit(&api, &headers, &project, &registration).await?;
        let query = query(&uri);
        let topic = topic(query.first(&["topicName", "topic_name"]))?;
        if asked.subscribe(&topic).await? {
            return Err(Refusal::Exists);
        }
        asked.find(&topic).await
    };
    answer(created.await)
}

pub(crate) async fn update(
    State(api): State<Api>,
    Path((project, registration, name)): Path<(String, String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let updated = async {
        let asked = Asked::admit(&api, &headers, &project, &registration).await?;
        let topic = topic(&name)?;
        if allows_missing(&uri) {
            asked.subscribe(&topic).await?;
        }
        asked.find(&topic).await
    };
    answer(updated.await)
}

pub(crate) async fn find(
    State(api): State<Api>,
    Path((project, registration, name)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    let found = async {
        let asked = Asked::admit(&api, &headers, &project, &registration).await?;
        asked.find(&topic(&name)?).await
    };
    answer(found.await)
}

pub(crate) async fn remove(
    State(api): State<Api>,
    Path((project, registration, name)): Path<(String, String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let removed = async {
        let asked = Asked::admit(&api, &headers, &project, &registration).await?;
        let there = api.dispatcher.unsubscribe_one(asked.id, &topic(&name)?, asked.now).await?;
        if there || allows_missing(&uri) { Ok(json!({})) } else { Err(Refusal::NotFound) }
    };
    answer(removed.await)
}

pub(crate) async fn list(
    State(api): State<Api>,
    Path((project, registration)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let listed = async {
        let asked = Asked::admit(&api, &headers, &project, &registration).await?;
        let query = query(&uri);
        let size = match query.first(&["pageSize", "page_size"]) {
            "" => PAGE,
            text => match text.parse() {
                Ok(0) => PAGE,
                Ok(size) => MAX_PAGE.min(size),
                Err(_) => return Err(violation("page_size", "page_size must be a number.").into()),
            },
        };
        // The name after which the page begins.
        let after = query.first(&["pageToken", "page_token"]);
        let topics = api.dispatcher.topics_of(asked.id, asked.now).await?;
        let mut rest = topics.iter().filter(|(topic, _)| topic.as_str() > after).peekable();
        let page: Vec<_> = rest.by_ref().take(size).collect();
        let told: Vec<Value> = page.iter().map(|(topic, since)| asked.told(topic, *since)).collect();
        let mut told = json!({ "topicSubscriptions": told });
        if let (Some((last, _)), true) = (page.last(), rest.peek().is_some()) {
            told["nextPageToken"] = last.as_str().into();
        }
        Ok(told)
    };
    answer(listed.await)
}

/// `{topic}:subscribe` and `{topic}:unsubscribe`: an app instance by itself, with the auth token of its
/// installation. A 4xx is final to it.
pub(crate) async fn change_own(
    State(api): State<Api>,
    Path((project, fid, call)): Path<(String, String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let (name, join) = match call.rsplit_once(':') {
        Some((name, "subscribe")) => (name, true),
        Some((name, "unsubscribe")) => (name, false),
        _ => return crate::not_found(http::Method::POST, uri).await,
    };
    let project = match api.identity.project_by_api_key(&project, api_key(&headers)) {
        Ok(project) => project,
        Err(refusal) => return refuse_project(&refusal),
    };
    let now = (api.clock)();
    let own = match api.identity.fid_of(&project, auth_token(&headers), now) {
        Ok(own) => own,
        Err(refusal) => return refuse(&refusal),
    };
    let changed = async {
        if own.as_str() != fid {
            return Err(Rejection::PermissionDenied { project: project.id.to_string() }.into());
        }
        let id = api.dispatcher.registration_named(project.number, &fid, now).await?;
        let topic = topic(name)?;
        match join {
            true => api.dispatcher.subscribe_one(id, &topic, now).await?,
            false => api.dispatcher.unsubscribe_one(id, &topic, now).await?,
        };
        Ok(json!({}))
    };
    answer(changed.await.map_err(|refusal| match refusal {
        // A 4xx is final to an app; this passes.
        Refusal::Rejected(Rejection::SubscriptionQuota { retry_after, .. }) => {
            Refusal::Rejected(Rejection::Unavailable { retry_after })
        }
        other => other,
    }))
}

fn query(uri: &Uri) -> Form {
    Form::parse(uri.query().unwrap_or_default().as_bytes())
}

fn allows_missing(uri: &Uri) -> bool {
    query(uri).first(&["allowMissing", "allow_missing"]) == "true"
}

fn topic(text: &str) -> Result<Topic, Rejection> {
    text.parse().map_err(|_| violation("topic_name", "Topic name contains invalid characters."))
}

fn violation(field: &str, text: &str) -> Rejection {
    Rejection::InvalidField(FieldViolation { field: field.to_owned(), description: text.to_owned() })
}

fn answer(outcome: Result<Value, Refusal>) -> Response {
    let google = |code: u16, status: &str, message: &str| {
        let body = cresset_wire::v1::error::google_error(code, status, message);
        crate::json(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body)
    };
    match outcome {
        Ok(value) => crate::json(StatusCode::OK, format!("{value:#}\n")),
        Err(Refusal::Rejected(rejection)) => Answer::refusal(&rejection).into_response(),
        Err(Refusal::Exists) => google(409, "ALREADY_EXISTS", "Requested entity already exists"),
        Err(Refusal::NotFound) => google(404, "NOT_FOUND", "Requested entity was not found."),
    }
}
