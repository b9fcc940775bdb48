//! Accepts app servers, and bounds how many there are.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand::SecureRandom;
use cresset_admission::{Newcomers, OpenConnections, PerAddress, Place};
use cresset_delivery::Dispatcher;
use cresset_identity::Identity;
use cresset_message::{ProjectNumber, Timestamp};
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::connection::{Connection, Order};
use crate::counters::{Counters, Snapshot};
use crate::refusals::Refusals;
use crate::session::Reason;

/// Tells the time; the caller's, because nobody here reads the clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Data that an app server does not acknowledge for so long has not reached it.
const UNACKNOWLEDGED: Duration = Duration::from_secs(120);
/// The kernel asks silent peers whether they are there.
const KEEPALIVE: Duration = Duration::from_secs(5 * 60);
const KEEPALIVE_RETRY: Duration = Duration::from_secs(30);
/// How long connections may take to end once they have been told that time is up.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long to leave `accept` alone after it failed: usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The bounds of a listener.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections; more are closed unread.
    pub connections: usize,
    /// Those of one sender, the rest refused in words (`protocol/xmpp.md` §2).
    pub per_sender: usize,
    /// Connections that have not logged in yet. When there are so many, others wait in the kernel's queue.
    pub logins: usize,
    /// How long a connection may take to log in while others wait for its place.
    pub patience: Duration,
    /// Open connections of one IPv4 address or one IPv6 network of 64 bits; more are closed unread.
    /// 0 is no limit, here and below.
    pub per_address: usize,
    /// Those of them that have not logged in yet.
    pub logins_per_address: usize,
    /// Whether this machine's own addresses are limited too.
    pub loopback: bool,
    /// How long connections have, from the end of the service on, to finish what is under way.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            per_sender: 2_500,
            logins: 1_024,
            patience: Duration::from_secs(5),
            per_address: 2_500,
            logins_per_address: 512,
            loopback: false,
            drain: Duration::from_secs(5),
        }
    }
}

/// The parts a listener is joined with.
pub struct Parts {
    pub tls: Arc<ServerConfig>,
    pub identity: Arc<Identity>,
    pub dispatcher: Arc<Dispatcher>,
    pub clock: Clock,
    pub randomness: Arc<dyn SecureRandom + Send + Sync>,
    pub limits: Limits,
}

/// The connection server.
#[derive(Clone)]
pub struct Listener {
    context: Arc<Context>,
}

/// What every connection can reach.
pub(crate) struct Context {
    pub(crate) identity: Arc<Identity>,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) clock: Clock,
    pub(crate) randomness: Arc<dyn SecureRandom + Send + Sync>,
    pub(crate) counters: Counters,
    pub(crate) refusals: Refusals,
    pub(crate) tls: TlsAcceptor,
    limits: Limits,
    open: OpenConnections<Connection>,
    newcomers: Arc<Newcomers<Connection>>,
    addresses: Arc<PerAddress>,
    login_addresses: Arc<PerAddress>,
    senders: Mutex<HashMap<ProjectNumber, usize>>,
}

impl Listener {
    pub fn new(parts: Parts) -> Self {
        let Parts { tls, identity, dispatcher, clock, randomness, limits } = parts;
        let context = Context {
            identity,
            dispatcher,
            clock,
            randomness,
            counters: Counters::default(),
            refusals: Refusals::default(),
            tls: TlsAcceptor::from(tls),
            open: OpenConnections::default(),
            newcomers: Arc::new(Newcomers::new(limits.logins, limits.patience)),
            addresses: PerAddress::new(limits.per_address, limits.loopback),
            login_addresses: PerAddress::new(limits.logins_per_address, limits.loopback),
            senders: Mutex::default(),
            limits,
        };
        Self { context: Arc::new(context) }
    }

