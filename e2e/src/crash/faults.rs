//! What goes wrong around a server that must go on: all of it again and again, while the load runs and
//! until the server is killed. Each fault counts how often it has really happened.

mod clock;
mod disk;
mod garbage;
mod half_open;
mod slow;
mod storm;

use std::fmt;
use std::ops::{AddAssign, Range};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cresset_device_client::Credentials;
use cresset_e2e::{Device, Http2, Outcome, Surroundings, World};
use futures_util::future::try_join_all;
use tokio::task::JoinSet;

use self::disk::Volume;
use self::storm::Storm;
use crate::chance::Chance;
use crate::clock::Clock;
use crate::load::Load;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    SlowLogin,
    SlowReader,
    HalfOpen,
    NoiseBeforeTls,
    NoiseBeforeLogin,
    NoiseAfterLogin,
    HugeFrame,
    StrangeVersion,
    HttpToDevices,
    McsToHttps,
    Storm,
    FullDisk,
    ClockJump,
}

impl Fault {
    const ALL: [Self; 13] = [
        Self::SlowLogin,
        Self::SlowReader,
        Self::HalfOpen,
        Self::NoiseBeforeTls,
        Self::NoiseBeforeLogin,
        Self::NoiseAfterLogin,
        Self::HugeFrame,
        Self::StrangeVersion,
        Self::HttpToDevices,
        Self::McsToHttps,
        Self::Storm,
        Self::FullDisk,
        Self::ClockJump,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::SlowLogin => "login byte by byte",
            Self::SlowReader => "one byte read a second",
            Self::HalfOpen => "half-open",
            Self::NoiseBeforeTls => "noise before TLS",
            Self::NoiseBeforeLogin => "noise before login",
            Self::NoiseAfterLogin => "noise after login",
            Self::HugeFrame => "huge frame",
            Self::StrangeVersion => "strange version",
            Self::HttpToDevices => "HTTP to devices' port",
            Self::McsToHttps => "MCS to HTTPS port",
            Self::Storm => "login in a storm",
            Self::FullDisk => "full disk",
            Self::ClockJump => "clock jump",
        }
    }
}

/// How often each fault happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied([u64; Fault::ALL.len()]);

impl Applied {
    fn of(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }
}

impl AddAssign for Applied {
    fn add_assign(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, more)| *sum += more);
    }
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some = Fault::ALL.into_iter().filter(|fault| self.of(*fault) > 0);
        let words: Vec<String> = some.map(|fault| format!("{} {}", fault.name(), self.of(fault))).collect();
        f.write_str(if words.is_empty() { "nothing else" } else { "" })?;
        f.write_str(&words.join(", "))
    }
}

/// The same, being counted.
#[derive(Debug, Default)]
struct Counts([AtomicU64; Fault::ALL.len()]);

