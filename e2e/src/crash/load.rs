//! What goes on while the server lives: senders, devices that come and go, devices that register.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cresset_device_client::{ConnectOptions, Connection, Error, Received};
use cresset_e2e::{Device, Http2, Outcome, World, id_of};
use http::StatusCode;
use serde_json::json;
use tokio::task::JoinSet;

use crate::chance::Chance;
use crate::clock::Clock;
use crate::journal::{Arrival, Journal, content};

/// Connections of senders, and sends in flight on each.
const SENDERS: usize = 4;
const IN_FLIGHT: usize = 25;

/// Registrations made in one round, while messages are sent; each goes on being sent to in later
/// rounds.
const NEWCOMERS: usize = 5;

/// Of so many devices there are enough: collecting what waits for all of them takes a second.
const MOST_DEVICES: usize = 150;

/// Before somebody tries again.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);

/// A device reconnects after so many messages, to come in while messages are pushed.
const RECONNECT_AFTER: usize = 300;

/// The devices of all rounds so far. Their places in it name them.
pub(crate) type Devices = Rc<RefCell<Vec<Device>>>;

/// Everything that runs until the server dies.
pub(crate) struct Load {
    pub(crate) world: World,
    journal: Arc<Journal>,
    devices: Devices,
    /// These are sent to, but somebody else connects them.
    apart: Range<usize>,
    clock: Clock,
    access: RefCell<String>,
    renewing: Cell<bool>,
    pub(crate) tally: Tally,
}

/// Answers so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) accepted: Cell<u64>,
    /// 503 and 429.
    pub(crate) unavailable: Cell<u64>,
}

impl Load {
    pub(crate) fn new(
        world: World,
        journal: Arc<Journal>,
        devices: Devices,
        apart: Range<usize>,
        clock: Clock,
    ) -> Rc<Self> {
        let access = RefCell::new(world.authorization());
        let (renewing, tally) = (Cell::default(), Tally::default());
        Rc::new(Self { world, journal, devices, apart, clock, access, renewing, tally })
    }

    /// Starts it all on the current thread; ends when the server does. What fails otherwise is an
    /// error.
    pub(crate) async fn start(self: &Rc<Self>, chance: &mut Chance) -> Outcome<JoinSet<Outcome<()>>> {
        let mut tasks = JoinSet::new();
        let count = self.devices.borrow().len();
        for device in (0..count).filter(|_| chance.below(2) == 0).collect::<Vec<_>>() {
            if !self.apart.contains(&device) {
                tasks.spawn_local(self.clone().stay_connected(device, Acks::of(device)));
            }
        }
        for _ in 0..SENDERS {
            let http = self.world.sender().await?;
            for _ in 0..IN_FLIGHT {
                tasks.spawn_local(self.clone().send(http.clone(), chance.split()));
            }
        }
        tasks.spawn_local(self.clone().register());
        Ok(tasks)
    }

