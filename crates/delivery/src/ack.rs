//! Ack: a device has a message; it is never delivered again.

use cresset_message::{DeviceId, MessageId, Timestamp};
use cresset_store::StoreError;

use crate::Dispatcher;
use crate::buckets::Struck;
use crate::presence::Carried;
use crate::trace::{Dropped, End};

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
        self.end(device, &carried, ids.iter().map(|id| (*id, End::Acknowledged)), now).await
    }

    /// It cannot be given the form that its device reads, and never will.
    pub async fn give_up(
        &self,
        device: DeviceId,
        ids: &[MessageId],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let carried = self.carried(device, now).await?;
        let end = End::Dropped(Dropped::NoForm);
        self.end(device, &carried, ids.iter().map(|id| (*id, end)), now).await
    }

    /// Deliveries of a device are over, wherever they stand.
    pub(crate) async fn end(
        &self,
        device: DeviceId,
        carried: &[Carried],
        ends: impl Iterator<Item = (MessageId, End)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let is_row = |(id, end): &(MessageId, End)| {
            let struck = strike(carried, *id, *end);
            if struck {
                self.traces.count(*end, 1);
            }
            !struck
        };
        let in_inbox: Vec<(MessageId, End)> = ends.filter(is_row).collect();
        if in_inbox.is_empty() {
            return Ok(());
        }
        self.end_rows(device, &in_inbox, now).await
    }
}

/// Strikes a delivery off its set, if it is of one. Says whether that was all there is to do.
fn strike(carried: &[Carried], id: MessageId, end: End) -> bool {
    carried.iter().any(|carried| carried.bucket.strike(carried.id().slot, id, end) == Struck::Off)
}
