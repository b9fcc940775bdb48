//! What push services of others know a project by.

use axum::extract::{Path, State};
use axum::response::Response;
use cresset_identity::{ApnsCredential, ApnsSecret};
use cresset_wire::es256::SigningKey;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::given::{Json, Project};
use crate::{Admin, error, respond};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct AddWebPushKey {
    /// 32 bytes in base64url; without it one is made.
    #[serde(default)]
    private_key: Option<String>,
}

pub(crate) async fn add_web_push_key(
    State(admin): State<Admin>,
    Project(id): Project,
    Json(add): Json<AddWebPushKey>,
) -> Response {
    let made = admin.identity.add_web_push_key(&id, add.private_key.as_deref(), (admin.clock)()).await;
    respond(made.map(|key| json!({ "vapidKey": key.public_text() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct SetApns {
    bundle_id: String,
    production: bool,
    sandbox: bool,
    /// Of a key (`.p8`), or of a certificate.
    private_key: String,
    #[serde(default)]
    key_id: String,
    #[serde(default)]
    team_id: String,
    #[serde(default)]
    certificate: String,
}

pub(crate) async fn set_apns(
    State(admin): State<Admin>,
    Project(id): Project,
    Json(set): Json<SetApns>,
) -> Response {
    let secret = match secret(&set) {
        Ok(secret) => secret,
        Err(problem) => return error(StatusCode::BAD_REQUEST, problem),
    };
    let SetApns { bundle_id, production, sandbox, .. } = set;
    let credential = ApnsCredential { bundle_id, production, sandbox, secret };
    let done = admin.identity.set_apns_credential(&id, &credential, (admin.clock)()).await;
    respond(done.map(|()| json!({})))
}

/// Checked here, so that a wrong file is found out when it is given, not at the first message.
fn secret(set: &SetApns) -> Result<ApnsSecret, &'static str> {
    if !set.certificate.is_empty() {
        if !set.certificate.contains("BEGIN CERTIFICATE") || !set.private_key.contains("PRIVATE KEY") {
            return Err("A certificate and its private key are two PEM files.");
        }
        let (chain_pem, key_pem) = (set.certificate.clone(), set.private_key.clone());
        return Ok(ApnsSecret::Certificate { chain_pem, key_pem });
    }
    // `protocol/apns.md` §1.3.
    let is_id = |id: &str| id.len() == 10 && id.bytes().all(|b| b.is_ascii_alphanumeric());
    if !is_id(&set.key_id) || !is_id(&set.team_id) {
        return Err("keyId and teamId have ten letters and digits each.");
    }
    if SigningKey::from_pem(&set.private_key).is_err() {
        return Err("privateKey is not a .p8 file: a private key of P-256 as PEM.");
    }
    let (pem, key_id, team_id) = (set.private_key.clone(), set.key_id.clone(), set.team_id.clone());
    Ok(ApnsSecret::Key { pem, key_id, team_id })
}

pub(crate) async fn remove_apns(
    State(admin): State<Admin>,
    Project(id): Project,
    Path((_, bundle)): Path<(String, String)>,
) -> Response {
    let removed = admin.identity.remove_apns_credentials(&id, &bundle, (admin.clock)()).await;
    respond(removed.map(|removed| json!({ "removed": removed })))
}
