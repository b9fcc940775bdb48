//! Accepts devices, knows who is connected, and carries deliveries to them.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SecureRandom;
use cresset_admission::{Newcomers, OpenConnections, PerAddress, Place};
use cresset_message::{DeviceId, Timestamp};
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::backend::{Inbox, Logins};
use crate::connection::Connection;
use crate::counters::{Counters, Snapshot};
use crate::refusals::Refusals;
use crate::session::Reason;
use crate::tls::Tls;

/// Tells the time; the caller's, because nobody here reads the clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Data that a phone does not acknowledge for so long has not reached it. Long, for a radio may
/// sleep; the device would reconnect at once if it noticed first.
const UNACKNOWLEDGED: Duration = Duration::from_secs(120);
/// The kernel asks silent peers whether they are there: half of the receivers never ping and
/// never answer a ping (`protocol/mcs.md` §8). Below the 15 minutes of the longest heartbeat.
const KEEPALIVE: Duration = Duration::from_secs(10 * 60);
const KEEPALIVE_RETRY: Duration = Duration::from_secs(30);
/// How long connections may take to end after a shutdown.
const SHUTDOWN: Duration = Duration::from_secs(5);
/// How long to leave `accept` alone after it failed: usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The bounds of a listener.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections; more are closed unread.
    pub connections: usize,
    /// Connections that have not logged in yet. When there are so many, others wait in the
    /// kernel's queue: devices that all come back at once are let in as fast as we can.
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
    /// Connections whose handshake or login is worked on at the same time. Those that are connected
    /// get the processor in between, however many others want to be.
    pub handshakes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_000_000,
            logins: 4096,
            patience: Duration::from_secs(5),
            per_address: 10_000,
            logins_per_address: 512,
            loopback: false,
            handshakes: 4,
        }
    }
}

/// The parts a listener is joined with.
pub struct Parts {
    /// Of [`crate::server_config`].
    pub tls: Arc<ServerConfig>,
    pub logins: Arc<dyn Logins>,
    pub inbox: Arc<dyn Inbox>,
    pub clock: Clock,
    pub randomness: Arc<dyn SecureRandom + Send + Sync>,
    pub limits: Limits,
}

/// The server side of MCS. Each device that logs in is a [`Carrier`](cresset_delivery::Carrier).
#[derive(Clone)]
pub struct Listener {
    context: Arc<Context>,
}

/// What every connection can reach.
pub(crate) struct Context {
    pub(crate) logins: Arc<dyn Logins>,
    pub(crate) inbox: Arc<dyn Inbox>,
    pub(crate) clock: Clock,
    pub(crate) randomness: Arc<dyn SecureRandom + Send + Sync>,
    pub(crate) counters: Counters,
    /// Of [`Limits::handshakes`].
    pub(crate) turns: Semaphore,
    tls: Arc<ServerConfig>,
    limits: Limits,
    open: OpenConnections<Connection>,
    newcomers: Arc<Newcomers<Connection>>,
    addresses: Arc<PerAddress>,
    login_addresses: Arc<PerAddress>,
    pub(crate) refusals: Refusals,
}

impl Listener {
    pub fn new(parts: Parts) -> Self {
        let Parts { tls, logins, inbox, clock, randomness, limits } = parts;
        let context = Context {
            logins,
            inbox,
            clock,
            randomness,
            counters: Counters::default(),
            turns: Semaphore::new(limits.handshakes),
            tls,
            open: OpenConnections::default(),
            newcomers: Arc::new(Newcomers::new(limits.logins, limits.patience)),
            addresses: PerAddress::new(limits.per_address, limits.loopback),
            login_addresses: PerAddress::new(limits.logins_per_address, limits.loopback),
            refusals: Refusals::default(),
            limits,
        };
        Self { context: Arc::new(context) }
    }

    /// Serves devices on `sockets` until `shutdown` ends, then sends every device away and waits
    /// for that, but not for long.
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
        self.send_away().await;
    }

    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        let newcomers = self.context.newcomers.count() as u64;
        Snapshot { newcomers, ..self.context.counters.snapshot() }
    }

    async fn send_away(&self) {
        let before = self.snapshot();
        self.context.open.for_each(|connection| connection.close(Reason::Shutdown, &self.context));
        let all_ended = async {
            while self.snapshot().connections > 0 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = timeout(SHUTDOWN, all_ended).await;
        let left = self.snapshot().connections;
        tracing::info!(devices = before.devices, left, "the device listener has stopped");
    }
}

impl Context {
    pub(crate) fn ended(&self, connection: &Arc<Connection>, device: Option<DeviceId>, reason: Reason) {
        if let Some(device) = device {
            self.counters.logouts.add(1);
            tracing::debug!(%device, ?reason, "a device's connection ended");
        } else {
            tracing::debug!(?reason, "a connection ended without login");
        }
        self.open.remove(connection);
        self.counters.ended(reason);
        self.refusals.ended(reason, (self.clock)());
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
        loop {
            match self.socket.accept().await {
                // Who is to be refused is refused at once, also while others wait for room.
                Ok((socket, peer)) => match context.places(peer.ip()) {
                    Some(places) => {
                        let give_way = |connection: &Connection| connection.close(Reason::GaveWay, context);
                        let permit = context.newcomers.room(&*context.clock, give_way).await;
                        context.admit(socket, places, permit);
                    }
                    None => drop(socket),
                },
                Err(error) => {
                    let now = (context.clock)();
                    context.refusals.accept.warn(now, || format!("devices cannot be accepted: {error}"));
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
        let now = (self.clock)();
        let limit = self.limits.connections;
        if self.counters.snapshot().connections >= limit as u64 {
            self.counters.over_capacity.add(1);
            self.refusals.capacity.warn(now, || format!("more than {limit} devices want to connect"));
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
        self.refusals
            .address
            .warn((self.clock)(), || format!("{address} wants more than {limit} {what} of devices"));
        None
    }

    fn admit(self: &Arc<Self>, socket: TcpStream, places: Places, permit: OwnedSemaphorePermit) {
        let now = (self.clock)();
        if let Err(error) = prepare(&socket) {
            tracing::debug!("a socket could not be prepared: {error}");
        }
        match Tls::new(self.tls.clone()) {
            Ok(tls) => {
                self.counters.accepted.add(1);
                let connection = Connection::new(socket, tls, places.open, now);
                self.open.add(&connection);
                let newcomer = self.newcomers.add(&connection, permit, places.login, now);
                tokio::spawn(connection.run(self.clone(), newcomer));
            }
            Err(error) => self.refusals.tls.warn(now, || format!("TLS is not configured: {error}")),
        }
    }
}

/// One frame is one segment; peers that vanished are noticed by the kernel.
fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE_RETRY))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    Ok(())
}
