//! One WebSocket: the task that reads and writes it, and the door through which deliveries come in from
//! other threads. These are put by in small number; the task writes them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket};
use bytes::Bytes;
use cresset_delivery::{Carrier, Content, Delivery, Handoff};
use cresset_message::{DeviceId, MessageId, Timestamp};
use cresset_wire::mozilla::{Channel, Uaid};
use cresset_wire::payload::{Envelope, Payload, notification};
use cresset_wire::webpush::WebPushError;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::browsers::Context;
use super::session::{Action, Event, Offer, Reason, Session, batch};
use crate::backend::BackendError;
use cresset_admission::Place;

/// Deliveries that other threads have put by and the task has not written.
const MAX_PUSHED: usize = 32;
/// Of what waits, so much is looked at to find a batch: what the store reads at a time.
const LOOKED_AT: usize = 128;
/// How long a browser may leave its socket full.
const MAX_STALL: Duration = Duration::from_secs(60);
/// How long a closing connection may take to swallow what was written to it.
const LINGER: Duration = Duration::from_secs(2);
/// After acknowledgements that the store would not take, before they are tried once more.
const RETRY_ACKNOWLEDGE: Duration = Duration::from_millis(200);
/// Acknowledgements that the store would not take and that are kept for another try.
const MAX_UNSAVED: usize = 1_000;

pub(crate) struct Connection {
    link: Mutex<Link>,
    /// There is something for the task in the link.
    woken: Notify,
    /// Set once, when it is known who it is.
    device: OnceLock<DeviceId>,
    /// Among the connections of its address, for as long as it is open.
    _place: Place,
}

struct Link {
    session: Session,
    pushed: VecDeque<Delivery>,
    ending: Option<Reason>,
}

impl Connection {
    pub(crate) fn new(place: Place, now: Timestamp) -> Arc<Self> {
        let link = Link { session: Session::new(now), pushed: VecDeque::new(), ending: None };
        Arc::new(Self {
            link: Mutex::new(link),
            woken: Notify::new(),
            device: OnceLock::new(),
            _place: place,
        })
    }

    /// Puts a delivery by for the task, if its time is now.
    pub(crate) fn push(&self, delivery: &Delivery, now: Timestamp) -> Handoff {
        let handoff = self.link().push(delivery, now);
        self.woken.notify_one();
        handoff
    }

    /// Asks the task to end the connection.
    pub(crate) fn end(&self, reason: Reason) {
        self.link().ending.get_or_insert(reason);
        self.woken.notify_one();
    }

    /// Serves the connection until it ends. `hello` is its place until it has said who it is.
    pub(crate) async fn run(
        self: Arc<Self>,
        socket: WebSocket,
        origin: String,
        hello: Place,
        context: Arc<Context>,
    ) {
        let open = Open {
            connection: self.clone(),
            context: context.clone(),
            reason: Reason::PeerClosed,
            line: None,
        };
        let mut task = Task { socket, origin, hello: Some(hello), uaid: None, unsaved: Vec::new(), open };
        while task.turn().await.is_continue() {}
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    fn push(&mut self, delivery: &Delivery, now: Timestamp) -> Handoff {
        if self.ending.is_some() {
            return Handoff::Offline;
        }
        let stored = !delivery.ttl.is_zero();
        match self.session.offer(delivery.id, stored, delivery.expires, now) {
            Offer::Send if self.pushed.len() < MAX_PUSHED => {
                self.pushed.push_back(delivery.clone());
                Handoff::Accepted
            }
            Offer::Send => {
                if stored {
                    self.session.leave();
                }
                Handoff::Busy
            }
            Offer::InFlight => Handoff::Accepted,
            Offer::Expired | Offer::Later => Handoff::Busy,
            Offer::NotConnected => Handoff::Offline,
        }
    }
}

/// A connection as those who push know it.
struct Line {
    connection: Arc<Connection>,
    context: Arc<Context>,
}

impl Carrier for Line {
    fn push(&self, delivery: &Delivery) -> Handoff {
        self.connection.push(delivery, (self.context.clock)())
    }

