//! Accept, for a device group: one delivery for each member, all durable together.

use std::sync::Arc;

use cresset_message::{GroupId, Layout, Message, MessageId, ProjectNumber, Rejection, Timestamp};
use cresset_store::tables::inbox::{self, InboxRecord};
use cresset_store::tables::message as message_record;
use cresset_store::{Batch, StoreError};

use super::{check_for_recipient, delivery};
use crate::{Delivery, Dispatcher, refusal};

impl Dispatcher {
    /// `Ok` means durable for every member that its quota lets have it. What is refused for one
    /// member's platform is refused for all, as it would be for its token.
    pub(super) async fn send_to_group(
        &self,
        sender: ProjectNumber,
        id: GroupId,
        message: Message,
        validate_only: bool,
        now: Timestamp,
    ) -> Result<MessageId, Rejection> {
        if id.project != sender {
            return Err(Rejection::SenderIdMismatch);
        }
        let group = self.group(id, now).await.map_err(refusal)?.ok_or(Rejection::Unregistered)?;
        if !validate_only {
            self.drop_gone_members(&group, now).await;
        }
        let message = Arc::new(message);
        // Members may be apps on one device, whose inbox tells deliveries apart by their ids.
        let deliver_to = |member| Arc::new(delivery(self.next_id(now), message.clone(), Arc::new(member)));
        let mut deliveries: Vec<_> = group.members.into_iter().map(deliver_to).collect();
        deliveries.iter().try_for_each(|delivery| check_for_recipient(&message, delivery))?;
        deliveries.retain(|delivery| self.carriers.refusal(&delivery.recipient).is_none());
        if !validate_only {
            deliveries = self.admit_members(deliveries, now)?;
        }
        let first = deliveries.first().ok_or(Rejection::Unregistered)?.id;
        if !validate_only {
            self.store_and_push_all(&message, deliveries, now).await.map_err(refusal)?;
        }
        Ok(first)
    }

    /// A member over its quota does not fail the others; if all are, the first refusal is told.
    fn admit_members(
        &self,
        deliveries: Vec<Arc<Delivery>>,
        now: Timestamp,
    ) -> Result<Vec<Arc<Delivery>>, Rejection> {
        let mut refused = None;
        let mut admitted = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            // FCM has these quotas for Android only (`protocol/http-v1.md` §6).
            let outcome = match delivery.recipient.layout {
                Layout::Raw { .. } => self.meters.admit_delivery(&delivery, now),
                _ => Ok(()),
            };
            match outcome {
                Ok(()) => admitted.push(delivery),
                Err(rejection) => {
                    tracing::debug!(device = %delivery.recipient.device, ?rejection, "a member goes without");
                    refused.get_or_insert(rejection);
                }
            }
        }
        match refused {
            Some(rejection) if admitted.is_empty() => Err(rejection),
            _ => Ok(admitted),
        }
    }

    /// Those with `ttl` 0, of their platform's, are pushed and not stored. Runs to its end, as for
    /// one recipient.
    async fn store_and_push_all(
        &self,
        message: &Message,
        deliveries: Vec<Arc<Delivery>>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let encoded = message_record::encode(message);
        let mut batch = Batch::default();
        let mut last = None;
        for delivery in deliveries.iter().filter(|delivery| !delivery.ttl.is_zero()) {
            let row = InboxRecord { message: encoded.clone(), ..delivery.inbox_record() }.to_bytes();
            batch.put(inbox::key(delivery.recipient.device, delivery.id), row, Some(delivery.expires));
            self.traces.accepted(&mut batch, delivery);
            last = Some(delivery.id);
        }
        self.traces.accepted_group(&mut batch, &deliveries);
        if let Some(last) = last {
            self.ids.mark(&mut batch, last);
        }
        let (store, ids, after) = (self.store.clone(), self.ids.clone(), self.after_accepting());
        let stored = tokio::spawn(async move {
            if let Some(last) = last {
                store.write(batch, now).await?;
                ids.marked(last);
            }
            for delivery in deliveries {
                after.push_in_turn(delivery, now);
            }
            Ok(())
        });
        stored.await.unwrap_or_else(|e| Err(StoreError::Damaged(format!("a message was given up: {e}"))))
    }
}
