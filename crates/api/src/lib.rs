//! FCM's HTTP APIs. Routes are by path: any host name leads here, because clients have Google's
//! compiled in (`protocol/device-registration.md`, host map).

mod batch;
mod body;
mod checkin;
mod connect;
mod counters;
mod groups;
mod iid;
mod installations;
mod legacy;
mod register3;
mod registrations;
mod token;
mod v1;
mod webpush;

use std::sync::Arc;

use axum::Router;
use axum::routing::{delete, get, post};
use cresset_delivery::Dispatcher;
use cresset_identity::Identity;
use cresset_message::Timestamp;
use http::{Method, StatusCode, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

pub use counters::{Pushes, Sends, SendsSnapshot};
pub use v1::send::send_now;
pub use webpush::PushService;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// An extension of requests that came without TLS: what is told about addresses says so.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

/// What the APIs stand on.
#[derive(Clone)]
pub struct Api {
    pub identity: Arc<Identity>,
    pub dispatcher: Arc<Dispatcher>,
    pub clock: Clock,
    pub sends: Arc<Sends>,
    pub push: Arc<PushService>,
}

/// Every route of FCM's that is served.
pub fn router(api: Api) -> Router {
    let browser = Router::new()
        .route("/v1/projects/{project}/installations", post(installations::create))
        .route("/v1/projects/{project}/installations/{fid}", delete(installations::delete))
        .route("/v1/projects/{project}/installations/{fid}/{method}", post(installations::generate))
        .route("/v1/projects/{project}/registrations", post(registrations::create))
        .route(
            "/v1/projects/{project}/registrations/{name}",
            delete(registrations::delete).patch(registrations::update),
        )
        .route("/fcm/connect/subscribe", post(connect::subscribe))
        .route("/fcm/connect/unsubscribe", post(connect::unsubscribe))
        .method_not_allowed_fallback(not_found)
        .layer(cors());
    Router::new()
        .route("/v1/projects/{project}/{method}", post(v1::send::send))
        .route("/projects/{project}/{method}", post(v1::send::send))
        // So it stands in FCM's own documents, printed with two slashes.
        .route("//v1/projects/{project}/{method}", post(v1::send::send))
        .route("/$discovery/rest", get(v1::discovery::newest))
        .route("/discovery/v1/apis/{api}/{version}/rest", get(v1::discovery::of_api))
        .route("/batch", post(batch::batch))
        .route("/v1", post(batch::batch_at_endpoint))
        .route("/v1/", post(batch::batch_at_endpoint))
        .route("/token", post(token::grant))
        .route("/o/oauth2/token", post(token::grant))
        .route("/oauth2/v4/token", post(token::grant))
        // One segment more is Web Push, another protocol.
        .route("/fcm/send", post(legacy::send))
        .route("/gcm/send", post(legacy::send))
        .route("/fcm/notification", get(groups::find).post(groups::change))
        .route("/gcm/notification", get(groups::find).post(groups::change))
        .route("/fcm/googlenotification", post(groups::client_managed))
        .route("/gcm/googlenotification", post(groups::client_managed))
        .route("/iid/{method}", post(iid::batch))
        .route("/iid/v1/{token}/rel/topics/{topic}", post(iid::join).delete(iid::leave))
        .route("/iid/info/{token}", get(iid::info))
        .route(
            "/v1/projects/{project}/registrations/{name}/topicSubscriptions",
            get(v1::subscriptions::list).post(v1::subscriptions::create),
        )
        .route(
            "/v1/projects/{project}/registrations/{name}/topicSubscriptions/{topic}",
            get(v1::subscriptions::find)
                .patch(v1::subscriptions::update)
                .delete(v1::subscriptions::remove)
                .post(v1::subscriptions::change_own),
        )
        .route("/checkin", post(checkin::check_in))
        .route("/c2dm/register3", post(register3::register3))
        .method_not_allowed_fallback(not_found)
        .merge(browser)
        .merge(webpush::router())
        .fallback(not_found)
        .with_state(api)
}

/// Browsers ask before they call these from a page (`protocol/device-registration.md`, HTTP rules).
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::mirror_request())
        .allow_headers(AllowHeaders::mirror_request())
        .allow_methods([Method::POST, Method::PATCH, Method::DELETE])
        .max_age(std::time::Duration::from_secs(3_600))
}

async fn not_found(method: Method, uri: http::Uri) -> axum::response::Response {
    tracing::debug!(%method, path = uri.path(), "no such route");
    let (status, body) = nothing_at(uri.path());
    json(status, body)
}

/// Google answers a page of HTML; what reads JSON gets JSON here.
fn nothing_at(path: &str) -> (StatusCode, String) {
    let message = format!("The requested URL {path} was not found on this server.");
    (StatusCode::NOT_FOUND, cresset_wire::v1::error::google_error(404, "NOT_FOUND", &message))
}

/// Says that the store failed a request, unless a full disk fails every one of them.
fn store_failed(what: &str, passing: bool, cause: &dyn std::fmt::Display) {
    if passing {
        tracing::debug!("{what} failed: {cause}");
    } else {
        tracing::error!("{what} failed: {cause}");
    }
}

/// Some clients refuse JSON under any other type (`protocol/device-registration.md`, HTTP rules).
const JSON: &str = "application/json; charset=UTF-8";

fn json(status: StatusCode, body: impl Into<axum::body::Body>) -> axum::response::Response {
    with_type(status, JSON, body)
}

fn with_type(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<axum::body::Body>,
) -> axum::response::Response {
    let mut response = axum::response::Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}
