//! Who sends: the credentials that Google's libraries know (`protocol/oauth.md`).

mod environment;
mod metadata;
mod service_account;
mod user;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::Error;
pub(crate) use crate::credentials::metadata::MetadataServer;
pub(crate) use crate::credentials::service_account::ServiceAccount;
pub(crate) use crate::credentials::user::AuthorizedUser;

/// What is asked for, as Node's SDK does: the first for FCM, the second for those who give only it.
pub(crate) const SCOPES: [&str; 2] =
    ["https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/firebase.messaging"];

/// Where key files of Google's get their tokens.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

/// Who sends, and where their access tokens come from.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub(crate) source: Source,
    /// The project that is sent for, where the credentials know it.
    pub(crate) project: Option<String>,
    /// The project that pays, where it is another one.
    pub(crate) quota_project: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum Source {
    Nobody,
    Static(Secret),
    ServiceAccount(Arc<ServiceAccount>),
    User(Arc<AuthorizedUser>),
    Metadata(Arc<MetadataServer>),
}

impl Credentials {
    /// As all of Google's libraries look: the file that `GOOGLE_APPLICATION_CREDENTIALS` names, the
    /// one that `gcloud auth application-default login` writes, the metadata server of the machine
    /// (or of `GCE_METADATA_HOST`). The project may be named by `GOOGLE_CLOUD_PROJECT` or
    /// `GCLOUD_PROJECT`. Reads the environment.
    pub fn application_default() -> Result<Self, Error> {
        environment::look_up(&environment::of_process)
    }

    /// A service account's key, or a user's credential: what [`Credentials::from_json`] takes.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::setup(format!("cannot read {}: {error}", path.display())))?;
        Self::from_json(&text).map_err(|error| Error::setup(format!("{}: {error}", path.display())))
    }

    /// The text of a key file, of type `service_account` or `authorized_user`.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let file: Value = serde_json::from_str(text)
            .map_err(|error| Error::setup(format!("the credentials are not JSON: {error}")))?;
        let source = match file["type"].as_str() {
            Some("service_account") => Source::ServiceAccount(Arc::new(ServiceAccount::read(&file)?)),
            Some("authorized_user") => Source::User(Arc::new(AuthorizedUser::read(&file)?)),
            Some(other) => return Err(Error::setup(format!("credentials of type {other} cannot be used"))),
            None => return Err(Error::setup("the credentials have no type: is it a key file?")),
        };
        let text = |name: &str| file[name].as_str().map(str::to_owned);
        Ok(Self { source, project: text("project_id"), quota_project: text("quota_project_id") })
    }

    /// A service account signs for itself, and no token endpoint is asked: its JWT is the bearer
    /// token. Other credentials stay what they are.
    #[must_use]
    pub fn self_signed(mut self) -> Self {
        if let Source::ServiceAccount(account) = &self.source {
            self.source = Source::ServiceAccount(Arc::new(account.self_signed()));
        }
        self
    }

    /// Tokens of the metadata server at `host` or `host:port`.
    pub fn metadata_server(host: &str) -> Self {
        Source::Metadata(Arc::new(MetadataServer::at(host))).into()
    }

    /// An access token that is known already, and is not renewed.
    pub fn token(token: impl Into<Arc<str>>) -> Self {
        Source::Static(Secret(token.into())).into()
    }

    /// No `Authorization` at all.
    pub fn none() -> Self {
        Source::Nobody.into()
    }
}

impl From<Source> for Credentials {
    fn from(source: Source) -> Self {
        Self { source, project: None, quota_project: None }
    }
}

/// A text that is not shown.
#[derive(Clone, PartialEq)]
pub(crate) struct Secret(pub(crate) Arc<str>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// A text that a key file must have.
fn required(file: &Value, name: &str) -> Result<String, Error> {
    let value = file[name].as_str().filter(|value| !value.is_empty());
    value.map(str::to_owned).ok_or_else(|| Error::setup(format!("the credentials have no {name}")))
}
