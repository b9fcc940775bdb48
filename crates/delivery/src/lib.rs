//! The journey of a message, one file per stage. The module list is the story.

mod carrier;

use std::sync::{Arc, OnceLock};

use cresset_message::{DeviceId, MessageId, Timestamp};
use cresset_store::{Store, StoreError};

pub use carrier::{Carrier, Delivery, Handoff};

/// Takes messages in and sees them to their end.
pub struct Dispatcher {
    #[expect(dead_code)]
    store: Store,
    carrier: OnceLock<Arc<dyn Carrier>>,
}

impl Dispatcher {
    /// Joins the carrier that takes deliveries to connected devices; once, at start.
    pub fn set_carrier(&self, carrier: Arc<dyn Carrier>) {
        assert!(self.carrier.set(carrier).is_ok(), "the carrier is set once");
    }

    /// What waits for a device, in order, at most `limit`: its inbox after expiry, collapsing and
    /// limits. `skip` says which ids the caller already has in flight.
    pub async fn pending(
        &self,
        _device: DeviceId,
        _limit: usize,
        _skip: &(dyn Fn(MessageId) -> bool + Sync),
        _now: Timestamp,
    ) -> Result<Vec<Arc<Delivery>>, StoreError> {
        Ok(Vec::new())
    }

    /// The device has these; they are never delivered again.
    pub async fn acknowledge(
        &self,
        _device: DeviceId,
        _ids: &[MessageId],
        _now: Timestamp,
    ) -> Result<(), StoreError> {
        Ok(())
    }
}
