//! What a connection knows, and everything it does without waiting.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use cresset_delivery::{Content, Delivery, Handoff};
use cresset_device::session::{Action, Event, Offer, Reason, Session};
use cresset_message::{DeviceId, Layout, Message, MessageId, Timestamp};
use cresset_wire::mcs::{AppData, DataMessageStanza, Frame, Incoming};
use cresset_wire::payload::{Envelope, Payload, deleted_messages, stanza};

use super::House;
use crate::sabotage::Sabotage;

/// How long a device may leave its socket full.
const MAX_STALL: Duration = Duration::from_secs(60);
/// Now-or-never messages that wait while a device catches up with its inbox.
const MAX_HELD: usize = 100;

/// A frame on its way, and when it left the server by the server's own clock.
pub(crate) struct Written {
    pub(crate) bytes: Vec<u8>,
    pub(crate) at: Timestamp,
}

pub(super) enum Step {
    Authenticate { device: DeviceId, security_token: u64 },
    Acknowledge(Vec<MessageId>),
    ReadInbox { room: usize },
    Wait,
    Close,
}

pub(super) struct Link {
    session: Session,
    outgoing: VecDeque<Written>,
    stalled: Option<Timestamp>,
    acknowledged: Vec<MessageId>,
    acknowledging: Vec<MessageId>,
    unsaved: Vec<MessageId>,
    login: Option<(DeviceId, u64)>,
    catching_up: Option<CatchingUp>,
    closing: Option<Reason>,
}

#[derive(Default)]
struct CatchingUp {
    /// Something was pushed that the inbox may not have shown yet.
    again: bool,
    held: Vec<Delivery>,
}

impl Link {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            session: Session::new(now),
            outgoing: VecDeque::new(),
            stalled: None,
            acknowledged: Vec::new(),
            acknowledging: Vec::new(),
            unsaved: Vec::new(),
            login: None,
            catching_up: None,
            closing: None,
        }
    }

    pub(super) fn next_step(&mut self, most_outgoing: usize) -> Step {
        if self.closing.is_some() {
            return Step::Close;
        }
        if let Some((device, security_token)) = self.login.take() {
            return Step::Authenticate { device, security_token };
        }
        if self.session.is_logged_in() && !self.acknowledged.is_empty() {
            let mut ids = std::mem::take(&mut self.unsaved);
            ids.append(&mut self.acknowledged);
            self.acknowledging.clone_from(&ids);
            return Step::Acknowledge(ids);
        }
        if self.catching_up.is_some() && self.outgoing.len() < most_outgoing {
            match self.session.room() {
                0 => {
                    self.catching_up = None;
                    self.session.read_inbox_after_acks();
                }
                room => return Step::ReadInbox { room },
            }
        }
        Step::Wait
    }

    pub(super) fn has(&self, id: MessageId) -> bool {
        self.session.is_in_flight(id) || self.is_received(id)
    }

    fn is_received(&self, id: MessageId) -> bool {
        [&self.acknowledged, &self.acknowledging, &self.unsaved].iter().any(|ids| ids.contains(&id))
    }

    pub(super) fn receive(&mut self, frame: Frame, now: Timestamp) {
        self.on_event(Event::Received(Incoming::Frame(frame)), now);
    }

    pub(super) fn authenticated(&mut self, known: bool, now: Timestamp) {
        if self.closing.is_some() {
            return;
        }
        self.on_event(Event::Authenticated(known), now);
    }

    pub(super) fn time_passed(&mut self, now: Timestamp) {
        if self.stalled.is_some_and(|since| since + MAX_STALL <= now) {
            return self.close(Reason::Stalled, now);
        }
        if self.session.deadline().is_some_and(|deadline| deadline <= now) {
            self.on_event(Event::TimePassed, now);
        }
    }

    pub(super) fn push(&mut self, delivery: &Delivery, house: &House) -> Handoff {
        if self.closing.is_some() || !self.session.is_logged_in() {
            return Handoff::Offline;
        }
        if self.outgoing.len() >= house.most_outgoing {
            self.read_inbox();
        }
        match &mut self.catching_up {
            Some(catching_up) => catching_up.push(delivery),
            None => self.write(delivery, house),
        }
    }

    pub(super) fn deliver_from_inbox(&mut self, deliveries: &[Arc<Delivery>], last: bool, house: &House) {
        let mut complete = last;
        for delivery in deliveries {
            if self.outgoing.len() >= house.most_outgoing {
                complete = false;
                break;
            }
            self.write(delivery, house);
        }
        if let Some(catching_up) = &mut self.catching_up
            && complete
            && !std::mem::take(&mut catching_up.again)
        {
            let held = self.catching_up.take().map(|catching_up| catching_up.held);
            let kept = deliveries.first().map(|first| house.kept(first.recipient.device));
            held.into_iter().flatten().chain(kept.into_iter().flatten()).for_each(|delivery| {
                self.write(&delivery, house);
            });
        }
    }

    fn write(&mut self, delivery: &Delivery, house: &House) -> Handoff {
        let now = house.clock.wall();
        if self.is_received(delivery.id) {
            return Handoff::Accepted;
        }
        let now_or_never = delivery.ttl.is_zero();
        let for_ever = now_or_never || house.sabotage == Some(Sabotage::Late);
        let expires = if for_ever { Timestamp::from_micros(u64::MAX) } else { delivery.expires };
        match self.session.offer(delivery.id, expires, now) {
            Offer::Write => {
                self.write_new(delivery, now, house);
                Handoff::Accepted
            }
            Offer::InFlight => Handoff::Accepted,
            Offer::NoRoom if !now_or_never => {
                self.session.read_inbox_after_acks();
                Handoff::Busy
            }
            Offer::NoRoom | Offer::Expired => Handoff::Busy,
            Offer::NotConnected => Handoff::Offline,
        }
    }

    fn write_new(&mut self, delivery: &Delivery, now: Timestamp, house: &House) {
        let mut stanza = form(delivery);
        if house.happens(Sabotage::ChangeId, 5) {
            let MessageId { micros, unique } = delivery.id;
            stanza.persistent_id = Some(MessageId { micros, unique: unique ^ 0xF0 << 40 }.to_string());
        }
        if house.happens(Sabotage::Astray, 5) {
            stanza.category.push('9');
            stanza.app_data.retain(|pair| pair.key != "subtype");
        }
        let before = self.outgoing.len();
        self.on_event(Event::Deliver(delivery.id, Box::new(stanza)), now);
        if before > 1 && house.happens(Sabotage::Swap, 30) {
            self.outgoing.swap(before - 1, before);
        }
        if house.happens(Sabotage::Twice, 5) {
            let copy = self.outgoing.back().map(|last| Written { bytes: last.bytes.clone(), at: last.at });
            self.outgoing.extend(copy);
        }
    }

    fn on_event(&mut self, event: Event, now: Timestamp) {
        for action in self.session.on_event(event, now) {
            match action {
                Action::Write(bytes) => {
                    self.stalled.get_or_insert(now);
                    self.outgoing.push_back(Written { bytes, at: now });
                }
                Action::Authenticate { device, security_token } => {
                    self.login = Some((device, security_token));
                }
                Action::Acknowledge(ids) => self.acknowledged.extend(ids),
                Action::ReadInbox => self.read_inbox(),
                // The devices here send nothing to app servers.
                Action::Upstream(_) => {}
                Action::Close(reason) => self.end(reason),
            }
        }
    }

    pub(super) fn take_outgoing(&mut self) -> Vec<Written> {
        self.stalled = None;
        self.outgoing.drain(..).collect()
    }

    pub(super) fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    pub(super) fn close(&mut self, reason: Reason, now: Timestamp) {
        if reason == Reason::Shutdown && self.closing.is_none() {
            self.on_event(Event::Shutdown, now);
        }
        self.end(reason);
    }

    fn end(&mut self, reason: Reason) {
        self.closing.get_or_insert(reason);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closing.is_some()
    }

    pub(super) fn acknowledgements_are_stored(&mut self) {
        self.acknowledging = Vec::new();
    }

    pub(super) fn keep_acknowledgements(&mut self, ids: Vec<MessageId>) {
        self.acknowledging = Vec::new();
        self.unsaved = ids;
    }

    fn read_inbox(&mut self) {
        self.catching_up.get_or_insert_default();
    }
}

