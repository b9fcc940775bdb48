//! Ack: a device has a message; it is never delivered again.

use cresset_message::{DeviceId, MessageId, Timestamp};
use cresset_store::StoreError;

use crate::Dispatcher;

impl Dispatcher {
    /// The device has these. A failure costs a duplicate with the same persistent id, never a loss.
    pub async fn acknowledge(
        &self,
        device: DeviceId,
        ids: &[MessageId],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.remove(device, ids, now).await
    }
}
