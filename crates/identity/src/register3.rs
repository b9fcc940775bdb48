//! register3: what a device receives for its apps and subscriptions
//! (`protocol/device-registration.md` §2).

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use cresset_message::{AppId, DeviceId, Fid, Platform, ProjectNumber, RegistrationId, Timestamp};
use cresset_store::tables::devices;
use cresset_store::tables::registrations::{self, DeviceTransport, RegistrationRecord, RegistrationRef};
use cresset_store::{Condition, Row, RowKey, StoreError, Table};
use cresset_wire::token::registration_token;

use crate::apple::AppleToken;
use crate::membership::Change;
use crate::project::platform_name;
use crate::registrations::Transport;
use crate::{ATTEMPTS, Identity, contended};

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
    /// Of an app on an Apple device: `s_` or `p_`, and the APNs token (`protocol/apns.md` §2.6).
    pub apns_token: String,
}

/// What a registration shows beside its names.
#[derive(Default)]
pub(crate) struct Shown {
    pub(crate) installation: Option<(Fid, AppId)>,
    pub(crate) apple: Option<AppleToken>,
    /// It is a channel of a browser that speaks Mozilla's protocol.
    pub(crate) mozilla: bool,
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
    #[error("SERVICE_NOT_AVAILABLE")]
    Unavailable,
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

/// Rows read from the store at a time.
const PAGE: usize = 100;

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

/// Whether names can be parts of a sort key.
fn names_fit(names: &[&String]) -> bool {
    names.iter().map(|name| name.len() + 1).sum::<usize>() <= MAX_NAMES
        && !names.iter().any(|name| name.contains('\0'))
}

impl Identity {
    /// Registers, or finds the registration again: the same names give the same token, until the app
    /// shows another installation than the one it registered with. The device has shown its
    /// credentials.
    pub async fn register3(
        &self,
        device: DeviceId,
        form: &Register3,
        now: Timestamp,
    ) -> Result<String, Register3Error> {
        let project = self.project_of_sender(form)?;
        let apple = match form.apns_token.as_str() {
            "" => None,
            text => Some(AppleToken::from_form(text, &form.app).ok_or(Register3Error::InvalidParameters)?),
        };
        let platform = if apple.is_some() { Platform::Ios } else { Platform::Android };
        let installation = self.sdk_installation(project, platform, form, now).await?;
        let shown = Shown { installation, apple, mozilla: false };
        self.register_as(project, device, form, &shown, now).await
    }

    /// The same of a form that has been looked at.
    pub(crate) async fn register_as(
        &self,
        project: ProjectNumber,
        device: DeviceId,
        form: &Register3,
        shown: &Shown,
        now: Timestamp,
    ) -> Result<String, Register3Error> {
        let fid = shown.installation.as_ref().map(|(fid, _)| fid);
        let key = devices::registration_key(device, &form.app, &form.subtype, &form.sender, &form.scope);
        for _ in 0..ATTEMPTS {
            let row = self.store.get(&key, now).await?;
            let known = match &row {
                Some(row) => self.registration_of_ref(&row.value, now).await?,
                None if self.count_registrations(device, now).await? >= MAX_REGISTRATIONS => {
                    return Err(Register3Error::TooManyRegistrations);
                }
                None => None,
            };
            if let Some((id, record)) = &known
                && fid.is_none_or(|fid| record.fid == fid.as_str())
            {
                if let Some(apple) = &shown.apple {
                    self.renew_apns_token(*id, apple, now).await?;
                }
                if let Some(fid) = fid {
                    self.link_fid(fid, *id, false, now).await?;
                }
                return Ok(registration_token(&self.tokens, &record.prefix, *id));
            }
            let id = self.new_slot(project, now).await?;
            let mut record = self.new_record(device, form, shown, now);
            if let Some(apple) = &shown.apple {
                Transport::Apple(self.apple_transport(apple, now)).put_into(&mut record);
            }
            let condition = Condition { key: key.clone(), expected: row.map(|row| row.value) };
            let mut change = Change::conditional(condition);
            change.batch.put(key.clone(), RegistrationRef::from(id).to_bytes(), None);
            change.register(id, &record, None);
            if let Some((replaced, record)) = &known {
                self.end_in(&mut change, *replaced, record, now).await?;
            }
            if record.platform != 3 {
                let replaced = known.as_ref().map(|(id, _)| *id);
                self.succeed(&mut change, device, form, id, replaced, now).await?;
            }
            // Else the device registers the same elsewhere at this moment, and both get one token.
            if self.write_and_tell(change, now).await? {
                // If the process ends before this, the device asks again, and the link is made then.
                if let Some(fid) = fid {
                    self.link_fid(fid, id, true, now).await?;
                }
                if let Some(apple) = &shown.apple {
                    self.claim_apns_token(project, apple, id, now).await?;
                }
                return Ok(registration_token(&self.tokens, &record.prefix, id));
            }
        }
        Err(contended().into())
    }

