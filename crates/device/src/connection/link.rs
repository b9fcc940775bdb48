//! What a connection knows, and everything it does without waiting: bytes through TLS, frames
//! and session, and what follows back out.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use cresset_delivery::{Content, Delivery, FromDevice, Handoff};
use cresset_message::{DeviceId, Layout, Message, MessageId, Recipient, Timestamp};
use cresset_wire::mcs::{DataMessageStanza, Decoder, Role, template};
use cresset_wire::payload::{Envelope, Payload, deleted_messages, stanza};
use cresset_wire::webpush::WebPushError;
use tokio::net::TcpStream;

use crate::listener::Context;
use crate::session::{Action, Event, Offer, Reason, Session};
use crate::tls::Tls;

/// Bytes written for a device and not taken by its socket; beyond it the device is left alone
/// until it reads. Some fifty messages of the largest size.
const MAX_OUTGOING: usize = 256 * 1024;
/// How long a device may leave its socket full.
const MAX_STALL: Duration = Duration::from_secs(60);
/// Now-or-never messages (TTL 0) that wait while a device catches up with its inbox.
const MAX_HELD: usize = 100;
/// Acknowledgements that the store would not take and that are kept for another try.
const MAX_UNSAVED: usize = 10_000;
/// Before messages of a device that could not be taken are tried again.
const RETRY_UPSTREAM: Duration = Duration::from_secs(5);
/// A TLS record with its overhead (RFC 5246 §6.2.3 allows the most: 2^14 + 2048 and the header).
const MAX_RECORD: usize = 16 * 1024 + 2048 + 5;

/// Buffers of a thread, not of a connection.
struct Buffers {
    incoming: Vec<u8>,
    plaintext: Vec<u8>,
    outgoing: Vec<u8>,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> =
        RefCell::new(Buffers { incoming: vec![0; MAX_RECORD], plaintext: Vec::new(), outgoing: Vec::new() });
    static RECORD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static FRAME: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static TEMPLATE: RefCell<Template> = RefCell::default();
}

/// The message that was written last in this thread, as its copies share it. A fan-out writes the
/// same one many times.
#[derive(Default)]
struct Template {
    of: Option<(Arc<Message>, u64, Arc<Recipient>)>,
    bytes: Vec<u8>,
}

impl Template {
    /// Makes it the one of this delivery, whose recipient takes it in clear.
    fn be_for(&mut self, delivery: &Delivery, message: &Arc<Message>, context: &Context) {
        let same = self.of.as_ref().is_some_and(|(known, micros, recipient)| {
            Arc::ptr_eq(known, message)
                && *micros == delivery.id.micros
                && recipient.category == delivery.recipient.category
                && recipient.layout == delivery.recipient.layout
                && recipient.registration.project == delivery.recipient.registration.project
        });
        if !same {
            self.bytes.clear();
            if let Ok(stanza) = form(delivery, context) {
                self.bytes = template(&stanza);
            }
            self.of = Some((message.clone(), delivery.id.micros, delivery.recipient.clone()));
        }
    }
}

/// What a connection's task is to do next.
pub(super) enum Step {
    Authenticate { device: DeviceId, security_token: u64 },
    Acknowledge(Vec<MessageId>),
    GiveUp(Vec<MessageId>),
    Upstream(Vec<FromDevice>),
    ReadInbox { room: usize },
    Wait { readable: bool, writable: bool, until: Option<Timestamp> },
    Close(Reason),
}

pub(super) struct Link {
    tls: Tls,
    decoder: Decoder,
    session: Session,
    /// The beginning of a record whose rest is on its way.
    incoming: Vec<u8>,
    /// What came behind a login that is being checked.
    waiting: Vec<u8>,
    /// Records that the socket would not take yet.
    outgoing: Vec<u8>,
    /// Since when the socket takes nothing.
    stalled: Option<Timestamp>,
    acknowledged: Vec<MessageId>,
    /// Messages that have no form for the device.
    given_up: Vec<MessageId>,
    /// Acknowledgements that are being stored.
    acknowledging: Vec<MessageId>,
    /// Acknowledgements that the store would not take; they go with the next ones.
    unsaved: Vec<MessageId>,
    login: Option<(DeviceId, u64)>,
    upstream: Option<Box<Upstream>>,
    catching_up: Option<Box<CatchingUp>>,
    closing: Option<Reason>,
}

