//! `GET /$discovery/rest?version=v1`, and where older clients look for it.

use axum::Extension;
use axum::extract::Path;
use axum::response::Response;
use cresset_wire::v1::{discovery, google_error};
use http::{HeaderMap, StatusCode, Uri, header};

use crate::Plain;

/// The newer address; which version, a parameter says.
pub(crate) async fn newest(plain: Option<Extension<Plain>>, headers: HeaderMap, uri: Uri) -> Response {
    let query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let version = query.into_iter().find(|(name, _)| name == "version").map(|(_, version)| version);
    document("fcm", version.as_deref().unwrap_or("v1"), plain.is_some(), &headers, &uri)
}

/// `/discovery/v1/apis/{api}/{version}/rest`
pub(crate) async fn of_api(
    plain: Option<Extension<Plain>>,
    Path((api, version)): Path<(String, String)>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    document(&api, &version, plain.is_some(), &headers, &uri)
}

fn document(api: &str, version: &str, plain: bool, headers: &HeaderMap, uri: &Uri) -> Response {
    if (api, version) != ("fcm", "v1") {
        let text = format!("Discovery document not found for API service: {api} version: {version}");
        return crate::json(StatusCode::NOT_FOUND, google_error(404, "NOT_FOUND", &text));
    }
    let scheme = if plain { "http" } else { "https" };
    crate::json(StatusCode::OK, discovery(&format!("{scheme}://{}/", host(headers, uri))))
}

/// As the client knows us; FCM's own name if it does not say, or says something else than a name.
fn host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> &'a str {
    let asked = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = asked.or(uri.authority().map(|authority| authority.as_str()));
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
    host.filter(|host| !host.is_empty() && host.bytes().all(plain)).unwrap_or("fcm.googleapis.com")
}
