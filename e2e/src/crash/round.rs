//! One round: load, a kill, a restart, and what the devices then have.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cresset_e2e::{Binary, Outcome, World};
use tempfile::TempDir;
use tokio::task::LocalSet;
use tokio::time::timeout;

use crate::chance::Chance;
use crate::checker::{Findings, check};
use crate::collect::collect;
use crate::journal::Journal;
use crate::load::{Devices, Load};

/// How long a server lives under load: from before the first commit to tens of thousands of messages.
const SHORTEST_LIFE: Duration = Duration::from_millis(5);
const LONGEST_LIFE: Duration = Duration::from_millis(1_500);

/// Devices at the start.
const DEVICES: usize = 24;

/// For everybody to notice that the server is dead.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server, its folder, its devices, and what was written down so far.
pub(crate) struct Lab {
    program: PathBuf,
    folder: TempDir,
    server: Option<Binary>,
    chance: Chance,
    journal: Arc<Journal>,
    devices: Devices,
    sabotage: bool,
}

pub(crate) struct Report {
    pub(crate) findings: Findings,
    pub(crate) restart_ms: u128,
    life: Duration,
    devices: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "killed after {} ms, {} devices: {}; served again in {} ms",
            self.life.as_millis(),
            self.devices,
            self.findings,
            self.restart_ms
        )
    }
}

impl Lab {
    pub(crate) async fn open(program: &Path, seed: u64, sabotage: bool) -> Outcome<Self> {
        let folder = TempDir::new()?;
        let server = Binary::start(program, &folder.path().join("data"))?;
        let world = World::of_demo(&server).await?;
        let mut devices = Vec::new();
        for _ in 0..DEVICES {
            devices.push(world.device().await?);
        }
        Ok(Self {
            program: program.to_owned(),
            folder,
            server: Some(server),
            chance: Chance::new(seed),
            journal: Arc::default(),
            devices: Rc::new(RefCell::new(devices)),
            sabotage,
        })
    }

    pub(crate) async fn round(&mut self) -> Outcome<Report> {
        let first = self.journal.count();
        if self.sabotage {
            self.remember_folder()?;
        }
        let life = self.load_and_kill().await?;
        if self.sabotage {
            self.put_folder_back()?;
        }
        let begun = Instant::now();
        let server = Binary::start(&self.program, &self.data())?;
        let restart_ms = begun.elapsed().as_millis();
        let world = World::of_demo(&server).await?;
        let devices = self.devices.borrow().clone();
        collect(&world, &self.journal, &devices).await?;
        self.server = Some(server);
        let findings = check(&self.journal.take_round(first));
        if self.sabotage {
            // What this round lost must not be missed again in the next.
            self.devices.borrow_mut().truncate(DEVICES);
        }
        Ok(Report { findings, restart_ms, life, devices: devices.len() })
    }

    async fn load_and_kill(&mut self) -> Outcome<Duration> {
        let server = self.server.take().ok_or("there is no server")?;
        let world = World::of_demo(&server).await?;
        let load = Load::new(world, self.journal.clone(), self.devices.clone());
        let life = self.chance.between(SHORTEST_LIFE, LONGEST_LIFE);
        let local = LocalSet::new();
        let chance = &mut self.chance;
        local
            .run_until(async {
                let mut tasks = load.start(chance).await?;
                tokio::time::sleep(life).await;
                server.kill()?;
                let all_ended = async {
                    while let Some(ended) = tasks.join_next().await {
                        ended??;
                    }
                    Outcome::Ok(())
                };
                timeout(PATIENCE, all_ended).await.map_err(|_| "somebody has not noticed the kill")?
            })
            .await?;
        Ok(life)
    }

    /// After so many violent ends a peaceful one must still be possible.
    pub(crate) async fn end(mut self) -> Outcome<()> {
        let server = self.server.take().ok_or("there is no server")?;
        // On another thread: the connections to it are closed on this one.
        if tokio::task::spawn_blocking(|| server.stop()).await?? {
            Ok(())
        } else {
            Err("the server did not end well at SIGTERM".into())
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn remember_folder(&self) -> Outcome<()> {
        copy(&self.data(), &self.folder.path().join("before"))
    }

    fn put_folder_back(&self) -> Outcome<()> {
        copy(&self.folder.path().join("before"), &self.data())
    }
}

/// Makes `to` what `from` is.
fn copy(from: &Path, to: &Path) -> Outcome<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    let copied = Command::new("cp").arg("--archive").args([from, to]).status()?;
    if copied.success() { Ok(()) } else { Err("the folder cannot be copied".into()) }
}
