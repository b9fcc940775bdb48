//! Who may send, who is this device.

use cresset_message::{DeviceId, Timestamp};
use cresset_store::{Store, StoreError};

pub struct Identity {
    #[expect(dead_code)]
    store: Store,
}

impl Identity {
    /// Whether the pair is one that check-in gave out; also notes that the device was seen.
    pub async fn authenticate_device(
        &self,
        _device: DeviceId,
        _security_token: u64,
        _now: Timestamp,
    ) -> Result<bool, StoreError> {
        Ok(false)
    }
}
