//! Is it there: what is known of one app instance now.

use cresset_message::{Platform, RegistrationId, Rejection, Timestamp};
use cresset_store::StoreError;
use cresset_store::tables::devices::{self, DeviceRecord};

use crate::{Dispatcher, refusal};

/// Messages that are counted at most.
const MOST: usize = 1_000;

/// An app instance, its device, and what waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppInstance {
    pub platform: Platform,
    /// Package or bundle name, or a web app's id.
    pub application: Option<String>,
    pub created: Timestamp,
    /// When its device was last seen, to within some hours. `None`: it has been forgotten.
    pub seen: Option<Timestamp>,
    pub connected: bool,
    /// Messages that wait for it, or are on their way; at most a thousand are counted.
    pub waiting: usize,
}

impl Dispatcher {
    /// `None`: it is no more, or the subscription below it is.
    pub async fn app_instance(
        &self,
        id: RegistrationId,
        now: Timestamp,
    ) -> Result<Option<AppInstance>, Rejection> {
        self.look_at(id, now).await.map_err(refusal)
    }

    async fn look_at(&self, id: RegistrationId, now: Timestamp) -> Result<Option<AppInstance>, StoreError> {
        let Some(record) = self.registration(id, now).await? else { return Ok(None) };
        let Some(recipient) = self.recipient(id, now).await? else { return Ok(None) };
        let row = self.store.get(&devices::key(recipient.device), now).await?;
        let device = row.map(|row| DeviceRecord::from_bytes(&row.value)).transpose()?;
        let waiting = self.pending(recipient.device, MOST, &|_| false, now).await?;
        Ok(Some(AppInstance {
            platform: recipient.platform,
            created: Timestamp::from_millis(record.created_millis),
            seen: device.map(|device| Timestamp::from_millis(device.last_seen_millis)),
            connected: self.carriers.presence.get(recipient.device).is_some(),
            waiting: waiting.iter().filter(|delivery| delivery.recipient.registration == id).count(),
            application: recipient.application(),
        }))
    }
}
