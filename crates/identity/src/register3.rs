//! register3: what a device receives for its apps and subscriptions
//! (`protocol/device-registration.md` §2).

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use cresset_message::{DeviceId, Fid, ProjectNumber, RegistrationId, Timestamp};
use cresset_store::tables::registrations::{self, DeviceTransport, RegistrationRecord, RegistrationRef};
use cresset_store::tables::{devices, fids::FidRecord};
use cresset_store::{Batch, StoreError, Table};
use cresset_wire::token::registration_token;

use crate::Identity;
use crate::project::platform_name;

/// The form fields that matter; absent ones empty.
#[derive(Clone, Debug, Default)]
pub struct Register3 {
    pub app: String,
    pub subtype: String,
    pub sender: String,
    pub scope: String,
    /// The 11-character instance id, or a FID.
    pub app_instance: String,
    pub installation_auth: String,
}

/// What to answer after `delete`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unregistered {
    pub app: String,
    /// Old GCM clients (no subtype, no scope) are told `deleted=`, the others `token=`.
    pub old_style: bool,
}

/// The codes of register3 that we cause.
#[derive(Debug, thiserror::Error)]
pub enum Register3Error {
    #[error("PHONE_REGISTRATION_ERROR")]
    UnknownDevice,
    #[error("AUTHENTICATION_FAILED")]
    Authentication,
    #[error("INVALID_SENDER")]
    InvalidSender,
    #[error("INVALID_PARAMETERS")]
    InvalidParameters,
    #[error("TOO_MANY_REGISTRATIONS")]
    TooManyRegistrations,
    #[error("INTERNAL_SERVER_ERROR")]
    Store(#[from] StoreError),
}

/// Every Chromium profile registers this app for an account service of Google's, and asks again
/// for ever if it is refused (`protocol/device-registration.md` §2).
const ACCOUNT_MAPPING_APP: &str = "com.google.android.gms";

/// Bytes of app, subtype, sender and scope together: they make a sort key of at most 1,024.
const MAX_NAMES: usize = 1_000;

/// Registrations of one device. A phone has some hundred apps; a browser a subscription a site.
const MAX_REGISTRATIONS: usize = 5_000;

/// Leniently read base64url: clients pad, or do not.
pub(crate) const BASE64_LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A P-256 point in base64url, uncompressed: a VAPID key.
pub(crate) fn is_vapid_key(sender: &str) -> bool {
    matches!(BASE64_LENIENT.decode(sender).as_deref(), Ok([4, rest @ ..]) if rest.len() == 64)
}

impl Identity {
    /// Registers, or finds the registration again: the same names give the same token. The device
    /// has shown its credentials.
    pub async fn register3(
        &self,
        device: DeviceId,
        form: &Register3,
        now: Timestamp,
    ) -> Result<String, Register3Error> {
        let project = self.project_of_sender(form)?;
        let key = devices::registration_key(device, &form.app, &form.subtype, &form.sender, &form.scope);
        if let Some(row) = self.store.get(&key, now).await? {
            let id = RegistrationId::from(RegistrationRef::from_bytes(&row.value)?);
            if let Some(record) = self.registration_record(id, now).await? {
                return Ok(registration_token(&self.tokens, &record.prefix, id));
            }
        }
        if self.count_registrations(device, now).await? >= MAX_REGISTRATIONS {
            return Err(Register3Error::TooManyRegistrations);
        }
        let installation = self.android_installation(project, form, now).await?;
        let id = self.new_slot(project, now).await?;
        let prefix = self.token_prefix(form, installation.as_ref());
        let record = RegistrationRecord {
            prefix: prefix.clone(),
            platform: if is_vapid_key(&form.sender) || form.subtype.starts_with("wp:") { 3 } else { 1 },
            app_id: installation.as_ref().map(|(_, fid)| fid.app_id.clone()).unwrap_or_default(),
            fid: installation.as_ref().map(|(fid, _)| fid.to_string()).unwrap_or_default(),
            created_millis: now.as_millis(),
            device: Some(DeviceTransport {
                device: device.get(),
                app: form.app.clone(),
                subtype: form.subtype.clone(),
                sender: form.sender.clone(),
                scope: form.scope.clone(),
            }),
            web: None,
        };
        let mut batch = Batch::default();
        batch.put(registrations::key(id), record.to_bytes(), None);
        batch.put(key, RegistrationRef::from(id).to_bytes(), None);
        if let Some((fid, record)) = installation {
            Self::link_fid(&mut batch, &fid, record, Some(id));
        }
        self.store.write(batch, now).await?;
        Ok(registration_token(&self.tokens, &prefix, id))
    }