    fn replaced(&self) {
        self.connection.end(Reason::Replaced);
    }
}

/// Says when a connection has ended, however it ended.
struct Open {
    connection: Arc<Connection>,
    context: Arc<Context>,
    reason: Reason,
    line: Option<(DeviceId, Arc<dyn Carrier>)>,
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some((device, line)) = &self.line {
            self.context.inbox.left(*device, line);
        }
        self.context.ended(&self.connection, self.connection.device.get().copied(), self.reason);
    }
}

type Flow = std::ops::ControlFlow<()>;

/// What the task of a connection has beside what others can reach.
struct Task {
    socket: WebSocket,
    origin: String,
    hello: Option<Place>,
    uaid: Option<Uaid>,
    /// Acknowledgements that the store would not take; they go with the next ones.
    unsaved: Vec<MessageId>,
    open: Open,
}

impl Task {
    fn context(&self) -> Arc<Context> {
        self.open.context.clone()
    }

    fn now(&self) -> Timestamp {
        (self.open.context.clock)()
    }

    fn event(&self, event: Event<'_>) -> Vec<Action> {
        self.open.connection.link().session.on_event(event, self.now())
    }

    /// Does what is to be done, and waits for more.
    async fn turn(&mut self) -> Flow {
        let ending = self.open.connection.link().ending;
        let actions = match ending {
            Some(reason) => self.event(Event::End(reason)),
            None => self.offered().await,
        };
        self.perform(actions).await?;
        let connection = self.open.connection.clone();
        let due = connection.link().session.deadline();
        let rest = due.since(self.now());
        let event = tokio::select! {
            frame = self.socket.recv() => match frame {
                Some(Ok(frame)) => Some(frame),
                Some(Err(error)) => {
                    tracing::debug!("a WebSocket failed: {error}");
                    return self.gone(Reason::PeerClosed);
                }
                None => return self.gone(Reason::PeerClosed),
            },
            () = connection.woken.notified() => None,
            () = sleep(rest) => {
                let actions = self.event(Event::TimePassed);
                return self.perform(actions).await;
            }
        };
        let actions = match &event {
            Some(Frame::Text(text)) => self.event(Event::Text(text)),
            Some(Frame::Binary(_)) => self.event(Event::Binary),
            Some(Frame::Pong(_)) => self.event(Event::Pong),
            Some(Frame::Close(_)) => return self.gone(Reason::PeerClosed),
            // The library answers it.
            Some(Frame::Ping(_)) | None => return Flow::Continue(()),
        };
        self.perform(actions).await
    }

    fn gone(&mut self, reason: Reason) -> Flow {
        self.event(Event::End(reason));
        self.open.reason = reason;
        Flow::Break(())
    }

