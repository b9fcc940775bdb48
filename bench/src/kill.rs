//! The server is killed in the middle of a fan-out, again and again: nobody may be lost, and no message
//! may come to anybody under two persistent ids. Not a figure, but it needs what the figures need: many
//! registrations, made quickly.
//!
//! Most members are rows that never connect; some are real devices, connected while the server spreads,
//! and again when it has been started anew. That server ends the fan-out by itself before anybody looks.

mod checker;
mod crowd;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use cresset_e2e::{Binary, Outcome, World, now};
use cresset_message::{ProjectNumber, Topic};
use cresset_server::DataFolder;
use cresset_store::embedded::{EmbeddedEngine, Options as StoreOptions};
use cresset_store::tables::jobs;
use cresset_store::{Store, Table};
use serde_json::json;

use self::checker::{Checker, Fault};
use self::crowd::Crowd;
use crate::offline::{self, Plan};
use crate::topic::Jobs;
use crate::{Cli, Subject, stop, topics};

pub(super) const TOPIC: &str = "everyone";

/// One round in so many is killed without waiting for the answer to its send.
const UNANSWERED_EVERY: usize = 4;

/// The latest moment of such a kill, after its send began.
const BEFORE_ANSWER: Duration = Duration::from_millis(2);

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Members of the topic that never connect
    #[arg(long, default_value_t = 100_000)]
    registrations: u64,
    /// Members that are connected when the server is killed, half of them in the first bucket
    #[arg(long, default_value_t = 50)]
    devices: usize,
    /// Times that the server is killed
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// The latest moment of a kill, in milliseconds after the answer to the send
    #[arg(long, default_value_t = 300)]
    within: u64,
    /// Deletes a set before it is looked at: what is then lost must be seen
    #[arg(long)]
    sabotage: bool,
}

pub(crate) async fn check(cli: &Cli, options: &Options) -> Outcome<()> {
    let mut lab = Lab::open(cli, options).await?;
    let mut total = Total::default();
    for round in 0..options.rounds {
        match lab.round(round, options).await {
            Ok(report) => total.add(&report),
            Err(e) if options.sabotage && e.is::<Fault>() => {
                println!("kill: the loss is seen: {e}");
                return Ok(());
            }
            Err(e) => return Err(e),
        }
    }
    if options.sabotage {
        return Err("the check is blind: it missed what was taken away".into());
    }
    println!(
        "kill: {} rounds over {} registrations and {} connected devices: {} sends not answered ({} of them left \
         nothing), {} fan-outs cut off in the middle; 0 lost, 0 under a second persistent id; {} came again \
         under the same one",
        options.rounds,
        options.registrations,
        options.devices,
        total.unanswered,
        total.absent,
        total.cut,
        lab.checker.again
    );
    Ok(())
}

#[derive(Default)]
struct Total {
    unanswered: usize,
    absent: usize,
    cut: usize,
}

impl Total {
    fn add(&mut self, report: &Report) {
        self.unanswered += usize::from(!report.answered);
        self.absent += usize::from(report.absent);
        self.cut += usize::from(report.cut);
    }
}

/// What a round was.
struct Report {
    answered: bool,
    /// Nobody has its message.
    absent: bool,
    /// The kill left an open job.
    cut: bool,
}

/// When the server is killed.
enum Moment {
    SinceSend(Duration),
    SinceAnswer(Duration),
}

impl Moment {
    /// Differs from round to round, and is the same in each run. Early ones are the likelier, as
    /// spreading is short.
    fn of(round: usize, within: Duration) -> Self {
        // Multiples of the golden ratio stay far from one another.
        let fraction = (round as f64 * 0.618_034).fract();
        match round % UNANSWERED_EVERY {
            0 => Self::SinceSend(BEFORE_ANSWER.mul_f64(fraction)),
            _ => Self::SinceAnswer(within.mul_f64(fraction * fraction)),
        }
    }
}

struct Lab {
    program: PathBuf,
    data: PathBuf,
    folder: tempfile::TempDir,
    project: ProjectNumber,
    crowd: Crowd,
    checker: Checker,
}

