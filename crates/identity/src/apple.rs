//! Apps on Apple devices: registrations that APNs reaches (`protocol/apns.md` §2.6).

use cresset_message::{ProjectNumber, RegistrationId, Timestamp};
use cresset_store::tables::apns_tokens;
use cresset_store::tables::registrations::{self, AppleTransport, RegistrationRecord, RegistrationRef};
use cresset_store::{Condition, StoreError};
use cresset_wire::token::{Presented, present, registration_token};

use crate::membership::Change;
use crate::registrations::{RegistrationRefusal, Transport, WebRegistration, new_record};
use crate::{ATTEMPTS, Identity, Project, contended};

/// Digits of a device token: 64 today (`protocol/apns.md` §1.2).
const MAX_TOKEN: usize = 200;

/// What APNs knows an app on a device by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppleToken {
    /// Lower-case hex; empty before APNs has given one.
    pub token: String,
    pub sandbox: bool,
    pub bundle_id: String,
}

impl AppleToken {
    /// `None`: that is no token of a device.
    pub fn new(token: &str, sandbox: bool, bundle_id: &str) -> Option<Self> {
        let hex = token.bytes().all(|b| b.is_ascii_hexdigit());
        let fits = token.len() <= MAX_TOKEN && token.len().is_multiple_of(2);
        let token = token.to_ascii_lowercase();
        (hex && fits).then(|| Self { token, sandbox, bundle_id: bundle_id.to_owned() })
    }

    /// As the iOS SDK sends it to register3: `s_` of the sandbox, `p_` of production.
    pub fn from_form(text: &str, bundle_id: &str) -> Option<Self> {
        let (sandbox, token) = match text.split_once('_') {
            Some(("s", token)) => (true, token),
            Some(("p", token)) => (false, token),
            _ => return None,
        };
        Self::new(token, sandbox, bundle_id).filter(|made| !made.token.is_empty())
    }
}

impl Identity {
    pub(crate) fn apple_transport(&self, token: &AppleToken, now: Timestamp) -> AppleTransport {
        AppleTransport {
            device: self.new_outside().get(),
            token: token.token.clone(),
            sandbox: token.sandbox,
            bundle_id: token.bundle_id.clone(),
            registered_millis: now.as_millis(),
        }
    }

    /// Registers the installation that the auth token names, or gives it another APNs token.
    pub async fn register_apple(
        &self,
        project: &Project,
        auth_token: &str,
        token: &AppleToken,
        now: Timestamp,
    ) -> Result<WebRegistration, RegistrationRefusal> {
        if token.token.is_empty() {
            return Err(RegistrationRefusal::Apple("apns_token"));
        }
        let transport = Transport::Apple(self.apple_transport(token, now));
        let made = self.register_installed(project, auth_token, &transport, now).await?;
        if let Presented::Registration(id) = present(&self.tokens, &made.token) {
            self.claim_apns_token(project.number, token, id, now).await?;
        }
        Ok(made)
    }

    /// Takes in an APNs token without an installation; the same one gives the same registration token.
    pub async fn import_apple(
        &self,
        project: &Project,
        token: &AppleToken,
        now: Timestamp,
    ) -> Result<String, StoreError> {
        let key = apns_tokens::key(project.number, &token.bundle_id, token.sandbox, &token.token);
        for _ in 0..ATTEMPTS {
            let row = self.store.get(&key, now).await?;
            if let Some(row) = &row {
                let id = RegistrationId::from(RegistrationRef::from_bytes(&row.value)?);
                if let Some(record) = self.registration_record(id, now).await? {
                    return Ok(registration_token(&self.tokens, &record.prefix, id));
                }
            }
            let id = self.new_slot(project.number, now).await?;
            let mut record = new_record(self.random_text(11), now);
            Transport::Apple(self.apple_transport(token, now)).put_into(&mut record);
            let expected = row.map(|row| row.value);
            let mut change = Change::conditional(Condition { key: key.clone(), expected });
            change.batch.put(key.clone(), RegistrationRef::from(id).to_bytes(), None);
            change.register(id, &record, None);
            if self.write_and_tell(change, now).await? {
                return Ok(registration_token(&self.tokens, &record.prefix, id));
            }
        }
        Err(contended())
    }

    /// A registration has another APNs token than before, or the same once more.
    pub(crate) async fn renew_apns_token(
        &self,
        id: RegistrationId,
        token: &AppleToken,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            let Some(row) = self.store.get(&registrations::key(id), now).await? else { return Ok(()) };
            let transport = Transport::Apple(self.apple_transport(token, now));
            if self.point_at(id, row, &transport, now).await?.is_some() {
                return self.claim_apns_token(id.project, token, id, now).await;
            }
        }
        Err(contended())
    }

    /// An APNs token is one registration's: another that had it ends, or its user would be told twice.
    pub(crate) async fn claim_apns_token(
        &self,
        project: ProjectNumber,
        token: &AppleToken,
        id: RegistrationId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key = apns_tokens::key(project, &token.bundle_id, token.sandbox, &token.token);
        for _ in 0..ATTEMPTS {
            let row = self.store.get(&key, now).await?;
            let known = match &row {
                Some(row) => Some(RegistrationId::from(RegistrationRef::from_bytes(&row.value)?)),
                None => None,
            };
            if known == Some(id) {
                return Ok(());
            }
            let expected = row.map(|row| row.value);
            let mut change = Change::conditional(Condition { key: key.clone(), expected });
            change.batch.put(key.clone(), RegistrationRef::from(id).to_bytes(), None);
            if !self.write_and_tell(change, now).await? {
                continue;
            }
            let Some(before) = known else { return Ok(()) };
            // It may have another token by now.
            let record = self.registration_record(before, now).await?;
            let apple = record.and_then(|record| record.apple);
            let has_it = apple.is_some_and(|a| a.token == token.token && a.sandbox == token.sandbox);
            return if has_it { self.end_registration(before, now).await } else { Ok(()) };
        }
        Err(contended())
    }

    /// The APNs token of a registration is of this environment, and not of the one that was recorded.
    pub async fn set_apple_environment(
        &self,
        id: RegistrationId,
        sandbox: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(row) = self.store.get(&registrations::key(id), now).await? else { return Ok(()) };
        let Some(mut apple) = RegistrationRecord::from_bytes(&row.value)?.apple else { return Ok(()) };
        apple.sandbox = sandbox;
        self.point_at(id, row, &Transport::Apple(apple), now).await.map(drop)
    }

    /// A push service says that a registration is no more, as of a moment if it knows: one that was made
    /// anew since then is not meant. Says whether it ended.
    pub async fn gone_outside(
        &self,
        id: RegistrationId,
        since: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let Some(record) = self.registration_record(id, now).await? else { return Ok(false) };
        let registered = record.apple.map(|apple| apple.registered_millis);
        let meant = match (since, registered) {
            (Some(since), Some(registered)) => registered <= since.as_millis(),
            _ => true,
        };
        if meant {
            self.end_registration(id, now).await?;
        }
        Ok(meant)
    }
}
