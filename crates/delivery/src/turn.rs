//! Turns: a message to one, accepted while something older for many is on its way to its bucket, is pushed after
//! that, and before what is newer and for many. It is put by among the jobs before its sender is answered, so
//! that whoever brings something to the bucket brings this first: nothing hangs on when a task gets to run.

use std::sync::Arc;

use cresset_message::{Layout, MessageId, RegistrationId, Timestamp};
use cresset_store::StoreError;
use cresset_store::tables::inbox;
use tokio::sync::OwnedSemaphorePermit;

use crate::buckets::Place;
use crate::fanout::FanOuts;
use crate::stored::MAX_PUSHES;
use crate::{Delivery, Handoff};

/// Messages to one that wait at a time, of all buckets: with their messages of up to some 4 KB
/// (`protocol/http-v1.md` §6) 64 MB. They wait for no longer than their own bucket takes, some 0.5 s a fan-out for
/// 65,536 connected devices. Whoever comes when so many wait is answered when one of them has had its turn: left
/// out, it would not reach a device that stays connected, and pushed at once it would overtake.
pub(crate) const MAX_WAITING: usize = 16_384;

/// A message to one that waits for its turn. Its row is durable.
pub(crate) struct Waiting {
    delivery: Arc<Delivery>,
    /// How many may wait for one app instance, if that is limited.
    stored: Option<u32>,
    accepted: Timestamp,
    /// One of [`MAX_WAITING`], until it has had its turn.
    _room: OwnedSemaphorePermit,
}

impl Waiting {
    pub(crate) fn id(&self) -> MessageId {
        self.delivery.id
    }
}

impl FanOuts {
    /// Pushes a message to one, once what is older, and for many, has been; the sender need not wait for that,
    /// unless too many do. Now or never is now: who connects later must not get it.
    pub(crate) async fn push_in_turn(
        self: &Arc<Self>,
        delivery: Arc<Delivery>,
        stored: Option<u32>,
        now: Timestamp,
    ) {
        let RegistrationId { project, bucket, .. } = delivery.recipient.registration;
        let place = (project, bucket);
        if delivery.ttl.is_zero() || !self.jobs.must_wait(place, delivery.id) {
            return self.push_to_one(&delivery, stored, now);
        }
        let room = self.room.clone().acquire_owned().await.expect("nobody closes it");
        let waiting = Waiting { delivery, stored, accepted: now, _room: room };
        if self.jobs.wait(place, waiting) {
            tokio::spawn(Serving { fanouts: self.clone(), place }.run());
        }
    }

    /// Pushes one that waits, by whoever holds its bucket's order; unless it was fetched and acknowledged
    /// meanwhile.
    pub(crate) async fn push_waiting(&self, place: Place, waiting: &Waiting) {
        let still_waits = self.still_waits(&waiting.delivery, waiting.accepted).await;
        // Not before it is pushed: who comes now would find nobody to wait for, and overtake it.
        let _turn = Turn { fanouts: self, place, id: waiting.id() };
        if still_waits {
            self.push_to_one(&waiting.delivery, waiting.stored, waiting.accepted);
        }
    }

    /// Whether a delivery has not been fetched and acknowledged since it was accepted. If nobody can say, its
    /// device finds it in its inbox.
    async fn still_waits(&self, delivery: &Delivery, now: Timestamp) -> bool {
        let key = inbox::key(delivery.recipient.device, delivery.id);
        matches!(self.store().get(&key, now).await, Ok(Some(_)))
    }

    fn push_to_one(&self, delivery: &Arc<Delivery>, stored: Option<u32>, now: Timestamp) {
        let handoff = self.carriers.push(delivery);
        // A courier tells itself when it has sent something.
        let sent = handoff == Handoff::Accepted && !delivery.recipient.device.is_outside();
        let limit = match delivery.recipient.layout {
            Layout::WebPush { .. } => Some(MAX_PUSHES),
            _ => stored,
        };
        if let (Handoff::Offline, false, Some(limit)) = (handoff, delivery.ttl.is_zero(), limit) {
            self.piles.add(delivery.recipient.registration, delivery.recipient.device, limit);
        }
        if delivery.ttl.is_zero() {
            self.traces.fleeting(delivery, sent, now);
        } else if sent {
            self.traces.sent_at_once(delivery, now);
        }
    }
}

/// The turn of one that waits: over when this is dropped, whatever becomes of the push.
struct Turn<'a> {
    fanouts: &'a FanOuts,
    place: Place,
    id: MessageId,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.fanouts.jobs.waits_no_more(self.place, self.id);
    }
}

/// Sees to it that those who wait at a bucket come to their turns, though nobody else brings anything there.
struct Serving {
    fanouts: Arc<FanOuts>,
    place: Place,
}

impl Serving {
    async fn run(self) {
        while let Some(first) = self.fanouts.jobs.first_waiting(self.place) {
            if let Err(e) = self.bring(&first).await {
                tracing::debug!(message.id = %first.id(), "it may overtake an older message: {e}");
            }
        }
    }

    /// What is older comes first. If that cannot be, it is pushed all the same.
    async fn bring(&self, first: &Waiting) -> Result<(), StoreError> {
        let (fanouts, (project, number)) = (&self.fanouts, self.place);
        let bucket = match fanouts.buckets.get(project, number, first.accepted).await {
            Ok(bucket) => bucket,
            Err(e) => {
                fanouts.push_waiting(self.place, first).await;
                return Err(e);
            }
        };
        let _order = bucket.order.lock().await;
        let brought = fanouts.spread_older(&bucket, first.id(), first.accepted, None).await;
        // Others may have pushed it before this had the order.
        if brought.is_err() && fanouts.jobs.is_waiting(self.place, first.id()) {
            fanouts.push_waiting(self.place, first).await;
        }
        brought
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.fanouts.jobs.unserved(self.place);
    }
}
