//! FCM registrations: web apps, and registrations by FID (`protocol/device-registration.md` §5);
//! and their forerunner `fcm/connect` (§3).

use base64::Engine as _;
use cresset_message::{DeviceId, Fid, RegistrationId, Timestamp};
use cresset_store::tables::fids;
use cresset_store::tables::registrations::{
    self, AppleTransport, RegistrationRecord, RegistrationRef, WebTransport,
};
use cresset_store::{Condition, Row, StoreError};
use cresset_wire::token::{Presented, present, registration_token};
use cresset_wire::webpush;

use crate::membership::{Change, carrier_of};
use crate::register3::BASE64_LENIENT;
use crate::{ATTEMPTS, Identity, Project, contended};

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
    pub fid: Fid,
}

/// What `fcm/connect` gives: the token for senders, the push set for the client alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Connected {
    pub token: String,
    pub push_set: String,
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
    #[error("web.endpoint is refused: {0}.")]
    Endpoint(String),
    #[error(
        "web.applicationPubKey is not a Web Push key of this project: another's push service takes messages only under the key that the subscription was made with. Give getToken() the project's vapidKey."
    )]
    NotOurKey,
    #[error("ios.{0} is not valid.")]
    Apple(&'static str),
    #[error("web.{0} is not valid.")]
    Key(&'static str),
    #[error("The Web Push subscription that web.endpoint names does not exist.")]
    NoSubscription,
    #[error("Requested entity was not found.")]
    NotFound,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Paths under which a Web Push endpoint of ours carries its token (`protocol/payload-layout.md` §4.1,
/// `protocol/web-push.md` §2.1).
const ENDPOINT_PATHS: [&str; 5] = ["/fcm/send/", "/preprod/wp/", "/wp/", "/wpush/v1/", "/wpush/v2/"];

const PUSH_SET: &str = "push-set";

/// Longest endpoint that is read: browsers' are some 250 bytes.
const MAX_ENDPOINT: usize = 4_096;

/// A point of 65 bytes in base64 has 88 characters; some clients may write more than that.
const MAX_APPLICATION_KEY: usize = 256;

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
        let web = self.web_transport(project, subscription, now).await?;
        self.register_installed(project, auth_token, &Transport::Web(web), now).await
    }

    /// The same of whatever reaches the installation.
    pub(crate) async fn register_installed(
        &self,
        project: &Project,
        auth_token: &str,
        transport: &Transport,
        now: Timestamp,
    ) -> Result<WebRegistration, RegistrationRefusal> {
        let fid = self.fid_of(project, auth_token, now)?;
        for _ in 0..ATTEMPTS {
            let fid_record = self.fid_record(&fid, now).await?;
            let (mut fid_record, fid_row) = fid_record.ok_or(RegistrationRefusal::Unauthenticated)?;
            let known = match fid_record.registration.map(RegistrationId::from) {
                Some(id) => self.store.get(&registrations::key(id), now).await?.map(|row| (id, row)),
                None => None,
            };
            // The FID leads to a registration that lives, and goes on to: only that one is changed.
            if let Some((id, row)) = known {
                if let Some(record) = self.point_at(id, row, transport, now).await? {
                    let token = registration_token(&self.tokens, &record.prefix, id);
                    return Ok(WebRegistration { token, fid });
                }
                continue;
            }
            let id = self.new_slot(project.number, now).await?;
            let mut record = RegistrationRecord {
                fid: fid.to_string(),
                app_id: fid_record.app_id.clone(),
                ..new_record(fid.to_string(), now)
            };
            transport.put_into(&mut record);
            fid_record.registration = Some(id.into());
            let key = fids::key(&fid);
            let condition = Condition { key: key.clone(), expected: Some(fid_row.value) };
            let mut change = Change::conditional(condition);
            change.batch.put(key, fid_record.to_bytes(), None);
            change.register(id, &record, None);
            if self.write_and_tell(change, now).await? {
                let token = registration_token(&self.tokens, &record.prefix, id);
                return Ok(WebRegistration { token, fid });
            }
        }
        Err(contended().into())
    }

    /// Points a registration at what reaches it from now on; `None` when it changes or ends at this moment.
    pub(crate) async fn point_at(
        &self,
        id: RegistrationId,
        row: Row,
        transport: &Transport,
        now: Timestamp,
    ) -> Result<Option<RegistrationRecord>, StoreError> {
        let before = RegistrationRecord::from_bytes(&row.value)?;
        let mut record = before.clone();
        transport.put_into(&mut record);
        if let (Some(old), Some(new)) = (carrier_of(&before), carrier_of(&record)) {
            // It stays where it is, if it was outside already.
            if old.is_outside() && new.is_outside() {
                set_carrier(&mut record, old);
            } else {
                record.moved(old.get(), new.get());
            }
        }
        let condition = Condition { key: registrations::key(id), expected: Some(row.value) };
        let mut change = Change::conditional(condition);
        change.register(id, &record, Some(&before));
        Ok(self.write_and_tell(change, now).await?.then_some(record))
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
        let fid_record = self.fid_record(&fid, now).await?;
        let (fid_record, _) = fid_record.ok_or(RegistrationRefusal::Unauthenticated)?;
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
        Ok(self.end_registration(id, now).await?)
    }

    /// `fcm/connect/subscribe`: a registration without an installation. A token given again with its
    /// push set is pointed at the new subscription.
    pub async fn connect_subscribe(
        &self,
        project: &Project,
        subscription: &Subscription,
        push_set: &str,
        now: Timestamp,
    ) -> Result<Connected, RegistrationRefusal> {
        let web = Transport::Web(self.web_transport(project, subscription, now).await?);
        let known = match self.registration_of_push_set(project, push_set) {
            Some(id) => self.store.get(&registrations::key(id), now).await?.map(|row| (id, row)),
            None => None,
        };
        let (id, record) = match known {
            Some((id, row)) => (id, self.point_at(id, row, &web, now).await?.ok_or_else(contended)?),
            None => {
                let id = self.new_slot(project.number, now).await?;
                let mut record = new_record(self.random_text(11), now);
                web.put_into(&mut record);
                let mut change = Change::default();
                change.register(id, &record, None);
                self.write_and_tell(change, now).await?;
                (id, record)
            }
        };
        Ok(Connected {
            token: registration_token(&self.tokens, &record.prefix, id),
            push_set: self.tokens.seal(PUSH_SET, &RegistrationRef::from(id).to_bytes()),
        })
    }

    /// `fcm/connect/unsubscribe`. Not the token entitles to it, which app servers have, but the push
    /// set, which only the client has.
    pub async fn connect_unsubscribe(
        &self,
        project: &Project,
        push_set: &str,
        now: Timestamp,
    ) -> Result<(), RegistrationRefusal> {
        let id = self.registration_of_push_set(project, push_set).ok_or(RegistrationRefusal::NotFound)?;
        Ok(self.end_registration(id, now).await?)
    }

    fn registration_of_push_set(&self, project: &Project, push_set: &str) -> Option<RegistrationId> {
        let claim = self.tokens.open(PUSH_SET, push_set)?;
        let id = RegistrationId::from(RegistrationRef::from_bytes(&claim).ok()?);
        (id.project == project.number).then_some(id)
    }

    /// The installation that an auth token of this project names.
    pub fn fid_of(
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
        project: &Project,
        subscription: &Subscription,
        now: Timestamp,
    ) -> Result<WebTransport, RegistrationRefusal> {
        let p256dh = decode_key(&subscription.p256dh, 65).ok_or(RegistrationRefusal::Key("p256dh"))?;
        let auth = decode_key(&subscription.auth, 16).ok_or(RegistrationRefusal::Key("auth"))?;
        // Else messages would be accepted that can never be encrypted.
        if webpush::subscription(&subscription.p256dh, &subscription.auth).is_err() {
            return Err(RegistrationRefusal::Key("p256dh"));
        }
        if subscription.application_pub_key.len() > MAX_APPLICATION_KEY {
            return Err(RegistrationRefusal::Key("applicationPubKey"));
        }
        let (over, device) = match self.subscription_below(&subscription.endpoint) {
            Some(over) => {
                let base = self.registration_record(over, now).await?;
                let base = base.and_then(|base| base.device).ok_or(RegistrationRefusal::NoSubscription)?;
                (Some(over.into()), base.device)
            }
            None => {
                self.check_foreign(project, subscription)?;
                (None, self.new_outside().get())
            }
        };
        Ok(WebTransport {
            endpoint: subscription.endpoint.clone(),
            p256dh,
            auth,
            application_pub_key: subscription.application_pub_key.clone(),
            over,
            origin: subscription.origin.chars().take(255).collect(),
            device,
        })
    }

    /// The subscription of ours that an endpoint names, if it is one of ours.
    fn subscription_below(&self, endpoint: &str) -> Option<RegistrationId> {
        match present(&self.tokens, &token_of_endpoint(endpoint)?) {
            Presented::Registration(over) => Some(over),
            _ => None,
        }
    }

    fn check_foreign(
        &self,
        project: &Project,
        subscription: &Subscription,
    ) -> Result<(), RegistrationRefusal> {
        let foreign = self.foreign.get().ok_or(RegistrationRefusal::ForeignEndpoint)?;
        foreign(&subscription.endpoint).map_err(RegistrationRefusal::Endpoint)?;
        // Its service takes messages only under the key that the subscription was made with.
        match project.web_push_key(&subscription.application_pub_key) {
            Some(_) => Ok(()),
            None => Err(RegistrationRefusal::NotOurKey),
        }
    }

    /// What stands for the device of a registration that a push service carries.
    pub(crate) fn new_outside(&self) -> DeviceId {
        DeviceId::outside(u64::from_be_bytes(self.random_bytes()))
    }
}

/// How the messages of an installation reach it.
pub(crate) enum Transport {
    Web(WebTransport),
    Apple(AppleTransport),
}

impl Transport {
    pub(crate) fn put_into(&self, record: &mut RegistrationRecord) {
        match self {
            Self::Web(web) => {
                record.platform = 3;
                record.web = Some(web.clone());
            }
            Self::Apple(apple) => {
                record.platform = 2;
                record.apple = Some(apple.clone());
            }
        }
    }
}

fn set_carrier(record: &mut RegistrationRecord, device: DeviceId) {
    match (&mut record.web, &mut record.apple) {
        (Some(web), _) => web.device = device.get(),
        (None, Some(apple)) => apple.device = device.get(),
        (None, None) => {}
    }
}

pub(crate) fn new_record(prefix: String, now: Timestamp) -> RegistrationRecord {
    RegistrationRecord { prefix, created_millis: now.as_millis(), ..RegistrationRecord::default() }
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