/// What a device has sent for app servers, and is not durable yet. The session bounds how many.
#[derive(Default)]
struct Upstream {
    messages: Vec<FromDevice>,
    /// They could not be taken, and are tried again then.
    retry: Option<Timestamp>,
}

impl Upstream {
    fn is_due(&self) -> bool {
        !self.messages.is_empty() && self.retry.is_none()
    }
}

/// A device that is being given its inbox. Pushes wait meanwhile, or would overtake it.
#[derive(Default)]
struct CatchingUp {
    /// Something was pushed that the inbox may not have shown yet.
    again: bool,
    held: Vec<Delivery>,
}

impl Link {
    pub(super) fn new(tls: Tls, now: Timestamp) -> Self {
        Self {
            tls,
            decoder: Decoder::new(Role::Server),
            session: Session::new(now),
            incoming: Vec::new(),
            waiting: Vec::new(),
            outgoing: Vec::new(),
            stalled: None,
            acknowledged: Vec::new(),
            given_up: Vec::new(),
            acknowledging: Vec::new(),
            unsaved: Vec::new(),
            login: None,
            upstream: None,
            catching_up: None,
            closing: None,
        }
    }

    pub(super) fn next_step(&mut self) -> Step {
        // What a device said before it left counts too.
        if (self.is_logged_in() || self.closing.is_some()) && !self.acknowledged.is_empty() {
            let mut ids = std::mem::take(&mut self.unsaved);
            ids.append(&mut self.acknowledged);
            self.acknowledging.clone_from(&ids);
            return Step::Acknowledge(ids);
        }
        if let Some(reason) = self.closing {
            return Step::Close(reason);
        }
        if let Some((device, security_token)) = self.login.take() {
            return Step::Authenticate { device, security_token };
        }
        if !self.given_up.is_empty() {
            return Step::GiveUp(std::mem::take(&mut self.given_up));
        }
        if let Some(upstream) = self.upstream.as_mut().filter(|upstream| upstream.is_due()) {
            return Step::Upstream(std::mem::take(&mut upstream.messages));
        }
        let full = self.outgoing.len() >= MAX_OUTGOING;
        if self.catching_up.is_some() && !full {
            match self.session.room() {
                0 => self.wait_for_acknowledgements(),
                room => return Step::ReadInbox { room },
            }
        }
        Step::Wait { readable: !full, writable: !self.outgoing.is_empty(), until: self.deadline() }
    }

    /// Whether the last push left something that only the task can do.
    pub(super) fn needs_its_task(&self) -> bool {
        !self.outgoing.is_empty()
            || !self.acknowledged.is_empty()
            || !self.given_up.is_empty()
            || self.closing.is_some()
    }

    /// Whether its TLS session is an older one, taken up again.
    pub(super) fn is_resumed(&self) -> bool {
        self.tls.is_resumed()
    }

    pub(super) fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether a message needs no delivery on this connection: it is on its way, or received.
    pub(super) fn has(&self, id: MessageId) -> bool {
        self.session.is_in_flight(id) || self.is_received(id)
    }

    /// Whether the device has said that it has a message, and the store may not know it yet.
    fn is_received(&self, id: MessageId) -> bool {
        [&self.acknowledged, &self.acknowledging, &self.unsaved, &self.given_up]
            .iter()
            .any(|ids| ids.contains(&id))
    }

