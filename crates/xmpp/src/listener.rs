//! Accepts app servers, and bounds how many there are.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand::SecureRandom;
use cresset_admission::{Bounds, Entry, Gate, House, accept_until};
use cresset_delivery::Dispatcher;
use cresset_identity::Identity;
use cresset_message::ProjectNumber;
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::connection::{Connection, Order};
use crate::counters::{Counters, Snapshot};
use crate::refusals::Refusals;
use crate::session::Reason;

pub use cresset_admission::Clock;

/// Data that an app server does not acknowledge for so long has not reached it.
const UNACKNOWLEDGED: Duration = Duration::from_secs(120);
/// The kernel asks silent peers whether they are there.
const KEEPALIVE: Duration = Duration::from_secs(5 * 60);
const KEEPALIVE_RETRY: Duration = Duration::from_secs(30);
/// How long connections may take to end once they have been told that time is up.
const LAST_WORDS: Duration = Duration::from_secs(2);

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
    gate: Gate<Connection>,
    senders: Mutex<HashMap<ProjectNumber, usize>>,
}

impl Listener {
    pub fn new(parts: Parts) -> Self {
        let Parts { tls, identity, dispatcher, clock, randomness, limits } = parts;
        let context = Context {
            identity,
            dispatcher,
            gate: Gate::new("app servers", &limits.bounds(), clock.clone()),
            clock,
            randomness,
            counters: Counters::default(),
            refusals: Refusals::default(),
            tls: TlsAcceptor::from(tls),
            senders: Mutex::default(),
            limits,
        };
        Self { context: Arc::new(context) }
    }

    /// Serves app servers on `sockets` until `shutdown` ends. Then each is told to send elsewhere, and
    /// may finish what is under way, but not for long.
    pub async fn serve(&self, sockets: Vec<TcpListener>, shutdown: impl Future<Output = ()>) {
        accept_until(&self.context, sockets, shutdown).await;
        self.drain().await;
    }

    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        self.context.counters.snapshot(self.context.gate.seen())
    }

    async fn drain(&self) {
        let before = self.snapshot();
        let open = self.context.gate.open();
        open.for_each(|connection| connection.order(Order::Drain));
        if timeout(self.context.limits.drain, open.all_ended()).await.is_err() {
            open.for_each(|connection| connection.order(Order::Shutdown));
            let _ = timeout(LAST_WORDS, open.all_ended()).await;
        }
        let left = self.snapshot().connections;
        tracing::info!(app_servers = before.app_servers, left, "the XMPP listener has stopped");
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
        self.counters.ended(reason);
        self.refusals.ended(reason, (self.clock)());
        self.gate.leave(connection);
        tracing::debug!(?reason, "a connection of an app server ended");
    }

    fn senders(&self) -> MutexGuard<'_, HashMap<ProjectNumber, usize>> {
        // Nothing panics between two changes of it.
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl House for Context {
    type Connection = Connection;

    fn gate(&self) -> &Gate<Connection> {
        &self.gate
    }

    fn admit(self: Arc<Self>, socket: TcpStream, entry: Entry) {
        if let Err(error) = prepare(&socket) {
            tracing::debug!("a socket could not be prepared: {error}");
        }
        let connection = Connection::new(entry.place);
        let newcomer = self.gate.enter(&connection, entry.login);
        tokio::spawn(connection.run(socket, self, newcomer));
    }

    fn send_away(&self, connection: &Connection) {
        connection.order(Order::GiveWay);
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
