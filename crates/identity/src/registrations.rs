//! FCM registrations: web apps, and registrations by FID (`protocol/device-registration.md` §5);
//! and their forerunner `fcm/connect` (§3).

use base64::Engine as _;
use cresset_message::{Fid, RegistrationId, Timestamp};
use cresset_store::tables::registrations::{self, RegistrationRecord, WebTransport};
use cresset_store::{Batch, StoreError};
use cresset_wire::token::{Presented, present, registration_token};

use crate::register3::BASE64_LENIENT;
use crate::{Identity, Project};

/// A Web Push subscription as a client describes it.
#[derive(Clone, Debug, Default)]
pub struct Subscription {
    pub endpoint: String,
    pub p256dh: String,
    pub auth: String,
    pub application_pub_key: String,
    pub origin: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebRegistration {
    pub token: String,
    pub fid: Option<Fid>,
}

#[derive(Debug, thiserror::Error)]
pub enum RegistrationRefusal {
    #[error(
        "Request had invalid authentication credentials. Expected a Firebase Installations auth token of this project."
    )]
    Unauthenticated,
    #[error(
        "web.endpoint is not a Web Push endpoint of this server. Push services of others are not delivered to."
    )]
    ForeignEndpoint,
    #[error("web.{0} is not valid.")]
    Key(&'static str),
    #[error("The Web Push subscription that web.endpoint names does not exist.")]
    NoSubscription,
    #[error("Requested entity was not found.")]
    NotFound,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Paths under which a Web Push endpoint of ours carries its token (`protocol/payload-layout.md` §4.1).
const ENDPOINT_PATHS: [&str; 3] = ["/fcm/send/", "/preprod/wp/", "/wp/"];

/// Longest endpoint that is read: browsers' are some 250 bytes.
const MAX_ENDPOINT: usize = 4_096;

impl Identity {
    /// Registers the web app instance that the auth token names, or points it at a new subscription:
    /// its token stays the same for as long as it is registered.
    pub async fn register_web(
        &self,
        project: &Project,
        auth_token: &str,
        subscription: &Subscription,
        now: Timestamp,
    ) -> Result<WebRegistration, RegistrationRefusal> {
        let fid = self.fid_of(project, auth_token, now)?;
        let fid_record = self.fid_record(&fid, now).await?.ok_or(RegistrationRefusal::Unauthenticated)?;
        let web = self.web_transport(subscription, now).await?;
        let known = match fid_record.registration.map(RegistrationId::from) {
            Some(id) => self.registration_record(id, now).await?.map(|record| (id, record)),
            None => None,
        };
        let (id, mut record) = match known {
            Some(known) => known,
            None => {
                let record = RegistrationRecord {
                    prefix: fid.to_string(),
                    platform: 3,
                    app_id: fid_record.app_id.clone(),
                    fid: fid.to_string(),
                    created_millis: now.as_millis(),
                    ..RegistrationRecord::default()
                };
                (self.new_slot(project.number, now).await?, record)
            }
        };
        record.web = Some(web);
        let mut batch = Batch::default();
        batch.put(registrations::key(id), record.to_bytes(), None);
        Self::link_fid(&mut batch, &fid, fid_record, Some(id));
        self.store.write(batch, now).await?;
        Ok(WebRegistration { token: registration_token(&self.tokens, &record.prefix, id), fid: Some(fid) })
    }

    /// Ends a registration; `name` is its token or its FID. Only its own installation may.
    pub async fn unregister_web(
        &self,
        project: &Project,
        auth_token: &str,
        name: &str,
        now: Timestamp,
    ) -> Result<(), RegistrationRefusal> {
        let fid = self.fid_of(project, auth_token, now)?;
        let fid_record = self.fid_record(&fid, now).await?.ok_or(RegistrationRefusal::Unauthenticated)?;
        let id = match present(&self.tokens, name) {
            Presented::Registration(id) => id,
            Presented::Fid(named) if named == fid => {
                fid_record.registration.map(RegistrationId::from).ok_or(RegistrationRefusal::NotFound)?
            }
            _ => return Err(RegistrationRefusal::NotFound),
        };
        let record = self.registration_record(id, now).await?.ok_or(RegistrationRefusal::NotFound)?;
        if record.fid != fid.as_str() {
            return Err(RegistrationRefusal::NotFound);
        }
        let mut batch = Batch::default();
        batch.delete(registrations::key(id));
        if fid_record.registration.map(RegistrationId::from) == Some(id) {
            Self::link_fid(&mut batch, &fid, fid_record, None);
        }
        self.store.write(batch, now).await?;
        Ok(())
    }

    /// `fcm/connect/subscribe`: a registration without an installation. A token given again is
    /// pointed at the new subscription.
    pub async fn connect_subscribe(
        &self,
        project: &Project,
        subscription: &Subscription,
        token: Option<&str>,
        now: Timestamp,
    ) -> Result<WebRegistration, RegistrationRefusal> {
        let web = self.web_transport(subscription, now).await?;
        let known = match token.map(|token| present(&self.tokens, token)) {
            Some(Presented::Registration(id)) if id.project == project.number => {
                self.registration_record(id, now).await?.map(|record| (id, record))
            }
            _ => None,
        };
        let (id, mut record) = match known {
            Some(known) => known,
            None => {
                let record = RegistrationRecord {
                    prefix: self.random_text(11),
                    platform: 3,
                    created_millis: now.as_millis(),
                    ..RegistrationRecord::default()
                };
                (self.new_slot(project.number, now).await?, record)
            }
        };
        record.web = Some(web);
        let mut batch = Batch::default();
        batch.put(registrations::key(id), record.to_bytes(), None);
        self.store.write(batch, now).await?;
        Ok(WebRegistration { token: registration_token(&self.tokens, &record.prefix, id), fid: None })
    }

    /// `fcm/connect/unsubscribe`. Whoever has the token may end it, as at Google.
    pub async fn connect_unsubscribe(
        &self,
        project: &Project,
        token: &str,
        now: Timestamp,
    ) -> Result<(), RegistrationRefusal> {
        match present(&self.tokens, token) {
            Presented::Registration(id) if id.project == project.number => {
                let mut batch = Batch::default();
                self.drop_registration(&mut batch, id, now).await?;
                if !batch.ops.is_empty() {
                    self.store.write(batch, now).await?;
                }
                Ok(())
            }
            _ => Err(RegistrationRefusal::NotFound),
        }
    }

    fn fid_of(
        &self,
        project: &Project,
        auth_token: &str,
        now: Timestamp,
    ) -> Result<Fid, RegistrationRefusal> {
        match self.installation_of(auth_token, now) {
            Some((of, fid)) if of == project.number => Ok(fid),
            _ => Err(RegistrationRefusal::Unauthenticated),
        }
    }

    async fn web_transport(
        &self,
        subscription: &Subscription,
        now: Timestamp,
    ) -> Result<WebTransport, RegistrationRefusal> {
        let p256dh = decode_key(&subscription.p256dh, 65).ok_or(RegistrationRefusal::Key("p256dh"))?;
        if p256dh[0] != 4 {
            return Err(RegistrationRefusal::Key("p256dh"));
        }
        let auth = decode_key(&subscription.auth, 16).ok_or(RegistrationRefusal::Key("auth"))?;
        let token = token_of_endpoint(&subscription.endpoint).ok_or(RegistrationRefusal::ForeignEndpoint)?;
        let Presented::Registration(over) = present(&self.tokens, &token) else {
            return Err(RegistrationRefusal::ForeignEndpoint);
        };
        let base = self.registration_record(over, now).await?;
        if base.is_none_or(|base| base.device.is_none()) {
            return Err(RegistrationRefusal::NoSubscription);
        }
        Ok(WebTransport {
            endpoint: subscription.endpoint.clone(),
            p256dh,
            auth,
            application_pub_key: subscription.application_pub_key.clone(),
            over: Some(over.into()),
            origin: subscription.origin.chars().take(255).collect(),
        })
    }
}

/// Clients pad or do not, and some use the standard alphabet (`protocol/payload-layout.md` §6).
fn decode_key(text: &str, length: usize) -> Option<Vec<u8>> {
    let url_safe = text.replace('+', "-").replace('/', "_");
    let bytes = BASE64_LENIENT.decode(url_safe).ok()?;
    (bytes.len() == length).then_some(bytes)
}

/// The token in an endpoint, whatever the host: clients have Google's compiled in.
fn token_of_endpoint(endpoint: &str) -> Option<String> {
    if endpoint.len() > MAX_ENDPOINT {
        return None;
    }
    let rest = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"))?;
    let path = &rest[rest.find('/')?..];
    let token = ENDPOINT_PATHS.iter().find_map(|prefix| path.strip_prefix(prefix))?;
    Some(token.replace("%3A", ":").replace("%3a", ":"))
}
