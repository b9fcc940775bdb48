//! Accept, for Web Push: what an application server encrypted for a subscription of a browser.

use std::sync::Arc;
use std::time::Duration;

use cresset_message::{
    Layout, MessageId, Priority, RawPush, Recipient, RegistrationId, Rejection, Timestamp, limits,
};
use cresset_store::tables::inbox::{self, InboxRecord, PushRecord};
use cresset_store::tables::registrations;
use cresset_wire::token::{Presented, present};

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

/// What the token in the path of an endpoint names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Subscription(Arc<Recipient>),
    /// One of ours that is no more.
    Gone,
    /// Nothing that ever had an endpoint.
    Unknown,
}

/// A push that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    pub id: MessageId,
    /// Whoever has it may take the push back; it tells nothing, and cannot be guessed.
    pub handle: String,
    /// What was granted.
    pub ttl: Duration,
}

/// The label that keeps handles of pushes apart from other sealed things.
const HANDLE: &str = "push";

impl Dispatcher {
    /// What an endpoint names.
    pub async fn endpoint(&self, token: &str, now: Timestamp) -> Result<Endpoint, Rejection> {
        let Presented::Registration(id) = present(&self.tokens, token) else { return Ok(Endpoint::Unknown) };
        Ok(match self.recipient(id, now).await.map_err(refusal)? {
            Some(recipient) if matches!(recipient.layout, Layout::WebPush { .. }) => {
                Endpoint::Subscription(Arc::new(recipient))
            }
            Some(_) => Endpoint::Unknown,
            None => Endpoint::Gone,
        })
    }

    /// The bare subscription of a browser, if that is what a registration is. All else has no endpoint.
    async fn push_subscription(
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
    ) -> Result<Pushed, Rejection> {
        self.meters.admit_push(subscription.registration, key, now)?;
        let id = self.next_id(now);
        let ttl = push.ttl.min(limits::MAX_TTL);
        let handle = self.tokens.seal(HANDLE, &handle_of(subscription.registration, id));
        let pushed = Pushed { id, handle, ttl };
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
            return Ok(pushed);
        }
        let record = InboxRecord { push: Some(record), ..delivery.inbox_record() };
        self.store_and_push(record, delivery, now).await.map_err(refusal)?;
        Ok(pushed)
    }

    /// A push is taken back: it is not delivered any more, unless it has been. That there is none is
    /// success; `false`: the handle is none of ours.
    pub async fn cancel(&self, handle: &str, now: Timestamp) -> Result<bool, Rejection> {
        let claim = self.tokens.open(HANDLE, handle);
        let Some((subscription, id)) = claim.as_deref().and_then(read_handle) else { return Ok(false) };
        self.cancel_push(subscription, id, now).await?;
        Ok(true)
    }

    async fn cancel_push(
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

/// The bucket and slot of a subscription, and the id of a push to it.
fn handle_of(subscription: RegistrationId, id: MessageId) -> Vec<u8> {
    let bucket = registrations::partition(subscription.project, subscription.bucket);
    [&bucket[..], &subscription.slot.to_be_bytes(), &id.to_bytes()].concat()
}

fn read_handle(claim: &[u8]) -> Option<(RegistrationId, MessageId)> {
    let (bucket, rest) = claim.split_first_chunk::<12>()?;
    let (slot, id) = rest.split_first_chunk::<2>()?;
    let (project, bucket) = registrations::bucket_of(bucket).ok()?;
    let subscription = RegistrationId { project, bucket, slot: u16::from_be_bytes(*slot) };
    Some((subscription, MessageId::from_bytes(id.try_into().ok()?)))
}
