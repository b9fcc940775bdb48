//! Accept, for a device group: one delivery for each member, all durable together.

use std::sync::Arc;

use cresset_message::{GroupId, Layout, Message, ProjectNumber, RegistrationId, Rejection, Timestamp};
use cresset_store::tables::inbox::{self, InboxRecord};
use cresset_store::tables::message as message_record;
use cresset_store::{Batch, StoreError};
use cresset_wire::token::registration_token;

use super::{GroupSent, check_for_recipient, delivery};
use crate::finish::Finish;
use crate::{Delivery, Dispatcher, refusal};

/// Members that their quotas let have a message, and the others.
#[derive(Default)]
struct Admitted {
    deliveries: Vec<Arc<Delivery>>,
    over: Vec<RegistrationId>,
    refusal: Option<Rejection>,
}

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
    ) -> Result<GroupSent, Rejection> {
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
        let deliveries: Vec<_> = group.members.into_iter().map(deliver_to).collect();
        deliveries.iter().try_for_each(|delivery| check_for_recipient(&message, delivery))?;
        if deliveries.is_empty() {
            return Err(Rejection::Unregistered);
        }
        let admitted = match validate_only {
            true => Admitted { deliveries, ..Admitted::default() },
            false => self.admit_members(deliveries, now),
        };
        let sent = GroupSent {
            id: admitted.deliveries.first().map(|delivery| delivery.id),
            sent: admitted.deliveries.len(),
            failed: self.tokens_of(&admitted.over, now).await.map_err(refusal)?,
            refusal: admitted.refusal,
        };
        if !validate_only && sent.sent > 0 {
            self.store_and_push_all(&message, admitted.deliveries, now).await.map_err(refusal)?;
        }
        Ok(sent)
    }

    /// A member over its quota does not fail the others.
    fn admit_members(&self, deliveries: Vec<Arc<Delivery>>, now: Timestamp) -> Admitted {
        let mut admitted = Admitted::default();
        for delivery in deliveries {
            // FCM has these quotas for Android only (`protocol/http-v1.md` §6).
            let outcome = match delivery.recipient.layout {
                Layout::Raw { .. } => self.meters.admit_delivery(&delivery, now),
                _ => self.carriers.refusal(&delivery.recipient).map_or(Ok(()), Err),
            };
            match outcome {
                Ok(()) => admitted.deliveries.push(delivery),
                Err(rejection) => {
                    tracing::debug!(device = %delivery.recipient.device, ?rejection, "a member goes without");
                    admitted.over.push(delivery.recipient.registration);
                    admitted.refusal.get_or_insert(rejection);
                }
            }
        }
        admitted
    }

    /// Without those that have ended since.
    async fn tokens_of(&self, ids: &[RegistrationId], now: Timestamp) -> Result<Vec<String>, StoreError> {
        let mut tokens = Vec::with_capacity(ids.len());
        for id in ids {
            let record = self.registration(*id, now).await?;
            tokens.extend(record.map(|record| registration_token(&self.tokens, &record.prefix, *id)));
        }
        Ok(tokens)
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
        let (store, ids, after) = (self.store.clone(), self.ids.clone(), self.after_accepting());
        let stored = Finish::new(async move {
            if last.is_some() {
                ids.write(&store, batch, last, now).await?;
            }
            for delivery in deliveries {
                after.push(delivery, now).await;
            }
            Ok(())
        });
        stored.await
    }
}
