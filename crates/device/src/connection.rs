//! One socket: the task that waits for it, and the door through which deliveries come in from
//! other threads. What either does happens under one lock, without waiting, in [`Link`].
//!
//! A silent connection costs its socket, its TLS keys and this task: no buffers, no channel.

mod link;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use cresset_admission::{Newcomer, Place, Waiting};
use cresset_delivery::{Carrier, Delivery, FromDevice, Handoff};
use cresset_message::{DeviceId, MessageId, Timestamp};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::backend::BackendError;
use crate::listener::Context;
use crate::session::Reason;
use crate::tls::Tls;
use link::{Link, Step};

/// Deliveries read from an inbox at a time: what a connection that catches up holds in memory.
const INBOX_BATCH: usize = 64;
/// After acknowledgements that the store would not take, before they are tried once more.
const RETRY_ACKNOWLEDGE: Duration = Duration::from_millis(200);
/// How long a closing connection may take to swallow what was written to it.
const LINGER: Duration = Duration::from_secs(2);

pub(crate) struct Connection {
    socket: TcpStream,
    link: Mutex<Link>,
    /// Another thread has changed the link in a way that its task must act on.
    woken: Notify,
    /// Set once, at login.
    device: OnceLock<DeviceId>,
    /// It has not logged in, and what is to be done for that is ours to do.
    served: AtomicBool,
    /// Among the connections of its address, for as long as it is open.
    _place: Place,
}

impl Connection {
    pub(crate) fn new(socket: TcpStream, tls: Tls, place: Place, now: Timestamp) -> Arc<Self> {
        Arc::new(Self {
            socket,
            link: Mutex::new(Link::new(tls, now)),
            woken: Notify::new(),
            device: OnceLock::new(),
            served: AtomicBool::new(false),
            _place: place,
        })
    }

    /// Writes a delivery, now or when its turn comes.
    pub(crate) fn push(&self, delivery: &Delivery, context: &Context) -> Handoff {
        let mut link = self.link();
        let handoff = link.push(delivery, &self.socket, context);
        if link.needs_its_task() {
            self.woken.notify_one();
        }
        handoff
    }

    /// Asks the connection's task to end it.
    pub(crate) fn close(&self, reason: Reason, context: &Context) {
        self.link().close(reason, &self.socket, (context.clock)());
        self.woken.notify_one();
    }

    /// Serves the connection until it ends. It is a newcomer until its device has logged in.
    pub(crate) async fn run(self: Arc<Self>, context: Arc<Context>, newcomer: Newcomer<Self>) {
        let mut newcomer = Some(newcomer);
        let mut open = Open { connection: &self, context: &context, reason: Reason::Unreadable, line: None };
        open.reason = loop {
            let step = self.link().next_step();
            match step {
                Step::Authenticate { device, security_token } => {
                    self.served.store(true, Ordering::Relaxed);
                    open.line = self.authenticate(device, security_token, &context).await;
                    newcomer = None;
                }
                Step::Acknowledge(ids) => self.acknowledge(ids, &context).await,
                Step::GiveUp(ids) => self.give_up(ids, &context).await,
                Step::Upstream(messages) => self.upstream(messages, &context).await,
                Step::ReadInbox { room } => self.read_inbox(room, &context).await,
                Step::Wait { readable, writable, until } => {
                    self.wait(readable, writable, until, &context).await;
                }
                Step::Close(reason) => break reason,
            }
        };
        drop(newcomer);
        let reason = open.reason;
        drop(open);
        if reason.deserves_the_rest() {
            let _ = timeout(LINGER, self.drain()).await;
        }
    }

    /// Gives the line by which a device that is known is reached.
    async fn authenticate(
        self: &Arc<Self>,
        device: DeviceId,
        security_token: u64,
        context: &Arc<Context>,
    ) -> Option<(DeviceId, Arc<dyn Carrier>)> {
        let now = (context.clock)();
        let known = match context.logins.authenticate(device, security_token, now).await {
            Ok(known) => known,
            Err(error) => {
                self.complain(context, device, "a login could not be checked", &error);
                self.link().close(Reason::Unavailable, &self.socket, now);
                return None;
            }
        };
        if !known {
            self.link().authenticated(false, &self.socket, (context.clock)());
            return None;
        }
        let line: Arc<dyn Carrier> = Arc::new(Line { connection: self.clone(), context: context.clone() });
        match context.inbox.arrived(device, line.clone(), now).await {
            // From here on deliveries are pushed; what came before is in the inbox, which is read next.
            // Neither misses anything, and what both see is told by its id.
            Ok(true) => self.logged_in(device, context),
            Ok(false) => self.link().close(Reason::Replaced, &self.socket, now),
            Err(error) => {
                self.complain(context, device, "what waits for a device could not be looked at", &error);
                self.link().close(Reason::Unavailable, &self.socket, now);
            }
        }
        // It may have been made known even if not all went well.
        Some((device, line))
    }

    fn logged_in(&self, device: DeviceId, context: &Context) {
        self.link().authenticated(true, &self.socket, (context.clock)());
        if self.device.set(device).is_ok() {
            context.counters.logins.add(1);
            context.counters.resumed.add(usize::from(self.link().is_resumed()));
            tracing::debug!(%device, "a device logged in");
        }
    }

