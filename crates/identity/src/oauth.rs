//! The token endpoint's rules (`protocol/oauth.md`). HTTP is `api`'s.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use cresset_message::{ProjectNumber, Timestamp};

use crate::authorize::{ACCESS_TOKEN, ACCESS_TOKEN_PREFIX, AccessClaim};
use crate::jwt::JwtError;
use crate::{Identity, MESSAGING_SCOPES, Project};

/// Life of an access token. Clients refresh up to five minutes early; Google's live an hour
/// (`protocol/oauth.md` §2.3).
const ACCESS_TOKEN_LIFE_SECONDS: u64 = 3_599;

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const REFRESH: &str = "refresh_token";
const REFRESH_KIND: &str = "user-refresh";
const REFRESH_PREFIX: &str = "1//";

/// Audiences that Google's libraries write whatever the token URL is (`protocol/oauth.md` §2.1).
const GOOGLE_AUDIENCES: [&str; 4] = [
    "https://oauth2.googleapis.com/token",
    "https://accounts.google.com/o/oauth2/token",
    "https://www.googleapis.com/oauth2/v4/token",
    "https://www.googleapis.com/oauth2/v3/token",
];

/// A request's form fields, absent ones empty.
#[derive(Clone, Debug, Default)]
pub struct GrantRequest {
    pub grant_type: String,
    pub assertion: String,
    pub client_id: String,
    pub client_secret: String,
    pub refresh_token: String,
    pub scope: String,
    /// `Host` of the request: our own URLs are good audiences.
    pub host: String,
}

#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken {
    pub token: String,
    pub expires_in_seconds: u64,
    /// Given back for refresh grants.
    pub scope: Option<String>,
}

/// A refusal in the words of RFC 6749 §5.2 and of Google.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OauthError {
    pub status: u16,
    pub error: &'static str,
    pub description: String,
}

impl OauthError {
    fn new(status: u16, error: &'static str, description: impl Into<String>) -> Self {
        Self { status, error, description: description.into() }
    }

    fn invalid_grant(description: &str) -> Self {
        Self::new(400, "invalid_grant", description)
    }
}

const TIME_CLAIMS: &str = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.";

impl Identity {
    pub fn grant(&self, request: &GrantRequest, now: Timestamp) -> Result<AccessToken, OauthError> {
        match request.grant_type.as_str() {
            JWT_BEARER => self.grant_for_assertion(request, now),
            REFRESH => self.grant_for_refresh_token(request, now),
            "" => Err(OauthError::new(400, "invalid_request", "Missing required parameter: grant_type")),
            other => {
                Err(OauthError::new(400, "unsupported_grant_type", format!("Invalid grant_type: {other}")))
            }
        }
    }

    fn grant_for_assertion(&self, request: &GrantRequest, now: Timestamp) -> Result<AccessToken, OauthError> {
        if request.assertion.is_empty() {
            return Err(OauthError::new(400, "invalid_request", "Missing required parameter: assertion"));
        }
        let (claims, project) = self.verify_jwt(&request.assertion).map_err(|e| match e {
            JwtError::UnknownIssuer => OauthError::invalid_grant("Invalid grant: account not found"),
            JwtError::Malformed => OauthError::new(400, "invalid_request", "Bad Request"),
            _ => OauthError::invalid_grant("Invalid JWT Signature."),
        })?;
        claims.check_times(now).map_err(|_| OauthError::invalid_grant(TIME_CLAIMS))?;
        if !claims.aud.as_deref().is_some_and(|aud| is_token_audience(aud, &request.host)) {
            return Err(OauthError::invalid_grant("Invalid JWT: Failed audience check"));
        }
        if claims.sub.as_deref().is_some_and(|sub| sub != claims.iss) {
            return Err(OauthError::new(
                401,
                "unauthorized_client",
                "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the scopes requested.",
            ));
        }
        let scopes = claims.scope.as_ref().map(|s| s.names()).unwrap_or_default();
        if scopes.is_empty() || claims.target_audience.is_some() {
            return Err(OauthError::new(
                400,
                "invalid_scope",
                "Invalid OAuth scope or ID token audience provided.",
            ));
        }
        Ok(self.access_token(&project, &claims.iss, &scopes, now))
    }