    /// The other registrations of the app for this sender are older than this one: GCM's, without a subtype,
    /// when the app has come to register as FCM's do (`protocol/legacy-http.md` §8).
    async fn succeed(
        &self,
        change: &mut Change,
        device: DeviceId,
        form: &Register3,
        id: RegistrationId,
        replaced: Option<RegistrationId>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let prefix = format!("{}\0", form.app).into_bytes();
        let partition = devices::partition(device);
        let page = self.store.scan(Table::DeviceRegistrations, &partition, &prefix, PAGE, now).await?;
        for row in page.rows.iter().take_while(|row| row.sort.starts_with(&prefix)) {
            let Some((older, record)) = self.registration_of_ref(&row.value, now).await? else { continue };
            let is_its = record.device.as_ref().is_some_and(|of| of.sender == form.sender);
            if is_its && record.platform != 3 && Some(older) != replaced {
                let after = RegistrationRecord { successor: Some(id.into()), ..record.clone() };
                change.register(older, &after, Some(&record));
            }
        }
        Ok(())
    }

    fn new_record(
        &self,
        device: DeviceId,
        form: &Register3,
        shown: &Shown,
        now: Timestamp,
    ) -> RegistrationRecord {
        let installation = shown.installation.as_ref();
        let web = shown.mozilla || is_vapid_key(&form.sender) || form.subtype.starts_with("wp:");
        RegistrationRecord {
            prefix: self.token_prefix(form, installation),
            platform: if web { 3 } else { 1 },
            app_id: installation.map(|(_, app)| app.to_string()).unwrap_or_default(),
            fid: installation.map(|(fid, _)| fid.to_string()).unwrap_or_default(),
            created_millis: now.as_millis(),
            device: Some(DeviceTransport {
                device: device.get(),
                app: form.app.clone(),
                subtype: form.subtype.clone(),
                sender: form.sender.clone(),
                scope: form.scope.clone(),
                mozilla: shown.mozilla,
            }),
            ..RegistrationRecord::default()
        }
    }

    /// Drops what the form names; `sender=*` and `scope=*` mean all of the app and subtype.
    /// Unregistering what is not registered is success.
    pub async fn unregister3(
        &self,
        device: DeviceId,
        form: &Register3,
        now: Timestamp,
    ) -> Result<Unregistered, Register3Error> {
        if form.app.is_empty() || !names_fit(&[&form.app, &form.subtype]) {
            return Err(Register3Error::InvalidParameters);
        }
        let prefix = devices::registrations_prefix(&form.app, &form.subtype);
        let partition = devices::partition(device);
        let mut from = Some(prefix.clone());
        while let Some(at) = from {
            let page = self.store.scan(Table::DeviceRegistrations, &partition, &at, PAGE, now).await?;
            for row in page.rows.iter().take_while(|row| row.sort.starts_with(&prefix)) {
                let names = String::from_utf8_lossy(&row.sort[prefix.len()..]).into_owned();
                let (sender, scope) = names.split_once('\0').unwrap_or((&names, ""));
                let named = |asked: &str, is: &str| matches!(asked, "" | "*") || asked == is;
                if named(&form.sender, sender) && named(&form.scope, scope) {
                    let key = RowKey::new(Table::DeviceRegistrations, partition.clone(), row.sort.clone());
                    self.unregister_row(key, row, now).await?;
                }
            }
            from = page.next.filter(|next| next.starts_with(&prefix)).map(|next| next.to_vec());
        }
        let old_style = form.subtype.is_empty() && form.scope.is_empty();
        Ok(Unregistered { app: form.app.clone(), old_style })
    }

    /// Ends a registration, unless another has taken its place meanwhile.
    pub(crate) async fn unregister_row(
        &self,
        key: RowKey,
        row: &Row,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let condition = Condition { key: key.clone(), expected: Some(row.value.clone()) };
        let mut change = Change::conditional(condition);
        change.batch.delete(key);
        if let Some((id, record)) = self.registration_of_ref(&row.value, now).await? {
            self.end_in(&mut change, id, &record, now).await?;
        }
        self.write_and_tell(change, now).await.map(|_| ())
    }

    async fn registration_of_ref(
        &self,
        value: &[u8],
        now: Timestamp,
    ) -> Result<Option<(RegistrationId, RegistrationRecord)>, StoreError> {
        let id = RegistrationId::from(RegistrationRef::from_bytes(value)?);
        Ok(self.registration_record(id, now).await?.map(|record| (id, record)))
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
        let fit = names_fit(&[&form.app, &form.subtype, &form.sender, &form.scope]);
        if form.app.is_empty() || form.sender.is_empty() || !fit {
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

    /// The installation an SDK shows with its registration, when it is of this project and platform.
    async fn sdk_installation(
        &self,
        project: ProjectNumber,
        platform: Platform,
        form: &Register3,
        now: Timestamp,
    ) -> Result<Option<(Fid, AppId)>, StoreError> {
        let Some((of, fid)) = self.installation_of(&form.installation_auth, now) else { return Ok(None) };
        if of != project {
            return Ok(None);
        }
        let Some((record, _)) = self.fid_record(&fid, now).await? else { return Ok(None) };
        let app: Option<AppId> = record.app_id.parse().ok();
        let is_of_it = |app: &AppId| app.as_str().contains(platform_name(platform));
        Ok(app.filter(is_of_it).map(|app| (fid, app)))
    }

    /// What stands before the colon of the token: the FID, else the instance id the client sent,
    /// else one of that shape.
    fn token_prefix(&self, form: &Register3, installation: Option<&(Fid, AppId)>) -> String {
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