    /// Reads once, and acts on it.
    pub(super) fn receive(&mut self, socket: &TcpStream, now: Timestamp) {
        BUFFERS.with_borrow_mut(|buffers| {
            let kept = self.incoming.len();
            buffers.incoming[..kept].copy_from_slice(&self.incoming);
            match socket.try_read(&mut buffers.incoming[kept..]) {
                Ok(0) => self.close(Reason::PeerClosed, socket, now),
                Ok(read) => self.take(buffers, kept + read, socket, now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.close(Reason::PeerClosed, socket, now),
            }
        });
    }

    /// Takes `filled` bytes of TLS.
    fn take(&mut self, buffers: &mut Buffers, filled: usize, socket: &TcpStream, now: Timestamp) {
        buffers.plaintext.clear();
        buffers.outgoing.clear();
        let incoming = &mut buffers.incoming[..filled];
        let result = self.tls.receive(incoming, &mut buffers.plaintext, &mut buffers.outgoing);
        self.send(&buffers.outgoing, socket, now);
        let progress = match result {
            Ok(progress) => progress,
            Err(error) => {
                tracing::debug!("TLS with a device failed: {error}");
                return self.close(Reason::Unreadable, socket, now);
            }
        };
        self.keep(&buffers.incoming[progress.used..filled], socket, now);
        self.decode(&buffers.plaintext, socket, now);
        if progress.closed {
            self.close(Reason::PeerClosed, socket, now);
        }
    }

    /// Keeps the beginning of a record until its rest is there.
    fn keep(&mut self, rest: &[u8], socket: &TcpStream, now: Timestamp) {
        if rest.len() >= MAX_RECORD {
            return self.close(Reason::Unreadable, socket, now);
        }
        self.incoming = rest.to_vec();
    }

    fn decode(&mut self, mut plaintext: &[u8], socket: &TcpStream, now: Timestamp) {
        while self.closing.is_none() {
            if self.login.is_some() {
                // Who pipelines behind its login is served after it.
                self.waiting.extend_from_slice(plaintext);
                return;
            }
            match self.decoder.next(&mut plaintext) {
                Ok(Some(incoming)) => self.on_event(Event::Received(incoming), socket, now),
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!("a device sent what is no frame: {error}");
                    self.close(Reason::Unreadable, socket, now);
                }
            }
        }
    }

    pub(super) fn authenticated(&mut self, known: bool, socket: &TcpStream, now: Timestamp) {
        if self.closing.is_some() {
            return;
        }
        self.on_event(Event::Authenticated(known), socket, now);
        let waiting = std::mem::take(&mut self.waiting);
        self.decode(&waiting, socket, now);
    }

    pub(super) fn time_passed(&mut self, socket: &TcpStream, now: Timestamp) {
        if self.stalled.is_some_and(|since| since + MAX_STALL <= now) {
            return self.close(Reason::Stalled, socket, now);
        }
        if let Some(upstream) = &mut self.upstream
            && upstream.retry.is_some_and(|retry| retry <= now)
        {
            upstream.retry = None;
        }
        self.on_event(Event::TimePassed, socket, now);
    }

    /// The first so many of these are taken; the others are tried again after a while.
    pub(super) fn upstream_taken(
        &mut self,
        mut messages: Vec<FromDevice>,
        taken: usize,
        socket: &TcpStream,
        now: Timestamp,
    ) {
        messages.drain(..taken);
        if messages.is_empty() {
            self.upstream.take_if(|upstream| upstream.messages.is_empty());
        } else {
            let upstream = self.upstream.get_or_insert_default();
            messages.append(&mut upstream.messages);
            upstream.messages = messages;
            upstream.retry = Some(now + RETRY_UPSTREAM);
        }
        self.on_event(Event::UpstreamTaken(taken), socket, now);
    }

    /// Takes one delivery from another thread.
    pub(super) fn push(&mut self, delivery: &Delivery, socket: &TcpStream, context: &Context) -> Handoff {
        if self.closing.is_some() || !self.is_logged_in() {
            return Handoff::Offline;
        }
        if self.outgoing.len() >= MAX_OUTGOING {
            self.read_inbox();
        }
        match &mut self.catching_up {
            Some(catching_up) => catching_up.push(delivery),
            None => self.write(delivery, socket, context),
        }
    }

