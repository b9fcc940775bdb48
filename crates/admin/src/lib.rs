//! Cresset's own API, versioned under `/cresset/v1/`. The command line speaks it too: to a running
//! server over HTTP, to a data folder at rest by calling this router in its own process.

mod credentials;
mod given;
mod render;
mod topics;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use cresset_identity::{Identity, NewApp, ProjectError, is_passing};
use cresset_message::{Platform, ProjectId, ProjectNumber, Timestamp};
use http::{HeaderValue, Request, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use given::{Json, Project};
pub use topics::{TopicsApi, topics_router};

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

#[derive(Clone)]
pub struct Admin {
    pub identity: Arc<Identity>,
    pub clock: Clock,
    /// Bearer token that every request must show.
    pub token: Arc<str>,
}

pub fn router(admin: Admin) -> Router {
    Router::new()
        .route("/cresset/v1/projects", get(list).post(create))
        .route("/cresset/v1/projects/{project}", get(show).delete(delete))
        .route("/cresset/v1/projects/{project}/apps", post(add_app))
        .route("/cresset/v1/projects/{project}/apiKeys", post(add_api_key))
        .route("/cresset/v1/projects/{project}/serviceAccountKeys", post(add_service_account_key))
        .route("/cresset/v1/projects/{project}/userCredential", get(user_credential))
        .route("/cresset/v1/projects/{project}/webPushKeys", post(credentials::add_web_push_key))
        .route("/cresset/v1/projects/{project}/apnsCredentials", post(credentials::set_apns))
        .route(
            "/cresset/v1/projects/{project}/apnsCredentials/{bundle}",
            axum::routing::delete(credentials::remove_apns),
        )
        .layer(axum::middleware::from_fn_with_state(admin.clone(), authorize))
        .with_state(admin)
}

async fn authorize(
    State(admin): State<Admin>,
    request: Request<Body>,
    next: axum::middleware::Next,
) -> Response {
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    match is_token(Some(&admin.token), shown.and_then(|v| v.strip_prefix("Bearer "))) {
        true => next.run(request).await,
        false => error(
            StatusCode::UNAUTHORIZED,
            "This API needs the bearer token that stands in `admin.token` of the data folder.",
        ),
    }
}

/// Whether what was shown is the token. None of ours is empty.
fn is_token(token: Option<&str>, shown: Option<&str>) -> bool {
    use aws_lc_rs::constant_time::verify_slices_are_equal;
    match (token, shown) {
        (Some(token), Some(shown)) if !token.is_empty() => {
            verify_slices_are_equal(shown.as_bytes(), token.as_bytes()).is_ok()
        }
        _ => false,
    }
}

async fn list(State(admin): State<Admin>) -> Response {
    let projects: Vec<Value> = admin.identity.projects().iter().map(|p| render::project(p)).collect();
    ok(json!({ "projects": projects }))
}

async fn show(State(admin): State<Admin>, Path(project): Path<String>) -> Response {
    match admin.identity.project(&project) {
        Some(project) => ok(render::project(&project)),
        None => refuse(&ProjectError::NotFound(project)),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CreateProject {
    project_id: String,
    #[serde(default)]
    display_name: String,
    #[serde(default)]
    project_number: Option<u64>,
}

async fn create(State(admin): State<Admin>, Json(create): Json<CreateProject>) -> Response {
    let id: ProjectId = match create.project_id.parse() {
        Ok(id) => id,
        Err(problem) => return error(StatusCode::BAD_REQUEST, &format!("{problem}")),
    };
    let number = match create.project_number.map(|n| n.to_string().parse::<ProjectNumber>()).transpose() {
        Ok(number) => number,
        Err(problem) => return error(StatusCode::BAD_REQUEST, &format!("{problem}")),
    };
    let made = admin.identity.create_project(&id, &create.display_name, number, (admin.clock)()).await;
    match made.map(|()| admin.identity.project(id.as_str())) {
        Ok(Some(project)) => ok(render::project(&project)),
        Ok(None) => refuse(&ProjectError::NotFound(id.to_string())),
        Err(e) => refuse(&e),
    }
}

async fn delete(State(admin): State<Admin>, Project(id): Project) -> Response {
    respond(admin.identity.delete_project(&id, (admin.clock)()).await.map(|()| json!({})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct AddApp {
    platform: AppPlatform,
    #[serde(default)]
    package: String,
    #[serde(default)]
    display_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum AppPlatform {
    Android,
    Ios,
    Web,
}

async fn add_app(State(admin): State<Admin>, Project(id): Project, Json(add): Json<AddApp>) -> Response {
    let platform = match add.platform {
        AppPlatform::Android => Platform::Android,
        AppPlatform::Ios => Platform::Ios,
        AppPlatform::Web => Platform::Web,
    };
    let new = NewApp { platform, package: add.package, display_name: add.display_name };
    let made = admin.identity.add_app(&id, new, (admin.clock)()).await;
    respond(made.map(|app| json!({ "appId": app.as_str() })))
}

async fn add_api_key(State(admin): State<Admin>, Project(id): Project) -> Response {
    let made = admin.identity.add_api_key(&id, (admin.clock)()).await;
    respond(made.map(|key| json!({ "apiKey": key })))
}

async fn add_service_account_key(State(admin): State<Admin>, Project(id): Project) -> Response {
    let made = admin.identity.add_service_account_key(&id, (admin.clock)()).await;
    respond(made.map(|file| file.0))
}

async fn user_credential(State(admin): State<Admin>, Project(id): Project) -> Response {
    respond(admin.identity.user_credential(&id).map(|file| file.0))
}

fn respond(result: Result<Value, ProjectError>) -> Response {
    match result {
        Ok(value) => ok(value),
        Err(e) => refuse(&e),
    }
}

fn refuse(e: &ProjectError) -> Response {
    let status = match e {
        ProjectError::Exists(_) | ProjectError::NumberTaken(..) | ProjectError::Contended => {
            StatusCode::CONFLICT
        }
        ProjectError::NotFound(_) => StatusCode::NOT_FOUND,
        ProjectError::PackageMissing(_)
        | ProjectError::Package(_)
        | ProjectError::DisplayName
        | ProjectError::TooManyApps(_)
        | ProjectError::TooManyKeys(_)
        | ProjectError::NotAWebPushKey
        | ProjectError::NoSuchBundle(..)
        | ProjectError::NoEnvironment => StatusCode::BAD_REQUEST,
        ProjectError::KeyGeneration(_) => StatusCode::INTERNAL_SERVER_ERROR,
        ProjectError::Store(cause) => {
            if !is_passing(cause) {
                tracing::error!("a project could not be read or written: {cause}");
            }
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    error(status, &e.to_string())
}

fn ok(value: Value) -> Response {
    answer(StatusCode::OK, &value)
}

fn error(status: StatusCode, message: &str) -> Response {
    answer(status, &json!({ "error": { "code": status.as_u16(), "message": message } }))
}

fn answer(status: StatusCode, value: &Value) -> Response {
    in_json(status, format!("{value:#}\n"))
}

fn in_json(status: StatusCode, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json; charset=UTF-8");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
