//! What waits to be written of the story of deliveries: nothing rests on it.

use std::collections::HashMap;
use std::time::Duration;

use cresset_message::{DeviceId, MessageId, RegistrationId, Timestamp};
use cresset_store::Op;
use cresset_store::tables::events::DeliveryEvents;

use crate::Delivery;

/// Deliveries that were sent and are not acknowledged yet, as memory knows them: 13 seconds of 20,000 a second,
/// and up to 40 MB. Beyond it the trace does not say that something was sent.
const MAX_SENT: usize = 262_144;

/// Most that is sent is acknowledged within some seconds, if it can be: clients acknowledge their messages
/// by tens, or with a heartbeat. One row then tells of both, and what it adds to need not be read. Rows of
/// the others are written this much after they were sent, or up to twice that.
const ACKNOWLEDGED_SOON: Duration = Duration::from_secs(5);

/// What of the story is not written yet.
#[derive(Default)]
pub(super) struct Later {
    sent: HashMap<MessageId, Sent>,
    /// Those that were sent before `turned`.
    sent_before: HashMap<MessageId, Sent>,
    turned: Timestamp,
    /// Rows of deliveries that nothing else is written of.
    pub(super) fleeting: Vec<Op>,
}

impl Later {
    pub(super) fn add(&mut self, id: MessageId, sent: Sent) {
        // It may have been sent before, on another connection.
        let begun = sent.begun.or_else(|| self.take(&id)?.begun);
        if self.sent.len() + self.sent_before.len() < MAX_SENT {
            self.sent.insert(id, Sent { begun, ..sent });
        }
    }

    pub(super) fn take(&mut self, id: &MessageId) -> Option<Sent> {
        self.sent.remove(id).or_else(|| self.sent_before.remove(id))
    }

    /// Those whose rows are due; all with `all`.
    pub(super) fn due(&mut self, all: bool, now: Timestamp) -> HashMap<MessageId, Sent> {
        let mut due = HashMap::new();
        // A clock that was set back must not keep them.
        if all || now < self.turned || now >= self.turned + ACKNOWLEDGED_SOON {
            self.turned = now;
            due = std::mem::replace(&mut self.sent_before, std::mem::take(&mut self.sent));
        }
        if all {
            due.extend(self.sent_before.drain());
        }
        due
    }
}

pub(super) struct Sent {
    pub(super) at: Timestamp,
    /// What its row says, if that is known.
    pub(super) begun: Option<Begun>,
}

/// What the row of a delivery says before it has ended.
pub(super) struct Begun {
    registration: RegistrationId,
    device: DeviceId,
    expires: Timestamp,
    collapse_key: Option<Box<str>>,
}

impl Begun {
    pub(super) fn of(delivery: &Delivery) -> Self {
        Self {
            registration: delivery.recipient.registration,
            device: delivery.recipient.device,
            expires: delivery.expires,
            collapse_key: delivery.collapse_key.as_deref().map(Box::from),
        }
    }

    pub(super) fn record(self) -> DeliveryEvents {
        DeliveryEvents {
            registration: Some(self.registration.into()),
            device: self.device.get(),
            expires_millis: self.expires.as_millis(),
            collapse_key: self.collapse_key.map(String::from),
            ..DeliveryEvents::default()
        }
    }
}
