//! Projects: made, listed, changed, deleted; their apps and credentials.

use base64::Engine as _;
use cresset_message::{AppId, Platform, ProjectId, ProjectNumber, Timestamp};
use cresset_store::tables::projects::{
    self, AppRecord, ProjectRecord, ServiceAccountKeyRecord, ServiceAccountRecord,
};
use cresset_store::{Batch, Condition, StoreError};

use crate::credentials::{ApnsCredential, WebPushKey};
use crate::directory::Directory;
use crate::{ATTEMPTS, Identity};

/// A project as those who ask for one see it.
#[derive(Clone, Debug)]
pub struct Project {
    pub id: ProjectId,
    pub number: ProjectNumber,
    pub display_name: String,
    pub created: Timestamp,
    pub apps: Vec<App>,
    pub api_keys: Vec<String>,
    /// Of the legacy protocols.
    pub server_keys: Vec<String>,
    pub service_accounts: Vec<ServiceAccount>,
    /// The newest last: it is the one that new subscriptions are made with.
    pub web_push_keys: Vec<WebPushKey>,
    pub apns: Vec<ApnsCredential>,
}

#[derive(Clone, Debug)]
pub struct App {
    pub id: AppId,
    pub platform: Platform,
    /// Package or bundle name; a web app has none.
    pub package: String,
    pub display_name: String,
}

#[derive(Clone, Debug)]
pub struct ServiceAccount {
    pub email: String,
    pub keys: Vec<ServiceAccountKey>,
}

#[derive(Clone, Debug)]
pub struct ServiceAccountKey {
    pub id: String,
    /// RSA public key, PKCS#1 DER.
    pub public_key: Vec<u8>,
}

#[derive(Clone, Debug)]
pub struct NewApp {
    pub platform: Platform,
    pub package: String,
    pub display_name: String,
}

/// A credential as the file that SDKs read (`protocol/oauth.md` §9 and §4). Holds a secret: shown
/// once, never kept.
#[derive(Clone)]
pub struct CredentialFile(pub serde_json::Value);

