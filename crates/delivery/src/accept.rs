//! Accept: the message becomes durable, then its sender is answered, then it is pushed.

use std::sync::Arc;
use std::time::Duration;

use cresset_message::{
    Layout, Message, MessageId, Priority, ProjectNumber, Recipient, Rejection, Timestamp, limits,
};
use cresset_store::Batch;
use cresset_store::tables::inbox::{self, InboxRecord};
use cresset_store::tables::message as message_record;
use cresset_wire::payload::web_plaintext_fits;

use crate::{Delivery, Dispatcher, Handoff, refusal};

impl Dispatcher {
    /// Takes a message of a project that was authorised. `Ok` means that it is durable (or, with
    /// `ttl` 0, was handed to a connected device or dropped, as asked). With `validate_only`
    /// everything is checked and nothing is kept.
    pub async fn send(
        &self,
        sender: ProjectNumber,
        message: Message,
        validate_only: bool,
        now: Timestamp,
    ) -> Result<MessageId, Rejection> {
        limits::check(&message)?;
        let recipient = self.recipient_of(sender, &message.target, now).await?;
        let delivery = Arc::new(delivery(self.next_id(now), message, recipient));
        check_for_recipient(&delivery)?;
        let id = delivery.id;
        if validate_only {
            return Ok(id);
        }
        if !delivery.ttl.is_zero() {
            self.store_delivery(&delivery, now).await.map_err(refusal)?;
        }
        self.push(delivery);
        Ok(id)
    }

    async fn store_delivery(
        &self,
        delivery: &Delivery,
        now: Timestamp,
    ) -> Result<(), cresset_store::StoreError> {
        let record = InboxRecord {
            registration: Some(delivery.recipient.registration.into()),
            collapse_key: delivery.collapse_key.clone(),
            high_priority: delivery.priority == Priority::High,
            ttl_seconds: u32::try_from(delivery.ttl.as_secs()).unwrap_or(u32::MAX),
            message: message_record::encode(&delivery.message),
        };
        let mut batch = Batch::default();
        batch.put(
            inbox::key(delivery.recipient.device, delivery.id),
            record.to_bytes(),
            Some(delivery.expires),
        );
        self.store.write(batch, now).await.map(|_| ())
    }

    /// A hint that follows the durable record: whatever becomes of it, the inbox has the delivery.
    fn push(&self, delivery: Arc<Delivery>) {
        let handoff = match self.carrier.get() {
            Some(carrier) => carrier.push(delivery),
            None => Handoff::Offline,
        };
        tracing::trace!(?handoff, "pushed");
    }
}

fn delivery(id: MessageId, message: Message, recipient: Arc<Recipient>) -> Delivery {
    let ttl = ttl_for(&message, &recipient);
    Delivery {
        id,
        priority: priority_for(&message, &recipient),
        collapse_key: collapse_key_for(&message, &recipient),
        ttl,
        expires: Timestamp::from_micros(id.micros) + ttl,
        recipient,
        message: Arc::new(message),
    }
}

/// Rules that need to know who receives.
fn check_for_recipient(delivery: &Delivery) -> Result<(), Rejection> {
    let (message, recipient) = (&*delivery.message, &*delivery.recipient);
    match &recipient.layout {
        Layout::Raw { .. } => {
            let restricted = message.android.as_ref().and_then(|a| a.restricted_package_name.as_deref());
            match restricted {
                Some(package) if package != recipient.category => Err(Rejection::field(
                    "message.android.restricted_package_name",
                    "The registration token does not belong to the package in restricted_package_name.",
                )),
                _ => Ok(()),
            }
        }
        Layout::WebApp { .. } => {
            match web_plaintext_fits(message, recipient, delivery.id, delivery.priority) {
                true => Ok(()),
                false => Err(Rejection::TooLarge),
            }
        }
        // Its keys are the page's and its app server's; we cannot encrypt for it
        // (`protocol/payload-layout.md` §1).
        Layout::WebPush { .. } if message.notification.is_some() || !message.data.is_empty() => {
            Err(Rejection::field(
                "message.token",
                "The token is a bare Web Push subscription; a message with content can reach it only encrypted by its own application server.",
            ))
        }
        Layout::WebPush { .. } => Ok(()),
    }
}

/// `android.ttl`, or the `TTL` header toward the web (`protocol/http-v1.md` §2.2, §2.5).
fn ttl_for(message: &Message, recipient: &Recipient) -> Duration {
    let asked = match recipient.layout {
        Layout::Raw { .. } => message.android.as_ref().and_then(|a| a.ttl),
        _ => {
            let header = message.webpush.as_ref().and_then(|w| w.header("TTL"));
            header.and_then(|text| text.parse().ok()).map(Duration::from_secs)
        }
    };
    asked.unwrap_or(limits::MAX_TTL).min(limits::MAX_TTL)
}

fn priority_for(message: &Message, recipient: &Recipient) -> Priority {
    match recipient.layout {
        Layout::Raw { .. } => message.android_priority(),
        _ => match message.webpush.as_ref().and_then(|w| w.header("Urgency")) {
            Some(urgency) if urgency.eq_ignore_ascii_case("high") => Priority::High,
            _ => Priority::Normal,
        },
    }
}

fn collapse_key_for(message: &Message, recipient: &Recipient) -> Option<String> {
    match recipient.layout {
        Layout::Raw { .. } => message.android.as_ref()?.collapse_key.clone(),
        _ => message.webpush.as_ref()?.header("Topic").map(str::to_owned),
    }
}
