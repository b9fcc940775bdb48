//! What push services of others know a project by: its Web Push keys, and its apps' APNs credentials.

use cresset_message::{ProjectId, Timestamp};
use cresset_store::tables::projects::{ApnsCredentialRecord, WebPushKeyRecord};
use cresset_wire::webpush::{KeyPair, decode_base64, encode_base64};

use crate::project::{ProjectError, check_keys};
use crate::{Identity, Project};

/// A key pair of Web Push (RFC 8292). `public` is what web configs call the `vapidKey`.
#[derive(Clone)]
pub struct WebPushKey {
    pub public: [u8; 65],
    pub scalar: [u8; 32],
    pub created: Timestamp,
}

impl WebPushKey {
    /// `None`: it is no key, which nobody could have stored.
    pub(crate) fn from_record(record: &WebPushKeyRecord) -> Option<Self> {
        let scalar = record.scalar.as_slice().try_into().ok()?;
        let public = *KeyPair::from_scalar(&scalar).ok()?.public();
        Some(Self { public, scalar, created: Timestamp::from_millis(record.created_millis) })
    }

    /// As browsers are given it.
    pub fn public_text(&self) -> String {
        encode_base64(self.public)
    }
}

impl std::fmt::Debug for WebPushKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WebPushKey({})", self.public_text())
    }
}

/// An APNs credential of one app, as the operator gave it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ApnsCredential {
    pub bundle_id: String,
    pub production: bool,
    pub sandbox: bool,
    pub secret: ApnsSecret,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub enum ApnsSecret {
    /// A `.p8` file, with the ids that Apple gave with it.
    Key { pem: String, key_id: String, team_id: String },
    /// A certificate with its chain, and its private key.
    Certificate { chain_pem: String, key_pem: String },
}

impl std::fmt::Debug for ApnsCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match &self.secret {
            ApnsSecret::Key { key_id, team_id, .. } => format!("key {key_id} of team {team_id}"),
            ApnsSecret::Certificate { .. } => "certificate".to_owned(),
        };
        write!(f, "ApnsCredential({}, {kind})", self.bundle_id)
    }
}

impl ApnsCredential {
    pub(crate) fn from_record(record: &ApnsCredentialRecord) -> Self {
        let secret = match record.certificate_pem.is_empty() {
            true => ApnsSecret::Key {
                pem: record.private_pem.clone(),
                key_id: record.key_id.clone(),
                team_id: record.team_id.clone(),
            },
            false => ApnsSecret::Certificate {
                chain_pem: record.certificate_pem.clone(),
                key_pem: record.private_pem.clone(),
            },
        };
        let ApnsCredentialRecord { bundle_id, production, sandbox, .. } = record.clone();
        Self { bundle_id, production, sandbox, secret }
    }

    fn to_record(&self, now: Timestamp) -> ApnsCredentialRecord {
        let (private_pem, key_id, team_id, certificate_pem) = match self.secret.clone() {
            ApnsSecret::Key { pem, key_id, team_id } => (pem, key_id, team_id, String::new()),
            ApnsSecret::Certificate { chain_pem, key_pem } => {
                (key_pem, String::new(), String::new(), chain_pem)
            }
        };
        ApnsCredentialRecord {
            bundle_id: self.bundle_id.clone(),
            production: self.production,
            sandbox: self.sandbox,
            private_pem,
            key_id,
            team_id,
            certificate_pem,
            created_millis: now.as_millis(),
        }
    }

    fn is_key(&self) -> bool {
        matches!(self.secret, ApnsSecret::Key { .. })
    }
}

impl Project {
    /// The key pair whose public half this is, however it is written.
    pub fn web_push_key(&self, public: &str) -> Option<&WebPushKey> {
        let public = decode_base64(public)?;
        self.web_push_keys.iter().find(|key| key.public[..] == public[..])
    }
}

impl Identity {
    pub(crate) fn new_web_push_key(&self, now: Timestamp) -> Result<WebPushKeyRecord, ProjectError> {
        // Two scalars in 2^32 are no key.
        for _ in 0..4 {
            let scalar = self.random_bytes::<32>();
            if KeyPair::from_scalar(&scalar).is_ok() {
                return Ok(WebPushKeyRecord { scalar: scalar.to_vec(), created_millis: now.as_millis() });
            }
        }
        Err(ProjectError::KeyGeneration("the random numbers are none"))
    }

    /// Makes a key pair of Web Push, or takes in one that exists: its private half, 32 bytes in base64url,
    /// as Firebase's console and npm web-push give it. Subscriptions made with older ones go on.
    pub async fn add_web_push_key(
        &self,
        id: &ProjectId,
        private: Option<&str>,
        now: Timestamp,
    ) -> Result<WebPushKey, ProjectError> {
        let record = match private {
            None => self.new_web_push_key(now)?,
            Some(text) => WebPushKeyRecord {
                scalar: decode_base64(text.trim()).ok_or(ProjectError::NotAWebPushKey)?,
                created_millis: now.as_millis(),
            },
        };
        let key = WebPushKey::from_record(&record).ok_or(ProjectError::NotAWebPushKey)?;
        self.edit(id, now, |project| {
            project.web_push_keys.retain(|known| known.scalar != record.scalar);
            check_keys(project.web_push_keys.len(), id)?;
            project.web_push_keys.push(record.clone());
            Ok(())
        })
        .await?;
        Ok(key)
    }

    /// Sets the APNs credential of an app for the environments that it names, in the place of one of the same
    /// kind. What is in it the caller has checked.
    pub async fn set_apns_credential(
        &self,
        id: &ProjectId,
        credential: &ApnsCredential,
        now: Timestamp,
    ) -> Result<(), ProjectError> {
        if !credential.production && !credential.sandbox {
            return Err(ProjectError::NoEnvironment);
        }
        self.edit(id, now, |project| {
            let is_its = |app: &&cresset_store::tables::projects::AppRecord| {
                app.platform == "ios" && app.package == credential.bundle_id
            };
            if !project.apps.iter().any(|app| is_its(&app)) {
                return Err(ProjectError::NoSuchBundle(id.to_string(), credential.bundle_id.clone()));
            }
            for known in project.apns.iter_mut().filter(|known| known.bundle_id == credential.bundle_id) {
                if known.certificate_pem.is_empty() == credential.is_key() {
                    known.production &= !credential.production;
                    known.sandbox &= !credential.sandbox;
                }
            }
            project.apns.retain(|known| known.production || known.sandbox);
            check_keys(project.apns.len(), id)?;
            project.apns.push(credential.to_record(now));
            Ok(())
        })
        .await
    }

    /// Forgets the APNs credentials of an app; says how many there were.
    pub async fn remove_apns_credentials(
        &self,
        id: &ProjectId,
        bundle_id: &str,
        now: Timestamp,
    ) -> Result<usize, ProjectError> {
        let mut removed = 0;
        self.edit(id, now, |project| {
            let before = project.apns.len();
            project.apns.retain(|known| known.bundle_id != bundle_id);
            removed = before - project.apns.len();
            Ok(())
        })
        .await?;
        Ok(removed)
    }
}
