//! Ack: a device has a message; it is never delivered again.

use cresset_message::{DeviceId, MessageId, Timestamp};
use cresset_store::StoreError;

use crate::Dispatcher;
use crate::buckets::Struck;
use crate::presence::Carried;

impl Dispatcher {
    /// The device has these. A failure costs a duplicate with the same persistent id, never a loss.
    pub async fn acknowledge(
        &self,
        device: DeviceId,
        ids: &[MessageId],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let carried = self.carried(device, now).await?;
        // Those of sets are struck off in memory; their rows will learn of it (`age.rs`).
        let in_inbox: Vec<MessageId> = ids.iter().copied().filter(|id| !strike(&carried, *id)).collect();
        if in_inbox.is_empty() {
            return Ok(());
        }
        self.remove(device, &in_inbox, now).await
    }
}

/// Strikes a delivery off its set, if it is of one. Says whether that was all there is to do.
pub(crate) fn strike(carried: &[Carried], id: MessageId) -> bool {
    carried.iter().any(|carried| carried.bucket.strike(carried.id().slot, id) == Struck::Off)
}
