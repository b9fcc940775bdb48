//! A crowd that connects all at once, again and again, from a thread of its own.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use cresset_device_client::{Client, ConnectOptions, Credentials};
use cresset_e2e::{Outcome, World};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Counts, Fault};
use crate::chance::Chance;

/// Between two waves.
const SHORTEST_CALM: Duration = Duration::from_millis(50);
const LONGEST_CALM: Duration = Duration::from_millis(800);

/// For a wave to come in. Who is not in by then tries again with the next.
const WAVE: Duration = Duration::from_secs(10);

pub(super) struct Storm {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Storm {
    pub(super) fn start(
        world: &World,
        crowd: Arc<Vec<Credentials>>,
        counts: Arc<Counts>,
        chance: Chance,
    ) -> Outcome<Self> {
        let client = world.devices_by(world.running.mcs)?;
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = waves(client, crowd, counts, chance) => {}
                }
            });
        });
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }

    pub(super) fn stop(&mut self) -> Outcome<()> {
        drop(self.stop.take());
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(_)) => Err("the storm has panicked".into()),
            _ => Ok(()),
        }
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

async fn waves(client: Client, crowd: Arc<Vec<Credentials>>, counts: Arc<Counts>, mut chance: Chance) {
    loop {
        let mut wave = JoinSet::new();
        for place in 0..crowd.len() {
            let (client, who) = (client.clone(), crowd[place]);
            wave.spawn(async move { client.connect(&who, ConnectOptions::default()).await });
        }
        // All of them stay until the last is in.
        let mut connected = Vec::new();
        let all = async {
            while let Some(ended) = wave.join_next().await {
                if let Ok(Ok(connection)) = ended {
                    counts.add(Fault::Storm);
                    connected.push(connection);
                }
            }
        };
        let _ = timeout(WAVE, all).await;
        drop(connected);
        sleep(chance.between(SHORTEST_CALM, LONGEST_CALM)).await;
    }
}