    /// Drops what the form names; `sender=*` and `scope=*` mean all of the app and subtype.
    /// Unregistering what is not registered is success.
    pub async fn unregister3(
        &self,
        device: DeviceId,
        form: &Register3,
        now: Timestamp,
    ) -> Result<Unregistered, Register3Error> {
        if form.app.is_empty() {
            return Err(Register3Error::InvalidParameters);
        }
        let prefix = devices::registrations_prefix(&form.app, &form.subtype);
        let partition = devices::partition(device);
        let page =
            self.store.scan(Table::DeviceRegistrations, &partition, &prefix, MAX_REGISTRATIONS, now).await?;
        let mut batch = Batch::default();
        for row in page.rows.iter().take_while(|row| row.sort.starts_with(&prefix)) {
            let names = String::from_utf8_lossy(&row.sort[prefix.len()..]).into_owned();
            let (sender, scope) = names.split_once('\0').unwrap_or((&names, ""));
            let named = |asked: &str, is: &str| matches!(asked, "" | "*") || asked == is;
            if named(&form.sender, sender) && named(&form.scope, scope) {
                self.drop_registration(&mut batch, RegistrationRef::from_bytes(&row.value)?.into(), now)
                    .await?;
                batch.delete(cresset_store::RowKey::new(
                    Table::DeviceRegistrations,
                    partition.clone(),
                    row.sort.clone(),
                ));
            }
        }
        if !batch.ops.is_empty() {
            self.store.write(batch, now).await?;
        }
        let old_style = form.subtype.is_empty() && form.scope.is_empty();
        Ok(Unregistered { app: form.app.clone(), old_style })
    }

    /// Adds the end of a registration to a batch, and that its FID has none any more.
    pub(crate) async fn drop_registration(
        &self,
        batch: &mut Batch,
        id: RegistrationId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(record) = self.registration_record(id, now).await? else { return Ok(()) };
        batch.delete(registrations::key(id));
        if let Ok(fid) = record.fid.parse::<Fid>()
            && let Some(fid_record) = self.fid_record(&fid, now).await?
            && fid_record.registration.map(RegistrationId::from) == Some(id)
        {
            Self::link_fid(batch, &fid, fid_record, None);
        }
        Ok(())
    }

    pub(crate) async fn registration_record(
        &self,
        id: RegistrationId,
        now: Timestamp,
    ) -> Result<Option<RegistrationRecord>, StoreError> {
        let row = self.store.get(&registrations::key(id), now).await?;
        row.map(|row| RegistrationRecord::from_bytes(&row.value)).transpose()
    }

    /// A number names a project; a VAPID key names none, and the system project owns it.
    fn project_of_sender(&self, form: &Register3) -> Result<ProjectNumber, Register3Error> {
        let names = [&form.app, &form.subtype, &form.sender, &form.scope];
        let too_long = names.iter().map(|n| n.len() + 1).sum::<usize>() > MAX_NAMES;
        if form.app.is_empty() || form.sender.is_empty() || too_long || names.iter().any(|n| n.contains('\0'))
        {
            return Err(Register3Error::InvalidParameters);
        }
        if is_vapid_key(&form.sender) {
            return Ok(ProjectNumber::SYSTEM);
        }
        // Old GCM clients name several, with commas; the first is the one that counts here.
        let first = form.sender.split(',').next().unwrap_or_default();
        let known = first.parse().ok().and_then(|number| self.directory().by_number(number));
        match known {
            Some(project) => Ok(project.number),
            None if form.app == ACCOUNT_MAPPING_APP => Ok(ProjectNumber::SYSTEM),
            None => Err(Register3Error::InvalidSender),
        }
    }

    async fn count_registrations(&self, device: DeviceId, now: Timestamp) -> Result<usize, StoreError> {
        let partition = devices::partition(device);
        let page =
            self.store.scan(Table::DeviceRegistrations, &partition, b"", MAX_REGISTRATIONS, now).await?;
        Ok(page.rows.len())
    }

    /// The installation an Android SDK shows with its registration, when it is of this project.
    async fn android_installation(
        &self,
        project: ProjectNumber,
        form: &Register3,
        now: Timestamp,
    ) -> Result<Option<(Fid, FidRecord)>, StoreError> {
        let Some((of, fid)) = self.installation_of(&form.installation_auth, now) else { return Ok(None) };
        if of != project {
            return Ok(None);
        }
        let Some(record) = self.fid_record(&fid, now).await? else { return Ok(None) };
        let is_android = Self::app_id_of(&record)
            .is_some_and(|id| id.as_str().contains(platform_name(cresset_message::Platform::Android)));
        Ok(is_android.then_some((fid, record)))
    }

    /// What stands before the colon of the token: the FID, else the instance id the client sent,
    /// else one of that shape.
    fn token_prefix(&self, form: &Register3, installation: Option<&(Fid, FidRecord)>) -> String {
        if let Some((fid, _)) = installation {
            return fid.to_string();
        }
        let sent = &form.app_instance;
        let base64url = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if (11..=22).contains(&sent.len()) && sent.bytes().all(base64url) && !sent.contains("Error") {
            return sent.clone();
        }
        loop {
            let made = self.random_text(11);
            if !made.contains("Error") {
                break made;
            }
        }
    }
}
