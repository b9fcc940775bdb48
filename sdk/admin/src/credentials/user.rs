//! A user's credential, as `gcloud` keeps it: the refresh grant (`protocol/oauth.md` §4).

use serde_json::Value;

use super::{Secret, TOKEN_URI, required};
use crate::Error;

#[derive(Debug)]
pub(crate) struct AuthorizedUser {
    client_id: String,
    client_secret: Secret,
    refresh_token: Secret,
    pub(crate) token_uri: String,
}

impl AuthorizedUser {
    pub(super) fn read(file: &Value) -> Result<Self, Error> {
        Ok(Self {
            client_id: required(file, "client_id")?,
            client_secret: Secret(required(file, "client_secret")?.into()),
            refresh_token: Secret(required(file, "refresh_token")?.into()),
            token_uri: file["token_uri"].as_str().unwrap_or(TOKEN_URI).to_owned(),
        })
    }

    /// The form that is exchanged for an access token.
    pub(crate) fn grant(&self) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token")
            .append_pair("client_id", &self.client_id)
            .append_pair("client_secret", &self.client_secret.0)
            .append_pair("refresh_token", &self.refresh_token.0)
            .finish()
    }
}
