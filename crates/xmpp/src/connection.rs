//! One socket: bytes to the session and back, and what the session asks of others meanwhile.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cresset_admission::{Newcomer, Place, Waiting};
use cresset_delivery::{AppServer, Line};
use cresset_message::{MessageId, ProjectNumber, Timestamp};
use cresset_wire::xmpp::Reader;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;

use crate::downstream::deliver;
use crate::listener::Context;
use crate::session::{Action, Chance, Event, LOGIN_TIMEOUT, Reason, Session, Verdict};

/// Read at a time: one TLS record (RFC 8446 §5.1).
const READ: usize = 16 * 1024;
/// Bytes written and not taken by the socket; beyond it nothing more is read or pulled.
const MAX_OUTGOING: usize = 256 * 1024;
/// How long an app server may leave its socket full.
const MAX_STALL: Duration = Duration::from_secs(60);
/// How long a closing connection may take to swallow what was written to it.
const LINGER: Duration = Duration::from_secs(2);
/// After what the store could not do.
const RETRY: Duration = Duration::from_secs(1);

/// What a connection is told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Drain,
    Shutdown,
    GiveWay,
}

pub(crate) struct Connection {
    /// Something is to be done that did not come over the socket.
    woken: Notify,
    orders: Mutex<Vec<Order>>,
    /// There is something for app servers of the project.
    upstream: AtomicBool,
    /// Among the connections of its address, for as long as it is open.
    _place: Place,
}

impl Waiting for Connection {
    /// A login is checked in memory: whoever has not logged in has not said who it is.
    fn is_served(&self) -> bool {
        false
    }
}

impl AppServer for Connection {
    fn wake(&self) {
        self.upstream.store(true, Ordering::Release);
        self.woken.notify_one();
    }
}

impl Connection {
    pub(crate) fn new(place: Place) -> Arc<Self> {
        Arc::new(Self {
            woken: Notify::new(),
            orders: Mutex::default(),
            upstream: AtomicBool::new(false),
            _place: place,
        })
    }

    pub(crate) fn order(&self, order: Order) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).push(order);
        self.woken.notify_one();
    }

    /// Serves the connection until it ends. It is a newcomer until its app server has logged in.
    pub(crate) async fn run(
        self: Arc<Self>,
        socket: TcpStream,
        context: Arc<Context>,
        newcomer: Newcomer<Self>,
    ) {
        let mut open = Open { connection: &self, context: &context, reason: Reason::Unreadable };
        let stream = tokio::select! {
            stream = timeout(LOGIN_TIMEOUT, context.tls.accept(socket)) => stream,
            order = self.ordered() => {
                open.reason = if order == Order::GiveWay { Reason::GaveWay } else { Reason::Shutdown };
                return;
            }
        };
        match stream {
            Ok(Ok(stream)) => {
                let serving = Serving::new(&self, &context, stream, newcomer);
                open.reason = Box::pin(serving.run()).await;
            }
            Ok(Err(error)) => tracing::debug!("TLS with an app server failed: {error}"),
            Err(_) => open.reason = Reason::LoginTimeout,
        }
    }

    /// The first order, where none can be followed but to leave.
    async fn ordered(&self) -> Order {
        loop {
            self.woken.notified().await;
            if let Some(order) = self.take_orders().first() {
                return *order;
            }
        }
    }

    fn take_orders(&self) -> Vec<Order> {
        std::mem::take(&mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Says when a connection has ended, however it ended.
struct Open<'a> {
    connection: &'a Arc<Connection>,
    context: &'a Context,
    reason: Reason,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.context.ended(self.connection, self.reason);
    }
}

type Work = Pin<Box<dyn Future<Output = Event> + Send>>;

/// A connection whose TLS stands.
struct Serving<'a> {
    connection: &'a Arc<Connection>,
    context: &'a Arc<Context>,
    reader: Reader,
    session: Session,
    /// What was asked of others; each polled in the order in which it was asked first.
    work: FuturesUnordered<Work>,
    incoming: ReadHalf<TlsStream<TcpStream>>,
    socket: WriteHalf<TlsStream<TcpStream>>,
    outgoing: Vec<u8>,
    /// Of it, what was written.
    written: usize,
    /// Written, but perhaps not past TLS.
    unflushed: bool,
    /// Since when the socket takes nothing.
    stalled: Option<Timestamp>,
    newcomer: Option<Newcomer<Connection>>,
    sender: Option<ProjectNumber>,
    line: Option<Line>,
    closing: Option<Reason>,
}

/// What has happened.
enum Ready {
    Read(std::io::Result<usize>),
    Written(std::io::Result<usize>),
    Flushed(std::io::Result<()>),
    Work(Event),
    Woken,
    TimePassed,
}

