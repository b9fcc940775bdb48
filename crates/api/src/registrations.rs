//! FCM registrations (`protocol/device-registration.md` §5).

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use cresset_identity::{AppleToken, RegistrationRefusal, Subscription, is_passing};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::Api;
use crate::body::header_text;
use crate::installations::{api_key, error, read_json, refuse as refuse_project, unavailable};

/// Apple's own limit is 155 characters; ours, for names of apps, 200.
const MAX_BUNDLE_ID: usize = 200;

pub(crate) async fn create(
    State(api): State<Api>,
    Path(project): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    register(&api, &project, &headers, body).await
}

/// The weekly refresh: the subscription may have moved. The token in the path is the caller's own,
/// which the auth token already says.
pub(crate) async fn update(
    State(api): State<Api>,
    Path((project, _token)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    register(&api, &project, &headers, body).await
}

async fn register(api: &Api, project: &str, headers: &HeaderMap, body: Body) -> Response {
    let project = match api.identity.project_by_api_key(project, api_key(headers)) {
        Ok(project) => project,
        Err(refusal) => return refuse_project(&refusal),
    };
    let request = match read_json(headers, body).await {
        Ok(request) => request,
        Err(refusal) => return refusal,
    };
    let (auth, now) = (auth_token(headers), (api.clock)());
    let ios = &request["ios"];
    let (kind, given, made) = if ios.is_object() {
        let made = match apple_token(ios) {
            Ok(token) => api.identity.register_apple(&project, auth, &token, now).await,
            Err(field) => Err(RegistrationRefusal::Apple(field)),
        };
        ("ios", ios, made)
    } else {
        let web = &request["web"];
        ("web", web, api.identity.register_web(&project, auth, &subscription(web), now).await)
    };
    match made {
        Ok(made) => {
            let fid = made.fid.as_str();
            // Registering by FID shows its version, and is named by the FID.
            let by_fid = request.get("fcm_sdk_version").is_some();
            let name = if by_fid { fid } else { &made.token };
            let answer = json!({
                "name": format!("projects/{}/registrations/{name}", project.number),
                "token": made.token,
                kind: given,
            });
            crate::json(StatusCode::OK, answer.to_string())
        }
        Err(refusal) => refuse(&refusal),
    }
}

pub(crate) async fn delete(
    State(api): State<Api>,
    Path((project, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let project = match api.identity.project_by_api_key(&project, api_key(&headers)) {
        Ok(project) => project,
        Err(refusal) => return refuse_project(&refusal),
    };
    match api.identity.unregister_web(&project, auth_token(&headers), &name, (api.clock)()).await {
        Ok(()) => crate::json(StatusCode::OK, "{}"),
        Err(refusal) => refuse(&refusal),
    }
}

pub(crate) fn auth_token(headers: &HeaderMap) -> &str {
    header_text(headers, "x-goog-firebase-installations-auth")
}

/// `applicationPubKey` may be absent, null or empty: the default key.
fn subscription(web: &Value) -> Subscription {
    let text = |name: &str| web[name].as_str().unwrap_or_default().to_owned();
    Subscription {
        endpoint: text("endpoint"),
        p256dh: text("p256dh"),
        auth: text("auth"),
        application_pub_key: text("applicationPubKey"),
        origin: text("origin"),
    }
}

/// What the iOS SDK sends since its version 12.16 (`protocol/apns.md` §2.6); or which field is wrong.
fn apple_token(ios: &Value) -> Result<AppleToken, &'static str> {
    let text = |name: &str| ios[name].as_str().unwrap_or_default();
    let sandbox = match text("apns_environment") {
        "SANDBOX" => true,
        "PROD" | "PRODUCTION" => false,
        _ => return Err("apns_environment"),
    };
    let bundle_id = text("bundle_id");
    if bundle_id.is_empty() || bundle_id.len() > MAX_BUNDLE_ID {
        return Err("bundle_id");
    }
    AppleToken::new(text("apns_token"), sandbox, bundle_id).ok_or("apns_token")
}

pub(crate) fn refuse(refusal: &RegistrationRefusal) -> Response {
    let (code, status) = match refusal {
        RegistrationRefusal::Unauthenticated => (401, "UNAUTHENTICATED"),
        RegistrationRefusal::NotFound => (404, "NOT_FOUND"),
        RegistrationRefusal::ForeignEndpoint
        | RegistrationRefusal::Endpoint(_)
        | RegistrationRefusal::NotOurKey
        | RegistrationRefusal::Apple(_)
        | RegistrationRefusal::Key(_)
        | RegistrationRefusal::NoSubscription => (400, "INVALID_ARGUMENT"),
        RegistrationRefusal::Store(cause) => {
            crate::store_failed("a registration", is_passing(cause), cause);
            return unavailable();
        }
    };
    error(code, status, &refusal.to_string())
}
