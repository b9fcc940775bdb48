//! Web Push in (RFC 8030; `protocol/web-push.md` part 2): application servers post to the endpoints that
//! browsers gave them.

mod answer;
mod request;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{MethodRouter, delete, post};
use cresset_delivery::{Endpoint, Pushed};
use cresset_wire::webpush::Origins;
use cresset_wire::webpush::vapid::VerifiedTokens;
use http::{HeaderMap, HeaderName, Method, StatusCode, Uri, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::body::{self, header_text};
use crate::counters::Pushes;
use crate::{Api, Plain};
pub(crate) use answer::OUTCOMES;
use answer::{Refused, Style};

/// Bytes of a body. A push service takes 4,096 (RFC 8030 §7.2), and receivers are promised no more.
const MAX_BODY: usize = 4_096;

/// Tokens whose signature is remembered: a sender uses one for hours, and each takes some 300 bytes.
const VERIFIED_TOKENS: usize = 32_768;

/// What a push service must know beside its subscriptions.
pub struct PushService {
    pub origins: Origins,
    verified: VerifiedTokens,
    pub pushes: Pushes,
}

impl PushService {
    pub fn new(origins: Origins) -> Arc<Self> {
        Arc::new(Self { origins, verified: VerifiedTokens::new(VERIFIED_TOKENS), pushes: Pushes::default() })
    }
}

pub(crate) fn router() -> Router<Api> {
    Router::new()
        .route("/fcm/send/{token}", take_as(Style::Google))
        .route("/wp/{token}", take_as(Style::Google))
        .route("/preprod/wp/{token}", take_as(Style::Google))
        .route("/wpush/v1/{token}", take_as(Style::Mozilla))
        .route("/wpush/v2/{token}", take_as(Style::Mozilla))
        .route("/m/{handle}", delete(take_back))
        .layer(cors())
}

/// Any page may push: what it needs to know, nobody sends by itself (`protocol/web-push.md` §2.2).
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::any())
        .allow_headers(AllowHeaders::mirror_request())
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .expose_headers([header::LOCATION, header::RETRY_AFTER, HeaderName::from_static("ttl")])
        .max_age(std::time::Duration::from_secs(3_600))
}

/// Takes pushes for the endpoints of one push service, and answers as that one does.
fn take_as(style: Style) -> MethodRouter<Api> {
    post(
        move |State(api): State<Api>,
              Path(token): Path<String>,
              plain: Option<axum::Extension<Plain>>,
              uri: Uri,
              headers: HeaderMap,
              body: Body| async move {
            let came = Came { secure: plain.is_none(), uri };
            answer(&api, style, &token, &came, &headers, body).await
        },
    )
}

/// By which of our origins a request came.
struct Came {
    secure: bool,
    uri: Uri,
}

impl Came {
    fn origin<'a>(&self, headers: &HeaderMap, origins: &'a Origins) -> &'a str {
        // HTTP/2 has it beside the path.
        let host = self.uri.authority().map_or_else(|| header_text(headers, "host"), |host| host.as_str());
        origins.for_host(host, self.secure)
    }
}

async fn answer(
    api: &Api,
    style: Style,
    token: &str,
    came: &Came,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    let outcome = take(api, style, token, headers, body).await;
    api.push.pushes.count(outcome.as_ref().map_or_else(Refused::name, |_| "accepted"));
    match outcome {
        Ok(pushed) => answer::accepted(came.origin(headers, &api.push.origins), &pushed),
        Err(refused) => refused.answer(style),
    }
}

/// Looks at a request in the order of `protocol/web-push.md` §2.2.
async fn take(
    api: &Api,
    style: Style,
    token: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Pushed, Refused> {
    let now = (api.clock)();
    let subscription = match api.dispatcher.endpoint(token, now).await? {
        Endpoint::Subscription(subscription) => subscription,
        Endpoint::Gone => return Err(Refused::Gone),
        Endpoint::Unknown => return Err(Refused::Unknown),
    };
    let length = header_text(headers, "content-length").parse::<usize>().ok();
    if length.is_some_and(|length| length > MAX_BODY) {
        return Err(Refused::TooLarge);
    }
    let body = body::read(headers, body, MAX_BODY).await?;
    let key = request::sender(headers, &subscription, &api.push, now)?;
    let push = request::push(headers, style, body, key.as_ref())?;
    Ok(api.dispatcher.push(subscription, key.as_ref(), push, now).await?)
}

/// What was pushed before is taken back (`protocol/web-push.md` §2.3): whoever has its URL may.
async fn take_back(State(api): State<Api>, Path(handle): Path<String>) -> Response {
    match api.dispatcher.cancel(&handle, (api.clock)()).await {
        Ok(true) => crate::with_type(StatusCode::NO_CONTENT, answer::TEXT, Body::empty()),
        Ok(false) => Refused::Unknown.answer(Style::Mozilla),
        Err(rejection) => Refused::from(rejection).answer(Style::Mozilla),
    }
}
