//! What goes on while the server lives: senders, devices that come and go, devices that register.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use cresset_device_client::{Connection, Received};
use cresset_e2e::{Device, Http2, Outcome, World, id_of};
use http::StatusCode;
use serde_json::json;
use tokio::task::JoinSet;

use crate::chance::Chance;
use crate::journal::{Arrival, Journal, content};

/// Connections of senders, and sends in flight on each.
const SENDERS: usize = 4;
const IN_FLIGHT: usize = 25;

/// Registrations made in one round, while messages are sent; each goes on being sent to in later
/// rounds, so that their number must stay small.
const NEWCOMERS: usize = 5;

/// A device reconnects after so many messages, to come in while messages are pushed.
const RECONNECT_AFTER: usize = 300;

/// The devices of all rounds so far. Their places in it name them.
pub(crate) type Devices = Rc<RefCell<Vec<Device>>>;

/// Everything that runs until the server dies.
pub(crate) struct Load {
    world: World,
    journal: Arc<Journal>,
    devices: Devices,
}

impl Load {
    pub(crate) fn new(world: World, journal: Arc<Journal>, devices: Devices) -> Self {
        Self { world, journal, devices }
    }

    /// Starts it all on the current thread; ends when the server does. What fails otherwise is an
    /// error.
    pub(crate) async fn start(self, chance: &mut Chance) -> Outcome<JoinSet<Outcome<()>>> {
        let load = Rc::new(self);
        let mut tasks = JoinSet::new();
        let count = load.devices.borrow().len();
        for device in (0..count).filter(|_| chance.below(2) == 0).collect::<Vec<_>>() {
            tasks.spawn_local(load.clone().stay_connected(device, Acks::of(device)));
        }
        for _ in 0..SENDERS {
            let http = load.world.sender().await?;
            for _ in 0..IN_FLIGHT {
                tasks.spawn_local(load.clone().send(http.clone(), chance.split()));
            }
        }
        tasks.spawn_local(load.clone().register());
        Ok(tasks)
    }

    /// One message after another, each to any device.
    async fn send(self: Rc<Self>, http: Http2, mut chance: Chance) -> Outcome<()> {
        loop {
            let (device, token) = {
                let devices = self.devices.borrow();
                let device = chance.below(devices.len());
                (device, devices[device].token.clone())
            };
            let number = self.journal.sending(device);
            match send(&self.world, &http, &token, number).await {
                Some(sent) => sent.note(&self.journal, number)?,
                None => return Ok(()),
            }
        }
    }

    /// Receives, and acknowledges in its way, again and again.
    async fn stay_connected(self: Rc<Self>, device: usize, acks: Acks) -> Outcome<()> {
        let who = self.devices.borrow()[device].clone();
        while let Ok(mut connection) = self.world.connect(&who).await {
            let mut waiting = Vec::new();
            for _ in 0..RECONNECT_AFTER {
                let Ok(Some(message)) = connection.next().await else { return Ok(()) };
                self.journal.arrived(device, Arrival::of(&message));
                if acks.acknowledge(&mut connection, message, &mut waiting).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn register(self: Rc<Self>) -> Outcome<()> {
        for _ in 0..NEWCOMERS {
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
    Nonsense(String),
}

impl Heard {
    pub(crate) fn note(self, journal: &Journal, number: usize) -> Outcome<()> {
        match self {
            Self::Accepted(id) => journal.accepted(number, id),
            Self::Refused => journal.refused(),
            Self::Forgotten => journal.forgotten(),
            Self::Nonsense(text) => return Err(format!("a send was answered {text}").into()),
        }
        Ok(())
    }
}

/// `None`: there was no answer.
pub(crate) async fn send(world: &World, http: &Http2, token: &str, number: usize) -> Option<Heard> {
    let body = json!({ "message": { "token": token, "data": content(number) } }).to_string();
    let authorization = world.authorization();
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let answer = http.post(&world.send_path(), &headers, Bytes::from(body)).await.ok()?;
    Some(match (answer.status, id_of(&answer)) {
        (_, Some(id)) => Heard::Accepted(id),
        (StatusCode::NOT_FOUND, _) => Heard::Forgotten,
        (StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS, _) => Heard::Refused,
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
