//! The devices that are connected: what each receives, over all of its connections.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cresset_device_client::{Connection, Received};
use cresset_e2e::{Device, Outcome, World};
use cresset_message::MessageId;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// For a device to notice that its server is dead, or to be handed everything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A message of a round that came to a device.
pub(super) struct Arrival {
    pub(super) device: usize,
    pub(super) round: usize,
    pub(super) id: MessageId,
}

pub(super) struct Crowd {
    devices: Vec<Device>,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
}

impl Crowd {
    pub(super) fn new(devices: Vec<Device>) -> Self {
        Self { devices, arrivals: Arc::default() }
    }

    pub(super) fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// What came since this was asked last.
    pub(super) fn take_arrivals(&self) -> Vec<Arrival> {
        std::mem::take(&mut self.arrivals.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Connects all of them; each then receives until the server dies, or until its last message of
    /// `round`.
    pub(super) async fn connect(&self, world: &World, round: Option<usize>) -> Outcome<Connected> {
        let mut tasks = JoinSet::new();
        for (at, device) in self.devices.iter().enumerate() {
            let listener = Listener {
                at,
                connection: world.connect(device).await?,
                arrivals: self.arrivals.clone(),
                unacknowledged: Vec::new(),
            };
            tasks.spawn(listener.listen(round));
        }
        Ok(Connected(tasks))
    }
}

/// Devices that are listening.
pub(super) struct Connected(JoinSet<Outcome<()>>);

impl Connected {
    pub(super) async fn end(mut self) -> Outcome<()> {
        let all = async {
            while let Some(ended) = self.0.join_next().await {
                ended??;
            }
            Outcome::Ok(())
        };
        timeout(PATIENCE, all).await.map_err(|_| "a device waits in vain")?
    }
}

struct Listener {
    at: usize,
    connection: Connection,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    unacknowledged: Vec<String>,
}

impl Listener {
    async fn listen(mut self, round: Option<usize>) -> Outcome<()> {
        loop {
            let Ok(Some(message)) = self.connection.next().await else {
                return match round {
                    None => Ok(()),
                    Some(_) => Err(format!("device {} lost its connection", self.at).into()),
                };
            };
            self.note(&message)?;
            let acknowledged = self.acknowledge(&message).await;
            let last = message.get("last").and_then(|last| last.parse().ok());
            match round {
                Some(_) if acknowledged.is_err() => return acknowledged,
                Some(_) if last == round => return Ok(()),
                None if acknowledged.is_err() => return Ok(()),
                _ => {}
            }
        }
    }

    fn note(&self, message: &Received) -> Outcome<()> {
        let Some(n) = message.get("n") else { return Ok(()) };
        let id = message.persistent_id();
        let id = id.parse().map_err(|_| format!("device {} was given the id {id:?}", self.at))?;
        let arrival = Arrival { device: self.at, round: n.parse()?, id };
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).push(arrival);
        Ok(())
    }

    /// Real ones do all of these: at once, two at a time, never.
    async fn acknowledge(&mut self, message: &Received) -> Outcome<()> {
        match self.at % 3 {
            0 => self.connection.acknowledge(message).await?,
            1 => {
                self.unacknowledged.push(message.persistent_id().to_owned());
                if let [first, second] = self.unacknowledged.as_slice() {
                    self.connection.acknowledge_ids(&[first, second]).await?;
                    self.unacknowledged.clear();
                }
            }
            _ => {}
        }
        Ok(())
    }
}
