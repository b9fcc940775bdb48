//! Firebase Installations: an app instance gets its FID (`protocol/device-registration.md` §4).

use std::sync::Arc;

use cresset_message::{AppId, Fid, ProjectNumber, RegistrationId, Timestamp};
use cresset_store::tables::fids::{self, FidRecord};
use cresset_store::{Batch, Condition, StoreError};

use crate::{Identity, Project};

/// Life of a FIS auth token: a week, as Google's.
const AUTH_TOKEN_LIFE_SECONDS: u64 = 604_800;

const REFRESH_TOKEN: &str = "fis-refresh";
const AUTH_TOKEN: &str = "fis-auth";

#[derive(Clone, Debug)]
pub struct Installation {
    pub project: ProjectNumber,
    pub fid: Fid,
    pub refresh_token: String,
    pub auth_token: String,
    pub auth_token_life_seconds: u64,
}

/// Said with a 4xx only where asking again is no use: Android's SDK then stays away for a day.
#[derive(Debug, thiserror::Error)]
pub enum InstallationRefusal {
    #[error("API key not valid. Please pass a valid API key.")]
    ApiKey,
    #[error("The request is missing a valid API key.")]
    ApiKeyMissing,
    #[error("Project `{0}` does not exist, or the API key is another project's.")]
    Project(String),
    #[error("App `{0}` is not an app of this project.")]
    App(String),
    #[error("Requested entity already exists")]
    FidTaken,
    #[error("Requested entity was not found.")]
    NotFound,
    #[error("Request had invalid authentication credentials.")]
    Unauthenticated,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Identity {
    /// The project of a path, if the API key is one of its own.
    pub fn project_by_api_key(
        &self,
        project: &str,
        api_key: Option<&str>,
    ) -> Result<Arc<Project>, InstallationRefusal> {
        let api_key = api_key.filter(|key| !key.is_empty()).ok_or(InstallationRefusal::ApiKeyMissing)?;
        let Some(found) = self.project(project) else {
            return Err(InstallationRefusal::Project(project.to_owned()));
        };
        if found.api_keys.iter().any(|key| key == api_key) {
            Ok(found)
        } else {
            Err(InstallationRefusal::ApiKey)
        }
    }

    /// Makes an installation, or renews it. A FID that is missing or malformed is replaced: most
    /// receivers propose one that is, and all adopt the answer's.
    pub async fn create_installation(
        &self,
        project: &Project,
        app_id: &str,
        proposed: Option<&str>,
        now: Timestamp,
    ) -> Result<Installation, InstallationRefusal> {
        let app = project.app(app_id).ok_or_else(|| InstallationRefusal::App(app_id.to_owned()))?;
        let fid = match proposed.and_then(|text| text.parse().ok()) {
            Some(fid) => fid,
            None => Fid::from_random(self.random_bytes()),
        };
        if let Some(known) = self.fid_record(&fid, now).await? {
            if known.project != project.number.0 || known.app_id != app_id {
                return Err(InstallationRefusal::FidTaken);
            }
            return Ok(self.installation(project.number, fid, now));
        }
        let record = FidRecord {
            project: project.number.0,
            app_id: app.id.to_string(),
            created_millis: now.as_millis(),
            registration: None,
        };
        let key = fids::key(&fid);
        let mut batch =
            Batch { condition: Some(Condition { key: key.clone(), expected: None }), ..Batch::default() };
        batch.put(key, record.to_bytes(), None);
        if self.store.write(batch, now).await? {
            Ok(self.installation(project.number, fid, now))
        } else {
            Err(InstallationRefusal::FidTaken)
        }
    }

    /// A fresh auth token for who holds the refresh token.
    pub async fn refresh_installation(
        &self,
        project: &Project,
        fid: &str,
        refresh_token: &str,
        now: Timestamp,
    ) -> Result<Installation, InstallationRefusal> {
        let (fid, _) = self.own_installation(project, fid, refresh_token, now).await?;
        Ok(self.installation(project.number, fid, now))
    }

    /// Ends an installation, and its registration with it.
    pub async fn delete_installation(
        &self,
        project: &Project,
        fid: &str,
        refresh_token: &str,
        now: Timestamp,
    ) -> Result<(), InstallationRefusal> {
        let (fid, record) = self.own_installation(project, fid, refresh_token, now).await?;
        let mut batch = Batch::default();
        batch.delete(fids::key(&fid));
        if let Some(registration) = record.registration {
            batch.delete(cresset_store::tables::registrations::key(registration.into()));
        }
        self.store.write(batch, now).await?;
        Ok(())
    }

    async fn own_installation(
        &self,
        project: &Project,
        fid: &str,
        refresh_token: &str,
        now: Timestamp,
    ) -> Result<(Fid, FidRecord), InstallationRefusal> {
        let fid: Fid = fid.parse().map_err(|_| InstallationRefusal::NotFound)?;
        let claim = self.tokens.open(REFRESH_TOKEN, refresh_token);
        if claim != Some(refresh_claim(project.number, &fid)) {
            return Err(InstallationRefusal::Unauthenticated);
        }
        let record = self.fid_record(&fid, now).await?.ok_or(InstallationRefusal::NotFound)?;
        Ok((fid, record))
    }

    fn installation(&self, project: ProjectNumber, fid: Fid, now: Timestamp) -> Installation {
        let mut claim = project.0.to_be_bytes().to_vec();
        claim.extend_from_slice(&(now.as_secs() + AUTH_TOKEN_LIFE_SECONDS).to_be_bytes());
        claim.extend_from_slice(fid.as_str().as_bytes());
        Installation {
            project,
            refresh_token: self.tokens.seal(REFRESH_TOKEN, &refresh_claim(project, &fid)),
            auth_token: self.tokens.seal(AUTH_TOKEN, &claim),
            auth_token_life_seconds: AUTH_TOKEN_LIFE_SECONDS,
            fid,
        }
    }

    /// The installation behind an auth token, which some clients send as `FIS <token>`, some bare.
    pub(crate) fn installation_of(&self, auth_token: &str, now: Timestamp) -> Option<(ProjectNumber, Fid)> {
        let claim = self.tokens.open(AUTH_TOKEN, auth_token.strip_prefix("FIS ").unwrap_or(auth_token))?;
        let (project, rest) = claim.split_first_chunk::<8>()?;
        let (expires, fid) = rest.split_first_chunk::<8>()?;
        let fid = std::str::from_utf8(fid).ok()?.parse().ok()?;
        let alive = u64::from_be_bytes(*expires) > now.as_secs();
        alive.then_some((ProjectNumber(u64::from_be_bytes(*project)), fid))
    }

    pub(crate) async fn fid_record(
        &self,
        fid: &Fid,
        now: Timestamp,
    ) -> Result<Option<FidRecord>, StoreError> {
        let row = self.store.get(&fids::key(fid), now).await?;
        row.map(|row| FidRecord::from_bytes(&row.value)).transpose()
    }

    /// Adds to a batch that a FID's registration is this one.
    pub(crate) fn link_fid(
        batch: &mut Batch,
        fid: &Fid,
        mut record: FidRecord,
        registration: Option<RegistrationId>,
    ) {
        record.registration = registration.map(Into::into);
        batch.put(fids::key(fid), record.to_bytes(), None);
    }

    /// The app of an installation, for a project's registration.
    pub(crate) fn app_id_of(record: &FidRecord) -> Option<AppId> {
        record.app_id.parse().ok()
    }
}

fn refresh_claim(project: ProjectNumber, fid: &Fid) -> Vec<u8> {
    let mut claim = project.0.to_be_bytes().to_vec();
    claim.extend_from_slice(fid.as_str().as_bytes());
    claim
}