    /// Serves app servers on `sockets` until `shutdown` ends. Then each is told to send elsewhere, and
    /// may finish what is under way, but not for long.
    pub async fn serve(&self, sockets: Vec<TcpListener>, shutdown: impl Future<Output = ()>) {
        let (stop, stopped) = watch::channel(false);
        let mut accepting = JoinSet::new();
        for socket in sockets {
            let accept = Accept { socket, context: self.context.clone(), stopped: stopped.clone() };
            accepting.spawn(accept.run());
        }
        shutdown.await;
        let _ = stop.send(true);
        while accepting.join_next().await.is_some() {}
        self.drain().await;
    }

    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        let newcomers = self.context.newcomers.count() as u64;
        Snapshot { newcomers, ..self.context.counters.snapshot() }
    }

    async fn drain(&self) {
        let before = self.snapshot();
        self.context.open.for_each(|connection| connection.order(Order::Drain));
        if timeout(self.context.limits.drain, self.all_ended()).await.is_err() {
            self.context.open.for_each(|connection| connection.order(Order::Shutdown));
            let _ = timeout(LAST_WORDS, self.all_ended()).await;
        }
        let left = self.snapshot().connections;
        tracing::info!(app_servers = before.app_servers, left, "the XMPP listener has stopped");
    }

    async fn all_ended(&self) {
        while self.snapshot().connections > 0 {
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Context {
    /// Whether the sender may have one more connection; it has it then.
    pub(crate) fn enter(&self, sender: ProjectNumber) -> bool {
        let mut senders = self.senders();
        let count = senders.entry(sender).or_default();
        let has_room = *count < self.limits.per_sender;
        *count += usize::from(has_room);
        has_room
    }

    pub(crate) fn leave(&self, sender: ProjectNumber) {
        let mut senders = self.senders();
        if let Some(count) = senders.get_mut(&sender) {
            *count -= 1;
            if *count == 0 {
                senders.remove(&sender);
            }
        }
    }

    pub(crate) fn ended(&self, connection: &Arc<Connection>, reason: Reason) {
        self.open.remove(connection);
        self.counters.ended(reason);
        self.refusals.ended(reason, (self.clock)());
        tracing::debug!(?reason, "a connection of an app server ended");
    }

    fn senders(&self) -> MutexGuard<'_, HashMap<ProjectNumber, usize>> {
        // Nothing panics between two changes of it.
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The loop of one listening socket.
struct Accept {
    socket: TcpListener,
    context: Arc<Context>,
    stopped: watch::Receiver<bool>,
}

impl Accept {
    async fn run(mut self) {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            () = self.accept_all() => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }

    async fn accept_all(&mut self) {
        let context = &self.context;
        let give_way = |connection: &Connection| connection.order(Order::GiveWay);
        loop {
            match self.socket.accept().await {
                // Who is to be refused is refused at once, also while others wait for room.
                Ok((socket, peer)) => match context.places(peer.ip()) {
                    Some(places) => {
                        let permit = context.newcomers.room(&*context.clock, give_way).await;
                        context.admit(socket, places, permit);
                    }
                    None => drop(socket),
                },
                Err(error) => {
                    let now = (context.clock)();
                    context.refusals.accept.warn(now, || format!("app servers cannot be accepted: {error}"));
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// A connection's place among those of its address, and among those that have not logged in.
struct Places {
    open: Place,
    login: Place,
}

impl Context {
    fn places(&self, address: IpAddr) -> Option<Places> {
        let limit = self.limits.connections;
        if self.counters.snapshot().connections >= limit as u64 {
            self.counters.over_capacity.add(1);
            let text = || format!("more than {limit} app servers want to connect");
            self.refusals.capacity.warn((self.clock)(), text);
            return None;
        }
        let Some(open) = self.addresses.enter(address) else {
            self.counters.over_address.add(1);
            return self.too_many_of(address, &self.addresses, "connections");
        };
        let Some(login) = self.login_addresses.enter(address) else {
            self.counters.over_address_logins.add(1);
            return self.too_many_of(address, &self.login_addresses, "connections without a login");
        };
        Some(Places { open, login })
    }

    fn too_many_of(&self, address: IpAddr, counts: &PerAddress, what: &str) -> Option<Places> {
        let limit = counts.limit();
        let text = || format!("{address} wants more than {limit} {what} of app servers");
        self.refusals.address.warn((self.clock)(), text);
        None
    }

    fn admit(self: &Arc<Self>, socket: TcpStream, places: Places, permit: OwnedSemaphorePermit) {
        if let Err(error) = prepare(&socket) {
            tracing::debug!("a socket could not be prepared: {error}");
        }
        self.counters.accepted.add(1);
        let connection = Connection::new(places.open);
        self.open.add(&connection);
        let newcomer = self.newcomers.add(&connection, permit, places.login, (self.clock)());
        tokio::spawn(connection.run(socket, self.clone(), newcomer));
    }
}

/// Answers are not held back; peers that vanished are noticed by the kernel.
fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE_RETRY))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    Ok(())
}