impl Lab {
    /// A folder whose topic has all members: half of the devices come before the others, half after.
    async fn open(cli: &Cli, options: &Options) -> Outcome<Self> {
        let Subject { binary, world, folder } = Subject::start(cli).await?;
        let (program, data) = (cli.program()?, binary.folder.clone());
        let project: ProjectNumber = world.sender_id.parse()?;
        let mut devices = Vec::new();
        for _ in 0..options.devices / 2 {
            devices.push(world.device().await?);
        }
        stop(binary, world).await?;
        let topic: Topic = TOPIC.parse()?;
        let plan = Plan { project, registrations: options.registrations, topics: vec![topic], sparse: None };
        let made = offline::make(&store_of(&data)?, &plan).await?;
        let binary = Binary::start(&program, &data)?;
        let world = World::of_demo(&binary).await?;
        while devices.len() < options.devices {
            devices.push(world.device().await?);
        }
        let tokens: Vec<&str> = devices.iter().map(|device| device.token.as_str()).collect();
        topics::subscribe(&world, TOPIC, &tokens).await?;
        stop(binary, world).await?;
        let checker = Checker::new(made.first, options.registrations, &devices)?;
        Ok(Self { program, data, folder, project, crowd: Crowd::new(devices), checker })
    }

    async fn round(&mut self, round: usize, options: &Options) -> Outcome<Report> {
        let answered = self.send_and_kill(round, Duration::from_millis(options.within)).await?;
        let cut = self.has_open_job().await?;
        self.restart_and_collect(round).await?;
        if options.sabotage {
            checker::delete_a_set(&self.data, self.project).await?;
        }
        self.checker.hear(self.crowd.take_arrivals())?;
        let absent = self.checker.look(&self.data, self.project, round, answered).await?;
        Ok(Report { answered, absent, cut })
    }

    /// Whether the send was answered.
    async fn send_and_kill(&self, round: usize, within: Duration) -> Outcome<bool> {
        let binary = Binary::start(&self.program, &self.data)?;
        let world = World::of_demo(&binary).await?;
        let http = world.sender().await?;
        let connected = self.crowd.connect(&world, None).await?;
        let message = json!({ "topic": TOPIC, "data": { "n": round.to_string() } });
        let send = world.send_over(&http, &message);
        // A thread sleeps finer than the timer, whose milliseconds are longer than an answer takes.
        let kill = async |after| {
            let late = move || {
                std::thread::sleep(after);
                binary.kill()
            };
            tokio::task::spawn_blocking(late).await?
        };
        let answered = match Moment::of(round, within) {
            Moment::SinceSend(after) => {
                let (answer, killed) = tokio::join!(send, kill(after));
                killed?;
                answer.is_ok_and(|answer| answer.status.is_success())
            }
            Moment::SinceAnswer(after) => {
                let answer = send.await?;
                kill(after).await?;
                if !answer.status.is_success() {
                    return Err(format!("a send was answered {}: {}", answer.status, answer.text()).into());
                }
                true
            }
        };
        connected.end().await?;
        Ok(answered)
    }

    /// Looked for in a copy, so that the server is the first to open what the kill left.
    async fn has_open_job(&self) -> Outcome<bool> {
        let copy = self.folder.path().join("copy");
        let copied = Command::new("cp").arg("--archive").args([&store_of(&self.data)?, &copy]).status()?;
        if !copied.success() {
            return Err("the store cannot be copied".into());
        }
        let store: Store = Arc::new(EmbeddedEngine::open(&copy, StoreOptions::default())?);
        let open = store.scan(Table::Jobs, jobs::PARTITION, b"", 1, now()).await?;
        store.close().await?;
        drop(store);
        std::fs::remove_dir_all(&copy)?;
        Ok(!open.rows.is_empty())
    }

    /// The devices come back while the server goes on with what it finds. When it says that nothing is
    /// left, a last message to each device tells it that it has everything.
    async fn restart_and_collect(&self, round: usize) -> Outcome<()> {
        let binary = Binary::start(&self.program, &self.data)?;
        let world = World::of_demo(&binary).await?;
        let connected = self.crowd.connect(&world, Some(round)).await?;
        Jobs::of(&world).wait_until_spread(Instant::now()).await?;
        for device in self.crowd.devices() {
            world.accept(&json!({ "token": device.token, "data": { "last": round.to_string() } })).await?;
        }
        connected.end().await?;
        stop(binary, world).await
    }
}

pub(crate) fn store_of(data: &Path) -> Outcome<PathBuf> {
    Ok(DataFolder::open(data).map_err(|e| e.to_string())?.store())
}