    /// Writes what an inbox held; gives what was written. `last`: it held no more than this.
    pub(super) fn deliver_from_inbox(
        &mut self,
        deliveries: Vec<Arc<Delivery>>,
        last: bool,
        socket: &TcpStream,
        context: &Context,
    ) -> Vec<Arc<Delivery>> {
        let mut complete = last;
        let mut written = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            if self.outgoing.len() >= MAX_OUTGOING {
                complete = false;
                break;
            }
            if self.write(&delivery, socket, context) == Handoff::Accepted {
                written.push(delivery);
            }
        }
        if let Some(catching_up) = &mut self.catching_up
            && complete
            && !std::mem::take(&mut catching_up.again)
        {
            let held = self.catching_up.take().map(|catching_up| catching_up.held);
            held.into_iter().flatten().for_each(|delivery| {
                self.write(&delivery, socket, context);
            });
        }
        written
    }

    /// Gives the delivery its form and writes it, if its time is now.
    fn write(&mut self, delivery: &Delivery, socket: &TcpStream, context: &Context) -> Handoff {
        let now = (context.clock)();
        // A push that took its time must not bring again what the inbox has brought.
        if self.is_received(delivery.id) {
            return Handoff::Accepted;
        }
        let now_or_never = delivery.ttl.is_zero();
        let expires = if now_or_never { Timestamp::from_micros(u64::MAX) } else { delivery.expires };
        match self.session.offer(delivery.id, expires, now) {
            Offer::Write => self.write_new(delivery, socket, now, context),
            Offer::InFlight => Handoff::Accepted,
            Offer::NoRoom if !now_or_never => {
                self.session.read_inbox_after_acks();
                Handoff::Busy
            }
            Offer::NoRoom | Offer::Expired => Handoff::Busy,
            Offer::NotConnected => Handoff::Offline,
        }
    }

    fn write_new(
        &mut self,
        delivery: &Delivery,
        socket: &TcpStream,
        now: Timestamp,
        context: &Context,
    ) -> Handoff {
        if let (Content::Message(message), Layout::Raw { .. }) =
            (&delivery.content, &delivery.recipient.layout)
        {
            context.counters.written.add(1);
            self.write_copy(delivery, message, socket, now, context);
            return Handoff::Accepted;
        }
        match form(delivery, context) {
            Ok(stanza) => {
                context.counters.written.add(1);
                self.on_event(Event::Deliver(delivery.id, Box::new(stanza)), socket, now);
                Handoff::Accepted
            }
            Err(error) => {
                // It would fail at every login until it expires.
                context.counters.undeliverable.add(1);
                tracing::warn!(message.id = %delivery.id, "a message has no form for its device and is dropped: {error}");
                self.given_up.push(delivery.id);
                Handoff::Busy
            }
        }
    }

    /// What is in clear is the same for all who receive it: it is encoded once.
    fn write_copy(
        &mut self,
        delivery: &Delivery,
        message: &Arc<Message>,
        socket: &TcpStream,
        now: Timestamp,
        context: &Context,
    ) {
        TEMPLATE.with_borrow_mut(|template| {
            template.be_for(delivery, message, context);
            FRAME.with_borrow_mut(|frame| {
                frame.clear();
                self.session.deliver_copy(delivery.id, &template.bytes, now, frame);
                self.seal(frame, socket, now);
            });
        });
    }

    fn on_event(&mut self, event: Event, socket: &TcpStream, now: Timestamp) {
        for action in self.session.on_event(event, now) {
            match action {
                Action::Write(frame) => self.seal(&frame, socket, now),
                Action::Authenticate { device, security_token } => {
                    self.login = Some((device, security_token))
                }
                Action::Acknowledge(ids) => self.acknowledged.extend(ids),
                Action::ReadInbox => self.read_inbox(),
                Action::Upstream(stanza) => {
                    self.upstream.get_or_insert_default().messages.push(from_device(*stanza));
                }
                Action::Close(reason) => self.end(reason, socket, now),
            }
        }
    }

    fn seal(&mut self, frame: &[u8], socket: &TcpStream, now: Timestamp) {
        RECORD.with_borrow_mut(|record| {
            record.clear();
            match self.tls.seal(frame, record) {
                Ok(()) => self.send(record, socket, now),
                Err(error) => {
                    tracing::debug!("a record for a device could not be made: {error}");
                    self.end(Reason::Unreadable, socket, now);
                }
            }
        });
    }

    /// Writes at once what the socket takes, and keeps the rest in order.
    fn send(&mut self, record: &[u8], socket: &TcpStream, now: Timestamp) {
        let mut written = 0;
        if self.outgoing.is_empty() && !record.is_empty() {
            match socket.try_write(record) {
                Ok(count) => written = count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return self.gone(),
            }
        }
        if written < record.len() {
            self.outgoing.extend_from_slice(&record[written..]);
            self.stalled.get_or_insert(now);
        }
    }

    /// Writes what was kept, as far as the socket takes it.
    pub(super) fn flush(&mut self, socket: &TcpStream, now: Timestamp) {
        match socket.try_write(&self.outgoing) {
            Ok(count) if count == self.outgoing.len() => {
                self.outgoing = Vec::new();
                self.stalled = None;
            }
            Ok(count) => {
                self.outgoing.drain(..count);
                self.stalled = Some(now);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.gone(),
        }
    }

    /// Ends the connection for a reason of ours, unless it is ending.
    pub(super) fn close(&mut self, reason: Reason, socket: &TcpStream, now: Timestamp) {
        if reason == Reason::Shutdown && self.closing.is_none() {
            self.on_event(Event::Shutdown, socket, now);
        }
        self.end(reason, socket, now);
    }

    fn end(&mut self, reason: Reason, socket: &TcpStream, now: Timestamp) {
        if self.closing.is_some() {
            return;
        }
        self.closing = Some(reason);
        let mut alert = Vec::new();
        if self.tls.close(&mut alert).is_ok() {
            self.send(&alert, socket, now);
        }
    }

    fn gone(&mut self) {
        self.outgoing = Vec::new();
        self.closing.get_or_insert(Reason::PeerClosed);
    }

    /// Acknowledgements are stored.
    pub(super) fn acknowledgements_are_stored(&mut self) {
        self.acknowledging = Vec::new();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Acknowledgements could not be stored; one that is forgotten costs a duplicate.
    pub(super) fn keep_acknowledgements(&mut self, mut ids: Vec<MessageId>) {
        self.acknowledging = Vec::new();
        ids.truncate(MAX_UNSAVED);
        self.unsaved = ids;
    }

    fn read_inbox(&mut self) {
        self.catching_up.get_or_insert_default();
    }

    fn wait_for_acknowledgements(&mut self) {
        self.catching_up = None;
        self.session.read_inbox_after_acks();
    }

    fn is_logged_in(&self) -> bool {
        self.session.is_logged_in()
    }

    fn deadline(&self) -> Option<Timestamp> {
        let stall = self.stalled.map(|since| since + MAX_STALL);
        let retry = self.upstream.as_ref().and_then(|upstream| upstream.retry);
        self.session.deadline().into_iter().chain(stall).chain(retry).min()
    }
}

/// A message for an app server (`protocol/mcs.md` §4, §9).
fn from_device(stanza: DataMessageStanza) -> FromDevice {
    let sender = stanza.to.as_deref().and_then(|to| to.split_once('@')).filter(|(_, host)| is_ours(host));
    FromDevice {
        sender: sender.and_then(|(number, _)| number.parse().ok()),
        category: stanza.category,
        registration: stanza.reg_id.or(Some(stanza.from)).filter(|text| !text.is_empty()),
        message_id: stanza.id.or_else(|| stanza.persistent_id.clone()).unwrap_or_default(),
        persistent_id: stanza.persistent_id.filter(|id| !id.is_empty()),
        data: stanza.app_data.into_iter().map(|pair| (pair.key, pair.value)).collect(),
        // Negative is nonsense, and taken for none given.
        ttl_seconds: stanza.ttl.and_then(|ttl| u32::try_from(ttl).ok()),
    }
}

/// The hosts by which app servers are named.
fn is_ours(host: &str) -> bool {
    ["gcm.googleapis.com", "fcm.googleapis.com"].contains(&host)
}

/// The delivery as its device understands it.
fn form(delivery: &Delivery, context: &Context) -> Result<DataMessageStanza, WebPushError> {
    let payload = match &delivery.content {
        Content::Message(message) => Payload::Message(message),
        Content::Push(push) => Payload::Push(push),
        Content::Deleted { total } => {
            return Ok(deleted_messages(delivery.id, &delivery.recipient, *total));
        }
    };
    let envelope = Envelope {
        id: delivery.id,
        payload,
        recipient: &delivery.recipient,
        priority: delivery.priority,
        collapse_key: delivery.collapse_key.as_deref(),
        ttl: delivery.ttl,
    };
    stanza(&envelope, context.randomness.as_ref())
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
