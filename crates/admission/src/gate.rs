//! The gate of a listener whose peers log in: it accepts them, and bounds how many there are.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use cresset_message::Timestamp;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

use crate::accept::accept;
use crate::addresses::Place;
use crate::counter::Counter;
use crate::newcomers::{Newcomer, Newcomers, Waiting};
use crate::open::OpenConnections;
use crate::places::{Addresses, Places, TooMany};
use crate::rare_log::RareLog;

/// Tells the time; the caller's, because nobody here reads the clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The bounds of a gate.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Open connections; more are closed unread.
    pub connections: usize,
    /// Connections that have not logged in yet. When there are so many, others wait in the kernel's queue.
    pub logins: usize,
    /// How long a connection may take to log in while others wait for its place.
    pub patience: Duration,
    /// Open connections of one address; more are closed unread. 0 is no limit, here and below.
    pub per_address: usize,
    /// Those of them that have not logged in yet.
    pub logins_per_address: usize,
    /// Whether this machine's own addresses are limited too.
    pub loopback: bool,
}

/// Who is inside, and who may come in.
pub struct Gate<C> {
    /// Those it is for, as the log calls them.
    whom: &'static str,
    clock: Clock,
    most: usize,
    open: OpenConnections<C>,
    newcomers: Arc<Newcomers<C>>,
    addresses: Addresses,
    counters: Counters,
    logs: Logs,
}

/// What stands behind a gate.
pub trait House: Send + Sync + 'static {
    type Connection: Waiting + Send + Sync + 'static;

    fn gate(&self) -> &Gate<Self::Connection>;

    /// Whoever comes by `socket` is let in.
    fn admit(self: Arc<Self>, socket: TcpStream, entry: Entry);

    /// `connection` takes too long to log in while others wait.
    fn send_away(&self, connection: &Self::Connection);
}

/// What a connection has when it is let in.
pub struct Entry {
    /// Its place among those of its address, for as long as it is open.
    pub place: Place,
    /// For [`Gate::enter`].
    pub login: Login,
}

/// A place among those that have not logged in yet.
pub struct Login {
    place: Place,
    permit: OwnedSemaphorePermit,
}

#[derive(Default)]
struct Counters {
    accepted: Counter,
    over_capacity: Counter,
    over_address: Counter,
    over_address_logins: Counter,
}

/// A line a kind of refusal.
#[derive(Default)]
struct Logs {
    accept: RareLog,
    capacity: RareLog,
    address: RareLog,
}

/// What a gate has seen. All but the first two only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Sockets open now, logged in or not.
    pub connections: u64,
    /// Those of them that have not logged in yet.
    pub newcomers: u64,
    pub accepted: u64,
    /// Connections refused for being too many.
    pub over_capacity: u64,
    /// Connections refused because their address has too many.
    pub over_address: u64,
    /// Connections refused because their address has too many that have not logged in.
    pub over_address_logins: u64,
}

/// Accepts on all `sockets` until `shutdown` ends.
pub async fn accept_until<H: House>(
    house: &Arc<H>,
    sockets: Vec<TcpListener>,
    shutdown: impl Future<Output = ()>,
) {
    let mut accepting = JoinSet::new();
    for socket in sockets {
        accepting.spawn(accept_all(house.clone(), socket));
    }
    shutdown.await;
    accepting.shutdown().await;
}

async fn accept_all<H: House>(house: Arc<H>, socket: TcpListener) {
    let gate = house.gate();
    loop {
        let (socket, peer) = accept(&socket, |error| gate.accept_failed(&error)).await;
        // Who is to be refused is refused at once, also while others wait for room.
        let Some(Places { open, newcomer }) = gate.places(peer.ip()) else { continue };
        let permit = gate.newcomers.room(&*gate.clock, |connection| house.send_away(connection)).await;
        let login = Login { place: newcomer, permit };
        house.clone().admit(socket, Entry { place: open, login });
    }
}

impl<C: Waiting> Gate<C> {
    /// A gate for `whom`: `devices`, say.
    pub fn new(whom: &'static str, bounds: &Bounds, clock: Clock) -> Self {
        let Bounds { connections, logins, patience, per_address, logins_per_address, loopback } = *bounds;
        Self {
            whom,
            clock,
            most: connections,
            open: OpenConnections::default(),
            newcomers: Arc::new(Newcomers::new(logins, patience)),
            addresses: Addresses::new(per_address, logins_per_address, loopback),
            counters: Counters::default(),
            logs: Logs::default(),
        }
    }

    /// `connection` is inside now, until it [leaves](Self::leave), and a newcomer until it has logged in.
    pub fn enter(&self, connection: &Arc<C>, login: Login) -> Newcomer<C> {
        self.counters.accepted.add(1);
        self.open.add(connection);
        self.newcomers.add(connection, login.permit, login.place, (self.clock)())
    }

    pub fn leave(&self, connection: &Arc<C>) {
        self.open.remove(connection);
    }

    /// Those inside.
    pub fn open(&self) -> &OpenConnections<C> {
        &self.open
    }

    pub fn seen(&self) -> Seen {
        Seen {
            connections: self.open.count() as u64,
            newcomers: self.newcomers.count() as u64,
            accepted: self.counters.accepted.get(),
            over_capacity: self.counters.over_capacity.get(),
            over_address: self.counters.over_address.get(),
            over_address_logins: self.counters.over_address_logins.get(),
        }
    }

    fn places(&self, address: IpAddr) -> Option<Places> {
        let (most, whom) = (self.most, self.whom);
        if self.open.count() >= most {
            self.counters.over_capacity.add(1);
            self.logs.capacity.warn((self.clock)(), || format!("more than {most} {whom} want to connect"));
            return None;
        }
        let (counter, limit, what) = match self.addresses.enter(address) {
            Ok(places) => return Some(places),
            Err(TooMany::Connections(limit)) => (&self.counters.over_address, limit, "connections"),
            Err(TooMany::Newcomers(limit)) => {
                (&self.counters.over_address_logins, limit, "connections without a login")
            }
        };
        counter.add(1);
        let text = || format!("{address} wants more than {limit} {what} of {whom}");
        self.logs.address.warn((self.clock)(), text);
        None
    }

    fn accept_failed(&self, error: &std::io::Error) {
        let whom = self.whom;
        self.logs.accept.warn((self.clock)(), || format!("{whom} cannot be accepted: {error}"));
    }
}