    fn grant_for_refresh_token(
        &self,
        request: &GrantRequest,
        now: Timestamp,
    ) -> Result<AccessToken, OauthError> {
        let revoked = || OauthError::invalid_grant("Token has been expired or revoked.");
        let sealed = request.refresh_token.strip_prefix(REFRESH_PREFIX).ok_or_else(revoked)?;
        let claim = self.tokens.open(REFRESH_KIND, sealed).ok_or_else(revoked)?;
        let (number, created) = claim.split_first_chunk::<8>().ok_or_else(revoked)?;
        let number = ProjectNumber(u64::from_be_bytes(*number));
        let project = self.directory().by_number(number).ok_or_else(revoked)?;
        if project.created.as_millis().to_be_bytes() != created {
            return Err(revoked());
        }
        let (client_id, client_secret) = self.oauth_client(&project);
        if request.client_id != client_id {
            return Err(OauthError::new(401, "invalid_client", "The OAuth client was not found."));
        }
        if verify_slices_are_equal(request.client_secret.as_bytes(), client_secret.as_bytes()).is_err() {
            return Err(OauthError::new(401, "invalid_client", "Unauthorized"));
        }
        // Without a scope the token is good for all that the user granted: messaging.
        let asked: Vec<&str> = request.scope.split_ascii_whitespace().collect();
        let scopes = if asked.is_empty() { MESSAGING_SCOPES.to_vec() } else { asked };
        let mut token = self.access_token(&project, "", &scopes, now);
        token.scope = Some(scopes.join(" "));
        Ok(token)
    }

    fn access_token(&self, project: &Project, account: &str, scopes: &[&str], now: Timestamp) -> AccessToken {
        let claim = AccessClaim {
            expires_secs: now.as_secs() + ACCESS_TOKEN_LIFE_SECONDS,
            may_message: scopes.iter().any(|s| MESSAGING_SCOPES.contains(s)),
            project: project.number,
            created: project.created,
            account: account.to_owned(),
        };
        AccessToken {
            token: format!("{ACCESS_TOKEN_PREFIX}{}", self.tokens.seal(ACCESS_TOKEN, &claim.to_bytes())),
            expires_in_seconds: ACCESS_TOKEN_LIFE_SECONDS,
            scope: None,
        }
    }

    /// Client id and secret of a project's user credentials: derived, so that nothing is stored.
    pub(crate) fn oauth_client(&self, project: &Project) -> (String, String) {
        let secret = self.tokens.derive("oauth-client", &making_of(project));
        (
            format!("{}-cresset.apps.googleusercontent.com", project.number),
            BASE64_URL_SAFE_NO_PAD.encode(&secret[..24]),
        )
    }

    pub(crate) fn user_refresh_token(&self, project: &Project) -> String {
        format!("{REFRESH_PREFIX}{}", self.tokens.seal(REFRESH_KIND, &making_of(project)))
    }
}

/// Names a project, and no other that is made under its number after it was deleted.
fn making_of(project: &Project) -> Vec<u8> {
    [project.number.0.to_be_bytes(), project.created.as_millis().to_be_bytes()].concat()
}

/// Google's own, or one of our paths on the host that was asked.
fn is_token_audience(audience: &str, host: &str) -> bool {
    let ours = |audience: &str| {
        let rest = audience.strip_prefix("https://").or_else(|| audience.strip_prefix("http://"))?;
        let (name, path) = rest.split_once('/')?;
        Some(name == host && matches!(path, "token" | "o/oauth2/token" | "oauth2/v4/token"))
    };
    GOOGLE_AUDIENCES.contains(&audience) || ours(audience) == Some(true)
}
