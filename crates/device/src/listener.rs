//! Accepts devices, knows who is connected, and carries deliveries to them.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SecureRandom;
use cresset_admission::{Bounds, Entry, Gate, House, accept_until};
use cresset_message::DeviceId;
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::backend::{Inbox, Logins};
use crate::connection::Connection;
use crate::counters::{Counters, Snapshot};
use crate::refusals::Refusals;
use crate::session::Reason;
use crate::tls::Tls;

pub use cresset_admission::Clock;

/// Data that a phone does not acknowledge for so long has not reached it. Long, for a radio may
/// sleep; the device would reconnect at once if it noticed first.
const UNACKNOWLEDGED: Duration = Duration::from_secs(120);
/// The kernel asks silent peers whether they are there: half of the receivers never ping and
/// never answer a ping (`protocol/mcs.md` §8). Below the 15 minutes of the longest heartbeat.
const KEEPALIVE: Duration = Duration::from_secs(10 * 60);
const KEEPALIVE_RETRY: Duration = Duration::from_secs(30);
/// How long connections may take to end after a shutdown.
const SHUTDOWN: Duration = Duration::from_secs(5);

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

impl Limits {
    fn bounds(&self) -> Bounds {
        Bounds {
            connections: self.connections,
            logins: self.logins,
            patience: self.patience,
            per_address: self.per_address,
            logins_per_address: self.logins_per_address,
            loopback: self.loopback,
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
    gate: Gate<Connection>,
    pub(crate) refusals: Refusals,
}

impl Listener {
    pub fn new(parts: Parts) -> Self {
        let Parts { tls, logins, inbox, clock, randomness, limits } = parts;
        let context = Context {
            logins,
            inbox,
            gate: Gate::new("devices", &limits.bounds(), clock.clone()),
            clock,
            randomness,
            counters: Counters::default(),
            turns: Semaphore::new(limits.handshakes),
            tls,
            refusals: Refusals::default(),
        };
        Self { context: Arc::new(context) }
    }

    /// Serves devices on `sockets` until `shutdown` ends, then sends every device away and waits
    /// for that, but not for long.
    pub async fn serve(&self, sockets: Vec<TcpListener>, shutdown: impl Future<Output = ()>) {
        accept_until(&self.context, sockets, shutdown).await;
        self.send_away().await;
    }

    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        self.context.counters.snapshot(self.context.gate.seen())
    }

    async fn send_away(&self) {
        let before = self.snapshot();
        let open = self.context.gate.open();
        open.for_each(|connection| connection.close(Reason::Shutdown, &self.context));
        let _ = timeout(SHUTDOWN, open.all_ended()).await;
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
        self.counters.ended(reason);
        self.refusals.ended(reason, (self.clock)());
        self.gate.leave(connection);
    }
}

impl House for Context {
    type Connection = Connection;

    fn gate(&self) -> &Gate<Connection> {
        &self.gate
    }

    fn admit(self: Arc<Self>, socket: TcpStream, entry: Entry) {
        let now = (self.clock)();
        if let Err(error) = prepare(&socket) {
            tracing::debug!("a socket could not be prepared: {error}");
        }
        match Tls::new(self.tls.clone()) {
            Ok(tls) => {
                let connection = Connection::new(socket, tls, entry.place, now);
                let newcomer = self.gate.enter(&connection, entry.login);
                tokio::spawn(connection.run(self, newcomer));
            }
            Err(error) => self.refusals.tls.warn(now, || format!("TLS is not configured: {error}")),
        }
    }

    fn send_away(&self, connection: &Connection) {
        connection.close(Reason::GaveWay, self);
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
