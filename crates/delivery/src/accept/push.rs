//! Accept, for Web Push: what an application server encrypted for a subscription of a browser.

use std::sync::Arc;
use std::time::Duration;

use cresset_message::{
    Layout, MessageId, Priority, RawPush, Recipient, RegistrationId, Rejection, Timestamp, limits,
};
use cresset_store::tables::inbox::{self, InboxRecord, PushRecord};

use crate::trace::{Dropped, End};
use crate::{Content, Delivery, Dispatcher, refusal};

/// A Web Push, and what its headers say of its delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    pub content: RawPush,
    /// At most [`limits::MAX_TTL`]. Zero: now or never.
    pub ttl: Duration,
    pub priority: Priority,
    /// In whose place it comes: of one topic, the newest waits.
    pub topic: Option<Arc<str>>,
}

impl Dispatcher {
    /// The bare subscription of a browser, if that is what a registration is. All else has no endpoint.
    pub async fn push_subscription(
        &self,
        id: RegistrationId,
        now: Timestamp,
    ) -> Result<Option<Arc<Recipient>>, Rejection> {
        let recipient = self.recipient(id, now).await.map_err(refusal)?;
        let bare = |recipient: &Recipient| matches!(recipient.layout, Layout::WebPush { .. });
        Ok(recipient.filter(bare).map(Arc::new))
    }

    /// Takes a push for a subscription; `key` is who sends it, if that was shown. `Ok` means what it means
    /// for a message: durable, or, now or never, handed over or dropped.
    pub async fn push(
        &self,
        subscription: Arc<Recipient>,
        key: Option<&[u8; 65]>,
        push: Push,
        now: Timestamp,
    ) -> Result<MessageId, Rejection> {
        self.meters.admit_push(subscription.registration, key, now)?;
        let id = self.next_id(now);
        let ttl = push.ttl.min(limits::MAX_TTL);
        let record = PushRecord::from(&push.content);
        let delivery = Arc::new(Delivery {
            id,
            recipient: subscription,
            content: Content::Push(Arc::new(push.content)),
            priority: push.priority,
            collapse_key: push.topic,
            ttl,
            expires: Timestamp::from_micros(id.micros) + ttl,
        });
        if ttl.is_zero() {
            self.push_now_or_never(&delivery, now);
            return Ok(id);
        }
        let record = InboxRecord { push: Some(record), ..delivery.inbox_record() };
        self.store_and_push(record, delivery, now).await.map_err(refusal)?;
        Ok(id)
    }

    /// Its sender takes a push back: it is not delivered any more, unless it has been. That there is none
    /// is success.
    pub async fn cancel(
        &self,
        subscription: RegistrationId,
        id: MessageId,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        let Some(recipient) = self.push_subscription(subscription, now).await? else { return Ok(()) };
        let key = inbox::key(recipient.device, id);
        let Some(row) = self.store.get(&key, now).await.map_err(refusal)? else { return Ok(()) };
        let record = InboxRecord::from_bytes(&row.value).map_err(refusal)?;
        if record.push.is_none() || record.registration.map(RegistrationId::from) != Some(subscription) {
            return Ok(());
        }
        let end = End::Dropped(Dropped::Cancelled);
        self.end(recipient.device, &[], [(id, end)].into_iter(), now).await.map_err(refusal)
    }
}
