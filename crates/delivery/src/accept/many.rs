//! Accept, for many tokens at once: one message, a delivery each, all durable together.

use std::sync::Arc;

use cresset_message::{Message, ProjectNumber, Recipient, Rejection, Target, Timestamp};
use cresset_store::tables::inbox::{self, InboxRecord};
use cresset_store::tables::message as message_record;
use cresset_store::{Batch, MAX_BATCH_BYTES};
use cresset_wire::token::open_group_key;

use super::{Accepted, check, delivery};
use crate::finish::Finish;
use crate::{Delivery, Dispatcher, refusal};

/// Recipients looked up by one task: some 20 µs each, so that a task is worth its making.
const LOOKED_UP: usize = 64;

/// Bytes of one batch, about: far below what the store takes, so that others are not held up.
const BATCH_BYTES: usize = MAX_BATCH_BYTES / 4;

/// Bytes of a row beside its message, about: keys, registration, trace.
const ROW_BYTES: usize = 256;

type Outcome = Result<Accepted, Rejection>;

impl Dispatcher {
    /// Takes a message for many tokens: what became of each, in their order; one that is named twice
    /// gets it twice. Each counts as a message of its own, and `Ok` means what it means of
    /// [`send`](Self::send). The message's own target does not matter. A device group is no recipient
    /// here (`protocol/device-groups.md` §6).
    pub async fn send_many(
        self: &Arc<Self>,
        sender: ProjectNumber,
        message: Message,
        tokens: Vec<String>,
        validate_only: bool,
        now: Timestamp,
    ) -> Vec<Outcome> {
        let admitted: Vec<_> = tokens.iter().map(|_| self.meters.admit_request(sender, now)).collect();
        if let Err(rejection) = check(&message) {
            return admitted.into_iter().map(|admitted| admitted.and(Err(rejection.clone()))).collect();
        }
        let message = Arc::new(message);
        let recipients = self.recipients_of(sender, tokens, now).await;
        let mut outcomes = Vec::with_capacity(recipients.len());
        let mut to_store = Vec::new();
        for (admitted, recipient) in admitted.into_iter().zip(recipients) {
            let delivery = admitted.and(recipient).and_then(|recipient| {
                let delivery = Arc::new(delivery(self.next_id(now), message.clone(), recipient));
                self.admit(&message, &delivery, validate_only, now).map(|()| delivery)
            });
            outcomes.push(delivery.as_ref().map(|delivery| Accepted::of(delivery)).map_err(Rejection::clone));
            match delivery {
                Ok(_) if validate_only => {}
                Ok(delivery) if delivery.ttl.is_zero() => self.push_now_or_never(&delivery, now),
                Ok(delivery) => to_store.push((outcomes.len() - 1, delivery)),
                Err(_) => {}
            }
        }
        for (place, rejection) in self.store_and_push_many(&message, to_store, now).await {
            outcomes[place] = Err(rejection);
        }
        outcomes
    }

    /// Who they are, looked up by several tasks.
    async fn recipients_of(
        self: &Arc<Self>,
        sender: ProjectNumber,
        tokens: Vec<String>,
        now: Timestamp,
    ) -> Vec<Result<Arc<Recipient>, Rejection>> {
        let mut tokens = tokens.into_iter().peekable();
        let mut tasks = Vec::new();
        while tokens.peek().is_some() {
            let some: Vec<_> = tokens.by_ref().take(LOOKED_UP).collect();
            let (dispatcher, count) = (self.clone(), some.len());
            let task = tokio::spawn(async move {
                let mut found = Vec::with_capacity(count);
                for token in some {
                    found.push(dispatcher.recipient_of_token(sender, token, now).await);
                }
                found
            });
            tasks.push((count, task));
        }
        let mut found = Vec::new();
        for (count, task) in tasks {
            found.extend(task.await.unwrap_or_else(|e| {
                tracing::error!("recipients were not looked up: {e}");
                vec![Err(Rejection::Internal); count]
            }));
        }
        found
    }

    async fn recipient_of_token(
        &self,
        sender: ProjectNumber,
        token: String,
        now: Timestamp,
    ) -> Result<Arc<Recipient>, Rejection> {
        if open_group_key(&self.tokens, &token).is_some() {
            return Err(Rejection::MalformedToken);
        }
        self.recipient_of(sender, &Target::Token(token), now).await
    }

    /// Says which places failed. Runs to its end even if the sender no longer waits, as for one
    /// recipient. One batch is all it takes, unless the message is large.
    async fn store_and_push_many(
        &self,
        message: &Message,
        deliveries: Vec<(usize, Arc<Delivery>)>,
        now: Timestamp,
    ) -> Vec<(usize, Rejection)> {
        let encoded = message_record::encode(message);
        let in_batch = (BATCH_BYTES / (encoded.len() + ROW_BYTES)).max(1);
        let batches: Vec<_> = deliveries
            .chunks(in_batch)
            .map(|deliveries| (self.rows_of(&encoded, deliveries), deliveries.to_vec()))
            .collect();
        let (store, ids, after) = (self.store.clone(), self.ids.clone(), self.after_accepting());
        let stored = Finish::new(async move {
            let mut failed = Vec::new();
            for (batch, deliveries) in batches {
                let last = deliveries.last().map(|(_, last)| last.id);
                if let Err(e) = ids.write(&store, batch, last, now).await {
                    failed.extend(deliveries.iter().map(|(place, _)| (*place, refusal(e.clone()))));
                    continue;
                }
                for (_, delivery) in deliveries {
                    after.push(delivery, now).await;
                }
            }
            failed
        });
        stored.await
    }

    fn rows_of(&self, message: &[u8], deliveries: &[(usize, Arc<Delivery>)]) -> Batch {
        let mut batch = Batch::default();
        for (_, delivery) in deliveries {
            let row = InboxRecord { message: message.to_vec(), ..delivery.inbox_record() };
            let key = inbox::key(delivery.recipient.device, delivery.id);
            batch.put(key, row.to_bytes(), Some(delivery.expires));
            self.traces.accepted(&mut batch, delivery);
        }
        // The store writes fastest in the order of keys.
        batch.ops.sort_unstable_by(|a, b| a.key().cmp(b.key()));
        batch
    }
}
