//! `POST /checkin` (`protocol/device-registration.md` §1).

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use cresset_identity::{CheckInRefusal, Credentials, is_passing};
use cresset_wire::checkin::{AndroidCheckinRequest, AndroidCheckinResponse};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::Api;
use crate::body::{self, header_text};

/// microG lists its device's features: some 10 KB.
const MAX_BODY: usize = 256 * 1_024;

pub(crate) async fn check_in(State(api): State<Api>, headers: HeaderMap, body: Body) -> Response {
    let now = (api.clock)();
    let Ok(bytes) = body::read(&headers, body, MAX_BODY).await else {
        return answer(&headers, StatusCode::BAD_REQUEST, Vec::new());
    };
    let Ok(request) = AndroidCheckinRequest::parse(&bytes) else {
        return answer(&headers, StatusCode::BAD_REQUEST, Vec::new());
    };
    let (device, security_token) = request.identity().unwrap_or_default();
    match api.identity.check_in(Credentials { device, security_token }, now).await {
        Ok(made) => {
            let body =
                AndroidCheckinResponse::identifying(made.device.get(), made.security_token, now.as_millis());
            answer(&headers, StatusCode::OK, body.to_bytes())
        }
        // 401 makes Chromium start over, with new subscriptions: those it had are not here.
        Err(CheckInRefusal::NotOurs) => answer(&headers, StatusCode::UNAUTHORIZED, Vec::new()),
        Err(CheckInRefusal::Store(cause)) => {
            crate::store_failed("a check-in", is_passing(&cause), &cause);
            answer(&headers, StatusCode::SERVICE_UNAVAILABLE, Vec::new())
        }
    }
}

/// microG sends gzip, and un-gzips the answer whatever it says, errors too.
fn answer(request: &HeaderMap, status: StatusCode, body: Vec<u8>) -> Response {
    let zip = body::is_gzip(request) && header_text(request, "accept-encoding").contains("gzip");
    let mut response =
        crate::with_type(status, "application/x-protobuffer", if zip { body::gzip(&body) } else { body });
    if zip {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}
