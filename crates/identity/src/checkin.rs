//! Check-in: a device gets its identity, and proves it (`protocol/device-registration.md` §1).

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use cresset_message::{DeviceId, Timestamp};
use cresset_store::tables::devices::{self, DeviceRecord};
use cresset_store::{Batch, Condition, StoreError};

use crate::jwt::sha256;
use crate::{ATTEMPTS, Identity, contended};

/// What a device says of itself: zeros when it has nothing yet.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Credentials {
    pub device: u64,
    pub security_token: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CheckIn {
    pub device: DeviceId,
    pub security_token: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum CheckInRefusal {
    /// Clients then forget everything and start over, which is what they must do: what they
    /// registered under this identity is not ours, or not theirs.
    #[error("unknown device, or another security token")]
    NotOurs,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How old a device's `last_seen` may be before it is written again: it decides over 270 days.
const LAST_SEEN_GRAIN: Duration = Duration::from_secs(6 * 3_600);

impl Identity {
    pub async fn check_in(&self, shown: Credentials, now: Timestamp) -> Result<CheckIn, CheckInRefusal> {
        if shown.device == 0 || shown.security_token == 0 {
            return Ok(self.new_device(now).await?);
        }
        let device = DeviceId::new(shown.device).ok_or(CheckInRefusal::NotOurs)?;
        match self.authenticate_device(device, shown.security_token, now).await? {
            true => Ok(CheckIn { device, security_token: shown.security_token }),
            false => Err(CheckInRefusal::NotOurs),
        }
    }

    /// Whether the pair is one that check-in gave out; also notes that the device was seen.
    pub async fn authenticate_device(
        &self,
        device: DeviceId,
        security_token: u64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let key = devices::key(device);
        let Some(row) = self.store.get(&key, now).await? else { return Ok(false) };
        let mut record = DeviceRecord::from_bytes(&row.value)?;
        if verify_slices_are_equal(&record.token_hash, &hash(security_token)).is_err() {
            return Ok(false);
        }
        if now.since(Timestamp::from_millis(record.last_seen_millis)) > LAST_SEEN_GRAIN {
            record.last_seen_millis = now.as_millis();
            let mut batch = Batch::default();
            batch.put(key, record.to_bytes(), self.forgotten_at(now));
            // A full disk must not keep devices out: what they fetch makes room.
            if let Err(e) = self.store.write(batch, now).await {
                tracing::debug!(%device, "that it was seen is not noted: {e}");
            }
        }
        Ok(true)
    }

    /// When a device that was seen now is forgotten if it does not come again.
    fn forgotten_at(&self, now: Timestamp) -> Option<Timestamp> {
        // It may be seen later than is written.
        self.device_life.map(|life| now + life + LAST_SEEN_GRAIN)
    }

    /// Writes what was drawn before, if it does not stand there yet.
    pub(crate) async fn keep_device(&self, drawn: CheckIn, now: Timestamp) -> Result<(), StoreError> {
        let key = devices::key(drawn.device);
        if self.store.get(&key, now).await?.is_some() {
            return Ok(());
        }
        let mut batch = Batch { condition: Some(Condition { key, expected: None }), ..Batch::default() };
        self.put_device(&mut batch, drawn, now);
        // Else another did at this moment.
        self.store.write(batch, now).await.map(|_| ())
    }

    fn put_device(&self, batch: &mut Batch, drawn: CheckIn, now: Timestamp) {
        let record = DeviceRecord {
            token_hash: hash(drawn.security_token).to_vec(),
            created_millis: now.as_millis(),
            last_seen_millis: now.as_millis(),
        };
        batch.put(devices::key(drawn.device), record.to_bytes(), self.forgotten_at(now));
    }

    async fn new_device(&self, now: Timestamp) -> Result<CheckIn, StoreError> {
        for _ in 0..ATTEMPTS {
            let check_in = self.draw_device();
            let condition = Condition { key: devices::key(check_in.device), expected: None };
            let mut batch = Batch { condition: Some(condition), ..Batch::default() };
            self.put_device(&mut batch, check_in, now);
            if self.store.write(batch, now).await? {
                return Ok(check_in);
            }
        }
        Err(contended())
    }

    /// Two numbers of 63 bits, neither zero.
    pub(crate) fn draw_device(&self) -> CheckIn {
        loop {
            let draw = || u64::from_be_bytes(self.random_bytes()) >> 1;
            let (device, security_token) = (DeviceId::new(draw()), draw());
            if let (Some(device), 1..) = (device, security_token) {
                return CheckIn { device, security_token };
            }
        }
    }
}

fn hash(security_token: u64) -> [u8; 32] {
    sha256(&security_token.to_be_bytes())
}
