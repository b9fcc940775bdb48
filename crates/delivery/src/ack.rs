//! Ack: a device has a message; it is never delivered again.

use cresset_message::{DeviceId, MessageId, Timestamp};
use cresset_store::StoreError;

use crate::Dispatcher;
use crate::buckets::{Bucket, Struck};
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
        self.end_told(device, carried, ends, "", now).await
    }

    /// The same, with what a push service said.
    pub(crate) async fn end_told(
        &self,
        device: DeviceId,
        carried: &[Carried],
        ends: impl Iterator<Item = (MessageId, End)>,
        told: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (mut in_inbox, mut left) = (Vec::new(), Vec::new());
        for (id, end) in ends {
            match strike(carried, id, end) {
                Some((_, Struck::Off)) => self.traces.count(end, 1),
                Some((bucket, Struck::OffAndMaybeLeft)) => {
                    self.traces.count(end, 1);
                    drop(bucket.rows.lock().await);
                    left.push(id);
                }
                // Its row may be on its way, and must not come after its deletion.
                Some((bucket, _)) => {
                    drop(bucket.rows.lock().await);
                    in_inbox.push((id, end));
                }
                None => in_inbox.push((id, end)),
            }
        }
        self.delete_rows(device, &left, now).await?;
        if in_inbox.is_empty() {
            return Ok(());
        }
        self.end_rows(device, &in_inbox, told, now).await
    }
}

/// Strikes a delivery off its set, if it is of one; gives the bucket that had it, and what became of it there.
fn strike(carried: &[Carried], id: MessageId, end: End) -> Option<(&Bucket, Struck)> {
    let strike = |carried: &'_ Carried| carried.bucket.strike(carried.id().slot, id, end);
    carried
        .iter()
        .map(|carried| (&*carried.bucket, strike(carried)))
        .find(|(_, struck)| *struck != Struck::NotThere)
}
