//! Accept: the message becomes durable, then its sender is answered, then it is pushed.

mod group;
mod many;
mod push;

use std::sync::Arc;

use cresset_message::{
    Layout, Message, MessageId, ProjectNumber, Recipient, RegistrationId, Rejection, Target, Timestamp,
    WebCoding, limits,
};
use cresset_store::tables::inbox::{self, InboxRecord};
use cresset_store::tables::message as message_record;
use cresset_store::{Batch, StoreError};
use cresset_wire::payload::{apns, web_plaintext_fits};
use cresset_wire::token::open_group_key;

use crate::fanout::FanOuts;
use crate::finish::Finish;
use crate::terms::{Terms, is_of_package};
use crate::{Delivery, Dispatcher, Handoff, refusal};

pub use push::{Endpoint, Push, Pushed};

/// A message that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub id: MessageId,
    /// Of a message to one registration: the one whose token its sender had better use.
    pub successor: Option<RegistrationId>,
}

impl Accepted {
    fn for_set(id: MessageId) -> Self {
        Self { id, successor: None }
    }

    fn of(delivery: &Delivery) -> Self {
        Self { id: delivery.id, successor: delivery.recipient.successor }
    }
}

/// What became of a message to one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// To an app instance, or to everybody in a set.
    One(Accepted),
    /// To a device group.
    Group(GroupSent),
}

/// What became of a message to a device group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSent {
    /// Of the first member that gets it.
    pub id: Option<MessageId>,
    /// How many members get it.
    pub sent: usize,
    /// The tokens of those that do not, for now.
    pub failed: Vec<String>,
    /// The first reason why not.
    pub refusal: Option<Rejection>,
}

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
        match self.send_in_full(sender, message, validate_only, now).await? {
            Sent::One(Accepted { id, .. }) | Sent::Group(GroupSent { id: Some(id), .. }) => Ok(id),
            Sent::Group(group) => Err(group.refusal.unwrap_or(Rejection::Unregistered)),
        }
    }

    /// The same, and tells of each member of a device group.
    pub async fn send_in_full(
        &self,
        sender: ProjectNumber,
        message: Message,
        validate_only: bool,
        now: Timestamp,
    ) -> Result<Sent, Rejection> {
        self.meters.admit_request(sender, now)?;
        check(&message)?;
        // Who is in a set shows only when it is delivered.
        if message.target.is_set() {
            return match validate_only {
                true => Ok(Sent::One(Accepted::for_set(self.next_id(now)))),
                false => {
                    let accepted = self.send_to_set(sender, message, now).await;
                    accepted.map(|id| Sent::One(Accepted::for_set(id)))
                }
            };
        }
        if let Target::Token(text) = &message.target
            && let Some(group) = open_group_key(&self.tokens, text)
        {
            return self.send_to_group(sender, group, message, validate_only, now).await.map(Sent::Group);
        }
        let recipient = self.recipient_of(sender, &message.target, now).await?;
        let message = Arc::new(message);
        let delivery = Arc::new(delivery(self.id_for(&message, now), message.clone(), recipient));
        let accepted = Sent::One(Accepted::of(&delivery));
        self.admit(&message, &delivery, validate_only, now)?;
        if validate_only {
            return Ok(accepted);
        }
        if delivery.ttl.is_zero() {
            self.push_now_or_never(&delivery, now);
        } else {
            let record = InboxRecord { message: message_record::encode(&message), ..delivery.inbox_record() };
            self.store_and_push(record, delivery, now).await.map_err(refusal)?;
        }
        Ok(accepted)
    }

    /// Whether this recipient may get it.
    fn admit(
        &self,
        message: &Message,
        delivery: &Delivery,
        validate_only: bool,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        check_for_recipient(message, delivery)?;
        self.carriers.refusal(&delivery.recipient).map_or(Ok(()), Err)?;
        match delivery.recipient.layout {
            // FCM has these quotas for Android only (`protocol/http-v1.md` §6).
            Layout::Raw { .. } if !validate_only => self.meters.admit_delivery(delivery, now),
            _ => Ok(()),
        }
    }

    fn push_now_or_never(&self, delivery: &Delivery, now: Timestamp) {
        let sent = self.carriers.push(delivery) == Handoff::Accepted;
        self.traces.fleeting(delivery, sent, now);
    }

    /// Runs to its end even if the sender no longer waits: the batch is on its way, and a delivery
    /// that is stored but not pushed would wait for the device's next login.
    async fn store_and_push(
        &self,
        record: InboxRecord,
        delivery: Arc<Delivery>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        batch.put(
            inbox::key(delivery.recipient.device, delivery.id),
            record.to_bytes(),
            Some(delivery.expires),
        );
        self.traces.accepted(&mut batch, &delivery);
        let (store, ids, after) = (self.store.clone(), self.ids.clone(), self.after_accepting());
        let stored = Finish::new(async move {
            ids.write(&store, batch, Some(delivery.id), now).await?;
            after.push(delivery, now).await;
            Ok(())
        });
        stored.await
    }
}

/// What pushing needs once a delivery is durable.
struct AfterAccepting {
    fanouts: Arc<FanOuts>,
    /// How many may wait for one app instance, if that is limited.
    stored: Option<u32>,
}

impl Dispatcher {
    fn after_accepting(&self) -> AfterAccepting {
        AfterAccepting { fanouts: self.fanouts.clone(), stored: self.meters.quotas().stored }
    }
}

impl AfterAccepting {
    async fn push(&self, delivery: Arc<Delivery>, now: Timestamp) {
        self.fanouts.push_in_turn(delivery, self.stored, now).await;
    }
}

fn delivery(id: MessageId, message: Arc<Message>, recipient: Arc<Recipient>) -> Delivery {
    let terms = Terms::for_layout(&message, &recipient.layout, Timestamp::from_micros(id.micros));
    Delivery::new(id, message, recipient, terms)
}

/// Rules that hold whoever receives.
fn check(message: &Message) -> Result<(), Rejection> {
    limits::check(message)?;
    apns::check(message)
}

/// Rules that need to know who receives.
fn check_for_recipient(message: &Message, delivery: &Delivery) -> Result<(), Rejection> {
    let recipient = &*delivery.recipient;
    limits::check_size_for(message, recipient.platform)?;
    match &recipient.layout {
        Layout::Raw { .. } if !is_of_package(message, recipient) => Err(Rejection::field(
            "message.android.restricted_package_name",
            "The registration token does not belong to the package in restricted_package_name.",
        )),
        Layout::Raw { .. } => Ok(()),
        Layout::WebApp { coding, .. } => {
            must_fit(web_plaintext_fits(message, recipient, *coding, delivery.id, delivery.priority))
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
        Layout::WebService { .. } => {
            let coding = WebCoding::Aes128gcm;
            must_fit(web_plaintext_fits(message, recipient, coding, delivery.id, delivery.priority))
        }
        // The app has no APNs token yet, and registers again when it has.
        Layout::Apns { token, .. } if token.is_empty() => Err(Rejection::Unregistered),
        Layout::Apns { .. } => must_fit(apns::fits(message, recipient, delivery.id)),
    }
}

fn must_fit(fits: bool) -> Result<(), Rejection> {
    if fits { Ok(()) } else { Err(Rejection::TooLarge) }
}
