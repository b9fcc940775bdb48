//! Push services of others: what waits for those whom they carry is called out to the courier, which fetches
//! it when it has room, and says what became of it.

use std::sync::Arc;

use bytes::Bytes;
use cresset_message::{DeviceId, MessageId, ProjectNumber, Recipient, RegistrationId, SlotSet, Timestamp};
use cresset_store::tables::{devices, registrations};
use cresset_store::{StoreError, Table};

use crate::buckets::Bucket;
use crate::fanout::{FanOuts, Job};
use crate::target::recipient_in;
use crate::trace::{Dropped, End};
use crate::{Dispatcher, Handoff};

/// Partitions looked at in one step of a round.
const STEP: usize = 64;

/// Where a round over all that waits outside has got to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    of_sets: bool,
    from: Bytes,
}

/// What one step of a round found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Whose queue has a row.
    pub destinations: Vec<DeviceId>,
    /// Who is in a set.
    pub slots: Vec<(ProjectNumber, u32, SlotSet)>,
    /// Where it goes on; `None`: all has been looked at.
    pub next: Option<Round>,
}

impl FanOuts {
    /// Those of a set whom push services carry: they are called out, or, now or never, pushed to. Gives who
    /// was.
    pub(crate) async fn push_outside(
        &self,
        job: &Job,
        bucket: &Bucket,
        set: &SlotSet,
        now: Timestamp,
    ) -> Result<SlotSet, StoreError> {
        let mut sent = SlotSet::default();
        let Some(courier) = self.carriers.courier.get() else { return Ok(sent) };
        let outside = self.members.outside(bucket.project, bucket.number, now).await?.and(set);
        if outside.is_empty() {
            return Ok(sent);
        }
        if !job.is_fleeting() {
            courier.call(bucket.project, bucket.number, outside);
            return Ok(sent);
        }
        for slot in outside.iter() {
            let recipient = recipient_in(self.store(), bucket.registration(slot), now).await?;
            let Some(recipient) = recipient else { continue };
            if courier.push(&job.fanout().delivery_to(&Arc::new(recipient))) == Handoff::Accepted {
                sent.insert(slot);
            }
        }
        Ok(sent)
    }
}

impl Dispatcher {
    /// One step of a round over all that waits outside: at a start, and when the courier had no room for all
    /// that was called out to it.
    pub async fn round(&self, round: Round, now: Timestamp) -> Result<Found, StoreError> {
        let table = if round.of_sets { Table::FanOuts } else { Table::Outbox };
        let page = self.store.partitions(table, &round.from, STEP).await?;
        let mut found = Found::default();
        for partition in &page.found {
            if !round.of_sets {
                found.destinations.push(devices::device_of(partition)?);
                continue;
            }
            let (project, number) = registrations::bucket_of(partition)?;
            let outside = self.members.outside(project, number, now).await?;
            if !outside.is_empty() {
                let bucket = self.fanouts.buckets.get(project, number, now).await?;
                found.slots.push((project, number, bucket.waiting_among(&outside, now)));
            }
        }
        found.slots.retain(|(_, _, slots)| !slots.is_empty());
        found.next = match page.next {
            Some(from) => Some(Round { from, ..round }),
            None => (!round.of_sets).then_some(Round { of_sets: true, from: Bytes::new() }),
        };
        Ok(found)
    }

    /// A registration that a push service carries, if it is one.
    pub async fn outside(&self, id: RegistrationId, now: Timestamp) -> Result<Option<Recipient>, StoreError> {
        let recipient = self.recipient(id, now).await?;
        Ok(recipient.filter(|recipient| recipient.device.is_outside()))
    }

    /// The same, by what stands for its device.
    pub async fn outside_by(
        &self,
        destination: DeviceId,
        now: Timestamp,
    ) -> Result<Option<Recipient>, StoreError> {
        let carried = self.carried(destination, now).await?;
        Ok(carried.first().map(|carried| (*carried.recipient).clone()))
    }

    /// A push service will not have a delivery, and says why.
    pub async fn refused(
        &self,
        destination: DeviceId,
        id: MessageId,
        why: Dropped,
        told: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let carried = self.carried(destination, now).await?;
        self.end_told(destination, &carried, [(id, End::Dropped(why))].into_iter(), told, now).await
    }
}