    async fn perform(&mut self, actions: Vec<Action>) -> Flow {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            let more = match action {
                Action::Greet(uaid) => self.greet(uaid).await,
                Action::Send(text) => {
                    self.write(Frame::Text(text.into())).await?;
                    Vec::new()
                }
                Action::Ping => {
                    self.write(Frame::Ping(Bytes::new())).await?;
                    Vec::new()
                }
                Action::Register(channel, key) => self.register(channel, key).await,
                Action::Unregister(channel) => self.unregister(channel).await,
                Action::Acknowledge(ids) => {
                    self.acknowledge(ids).await;
                    Vec::new()
                }
                Action::Failed(count) => {
                    self.open.context.counters.failed.add(count);
                    Vec::new()
                }
                Action::ReadInbox => self.read_inbox().await,
                Action::Close(reason) => return self.close(reason).await,
            };
            actions.extend(more);
        }
        Flow::Continue(())
    }

    async fn write(&mut self, frame: Frame) -> Flow {
        match timeout(MAX_STALL, self.socket.send(frame)).await {
            Ok(Ok(())) => Flow::Continue(()),
            Ok(Err(_)) => self.gone(Reason::PeerClosed),
            Err(_) => self.gone(Reason::Stalled),
        }
    }

    async fn close(&mut self, reason: Reason) -> Flow {
        self.open.reason = reason;
        if reason != Reason::PeerClosed {
            let (code, reason) = reason.close();
            let frame = Frame::Close(Some(CloseFrame { code, reason: reason.into() }));
            let _ = timeout(LINGER, async {
                if self.socket.send(frame).await.is_ok() {
                    // The browser closes in turn, and nothing that it says counts.
                    while let Some(Ok(_)) = self.socket.recv().await {}
                }
            })
            .await;
        }
        Flow::Break(())
    }

    /// Who is not known is somebody new.
    async fn greet(&mut self, shown: Option<Uaid>) -> Vec<Action> {
        let (context, now) = (self.context(), self.now());
        let known = match shown {
            Some(uaid) => context.channels.known(uaid, now).await,
            None => Ok(false),
        };
        let known = match known {
            Ok(known) => known,
            Err(error) => return self.unavailable("who a browser is could not be looked up", &error),
        };
        let uaid = shown.filter(|_| known).unwrap_or_else(|| context.channels.newcomer());
        let Some(device) = DeviceId::new(uaid.device) else {
            return self.event(Event::End(Reason::Unavailable));
        };
        let connection = self.open.connection.clone();
        let line: Arc<dyn Carrier> =
            Arc::new(Line { connection: connection.clone(), context: context.clone() });
        let arrived = context.inbox.arrived(device, line.clone(), now).await;
        // It may have been made known even if not all went well.
        self.open.line = Some((device, line));
        match arrived {
            Ok(true) => {}
            Ok(false) => return self.event(Event::End(Reason::Replaced)),
            Err(error) => {
                return self.unavailable("what waits for a browser could not be looked at", &error);
            }
        }
        if connection.device.set(device).is_ok() {
            context.counters.greeted.add(1);
        }
        context.counters.new.add(usize::from(!known));
        self.uaid = Some(uaid);
        self.hello = None;
        self.event(Event::Greeted { uaid, known })
    }

    async fn register(&mut self, channel: Channel, key: Option<[u8; 65]>) -> Vec<Action> {
        let Some(uaid) = self.uaid else { return Vec::new() };
        let made = self.open.context.channels.subscribe(uaid, channel.as_str(), key, self.now()).await;
        let endpoint = match made {
            Ok(token) => Some(format!("{}/wpush/v2/{token}", self.origin)),
            Err(error) => {
                self.complain("a browser could not be subscribed", &error);
                None
            }
        };
        self.event(Event::Registered(channel, endpoint))
    }

    async fn unregister(&mut self, channel: Channel) -> Vec<Action> {
        let Some(uaid) = self.uaid else { return Vec::new() };
        let ended = self.open.context.channels.unsubscribe(uaid, channel.as_str(), self.now()).await;
        if let Err(error) = &ended {
            self.complain("a browser could not be unsubscribed", error);
        }
        self.event(Event::Unregistered(channel, ended.is_ok()))
    }

    async fn acknowledge(&mut self, ids: Vec<MessageId>) {
        let Some(device) = self.open.connection.device.get().copied() else { return };
        let context = self.context();
        context.counters.acknowledged.add(ids.len());
        let mut all = std::mem::take(&mut self.unsaved);
        all.extend(ids);
        let mut stored = context.inbox.acknowledge(device, &all, self.now()).await;
        if stored.is_err() {
            // When all say at once that they have it, the store takes some later. Each at its own time.
            sleep(RETRY_ACKNOWLEDGE + Duration::from_millis(device.get() % 1_000)).await;
            stored = context.inbox.acknowledge(device, &all, self.now()).await;
        }
        if let Err(error) = stored {
            self.complain("acknowledgements could not be stored", &error);
            all.truncate(MAX_UNSAVED);
            self.unsaved = all;
        }
    }

    /// What other threads put by.
    async fn offered(&mut self) -> Vec<Action> {
        let pushed = std::mem::take(&mut self.open.connection.link().pushed);
        if pushed.is_empty() {
            return Vec::new();
        }
        let mut actions = Vec::new();
        for delivery in pushed {
            let stored = !delivery.ttl.is_zero();
            let offer = {
                let now = self.now();
                let mut link = self.open.connection.link();
                link.session.offer(delivery.id, stored, delivery.expires, now)
            };
            if offer == Offer::Send && !self.unsaved.contains(&delivery.id) {
                actions.extend(self.deliver(&delivery).await.unwrap_or_default());
            }
        }
        actions.extend(self.event(Event::Offered));
        actions
    }

    /// `None`: it has no form, and is given up.
    async fn deliver(&mut self, delivery: &Delivery) -> Option<Vec<Action>> {
        let context = self.context();
        match form(delivery, &context) {
            Ok(frame) => {
                context.counters.written.add(1);
                Some(self.event(Event::Deliver(delivery.id, frame)))
            }
            Err(error) => {
                // It would fail each time until it expires.
                context.counters.undeliverable.add(1);
                tracing::warn!(message.id = %delivery.id, "a message has no form for its browser and is dropped: {error}");
                let given_up =
                    context.inbox.give_up(delivery.recipient.device, &[delivery.id], self.now()).await;
                if let Err(error) = given_up {
                    self.complain("a message without a form could not be dropped", &error);
                    self.unsaved.push(delivery.id);
                }
                None
            }
        }
    }

    async fn read_inbox(&mut self) -> Vec<Action> {
        let Some(device) = self.open.connection.device.get().copied() else { return Vec::new() };
        let (context, now) = (self.context(), self.now());
        let (connection, unsaved) = (self.open.connection.clone(), self.unsaved.clone());
        let skip = |id| unsaved.contains(&id) || connection.link().session.has(id);
        let waiting = match context.inbox.pending(device, LOOKED_AT, &skip, now).await {
            Ok(waiting) => waiting,
            Err(error) => return self.unavailable("an inbox could not be read", &error),
        };
        let found = waiting.len();
        let next = batch(waiting, |delivery| delivery.collapse_key.is_some());
        let last = found < LOOKED_AT && next.len() == found;
        let (mut actions, mut sent) = (Vec::new(), Vec::with_capacity(next.len()));
        for delivery in next {
            if let Some(more) = self.deliver(&delivery).await {
                actions.extend(more);
                sent.push(delivery);
            }
        }
        context.inbox.sent(device, &sent, now);
        actions.extend(self.event(Event::InboxRead { last }));
        actions
    }

    fn unavailable(&self, what: &str, error: &BackendError) -> Vec<Action> {
        self.complain(what, error);
        self.event(Event::End(Reason::Unavailable))
    }

    /// The store could not: one line for many.
    fn complain(&self, what: &str, error: &BackendError) {
        self.open.context.complaints.warn(self.now(), || format!("{what}: {error}"));
    }
}

/// The delivery as its browser reads it.
fn form(delivery: &Delivery, context: &Context) -> Result<String, WebPushError> {
    let payload = match &delivery.content {
        Content::Message(message) => Payload::Message(message),
        Content::Push(push) => Payload::Push(push),
        // Nobody there would understand it.
        Content::Deleted { .. } => return Err(WebPushError::Elsewhere),
    };
    let envelope = Envelope {
        id: delivery.id,
        payload,
        recipient: &delivery.recipient,
        priority: delivery.priority,
        collapse_key: delivery.collapse_key.as_deref(),
        ttl: delivery.ttl,
    };
    notification(&envelope, context.randomness.as_ref())
}