impl<'a> Serving<'a> {
    fn new(
        connection: &'a Arc<Connection>,
        context: &'a Arc<Context>,
        stream: TlsStream<TcpStream>,
        newcomer: Newcomer<Connection>,
    ) -> Self {
        let (incoming, socket) = tokio::io::split(stream);
        Self {
            connection,
            context,
            reader: Reader::new(),
            session: Session::new(chance(context), (context.clock)()),
            work: FuturesUnordered::new(),
            incoming,
            socket,
            outgoing: Vec::new(),
            written: 0,
            unflushed: false,
            stalled: None,
            newcomer: Some(newcomer),
            sender: None,
            line: None,
            closing: None,
        }
    }

    async fn run(mut self) -> Reason {
        let mut buffer = vec![0; READ];
        let reason = loop {
            self.read_on();
            if let Some(reason) = self.closing {
                break reason;
            }
            match self.wait(&mut buffer).await {
                Ready::Read(Ok(0) | Err(_)) => break Reason::PeerClosed,
                Ready::Read(Ok(read)) => {
                    self.happens(Event::Heard);
                    self.reader.push(&buffer[..read]);
                }
                Ready::Written(Ok(count)) => self.took(count),
                Ready::Flushed(Ok(())) => (self.unflushed, self.stalled) = (false, None),
                Ready::Written(Err(_)) | Ready::Flushed(Err(_)) => break Reason::PeerClosed,
                Ready::Work(event) => self.work_is_done(event),
                Ready::Woken => self.woken(),
                Ready::TimePassed => self.time_passed(),
            }
        };
        if !matches!(reason, Reason::PeerClosed | Reason::Stalled) {
            let _ = timeout(LINGER, self.last_words()).await;
        }
        reason
    }

    /// Reads what has come, as far as there is room for what follows from it.
    fn read_on(&mut self) {
        while self.closing.is_none() && self.session.wants_input() && self.has_room() {
            match self.reader.take() {
                Ok(Some(incoming)) => self.happens(Event::Received(incoming)),
                Ok(None) => return,
                Err(error) => return self.happens(Event::Unreadable(error)),
            }
        }
    }