impl std::fmt::Debug for CredentialFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CredentialFile(..)")
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    #[error("project `{0}` exists already")]
    Exists(String),
    #[error("there is no project `{0}`")]
    NotFound(String),
    #[error("project number {0} is taken by project `{1}`")]
    NumberTaken(u64, String),
    #[error("an {0} app needs a package or bundle name such as com.example.app")]
    PackageMissing(&'static str),
    #[error("`{0}` is not a package or bundle name: letters, digits, `.`, `_`, `-`, at most 200 characters")]
    Package(String),
    #[error("project `{0}` has 1,000 apps, which is the limit")]
    TooManyApps(String),
    #[error("project `{0}` has 100 keys of this kind, which is the limit")]
    TooManyKeys(String),
    #[error("a display name has at most 200 characters")]
    DisplayName,
    #[error("the project was changed by someone else at the same time, five times in a row; try again")]
    Contended,
    #[error("the key is not a private key of P-256: 32 bytes in base64url")]
    NotAWebPushKey,
    #[error("project `{0}` has no app for Apple devices with the bundle id `{1}`")]
    NoSuchBundle(String, String),
    #[error("the credential is for production, for the sandbox, or for both")]
    NoEnvironment,
    #[error("no key could be made: {0}")]
    KeyGeneration(&'static str),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where clients of this service account ask for tokens when they heed their key file. The name is
/// Google's: it leads to Cresset by the means that lead the rest there.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

/// Apps in one project, so that its record stays small.
const MAX_APPS: usize = 1_000;

/// Keys of one kind in one project. A JWT that names none is tried against all.
const MAX_KEYS: usize = 100;

/// Characters of a display name.
const MAX_DISPLAY_NAME: usize = 200;

pub(crate) fn platform_name(platform: Platform) -> &'static str {
    match platform {
        Platform::Android => "android",
        Platform::Ios => "ios",
        Platform::Web => "web",
    }
}

impl Project {
    pub(crate) fn from_record(id: &str, record: &ProjectRecord) -> Result<Self, StoreError> {
        let damaged = |what: String| StoreError::Damaged(format!("project `{id}`: {what}"));
        let app = |app: &AppRecord| {
            let platform = match app.platform.as_str() {
                "android" => Platform::Android,
                "ios" => Platform::Ios,
                "web" => Platform::Web,
                other => return Err(damaged(format!("unknown platform `{other}`"))),
            };
            let id = app.app_id.parse().map_err(|e| damaged(format!("{e}")))?;
            Ok(App { id, platform, package: app.package.clone(), display_name: app.display_name.clone() })
        };
        let key = |key: &ServiceAccountKeyRecord| ServiceAccountKey {
            id: key.key_id.clone(),
            public_key: key.public_key.clone(),
        };
        Ok(Self {
            id: id.parse().map_err(|e| damaged(format!("{e}")))?,
            number: ProjectNumber(record.number),
            display_name: record.display_name.clone(),
            created: Timestamp::from_millis(record.created_millis),
            apps: record.apps.iter().map(app).collect::<Result<_, _>>()?,
            api_keys: record.api_keys.clone(),
            server_keys: record.server_keys.clone(),
            web_push_keys: record.web_push_keys.iter().filter_map(WebPushKey::from_record).collect(),
            apns: record.apns.iter().map(ApnsCredential::from_record).collect(),
            service_accounts: record
                .service_accounts
                .iter()
                .map(|a| ServiceAccount { email: a.email.clone(), keys: a.keys.iter().map(key).collect() })
                .collect(),
        })
    }

    pub fn app(&self, id: &str) -> Option<&App> {
        self.apps.iter().find(|app| app.id.as_str() == id)
    }
}

impl Identity {
    /// Makes a project with an API key and a legacy server key. Without a number, one is drawn.
    pub async fn create_project(
        &self,
        id: &ProjectId,
        display_name: &str,
        number: Option<ProjectNumber>,
        now: Timestamp,
    ) -> Result<(), ProjectError> {
        check_display_name(display_name)?;
        let _changing = self.changing.lock().await;
        let number = self.free_number(number)?;
        let record = ProjectRecord {
            number: number.0,
            display_name: if display_name.is_empty() { id.to_string() } else { display_name.to_owned() },
            created_millis: now.as_millis(),
            api_keys: vec![self.new_api_key()],
            server_keys: vec![format!("AAAA{}:APA91b{}", self.random_text(7), self.random_text(134))],
            web_push_keys: vec![self.new_web_push_key(now)?],
            ..ProjectRecord::default()
        };
        let key = projects::key(id.as_str());
        let mut batch =
            Batch { condition: Some(Condition { key: key.clone(), expected: None }), ..Batch::default() };
        batch.put(key, record.to_bytes(), None);
        if !self.store.write(batch, now).await? {
            return Err(ProjectError::Exists(id.to_string()));
        }
        self.reload(now).await?;
        Ok(())
    }

    fn free_number(&self, asked: Option<ProjectNumber>) -> Result<ProjectNumber, ProjectError> {
        let directory = self.directory();
        match asked {
            Some(number) => match directory.by_number(number) {
                Some(project) => Err(ProjectError::NumberTaken(number.0, project.id.to_string())),
                None => Ok(number),
            },
            // Twelve digits, as Google's.
            None => loop {
                let number = ProjectNumber(
                    100_000_000_000 + u64::from_be_bytes(self.random_bytes()) % 900_000_000_000,
                );
                if directory.by_number(number).is_none() {
                    break Ok(number);
                }
            },
        }
    }

    /// 39 characters that begin with `AIza`: Android checks the shape
    /// (`protocol/device-registration.md` §4).
    fn new_api_key(&self) -> String {
        format!("AIza{}", self.random_text(35))
    }

    pub fn projects(&self) -> Vec<std::sync::Arc<Project>> {
        self.directory().all()
    }

    /// By id or by number, as paths name projects.
    pub fn project(&self, id_or_number: &str) -> Option<std::sync::Arc<Project>> {
        self.directory().find(id_or_number)
    }

    pub async fn delete_project(&self, id: &ProjectId, now: Timestamp) -> Result<(), ProjectError> {
        let _changing = self.changing.lock().await;
        let project = self.project(id.as_str()).ok_or_else(|| ProjectError::NotFound(id.to_string()))?;
        let mut batch = Batch::default();
        batch.delete(projects::key(id.as_str()));
        self.store.write(batch, now).await?;
        self.reload(now).await?;
        if let Some(watch) = self.watch.get() {
            watch.project_deleted(project.number, now).await;
        }
        Ok(())
    }

    pub async fn add_app(&self, id: &ProjectId, new: NewApp, now: Timestamp) -> Result<AppId, ProjectError> {
        let platform = platform_name(new.platform);
        check_package(&new, platform)?;
        check_display_name(&new.display_name)?;
        let suffix: String = self.random_bytes::<8>().iter().map(|b| format!("{b:02x}")).collect();
        let mut app_id = None;
        self.edit(id, now, |record| {
            if record.apps.len() >= MAX_APPS {
                return Err(ProjectError::TooManyApps(id.to_string()));
            }
            let text = format!("1:{}:{platform}:{suffix}", record.number);
            record.apps.push(AppRecord {
                app_id: text.clone(),
                platform: platform.into(),
                package: new.package.clone(),
                display_name: new.display_name.clone(),
            });
            app_id = text.parse().ok();
            Ok(())
        })
        .await?;
        Ok(app_id.expect("an app id that was just made is well formed"))
    }

    pub async fn add_api_key(&self, id: &ProjectId, now: Timestamp) -> Result<String, ProjectError> {
        let key = self.new_api_key();
        self.edit(id, now, |record| {
            check_keys(record.api_keys.len(), id)?;
            record.api_keys.push(key.clone());
            Ok(())
        })
        .await?;
        Ok(key)
    }

    /// Makes a key for the project's service account and returns its file.
    pub async fn add_service_account_key(
        &self,
        id: &ProjectId,
        now: Timestamp,
    ) -> Result<CredentialFile, ProjectError> {
        let failed = |what| move |_| ProjectError::KeyGeneration(what);
        let pair = tokio::task::spawn_blocking(|| {
            aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048)
        });
        let pair = pair
            .await
            .map_err(|_| ProjectError::KeyGeneration("interrupted"))?
            .map_err(failed("RSA key generation failed"))?;
        let private = private_key_pem(&pair).map_err(failed("the key cannot be encoded"))?;
        let public = aws_lc_rs::signature::KeyPair::public_key(&pair).as_ref().to_vec();
        let email = format!("firebase-adminsdk@{id}.iam.gserviceaccount.com");
        let key_id: String = self.random_bytes::<20>().iter().map(|b| format!("{b:02x}")).collect();
        self.edit(id, now, |record| {
            let account = match record.service_accounts.iter_mut().position(|a| a.email == email) {
                Some(at) => &mut record.service_accounts[at],
                None => {
                    record
                        .service_accounts
                        .push(ServiceAccountRecord { email: email.clone(), keys: Vec::new() });
                    record.service_accounts.last_mut().expect("one was pushed")
                }
            };
            check_keys(account.keys.len(), id)?;
            account.keys.push(ServiceAccountKeyRecord {
                key_id: key_id.clone(),
                public_key: public.clone(),
                created_millis: now.as_millis(),
            });
            Ok(())
        })
        .await?;
        Ok(CredentialFile(serde_json::json!({
            "type": "service_account",
            "project_id": id.as_str(),
            "private_key_id": key_id,
            "private_key": private,
            "client_email": email,
            "client_id": "1",
            "token_uri": TOKEN_URI,
        })))
    }

    /// An `authorized_user` file (`protocol/oauth.md` §4), for those who would rather not hold a key.
    pub fn user_credential(&self, id: &ProjectId) -> Result<CredentialFile, ProjectError> {
        let project = self.project(id.as_str()).ok_or_else(|| ProjectError::NotFound(id.to_string()))?;
        let (client_id, client_secret) = self.oauth_client(&project);
        Ok(CredentialFile(serde_json::json!({
            "type": "authorized_user",
            "client_id": client_id,
            "client_secret": client_secret,
            "refresh_token": self.user_refresh_token(&project),
            "token_uri": TOKEN_URI,
        })))
    }

    /// Reads, changes, and writes back if nobody else has in between.
    pub(crate) async fn edit(
        &self,
        id: &ProjectId,
        now: Timestamp,
        mut change: impl FnMut(&mut ProjectRecord) -> Result<(), ProjectError>,
    ) -> Result<(), ProjectError> {
        let _changing = self.changing.lock().await;
        let key = projects::key(id.as_str());
        for _ in 0..ATTEMPTS {
            let row =
                self.store.get(&key, now).await?.ok_or_else(|| ProjectError::NotFound(id.to_string()))?;
            let mut record = ProjectRecord::from_bytes(&row.value)?;
            change(&mut record)?;
            let mut batch = Batch {
                condition: Some(Condition { key: key.clone(), expected: Some(row.value) }),
                ..Batch::default()
            };
            batch.put(key.clone(), record.to_bytes(), None);
            if self.store.write(batch, now).await? {
                self.reload(now).await?;
                return Ok(());
            }
        }
        Err(ProjectError::Contended)
    }

    /// Only while `changing` is held: else an older reading could come after a newer one.
    async fn reload(&self, now: Timestamp) -> Result<(), StoreError> {
        let directory = Directory::load(&self.store, now).await?;
        *self.directory.write().unwrap_or_else(|e| e.into_inner()) = std::sync::Arc::new(directory);
        Ok(())
    }
}

fn check_display_name(name: &str) -> Result<(), ProjectError> {
    if name.chars().count() > MAX_DISPLAY_NAME { Err(ProjectError::DisplayName) } else { Ok(()) }
}

pub(crate) fn check_keys(there_are: usize, id: &ProjectId) -> Result<(), ProjectError> {
    if there_are >= MAX_KEYS { Err(ProjectError::TooManyKeys(id.to_string())) } else { Ok(()) }
}

fn check_package(new: &NewApp, platform: &'static str) -> Result<(), ProjectError> {
    if new.platform != Platform::Web && new.package.is_empty() {
        return Err(ProjectError::PackageMissing(platform));
    }
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if new.package.len() > 200 || !new.package.bytes().all(good) {
        return Err(ProjectError::Package(new.package.clone()));
    }
    Ok(())
}

fn private_key_pem(pair: &aws_lc_rs::rsa::KeyPair) -> Result<String, aws_lc_rs::error::Unspecified> {
    use aws_lc_rs::encoding::AsDer as _;
    let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der()?;
    let text = base64::prelude::BASE64_STANDARD.encode(der.as_ref());
    let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|b| *b as char));
        pem.push('\n');
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    Ok(pem)
}
