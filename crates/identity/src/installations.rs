//! Firebase Installations: an app instance gets its FID (`protocol/device-registration.md` §4).

use std::sync::Arc;

use cresset_message::{Fid, ProjectNumber, RegistrationId, Timestamp};
use cresset_store::tables::fids::{self, FidRecord};
use cresset_store::{Batch, Condition, Row, StoreError};

use crate::{ATTEMPTS, Identity, Project, contended};

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
        // Push receivers take an answer that holds these letters for a failure, wherever they stand;
        // a token begins with its FID (`protocol/device-registration.md` §2).
        let mut proposed = proposed.filter(|text| !text.contains("Error")).and_then(|text| text.parse().ok());
        for _ in 0..ATTEMPTS {
            let fid = proposed.clone().unwrap_or_else(|| Fid::from_random(self.random_bytes()));
            if fid.as_str().contains("Error") {
                continue;
            }
            if let Some((known, _)) = self.fid_record(&fid, now).await? {
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
            let condition = Condition { key: key.clone(), expected: None };
            let mut batch = Batch { condition: Some(condition), ..Batch::default() };
            batch.put(key, record.to_bytes(), None);
            if self.store.write(batch, now).await? {
                return Ok(self.installation(project.number, fid, now));
            }
            // The same client asked twice: whoever came second finds what the first one made.
            proposed = Some(fid);
        }
        Err(contended().into())
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
        for _ in 0..ATTEMPTS {
            let (fid, (record, row)) = self.own_installation(project, fid, refresh_token, now).await?;
            // First: should the process end between, the client deletes the installation again.
            if let Some(registration) = record.registration {
                self.end_registration(registration.into(), now).await?;
            }
            let key = fids::key(&fid);
            let condition = Condition { key: key.clone(), expected: Some(row.value) };
            let mut batch = Batch { condition: Some(condition), ..Batch::default() };
            batch.delete(key);
            // Else it registers at this moment, and that registration ends too.
            if self.store.write(batch, now).await? {
                return Ok(());
            }
        }
        Err(contended().into())
    }

    async fn own_installation(
        &self,
        project: &Project,
        fid: &str,
        refresh_token: &str,
        now: Timestamp,
    ) -> Result<(Fid, (FidRecord, Row)), InstallationRefusal> {
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

    /// The record of a FID, and as it stands in the store: what a change of it is conditional on.
    pub(crate) async fn fid_record(
        &self,
        fid: &Fid,
        now: Timestamp,
    ) -> Result<Option<(FidRecord, Row)>, StoreError> {
        let row = self.store.get(&fids::key(fid), now).await?;
        row.map(|row| Ok((FidRecord::from_bytes(&row.value)?, row))).transpose()
    }

    /// Says of a FID where its registration is; unless it is to `take_over`, only when the one it has
    /// lives no more. A link is never undone: one that leads to no registration is none.
    pub(crate) async fn link_fid(
        &self,
        fid: &Fid,
        registration: RegistrationId,
        take_over: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            let Some((mut record, row)) = self.fid_record(fid, now).await? else { return Ok(()) };
            if let Some(linked) = record.registration.map(RegistrationId::from)
                && (linked == registration
                    || !take_over && self.registration_record(linked, now).await?.is_some())
            {
                return Ok(());
            }
            record.registration = Some(registration.into());
            let key = fids::key(fid);
            let condition = Condition { key: key.clone(), expected: Some(row.value) };
            let mut batch = Batch { condition: Some(condition), ..Batch::default() };
            batch.put(key, record.to_bytes(), None);
            if self.store.write(batch, now).await? {
                return Ok(());
            }
        }
        Err(contended())
    }
}

fn refresh_claim(project: ProjectNumber, fid: &Fid) -> Vec<u8> {
    let mut claim = project.0.to_be_bytes().to_vec();
    claim.extend_from_slice(fid.as_str().as_bytes());
    claim
}