    pub(crate) fn device(&self, device: usize) -> Device {
        self.devices.borrow()[device].clone()
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// One message after another, each to any device.
    async fn send(self: Rc<Self>, http: Http2, mut chance: Chance) -> Outcome<()> {
        loop {
            let device = chance.below(self.devices.borrow().len());
            if self.send_to(&http, device).await?.is_none() {
                return Ok(());
            }
        }
    }

    /// Sends a message to a device, and gives its number and whether it was accepted; `None`: the
    /// server has not answered.
    pub(crate) async fn send_to(&self, http: &Http2, device: usize) -> Outcome<Option<(usize, bool)>> {
        let (token, access) = (self.device(device).token, self.access.borrow().clone());
        let number = self.journal.sending(device);
        let Some(heard) = send(&self.world, &access, http, &token, number).await else { return Ok(None) };
        let accepted = matches!(heard, Heard::Accepted(_));
        let counted = match &heard {
            Heard::Accepted(_) => Some(&self.tally.accepted),
            Heard::Refused => Some(&self.tally.unavailable),
            _ => None,
        };
        if let Some(count) = counted {
            count.set(count.get() + 1);
        }
        if matches!(heard, Heard::Denied(_)) && self.clock.has_jumped() {
            self.journal.refused();
            self.renew(&access).await;
        } else {
            heard.note(&self.journal, number)?;
        }
        Ok(Some((number, accepted)))
    }

    /// The server's clock has jumped out of the life of the access token: a sender gets another.
    async fn renew(&self, used: &str) {
        if *self.access.borrow() != used {
            return;
        }
        if self.renewing.replace(true) {
            return tokio::time::sleep(PAUSE).await;
        }
        // Refused, if the clock jumps meanwhile; then the next who is denied tries again.
        if let Ok(access) = self.world.access_at(self.clock.now()).await {
            *self.access.borrow_mut() = format!("Bearer {access}");
        }
        self.renewing.set(false);
    }

    /// Receives, and acknowledges in its way, again and again.
    async fn stay_connected(self: Rc<Self>, device: usize, acks: Acks) -> Outcome<()> {
        let who = self.device(device);
        loop {
            match self.world.devices.connect(&who.credentials, ConnectOptions::default()).await {
                Ok(connection) => self.receive(device, acks, connection).await,
                // The server is dead.
                Err(Error::Connect { .. }) => return Ok(()),
                // It may be short of something.
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Until the connection ends, or has brought enough.
    async fn receive(&self, device: usize, acks: Acks, mut connection: Connection) {
        let mut waiting = Vec::new();
        for _ in 0..RECONNECT_AFTER {
            let Ok(Some(message)) = connection.next().await else { return };
            self.journal.arrived(device, Arrival::of(&message));
            if acks.acknowledge(&mut connection, message, &mut waiting).await.is_err() {
                return;
            }
        }
    }

    async fn register(self: Rc<Self>) -> Outcome<()> {
        for _ in 0..NEWCOMERS {
            if self.devices.borrow().len() >= MOST_DEVICES {
                break;
            }
            let Ok(device) = self.world.device().await else { break };
            self.devices.borrow_mut().push(device);
        }
        Ok(())
    }
}

/// An answer to a send.
pub(crate) enum Heard {
    Accepted(String),
    Refused,
    Forgotten,
    /// The access token is not, or no longer, good.
    Denied(String),
    Nonsense(String),
}

impl Heard {
    pub(crate) fn note(self, journal: &Journal, number: usize) -> Outcome<()> {
        match self {
            Self::Accepted(id) => journal.accepted(number, id),
            Self::Refused => journal.refused(),
            Self::Forgotten => journal.forgotten(),
            Self::Denied(text) | Self::Nonsense(text) => {
                return Err(format!("a send was answered {text}").into());
            }
        }
        Ok(())
    }
}

/// `None`: there was no answer.
pub(crate) async fn send(
    world: &World,
    authorization: &str,
    http: &Http2,
    token: &str,
    number: usize,
) -> Option<Heard> {
    let body = json!({ "message": { "token": token, "data": content(number) } }).to_string();
    let headers = [("authorization", authorization), ("content-type", "application/json")];
    let answer = http.post(&world.send_path(), &headers, Bytes::from(body)).await.ok()?;
    Some(match (answer.status, id_of(&answer)) {
        (_, Some(id)) => Heard::Accepted(id),
        (StatusCode::NOT_FOUND, _) => Heard::Forgotten,
        (StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS, _) => Heard::Refused,
        (StatusCode::UNAUTHORIZED, _) => Heard::Denied(answer.text()),
        (status, _) => Heard::Nonsense(format!("{status}: {}", answer.text())),
    })
}

/// How a device acknowledges; real ones do all of these.
#[derive(Clone, Copy, Debug)]
enum Acks {
    AtOnce,
    Together(usize),
    Never,
}

impl Acks {
    fn of(device: usize) -> Self {
        match device % 3 {
            0 => Self::AtOnce,
            1 => Self::Together(10),
            _ => Self::Never,
        }
    }

    async fn acknowledge(
        self,
        connection: &mut Connection,
        message: Received,
        waiting: &mut Vec<Received>,
    ) -> Outcome<()> {
        match self {
            Self::AtOnce => connection.acknowledge(&message).await?,
            Self::Together(count) => {
                waiting.push(message);
                if waiting.len() == count {
                    let ids: Vec<&str> = waiting.iter().map(Received::persistent_id).collect();
                    connection.acknowledge_ids(&ids).await?;
                    waiting.clear();
                }
            }
            Self::Never => {}
        }
        Ok(())
    }
}
