//! Target: whom a message is for, as a registration that lives.

use std::sync::Arc;

use cresset_message::{
    DeviceId, Fid, Layout, ProjectNumber, Recipient, RegistrationId, Rejection, Target, Timestamp, WebCoding,
    WebKeys,
};
use cresset_store::tables::fids::{self, FidRecord};
use cresset_store::tables::registrations::{
    self, AppleTransport, DeviceTransport, RegistrationRecord, WebTransport,
};
use cresset_store::{Store, StoreError};
use cresset_wire::token::{Presented, present, registration_token};

use crate::{Dispatcher, refusal};

impl Dispatcher {
    pub(crate) async fn recipient_of(
        &self,
        sender: ProjectNumber,
        target: &Target,
        now: Timestamp,
    ) -> Result<Arc<Recipient>, Rejection> {
        let id = match target {
            Target::Token(text) => match present(&self.tokens, text) {
                Presented::Registration(id) => id,
                Presented::Fid(fid) => self.registration_of_fid(&fid, now).await?,
                // A group is no single recipient; whoever serves groups has looked before.
                Presented::Group(_) | Presented::Foreign => return Err(Rejection::Unregistered),
                Presented::Malformed => return Err(Rejection::MalformedToken),
            },
            // Malformed or unknown is the same to FCM (`protocol/http-v1.md` §5.2).
            Target::Fid(text) => {
                let fid: Fid = text.parse().map_err(|_| Rejection::Unregistered)?;
                self.registration_of_fid(&fid, now).await?
            }
            // Sets have been branched off before.
            Target::Topic(_) | Target::Condition(_) => return Err(Rejection::Internal),
        };
        if id.project != sender {
            return Err(Rejection::SenderIdMismatch);
        }
        // Of who is connected it is known, and kept as it is in the store (`arrival.rs`); but a web app
        // may have lost the subscription below it.
        let bucket = self.fanouts.buckets.known(id.project, id.bucket);
        let known = bucket.and_then(|bucket| bucket.connected(id.slot));
        if let Some(known) = known.filter(|known| matches!(known.layout, Layout::Raw { .. })) {
            return Ok(known);
        }
        self.recipient(id, now).await.map_err(refusal)?.map(Arc::new).ok_or(Rejection::Unregistered)
    }

    pub(crate) async fn registration_of_fid(
        &self,
        fid: &Fid,
        now: Timestamp,
    ) -> Result<RegistrationId, Rejection> {
        let row =
            self.store.get(&fids::key(fid), now).await.map_err(refusal)?.ok_or(Rejection::Unregistered)?;
        let record = FidRecord::from_bytes(&row.value).map_err(refusal)?;
        record.registration.map(Into::into).ok_or(Rejection::Unregistered)
    }

    /// The registration as a carrier needs to know it, or `None` when it, or the subscription below
    /// it, is no more.
    pub(crate) async fn recipient(
        &self,
        id: RegistrationId,
        now: Timestamp,
    ) -> Result<Option<Recipient>, StoreError> {
        recipient_in(&self.store, id, now).await
    }

    /// The same, of whose record is read.
    pub(crate) async fn recipient_with(
        &self,
        id: RegistrationId,
        record: &RegistrationRecord,
        now: Timestamp,
    ) -> Result<Option<Recipient>, StoreError> {
        recipient_of_record(&self.store, id, record, now).await
    }

    /// The token of a registration, if that is there.
    pub async fn token_of(&self, id: RegistrationId, now: Timestamp) -> Result<Option<String>, StoreError> {
        let record = self.registration(id, now).await?;
        Ok(record.map(|record| registration_token(&self.tokens, &record.prefix, id)))
    }

    pub(crate) async fn registration(
        &self,
        id: RegistrationId,
        now: Timestamp,
    ) -> Result<Option<RegistrationRecord>, StoreError> {
        record_in(&self.store, id, now).await
    }
}

async fn record_in(
    store: &Store,
    id: RegistrationId,
    now: Timestamp,
) -> Result<Option<RegistrationRecord>, StoreError> {
    let row = store.get(&registrations::key(id), now).await?;
    row.map(|row| RegistrationRecord::from_bytes(&row.value)).transpose()
}

/// The registration as a carrier needs to know it, or `None` when it, or the subscription below it, is no more.
pub(crate) async fn recipient_in(
    store: &Store,
    id: RegistrationId,
    now: Timestamp,
) -> Result<Option<Recipient>, StoreError> {
    match record_in(store, id, now).await? {
        Some(record) => recipient_of_record(store, id, &record, now).await,
        None => Ok(None),
    }
}

async fn recipient_of_record(
    store: &Store,
    id: RegistrationId,
    record: &RegistrationRecord,
    now: Timestamp,
) -> Result<Option<Recipient>, StoreError> {
    let Some(web) = &record.web else {
        return Ok(match (&record.apple, &record.device) {
            (Some(apple), _) => apple_app(id, record, apple),
            (None, Some(device)) => direct(id, record, device.clone()),
            (None, None) => None,
        });
    };
    let Some(over) = web.over else { return Ok(web_service(id, record, web)) };
    let base = record_in(store, over.into(), now).await?.and_then(|base| base.device);
    Ok(base.and_then(|base| web_app(id, record, web, base)))
}

/// A web app of the FCM registrations API, over a device's subscription.
fn web_app(
    id: RegistrationId,
    record: &RegistrationRecord,
    web: &WebTransport,
    base: DeviceTransport,
) -> Option<Recipient> {
    let coding = if base.mozilla { WebCoding::Aes128gcm } else { WebCoding::Aesgcm };
    let layout = Layout::WebApp { sender: base.sender, subtype: base.subtype, keys: keys(web)?, coding };
    recipient(id, record, base.device, base.app, layout)
}

/// A web app whose browser another push service serves.
fn web_service(id: RegistrationId, record: &RegistrationRecord, web: &WebTransport) -> Option<Recipient> {
    let layout = Layout::WebService {
        endpoint: web.endpoint.clone(),
        keys: keys(web)?,
        application_pub_key: web.application_pub_key.clone(),
    };
    recipient(id, record, web.device, String::new(), layout)
}

fn apple_app(id: RegistrationId, record: &RegistrationRecord, apple: &AppleTransport) -> Option<Recipient> {
    let layout = Layout::Apns { token: apple.token.clone(), sandbox: apple.sandbox };
    recipient(id, record, apple.device, apple.bundle_id.clone(), layout)
}

fn keys(web: &WebTransport) -> Option<WebKeys> {
    Some(WebKeys {
        p256dh: web.p256dh.as_slice().try_into().ok()?,
        auth: web.auth.as_slice().try_into().ok()?,
    })
}

/// What register3 made: a subscription of a browser, else an app that takes its data in clear
/// (`protocol/payload-layout.md` §1).
fn direct(id: RegistrationId, record: &RegistrationRecord, base: DeviceTransport) -> Option<Recipient> {
    let layout = if record.platform == 3 {
        Layout::WebPush { sender: base.sender, subtype: base.subtype }
    } else {
        Layout::Raw { sender: base.sender }
    };
    recipient(id, record, base.device, base.app, layout)
}

fn recipient(
    id: RegistrationId,
    record: &RegistrationRecord,
    device: u64,
    category: String,
    layout: Layout,
) -> Option<Recipient> {
    Some(Recipient {
        registration: id,
        device: DeviceId::stored(device)?,
        platform: record.platform(),
        fid: record.fid.parse().ok(),
        app_id: record.app_id.parse().ok(),
        category,
        layout,
        successor: record.successor.map(RegistrationId::from),
    })
}