impl CatchingUp {
    fn push(&mut self, delivery: &Delivery) -> Handoff {
        if !delivery.ttl.is_zero() {
            self.again = true;
            return Handoff::Busy;
        }
        if self.held.len() >= MAX_HELD {
            return Handoff::Busy;
        }
        self.held.push(delivery.clone());
        Handoff::Accepted
    }
}

/// The delivery as its device reads it. Of a web app's only the envelope: sealing draws from the
/// machine's own chance, and has its tests in `wire`.
fn form(delivery: &Delivery) -> DataMessageStanza {
    match (&delivery.content, &delivery.recipient.layout) {
        (Content::Deleted { total }, _) => deleted_messages(delivery.id, &delivery.recipient, *total),
        (Content::Message(message), Layout::Raw { .. }) => {
            let envelope = Envelope {
                id: delivery.id,
                payload: Payload::Message(message),
                recipient: &delivery.recipient,
                priority: delivery.priority,
                collapse_key: delivery.collapse_key.as_deref(),
                ttl: delivery.ttl,
            };
            stanza(&envelope, &SystemRandom::new()).expect("what is in clear always has a form")
        }
        (Content::Message(message), Layout::WebPush { sender, subtype }) => {
            in_the_open(delivery, message, sender, subtype)
        }
        (Content::Message(message), Layout::WebApp { sender, subtype, .. }) => {
            in_the_open(delivery, message, sender, subtype)
        }
        (Content::Push(_), _) => unreachable!("nobody here sends Web Push"),
        (Content::Message(_), Layout::WebService { .. } | Layout::Apns { .. }) => {
            unreachable!("no phone carries what push services do")
        }
    }
}

fn in_the_open(delivery: &Delivery, message: &Message, sender: &str, subtype: &str) -> DataMessageStanza {
    let mut app_data = vec![AppData::new("subtype", subtype)];
    app_data.extend(message.data.iter().map(|(key, value)| AppData::new(key, value)));
    DataMessageStanza {
        from: sender.to_owned(),
        category: delivery.recipient.category.clone(),
        persistent_id: Some(delivery.id.to_string()),
        app_data,
        ..DataMessageStanza::default()
    }
}
