//! `fcm/connect`: how web clients registered before 2019, and some receivers still do
//! (`protocol/device-registration.md` §3).

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use cresset_identity::{RegistrationRefusal, Subscription, is_passing};
use http::{HeaderMap, StatusCode};
use serde_json::json;

use crate::Api;
use crate::body::{self, Form};

const MAX_BODY: usize = 64 * 1_024;

pub(crate) async fn subscribe(State(api): State<Api>, headers: HeaderMap, body: Body) -> Response {
    let form = read(&headers, body).await;
    let Some(project) = api.identity.project(form.get("authorized_entity")) else {
        return refuse(StatusCode::BAD_REQUEST, "authorized_entity is not the number of a project.");
    };
    let subscription = Subscription {
        endpoint: form.get("endpoint").to_owned(),
        p256dh: form.get("encryption_key").to_owned(),
        auth: form.get("encryption_auth").to_owned(),
        application_pub_key: form.get("application_pub_key").to_owned(),
        origin: String::new(),
    };
    let push_set = form.first(&["push_set", "pushSet"]);
    match api.identity.connect_subscribe(&project, &subscription, push_set, (api.clock)()).await {
        Ok(made) => {
            let answer = json!({ "token": made.token, "pushSet": made.push_set });
            crate::json(StatusCode::OK, answer.to_string())
        }
        Err(refusal) => refuse_registration(&refusal),
    }
}

pub(crate) async fn unsubscribe(State(api): State<Api>, headers: HeaderMap, body: Body) -> Response {
    let form = read(&headers, body).await;
    let Some(project) = api.identity.project(form.get("authorized_entity")) else {
        return refuse(StatusCode::BAD_REQUEST, "authorized_entity is not the number of a project.");
    };
    let push_set = form.first(&["pushSet", "push_set"]);
    match api.identity.connect_unsubscribe(&project, push_set, (api.clock)()).await {
        Ok(()) => crate::json(StatusCode::OK, "{}"),
        Err(refusal) => refuse_registration(&refusal),
    }
}

async fn read(headers: &HeaderMap, body: Body) -> Form {
    Form::parse(&body::read(headers, body, MAX_BODY).await.unwrap_or_default())
}

fn refuse_registration(refusal: &RegistrationRefusal) -> Response {
    match refusal {
        RegistrationRefusal::Store(cause) => {
            crate::store_failed("a subscription", is_passing(cause), cause);
            refuse(StatusCode::SERVICE_UNAVAILABLE, "The service is currently unavailable.")
        }
        RegistrationRefusal::NotFound => refuse(StatusCode::NOT_FOUND, &refusal.to_string()),
        _ => refuse(StatusCode::BAD_REQUEST, &refusal.to_string()),
    }
}

fn refuse(status: StatusCode, message: &str) -> Response {
    crate::json(status, json!({ "error": { "message": message } }).to_string())
}
