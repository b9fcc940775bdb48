//! Who may send: what stands behind `Authorization: Bearer` (`protocol/oauth.md` §1).

use std::sync::Arc;

use cresset_message::{ProjectId, ProjectNumber, Rejection, Timestamp};

use crate::jwt::JwtError;
use crate::{Identity, Project};

/// Any of these lets its holder send. Most SDKs never ask for the first (`protocol/http-v1.md` §1).
pub const MESSAGING_SCOPES: [&str; 3] = [
    "https://www.googleapis.com/auth/firebase.messaging",
    "https://www.googleapis.com/auth/cloud-platform",
    "https://www.googleapis.com/auth/firebase",
];

/// A project in whose name a request may act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    pub project: ProjectId,
    pub number: ProjectNumber,
}

impl Sender {
    pub(crate) fn of(project: &Project) -> Self {
        Self { project: project.id.clone(), number: project.number }
    }
}

pub(crate) const ACCESS_TOKEN_PREFIX: &str = "ya29.c.";
pub(crate) const ACCESS_TOKEN: &str = "access";

/// What an access token says.
pub(crate) struct AccessClaim {
    pub(crate) expires_secs: u64,
    pub(crate) may_message: bool,
    pub(crate) project: ProjectNumber,
    /// When the project was made: one made anew under the same number is another.
    pub(crate) created: Timestamp,
    /// Empty for a user credential.
    pub(crate) account: String,
}

impl AccessClaim {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![1, u8::from(self.may_message)];
        bytes.extend_from_slice(&self.expires_secs.to_be_bytes());
        bytes.extend_from_slice(&self.project.0.to_be_bytes());
        bytes.extend_from_slice(&self.created.as_millis().to_be_bytes());
        bytes.extend_from_slice(self.account.as_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let [1, may_message, rest @ ..] = bytes else { return None };
        let (expires, rest) = rest.split_first_chunk::<8>()?;
        let (project, rest) = rest.split_first_chunk::<8>()?;
        let (created, account) = rest.split_first_chunk::<8>()?;
        Some(Self {
            expires_secs: u64::from_be_bytes(*expires),
            may_message: *may_message == 1,
            project: ProjectNumber(u64::from_be_bytes(*project)),
            created: Timestamp::from_millis(u64::from_be_bytes(*created)),
            account: String::from_utf8(account.to_vec()).ok()?,
        })
    }
}

impl Identity {
    /// The project that `credential` may act for, if it is the one that the path names. No
    /// credential beats everything else; then the credential itself, its scope, and the project.
    pub fn authorize(
        &self,
        credential: Option<&str>,
        project: &str,
        now: Timestamp,
    ) -> Result<Sender, Rejection> {
        let holder = self.holder(credential, now)?;
        let named = project == holder.id.as_str() || project.parse() == Ok(holder.number);
        if !named {
            return Err(Rejection::PermissionDenied { project: project.to_owned() });
        }
        Ok(Sender::of(&holder))
    }

    /// Whether `credential` lets its holder send; for which project.
    pub fn authenticate(&self, credential: Option<&str>, now: Timestamp) -> Result<Sender, Rejection> {
        Ok(Sender::of(&*self.holder(credential, now)?))
    }

    fn holder(&self, credential: Option<&str>, now: Timestamp) -> Result<Arc<Project>, Rejection> {
        let credential = credential.filter(|c| !c.is_empty()).ok_or(Rejection::CredentialsMissing)?;
        match credential.strip_prefix(ACCESS_TOKEN_PREFIX) {
            Some(sealed) => self.holder_of_access_token(sealed, now),
            None => self.holder_of_jwt(credential, now),
        }
    }

    fn holder_of_access_token(&self, sealed: &str, now: Timestamp) -> Result<Arc<Project>, Rejection> {
        let claim = self.tokens.open(ACCESS_TOKEN, sealed);
        let claim =
            claim.as_deref().and_then(AccessClaim::from_bytes).ok_or(Rejection::CredentialsInvalid)?;
        if claim.expires_secs <= now.as_secs() {
            return Err(Rejection::CredentialsExpired);
        }
        if !claim.may_message {
            return Err(Rejection::ScopeInsufficient);
        }
        let project = self.directory().by_number(claim.project).ok_or(Rejection::CredentialsInvalid)?;
        let account_lives = project.created == claim.created
            && (claim.account.is_empty()
                || project.service_accounts.iter().any(|a| a.email == claim.account));
        if account_lives { Ok(project) } else { Err(Rejection::CredentialsInvalid) }
    }

    /// A self-signed JWT as bearer: an audience, or a scope that lets its holder send.
    fn holder_of_jwt(&self, text: &str, now: Timestamp) -> Result<Arc<Project>, Rejection> {
        let (claims, project) = self.verify_bearer_jwt(text).map_err(|_| Rejection::CredentialsInvalid)?;
        claims.check_times(now).map_err(|e| match e {
            JwtError::Expired => Rejection::CredentialsExpired,
            _ => Rejection::CredentialsInvalid,
        })?;
        match &claims.scope {
            Some(scope) if !scope.names().iter().any(|s| MESSAGING_SCOPES.contains(s)) => {
                Err(Rejection::ScopeInsufficient)
            }
            Some(_) => Ok(project),
            None if claims.aud.as_deref().is_some_and(is_messaging_audience) => Ok(project),
            None => Err(Rejection::CredentialsInvalid),
        }
    }
}

/// The audience of a bearer JWT names the API's host (`protocol/oauth.md` §3: with or without a path).
/// Any name may lead to us, so the host itself is not compared; a token endpoint is not the API.
fn is_messaging_audience(audience: &str) -> bool {
    let rest = audience.strip_prefix("https://").or_else(|| audience.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.trim_end_matches('/').ends_with("/token"))
}