impl Counts {
    fn add(&self, fault: Fault) {
        self.0[fault as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn take(&self) -> Applied {
        Applied(std::array::from_fn(|at| self.0[at].swap(0, Ordering::Relaxed)))
    }

    fn now(&self, fault: Fault) -> u64 {
        self.0[fault as usize].load(Ordering::Relaxed)
    }
}

/// The places of devices that the load sends to, and only faults connect.
pub(crate) const APART: Range<usize> = 0..2;
const SLOW: usize = 0;
const HALF_OPEN: usize = 1;

/// What the faults need that outlives a server.
pub(crate) struct Faults {
    pub(crate) clock: Clock,
    pub(crate) surroundings: Surroundings,
    /// What cannot be done on this machine, and why.
    pub(crate) left_out: Vec<(Fault, String)>,
    volume: Option<Rc<Volume>>,
    crowd_size: usize,
    /// Devices without a registration: they connect, and nothing is sent to them.
    crowd: Arc<Vec<Credentials>>,
    counts: Arc<Counts>,
}

/// Check-ins at a time.
const TOGETHER: usize = 100;

impl Faults {
    /// `may_mount`: this process's mounts end with it.
    pub(crate) fn open(folder: &Path, crowd_size: usize, may_mount: bool) -> Outcome<Self> {
        let mut left_out = Vec::new();
        let volume = if may_mount { Volume::mount(folder) } else { Err("no mount namespace".into()) };
        let volume = volume.map_err(|e| left_out.push((Fault::FullDisk, e.to_string()))).ok();
        let clock = Clock::open(folder).map_err(|e| left_out.push((Fault::ClockJump, e.to_string())));
        let (clock, variables) = clock.unwrap_or_default();
        Ok(Self {
            clock,
            surroundings: Surroundings { variables, log: Some(folder.join("log")) },
            left_out,
            volume: volume.map(Rc::new),
            crowd_size,
            crowd: Arc::default(),
            counts: Arc::default(),
        })
    }

    /// Where the data folder has to be; `folder`, unless there is a small volume.
    pub(crate) fn site<'a>(&'a self, folder: &'a Path) -> &'a Path {
        self.volume.as_ref().map_or(folder, |volume| volume.path())
    }

    /// Has the crowd check in.
    pub(crate) async fn prepare(&mut self, world: &World) -> Outcome<()> {
        let mut crowd = Vec::new();
        while crowd.len() < self.crowd_size {
            let some = TOGETHER.min(self.crowd_size - crowd.len());
            crowd.extend(try_join_all((0..some).map(|_| world.devices.check_in(None))).await?);
        }
        self.crowd = Arc::new(crowd);
        Ok(())
    }

    /// Starts them all on the current thread, but for the storm, which has its own.
    pub(crate) async fn start(&self, load: &Rc<Load>, chance: &mut Chance) -> Outcome<Running> {
        let scene = Rc::new(Scene {
            http: load.world.sender().await?,
            load: load.clone(),
            crowd: self.crowd.clone(),
            counts: self.counts.clone(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn_local(slow::logins(scene.clone(), chance.split()));
        tasks.spawn_local(slow::reader(scene.clone()));
        tasks.spawn_local(half_open::run(scene.clone()));
        for kind in garbage::KINDS {
            tasks.spawn_local(garbage::run(scene.clone(), kind, chance.split()));
        }
        if let Some(volume) = &self.volume {
            tasks.spawn_local(disk::run(scene.clone(), volume.clone(), chance.split()));
        }
        if !self.is_left_out(Fault::ClockJump) {
            tasks.spawn_local(clock::run(scene, self.clock.clone(), chance.split()));
        }
        let storm = Storm::start(&load.world, self.crowd.clone(), self.counts.clone(), chance.split())?;
        Ok(Running { tasks, storm })
    }

    /// Whether each has happened, since the last time that they were taken.
    pub(crate) fn have_all_happened(&self) -> bool {
        Fault::ALL.into_iter().all(|fault| self.is_left_out(fault) || self.counts.now(fault) > 0)
    }

    /// When the server is dead: the disk has room again, the clock is right, and what has happened is
    /// known.
    pub(crate) fn settle(&self) -> Outcome<Applied> {
        if let Some(volume) = &self.volume {
            volume.make_room()?;
        }
        if !self.is_left_out(Fault::ClockJump) {
            self.clock.set(0)?;
        }
        Ok(self.counts.take())
    }

    /// What has not happened at all is an error, unless it could not.
    pub(crate) fn judge(&self, applied: &Applied) -> Outcome<()> {
        let never: Vec<&str> = Fault::ALL
            .into_iter()
            .filter(|fault| applied.of(*fault) == 0 && !self.is_left_out(*fault))
            .map(Fault::name)
            .collect();
        if never.is_empty() { Ok(()) } else { Err(format!("never applied: {}", never.join(", ")).into()) }
    }

    fn is_left_out(&self, fault: Fault) -> bool {
        self.left_out.iter().any(|(left_out, _)| *left_out == fault)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Faults at work. Dropped, they end.
pub(crate) struct Running {
    tasks: JoinSet<Outcome<()>>,
    storm: Storm,
}

impl Running {
    /// Whether one of them has found something wrong. To be asked before the kill: after it everything
    /// fails.
    pub(crate) fn complaint(&mut self) -> Outcome<()> {
        while let Some(ended) = self.tasks.try_join_next() {
            ended??;
        }
        Ok(())
    }

    pub(crate) async fn stop(mut self) -> Outcome<()> {
        self.tasks.shutdown().await;
        self.storm.stop()
    }
}

/// Where the faults of one server happen.
struct Scene {
    load: Rc<Load>,
    http: Http2,
    crowd: Arc<Vec<Credentials>>,
    counts: Arc<Counts>,
}

impl Scene {
    fn world(&self) -> &World {
        &self.load.world
    }

    fn device(&self, place: usize) -> Device {
        self.load.device(place)
    }

    /// Somebody of the crowd, who gets no messages.
    fn anybody(&self, chance: &mut Chance) -> Outcome<Credentials> {
        let somebody = self.crowd.get(chance.below(self.crowd.len()));
        Ok(*somebody.ok_or("there is no crowd")?)
    }

    /// Sends so many messages to a device; the numbers of those that were accepted.
    async fn burst(&self, device: usize, count: usize) -> Outcome<Vec<usize>> {
        let sends = (0..count).map(|_| self.load.send_to(&self.http, device));
        let sent = try_join_all(sends).await?;
        Ok(sent.into_iter().flatten().filter(|(_, accepted)| *accepted).map(|(number, _)| number).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(left_out: Fault) -> Faults {
        Faults {
            clock: Clock::default(),
            surroundings: Surroundings::default(),
            left_out: vec![(left_out, "not here".into())],
            volume: None,
            crowd_size: 0,
            crowd: Arc::default(),
            counts: Arc::default(),
        }
    }

    #[test]
    fn each_fault_has_its_place() {
        for (place, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, place);
        }
    }

    #[test]
    fn what_never_happened_is_an_error_unless_it_could_not() {
        let faults = without(Fault::FullDisk);
        let most = Fault::ALL.into_iter().filter(|fault| !matches!(fault, Fault::FullDisk | Fault::Storm));
        most.for_each(|fault| faults.counts.add(fault));
        assert!(!faults.have_all_happened());
        let mut applied = faults.counts.take();
        let complaint = faults.judge(&applied).unwrap_err().to_string();
        assert_eq!(complaint, "never applied: login in a storm");
        faults.counts.add(Fault::Storm);
        applied += faults.counts.take();
        assert!(faults.judge(&applied).is_ok());
    }
}
