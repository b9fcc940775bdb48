//! Push services of others, and kill -9 in the middle (`--outbound`): a Web Push service and APNs, both
//! fakes that outlive the server, take what is sent to browsers, Apple devices and topics of both, and do
//! wrong what services do. The checker knows what senders and fakes wrote down, and the rules.

mod checker;
mod faults;
mod journal;
mod load;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cresset_e2e::{Binary, Outcome, Outside, Surroundings, World};
use tempfile::TempDir;
use tokio::time::timeout;

use self::checker::Checker;
pub(crate) use self::checker::Findings;
use self::faults::Faults;
use self::journal::{Journal, Place, Registration};
use crate::chance::Chance;

/// How long a server lives under load.
const SHORTEST_LIFE: Duration = Duration::from_millis(5);
const LONGEST_LIFE: Duration = Duration::from_millis(3_000);

/// Registrations of each kind, and topics; each topic has two of three.
const EACH: usize = 12;
const TOPICS: usize = 3;

/// For everybody to notice that the server is dead, and for everything to arrive afterwards.
const PATIENCE: Duration = Duration::from_secs(60);
/// After the last message: what comes now came out of order, or once more.
const AFTERWARDS: Duration = Duration::from_millis(200);
const POLL: Duration = Duration::from_millis(10);

/// All rounds; what they found.
pub(crate) async fn rounds(program: &Path, rounds: u64, seed: u64, sabotage: bool) -> Outcome<Findings> {
    let mut lab = Lab::open(program, seed, sabotage).await?;
    let mut total = Findings::default();
    for number in 1..=rounds {
        let (life, found) = lab.round().await.map_err(|e| format!("round {number} (seed {seed}): {e}"))?;
        println!("outbound {number}: killed after {} ms; {found}", life.as_millis());
        total += found;
    }
    let met = lab.faults.met();
    lab.end().await?;
    println!("outbound: {rounds} rounds, {total}");
    println!("faults that requests met: {met}");
    Ok(total)
}

struct Lab {
    program: PathBuf,
    server: Option<Binary>,
    folder: TempDir,
    outside: Arc<Outside>,
    chance: Chance,
    journal: Arc<Journal>,
    faults: Faults,
    checker: Checker,
    sabotage: bool,
}

impl Lab {
    async fn open(program: &Path, seed: u64, sabotage: bool) -> Outcome<Self> {
        let folder = TempDir::new()?;
        let outside = Arc::new(Outside::start_keeping(usize::MAX).await?);
        let data = folder.path().join("data");
        let server = Binary::start(program, &data)?;
        let apps = outside.join(&server)?;
        let stopped = tokio::task::spawn_blocking(|| server.stop()).await??;
        if !stopped {
            return Err("the server did not end well at SIGTERM".into());
        }
        let outgoing = outside.configuration(&folder.path().join("fakes.pem"))?;
        std::fs::write(
            folder.path().join("cresset.toml"),
            format!("[quotas]\nprofile = \"off\"\n[log]\nlevel = \"warn\"\n{outgoing}"),
        )?;
        let mut lab = Self {
            program: program.to_owned(),
            server: None,
            folder,
            faults: Faults::new(&outside),
            outside,
            chance: Chance::new(seed),
            journal: Arc::default(),
            checker: Checker::default(),
            sabotage,
        };
        let server = lab.serve()?;
        let world = World::of_demo(&server).await?;
        let registrations = lab.register(&world, &apps).await?;
        lab.journal = Arc::new(Journal::new(registrations, TOPICS));
        for topic in 0..TOPICS {
            let tokens: Vec<String> = lab.journal.members(topic).map(|of| of.token.clone()).collect();
            world.join_topic(&journal::topic_name(topic), &tokens).await?;
        }
        lab.server = Some(server);
        Ok(lab)
    }

    async fn register(&self, world: &World, apps: &cresset_e2e::Apps) -> Outcome<Vec<Registration>> {
        let mut registrations = Vec::new();
        for number in 0..EACH {
            let (token, subscription) = apps.browser(world, &self.outside.web).await?;
            registrations.push(Registration { token, place: Place::Web(subscription.endpoint) });
            let device = format!("{number:064x}");
            let token = apps.iphone(world, &self.outside.apns, &device).await?;
            registrations.push(Registration { token, place: Place::Apple(device) });
        }
        Ok(registrations)
    }

    async fn round(&mut self) -> Outcome<(Duration, Findings)> {
        let (data, before) = (self.data(), self.folder.path().join("before"));
        let first = self.journal.count();
        if self.sabotage {
            copy(&data, &before)?;
        }
        let life = self.load_and_kill().await?;
        if self.sabotage {
            copy(&before, &data)?;
        }
        let server = self.serve()?;
        let world = World::of_demo(&server).await?;
        self.collect(&world).await?;
        self.server = Some(server);
        let troubled = (self.outside.web.troubled(), self.outside.apns.troubled());
        Ok((life, self.checker.check(&self.journal.take_round(first), &troubled)))
    }

    async fn load_and_kill(&mut self) -> Outcome<Duration> {
        let server = self.server.take().ok_or("there is no server")?;
        let world = World::of_demo(&server).await?;
        let life = self.chance.between(SHORTEST_LIFE, LONGEST_LIFE);
        let mut senders = load::start(&world, &self.journal, &mut self.chance).await?;
        let begun = Instant::now();
        let faults = self.faults.run(self.chance.split());
        drop(timeout(life, faults).await);
        let lived = begun.elapsed();
        server.kill()?;
        let all_ended = async {
            while let Some(ended) = senders.join_next().await {
                ended??;
            }
            Outcome::Ok(())
        };
        timeout(PATIENCE, all_ended).await.map_err(|_| "somebody has not noticed the kill")??;
        self.faults.settle();
        self.journal.note_arrivals(&self.outside);
        self.journal.life_is_over(&self.outside);
        Ok(lived)
    }

    /// Everything that waits arrives: a last message to each comes after all the others.
    async fn collect(&self, world: &World) -> Outcome<()> {
        let http = world.sender().await?;
        let mut last = Vec::new();
        for registration in 0..self.journal.registrations().len() {
            last.push(load::send(world, &http, &self.journal, journal::To::One(registration)).await?);
        }
        if last.iter().any(Option::is_none) {
            return Err("the restarted server does not answer".into());
        }
        let last: Vec<usize> = last.into_iter().flatten().collect();
        let begun = Instant::now();
        // Who still waits when patience ends is seen by the checker.
        while begun.elapsed() < PATIENCE && !self.journal.have_arrived(&last) {
            tokio::time::sleep(POLL).await;
            self.journal.note_arrivals(&self.outside);
        }
        tokio::time::sleep(AFTERWARDS).await;
        self.journal.note_arrivals(&self.outside);
        Ok(())
    }

    fn serve(&self) -> Outcome<Binary> {
        Binary::serve_in(
            &self.program,
            &self.data(),
            &self.folder.path().join("cresset.toml"),
            &Surroundings::default(),
        )
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    async fn end(mut self) -> Outcome<()> {
        let server = self.server.take().ok_or("there is no server")?;
        if tokio::task::spawn_blocking(|| server.stop()).await?? {
            Ok(())
        } else {
            Err("the server did not end well at SIGTERM".into())
        }
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