    async fn wait(&mut self, buffer: &mut [u8]) -> Ready {
        let wants = self.session.wants_input() && self.has_room();
        let until = self.deadline();
        let rest = until.map_or(Duration::MAX, |until| until.since((self.context.clock)()));
        let outgoing = &self.outgoing[self.written..];
        let writes = !outgoing.is_empty() || self.unflushed;
        tokio::select! {
            read = self.incoming.read(buffer), if wants => Ready::Read(read),
            ready = write(&mut self.socket, outgoing), if writes => ready,
            Some(event) = self.work.next(), if !self.work.is_empty() => Ready::Work(event),
            () = self.connection.woken.notified() => Ready::Woken,
            () = sleep(rest) => Ready::TimePassed,
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        let stall = self.stalled.map(|since| since + MAX_STALL);
        self.session.deadline().into_iter().chain(stall).min()
    }

    fn has_room(&self) -> bool {
        self.outgoing.len() - self.written < MAX_OUTGOING
    }

    fn took(&mut self, count: usize) {
        self.written += count;
        self.unflushed = true;
        self.stalled = Some((self.context.clock)());
        if self.written == self.outgoing.len() {
            (self.outgoing, self.written) = (Vec::new(), 0);
        }
    }

    /// With it goes what else is done, so that the answers are written together.
    fn work_is_done(&mut self, event: Event) {
        self.happens(event);
        while let Some(Some(event)) = self.work.next().now_or_never() {
            self.happens(event);
        }
    }

    fn woken(&mut self) {
        for order in self.connection.take_orders() {
            self.happens(match order {
                Order::Drain => Event::Drain,
                Order::Shutdown => Event::Shutdown,
                Order::GiveWay => Event::GiveWay,
            });
        }
        if self.connection.upstream.swap(false, Ordering::AcqRel) {
            match (self.has_room(), self.line) {
                (true, _) => self.happens(Event::Woken),
                (false, Some(line)) => self.context.dispatcher.pass(line),
                (false, None) => {}
            }
        }
    }

    fn time_passed(&mut self) {
        let now = (self.context.clock)();
        if self.stalled.is_some_and(|since| since + MAX_STALL <= now) {
            self.closing = Some(Reason::Stalled);
            return;
        }
        self.happens(Event::TimePassed);
    }

    fn happens(&mut self, event: Event) {
        for action in self.session.on_event(event, (self.context.clock)()) {
            match action {
                Action::Write(text) => self.write(&text),
                Action::Restart => self.reader.restart(),
                Action::Authenticate { sender, key } => self.authenticate(sender, &key),
                Action::Attach => self.attach(),
                Action::Send(number, downstream) => self.send(number, downstream),
                Action::Pull(room) => self.pull(room),
                Action::Pass => self.line.into_iter().for_each(|line| self.context.dispatcher.pass(line)),
                Action::Again(ids) => self.again(ids),
                Action::Acknowledge(id) => self.acknowledge(id),
                Action::Count(what) => self.context.counters.count(what),
                Action::Close(reason) => self.closing = Some(reason),
            }
        }
    }

    fn write(&mut self, text: &str) {
        self.outgoing.extend_from_slice(text.as_bytes());
        self.stalled.get_or_insert((self.context.clock)());
    }

    fn authenticate(&mut self, sender: ProjectNumber, key: &str) {
        let verdict = if self.context.identity.authorize_server_key(key, sender).is_err() {
            Verdict::Unknown
        } else if self.context.enter(sender) {
            self.sender = Some(sender);
            self.newcomer = None;
            self.context.counters.logins.add(1);
            Verdict::Known
        } else {
            Verdict::TooMany
        };
        self.happens(Event::Authenticated(verdict));
    }

    fn attach(&mut self) {
        if let Some(sender) = self.sender {
            let app_server: Arc<dyn AppServer> = self.connection.clone();
            self.line = Some(self.context.dispatcher.attach(sender, app_server));
        }
    }

    fn send(&mut self, number: u64, downstream: Box<cresset_wire::legacy::Downstream>) {
        let Some(sender) = self.sender else { return };
        self.context.counters.received.add(1);
        let context = self.context.clone();
        self.work.push(Box::pin(async move {
            let now = (context.clock)();
            Event::Answered(number, deliver(&context.dispatcher, sender, *downstream, now).await)
        }));
    }

    fn pull(&mut self, room: usize) {
        let Some(line) = self.line else { return };
        let context = self.context.clone();
        self.work.push(Box::pin(async move {
            loop {
                match context.dispatcher.pull(line, room, (context.clock)()).await {
                    Ok(pulled) => return Event::Pulled(pulled),
                    Err(error) => {
                        complain(&context, "what waits for an app server could not be read", &error)
                    }
                }
                sleep(RETRY).await;
            }
        }));
    }

    fn again(&mut self, ids: Vec<MessageId>) {
        let Some(line) = self.line else { return };
        let context = self.context.clone();
        self.work.push(Box::pin(async move {
            loop {
                match context.dispatcher.again(line, &ids, (context.clock)()).await {
                    Ok(found) => return Event::Again(ids, found),
                    Err(error) => {
                        complain(&context, "what waits for an app server could not be read", &error)
                    }
                }
                sleep(RETRY).await;
            }
        }));
    }

    /// To its end even if the connection does not live so long.
    fn acknowledge(&mut self, id: MessageId) {
        let Some(line) = self.line else { return };
        let context = self.context.clone();
        let acknowledged = context.dispatcher.acknowledge_upstream(line, vec![id], (context.clock)());
        tokio::spawn(async move {
            if let Err(error) = acknowledged.await {
                complain(&context, "an app server's ack could not be stored", &error);
            }
        });
    }

    /// Gives a peer that is being sent away the reason.
    async fn last_words(&mut self) {
        let rest = std::mem::take(&mut self.outgoing);
        if self.socket.write_all(&rest[self.written..]).await.is_ok() {
            let _ = self.socket.shutdown().await;
        }
        self.written = 0;
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        if let Some(line) = self.line {
            self.context.dispatcher.detach(line, &self.session.unacknowledged());
        }
        if let Some(sender) = self.sender {
            self.context.leave(sender);
            self.context.counters.logouts.add(1);
        }
    }
}

/// As much as goes at once, else what is on its way; dropped in between, nothing is lost.
async fn write(socket: &mut WriteHalf<TlsStream<TcpStream>>, outgoing: &[u8]) -> Ready {
    if outgoing.is_empty() {
        Ready::Flushed(socket.flush().await)
    } else {
        Ready::Written(socket.write(outgoing).await)
    }
}

/// The store could not: one line for many.
fn complain(context: &Context, what: &str, error: &dyn std::fmt::Display) {
    context.refusals.store.warn((context.clock)(), || format!("{what}: {error}"));
}

fn chance(context: &Context) -> Chance {
    let mut bytes = [0; 24];
    // What is made of it are names, not secrets; without chance they are all zero.
    let _ = context.randomness.fill(&mut bytes);
    let number = |at: usize| bytes[at..at + 8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    Chance { streams: [number(0), number(8)], resource: number(16) }
}
