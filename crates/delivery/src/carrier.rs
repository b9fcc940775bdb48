//! The last hop. The only inversion of the house: `delivery` says what a carrier must do, the
//! listeners do it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cresset_message::{
    Message, MessageId, Priority, ProjectNumber, RawPush, Recipient, Rejection, SlotSet, Timestamp,
};

use crate::presence::Presence;

/// What a delivery brings.
#[derive(Clone, Debug)]
pub enum Content {
    Message(Arc<Message>),
    /// What an application server encrypted for a subscription.
    Push(Arc<RawPush>),
    /// So many messages waited too long for their number, and are gone: the app is to ask its own
    /// server what it missed.
    Deleted {
        total: u32,
    },
}

/// One message for one registration.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Also the persistent id: the same delivery always carries the same one.
    pub id: MessageId,
    pub recipient: Arc<Recipient>,
    pub content: Content,
    pub priority: Priority,
    pub collapse_key: Option<Arc<str>>,
    /// As the sender gave it; `expires` is what counts. Zero: now or never, not stored.
    pub ttl: Duration,
    pub expires: Timestamp,
}

impl Delivery {
    /// When the message was accepted.
    pub fn accepted(&self) -> Timestamp {
        Timestamp::from_micros(self.id.micros)
    }
}

/// What became of handing a delivery to a carrier. Whatever it is, a stored delivery stays in the
/// inbox until it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handoff {
    /// On its way to the device.
    Accepted,
    /// The destination takes no more for now; it reads its inbox again when it does.
    Busy,
    /// Not connected; it reads its inbox when it connects.
    Offline,
}

/// Takes one delivery to one destination.
pub trait Carrier: Send + Sync + 'static {
    fn push(&self, delivery: &Delivery) -> Handoff;

    /// Its device has arrived by another line that began later: this one is to end.
    fn replaced(&self) {}
}

/// Takes deliveries to push services of others. It reads the queues of its destinations itself, and tells
/// what became of each: [`Dispatcher::acknowledge`](crate::Dispatcher::acknowledge),
/// [`Dispatcher::refused`](crate::Dispatcher::refused).
pub trait Courier: Carrier {
    /// Why a message for it cannot be accepted, if that is known before it is tried.
    fn refusal(&self, recipient: &Recipient) -> Option<Rejection>;

    /// These registrations of a bucket have something waiting.
    fn call(&self, project: ProjectNumber, bucket: u32, slots: SlotSet);
}

/// Who takes deliveries: the line of a device that is here, or the courier, which is joined once, at start.
pub(crate) struct Carriers {
    pub(crate) presence: Presence,
    pub(crate) courier: OnceLock<Arc<dyn Courier>>,
}

impl Carriers {
    pub(crate) fn new() -> Self {
        Self { presence: Presence::new(), courier: OnceLock::new() }
    }

    /// Why its push service would not take a message for it, if that is known.
    pub(crate) fn refusal(&self, recipient: &Recipient) -> Option<Rejection> {
        let courier = self.courier.get().filter(|_| recipient.device.is_outside())?;
        courier.refusal(recipient)
    }

    /// A hint that follows the durable record: whatever becomes of it, the inbox has the delivery.
    pub(crate) fn push(&self, delivery: &Delivery) -> Handoff {
        let device = delivery.recipient.device;
        match device.is_outside() {
            false => self.presence.get(device).map_or(Handoff::Offline, |here| here.line.push(delivery)),
            true => self.courier.get().map_or(Handoff::Offline, |courier| courier.push(delivery)),
        }
    }
}
