//! One round: load, a kill, a restart, and what the devices then have.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cresset_e2e::{Binary, Outcome, Surroundings, World};
use tempfile::TempDir;
use tokio::task::LocalSet;
use tokio::time::timeout;

use crate::chance::Chance;
use crate::checker::{Findings, check};
use crate::clock::Clock;
use crate::collect::collect;
use crate::faults::{APART, Applied, Faults};
use crate::journal::Journal;
use crate::load::{Devices, Load};

/// How long a server lives under load: from before the first commit to tens of thousands of messages.
const SHORTEST_LIFE: Duration = Duration::from_millis(5);
const LONGEST_LIFE: Duration = Duration::from_millis(1_500);

/// With faults: they need a moment to happen.
const LONGEST_LIFE_OF_FAULTS: Duration = Duration::from_millis(4_000);

/// For every fault to have happened once, in the first round.
const PATIENCE_WITH_FAULTS: Duration = Duration::from_secs(90);

/// Between two looks whether something has gone wrong.
const POLL: Duration = Duration::from_millis(20);

/// Devices at the start.
const DEVICES: usize = 24;

/// For everybody to notice that the server is dead.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server, its folder, its devices, and what was written down so far.
///
/// They are dropped in this order: what is in the folder ends before it.
pub(crate) struct Lab {
    program: PathBuf,
    server: Option<Binary>,
    faults: Option<Faults>,
    folder: TempDir,
    chance: Chance,
    journal: Arc<Journal>,
    devices: Devices,
    sabotage: bool,
}

/// What the whole run is about.
pub(crate) struct Setting<'a> {
    pub(crate) program: &'a Path,
    pub(crate) seed: u64,
    pub(crate) sabotage: bool,
    /// With faults: how large the crowd is, and whether this process may mount.
    pub(crate) faults: Option<(usize, bool)>,
}

pub(crate) struct Report {
    pub(crate) findings: Findings,
    pub(crate) restart_ms: u128,
    pub(crate) applied: Option<Applied>,
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
        )?;
        self.applied.map_or(Ok(()), |applied| write!(f, "; {applied}"))
    }
}

impl Lab {
    pub(crate) async fn open(setting: &Setting<'_>) -> Outcome<Self> {
        let folder = TempDir::new()?;
        let open = |(crowd, may_mount)| Faults::open(folder.path(), crowd, may_mount);
        let faults = setting.faults.map(open).transpose()?;
        let mut lab = Self {
            program: setting.program.to_owned(),
            folder,
            server: None,
            chance: Chance::new(setting.seed),
            journal: Arc::default(),
            devices: Rc::default(),
            sabotage: setting.sabotage,
            faults,
        };
        let server = lab.start()?;
        let world = World::of_demo(&server).await?;
        for _ in 0..DEVICES {
            let device = world.device().await?;
            lab.devices.borrow_mut().push(device);
        }
        if let Some(faults) = &mut lab.faults {
            faults.prepare(&world).await?;
        }
        lab.server = Some(server);
        Ok(lab)
    }

    pub(crate) fn faults(&self) -> Option<&Faults> {
        self.faults.as_ref()
    }

    pub(crate) async fn round(&mut self) -> Outcome<Report> {
        let first = self.journal.count();
        if self.sabotage {
            self.remember_folder()?;
        }
        let life = self.load_and_kill(first == 0).await?;
        let applied = self.faults.as_ref().map(Faults::settle).transpose()?;
        self.no_panic()?;
        if self.sabotage {
            self.put_folder_back()?;
        }
        let begun = Instant::now();
        let server = self.start()?;
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
        Ok(Report { findings, restart_ms, applied, life, devices: devices.len() })
    }

    /// In the `first` round every fault has its time.
    async fn load_and_kill(&mut self, first: bool) -> Outcome<Duration> {
        let mut server = self.server.take().ok_or("there is no server")?;
        let world = World::of_demo(&server).await?;
        let (apart, clock, longest) = match &self.faults {
            Some(faults) => (APART, faults.clock.clone(), LONGEST_LIFE_OF_FAULTS),
            None => (0..0, Clock::default(), LONGEST_LIFE),
        };
        let load = Load::new(world, self.journal.clone(), self.devices.clone(), apart, clock);
        let planned = self.chance.between(SHORTEST_LIFE, longest);
        let chance = &mut self.chance;
        let faults = self.faults.as_ref();
        let live = async {
            let mut tasks = load.start(chance).await?;
            let mut running = match faults {
                Some(faults) => Some(faults.start(&load, chance).await?),
                None => None,
            };
            let begun = Instant::now();
            loop {
                tokio::time::sleep(POLL.min(planned.saturating_sub(begun.elapsed()))).await;
                if let Some(running) = &mut running {
                    running.complaint()?;
                }
                if server.has_ended()? {
                    return Err("the server has ended by itself".into());
                }
                let wanting = first && faults.is_some_and(|faults| !faults.have_all_happened());
                if begun.elapsed() >= planned && (!wanting || begun.elapsed() > PATIENCE_WITH_FAULTS) {
                    break;
                }
            }
            let life = begun.elapsed();
            server.kill()?;
            if let Some(running) = running {
                running.stop().await?;
            }
            let all_ended = async {
                while let Some(ended) = tasks.join_next().await {
                    ended??;
                }
                Outcome::Ok(())
            };
            timeout(PATIENCE, all_ended).await.map_err(|_| "somebody has not noticed the kill")??;
            Ok(life)
        };
        LocalSet::new().run_until(live).await
    }

    fn start(&self) -> Outcome<Binary> {
        let surroundings = match &self.faults {
            Some(faults) => faults.surroundings.clone(),
            None => Surroundings::default(),
        };
        Binary::start_in(&self.program, &self.data(), &surroundings)
    }

    /// The log of the server that is dead now, where we have it.
    fn no_panic(&self) -> Outcome<()> {
        let log = self.faults.as_ref().and_then(|faults| faults.surroundings.log.as_ref());
        let Some(log) = log else { return Ok(()) };
        let text = String::from_utf8_lossy(&std::fs::read(log)?).into_owned();
        match text.lines().find(|line| line.contains("panicked at")) {
            Some(line) => Err(format!("the server has panicked: {line}").into()),
            None => Ok(()),
        }
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
        let folder = self.folder.path();
        self.faults.as_ref().map_or(folder, |faults| faults.site(folder)).join("data")
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