    async fn acknowledge(&self, ids: Vec<MessageId>, context: &Context) {
        let Some(device) = self.device.get() else { return };
        context.counters.acknowledged.add(ids.len());
        let mut stored = context.inbox.acknowledge(*device, &ids, (context.clock)()).await;
        if stored.is_err() && !self.link().is_closing() {
            // When all say at once that they have it, the store takes some later. Each at its own time.
            sleep(RETRY_ACKNOWLEDGE + Duration::from_millis(device.get() % 1_000)).await;
            stored = context.inbox.acknowledge(*device, &ids, (context.clock)()).await;
        }
        match stored {
            Ok(()) => self.link().acknowledgements_are_stored(),
            Err(error) => {
                self.complain(context, *device, "acknowledgements could not be stored", &error);
                self.link().keep_acknowledgements(ids);
            }
        }
    }

    /// The store could not: one line for many.
    fn complain(&self, context: &Context, device: DeviceId, what: &str, error: &BackendError) {
        context.refusals.store.warn((context.clock)(), || format!("{what}, of device {device}: {error}"));
    }

    async fn give_up(&self, ids: Vec<MessageId>, context: &Context) {
        let Some(device) = self.device.get() else { return };
        if let Err(error) = context.inbox.give_up(*device, &ids, (context.clock)()).await {
            // They come up again at the next login.
            self.complain(context, *device, "messages without a form could not be dropped", &error);
        }
    }

    async fn upstream(&self, messages: Vec<FromDevice>, context: &Context) {
        let Some(device) = self.device.get() else { return };
        let (taken, error) = context.inbox.upstream(*device, &messages, (context.clock)()).await;
        if let Some(error) = error {
            self.complain(context, *device, "what a device has sent could not be taken", &error);
        }
        context.counters.upstream.add(taken);
        self.link().upstream_taken(messages, taken, &self.socket, (context.clock)());
    }

    async fn read_inbox(&self, room: usize, context: &Context) {
        let Some(device) = self.device.get() else { return };
        let limit = room.min(INBOX_BATCH);
        let skip = |id| self.link().has(id);
        match context.inbox.pending(*device, limit, &skip, (context.clock)()).await {
            Ok(deliveries) => {
                let last = deliveries.len() < limit;
                let written = self.link().deliver_from_inbox(deliveries, last, &self.socket, context);
                context.inbox.sent(*device, &written, (context.clock)());
            }
            Err(error) => {
                self.complain(context, *device, "an inbox could not be read", &error);
                self.link().close(Reason::Unavailable, &self.socket, (context.clock)());
            }
        }
    }

    async fn wait(&self, readable: bool, writable: bool, until: Option<Timestamp>, context: &Context) {
        let now = (context.clock)();
        let rest = until.map_or(Duration::MAX, |until| until.since(now));
        tokio::select! {
            ready = self.socket.readable(), if readable => match ready {
                Ok(()) if self.device.get().is_some() => self.link().receive(&self.socket, (context.clock)()),
                // On the heap, and only then: a connection would keep the room for it for ever.
                Ok(()) => Box::pin(self.receive_in_turn(context)).await,
                Err(_) => self.link().close(Reason::PeerClosed, &self.socket, now),
            },
            ready = self.socket.writable(), if writable => match ready {
                Ok(()) => self.link().flush(&self.socket, (context.clock)()),
                Err(_) => self.link().close(Reason::PeerClosed, &self.socket, now),
            },
            () = self.woken.notified() => {}
            () = sleep(rest) => self.link().time_passed(&self.socket, (context.clock)()),
        }
    }

    /// Reads once what belongs to a handshake or a login.
    async fn receive_in_turn(&self, context: &Context) {
        self.served.store(true, Ordering::Relaxed);
        // The semaphore is never closed.
        let turn = context.turns.acquire().await;
        self.link().receive(&self.socket, (context.clock)());
        drop(turn);
        self.served.store(false, Ordering::Relaxed);
    }

    /// Gives a peer that is being sent away the reason.
    async fn drain(&self) {
        while self.link().has_outgoing() {
            if self.socket.writable().await.is_err() {
                return;
            }
            self.link().flush(&self.socket, Timestamp::default());
        }
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        // A panic while the lock was held (rustls, prost) must not take others down with it.
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting for Connection {
    fn is_served(&self) -> bool {
        self.served.load(Ordering::Relaxed)
    }
}

/// A connection as those who push know it.
struct Line {
    connection: Arc<Connection>,
    context: Arc<Context>,
}

impl Carrier for Line {
    fn push(&self, delivery: &Delivery) -> Handoff {
        self.connection.push(delivery, &self.context)
    }

    /// `protocol/mcs.md` §5; Chromium opens two within a second of its start.
    fn replaced(&self) {
        self.connection.close(Reason::Replaced, &self.context);
    }
}

/// Says when a connection has ended, however it ended: a panic of a library must not leave a dead
/// connection among the living.
struct Open<'a> {
    connection: &'a Arc<Connection>,
    context: &'a Context,
    reason: Reason,
    line: Option<(DeviceId, Arc<dyn Carrier>)>,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if let Some((device, line)) = &self.line {
            self.context.inbox.left(*device, line);
        }
        self.context.ended(self.connection, self.connection.device.get().copied(), self.reason);
    }
}

impl Reason {
    /// Whether a peer may still read what was written to it last.
    fn deserves_the_rest(self) -> bool {
        !matches!(self, Self::PeerClosed | Self::Stalled)
    }
}
