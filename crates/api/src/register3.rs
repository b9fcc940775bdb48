//! `POST /c2dm/register3` (`protocol/device-registration.md` §2).

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use cresset_identity::{Register3, Register3Error, is_passing};
use cresset_message::{DeviceId, Rejection, Timestamp};
use http::{HeaderMap, StatusCode};

use crate::Api;
use crate::body::{self, Form, header_text};

const MAX_BODY: usize = 64 * 1_024;

pub(crate) async fn register3(State(api): State<Api>, headers: HeaderMap, body: Body) -> Response {
    let answer = match body::read(&headers, body, MAX_BODY).await {
        Ok(bytes) => answer(&api, &headers, &Form::parse(&bytes), (api.clock)()).await,
        Err(_) => Err(Register3Error::InvalidParameters),
    };
    match answer {
        Ok(text) => plain(StatusCode::OK, text),
        Err(error) => {
            if let Register3Error::Store(cause) = &error {
                crate::store_failed("a registration", is_passing(cause), cause);
            }
            plain(refusal_status(&headers, &error), format!("Error={error}"))
        }
    }
}

async fn answer(
    api: &Api,
    headers: &HeaderMap,
    form: &Form,
    now: Timestamp,
) -> Result<String, Register3Error> {
    let device = authenticate(api, headers, form, now).await?;
    let register = Register3 {
        app: form.get("app").to_owned(),
        subtype: form.first(&["X-subtype", "subtype"]).to_owned(),
        sender: form.get("sender").to_owned(),
        scope: form.first(&["X-scope", "scope"]).to_owned(),
        app_instance: form.first(&["X-appid", "appid"]).to_owned(),
        installation_auth: form
            .first(&["X-Goog-Firebase-Installations-Auth", "X-goog-firebase-installations-auth"])
            .to_owned(),
        apns_token: form.first(&["apns_token", "X-apns_token"]).to_owned(),
    };
    let delete = matches!(form.first(&["delete", "X-delete"]), "true" | "1");
    let topic = form.first(&["X-gcm.topic", "gcm.topic"]);
    if !topic.is_empty() {
        return change_topic(api, device, form.get("sender"), topic, !delete, now).await;
    }
    if delete {
        let done = api.identity.unregister3(device, &register, now).await?;
        let word = if done.old_style { "deleted" } else { "token" };
        return Ok(format!("{word}={}", done.app));
    }
    let token = api.identity.register3(device, &register, now).await?;
    Ok(format!("token={token}"))
}

/// An app joins or leaves a topic: it names itself by its token where the sender stands.
async fn change_topic(
    api: &Api,
    device: DeviceId,
    token: &str,
    topic: &str,
    join: bool,
    now: Timestamp,
) -> Result<String, Register3Error> {
    let topic = topic.parse().map_err(|_| Register3Error::InvalidParameters)?;
    match api.dispatcher.change_own(device, token, &topic, join, now).await {
        Ok(()) => Ok(format!("token={token}")),
        // Leaving what is not there is success, as unregistering is.
        Err(Rejection::Unregistered) if !join => Ok(format!("token={token}")),
        Err(Rejection::Unregistered) => Err(Register3Error::InvalidSender),
        Err(Rejection::TooManyTopics { .. }) => Err(Register3Error::TooManyRegistrations),
        // It is asked again, later.
        Err(_) => Err(Register3Error::Unavailable),
    }
}

/// `AidLogin <android id>:<security token>`, and the form must speak of the same device.
async fn authenticate(
    api: &Api,
    headers: &HeaderMap,
    form: &Form,
    now: Timestamp,
) -> Result<DeviceId, Register3Error> {
    let login = header_text(headers, "authorization").strip_prefix("AidLogin ").unwrap_or_default();
    let (id, token) = login.trim().split_once(':').ok_or(Register3Error::UnknownDevice)?;
    let device = parse_id(id).and_then(DeviceId::new).ok_or(Register3Error::UnknownDevice)?;
    let token = parse_id(token).ok_or(Register3Error::Authentication)?;
    let named = form.get("device");
    if !named.is_empty() && parse_id(named) != Some(device.get()) {
        return Err(Register3Error::Authentication);
    }
    match api.identity.authenticate_device(device, token, now).await? {
        true => Ok(device),
        false => Err(Register3Error::UnknownDevice),
    }
}

/// Decimal; a client that thinks ids are signed may print a minus.
fn parse_id(text: &str) -> Option<u64> {
    text.parse().ok().or_else(|| text.parse::<i64>().ok().map(|signed| signed as u64))
}

/// Push receivers want 200 whatever happened; Android's stack reads the code only from another
/// status.
fn refusal_status(headers: &HeaderMap, error: &Register3Error) -> StatusCode {
    if !header_text(headers, "user-agent").starts_with("Android-GCM") {
        return StatusCode::OK;
    }
    match error {
        Register3Error::UnknownDevice | Register3Error::Authentication => StatusCode::UNAUTHORIZED,
        Register3Error::Store(_) | Register3Error::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// `text/*`, because one client decodes nothing else; nothing before or after the text.
fn plain(status: StatusCode, text: String) -> Response {
    crate::with_type(status, "text/plain; charset=UTF-8", text)
}
