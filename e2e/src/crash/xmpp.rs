//! App servers by XMPP and devices that talk back, and kill -9 in the middle (`--xmpp`): what was acked to
//! an app server must reach its device, and what a device was told to be taken must reach an app server,
//! at least once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use cresset_device_client::{Acks, ConnectOptions, Connection, Upstream};
use cresset_e2e::{Binary, Device, FromServer, Outcome, RawXmpp, World};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

use crate::chance::Chance;

/// How long a server lives under load.
const SHORTEST_LIFE: Duration = Duration::from_millis(5);
const LONGEST_LIFE: Duration = Duration::from_millis(1_500);
const DEVICES: usize = 12;
const APP_SERVERS: usize = 3;
/// What an app server may have unanswered (`protocol/xmpp.md` §9).
const WINDOW: usize = 100;
/// For everybody to notice that the server is dead, and for everything to be handed out afterwards.
const PATIENCE: Duration = Duration::from_secs(60);
/// A device listens so long before it says something again.
const LISTEN: Duration = Duration::from_millis(5);
/// It keeps what it has not been told to be taken, and says no more than so much at a time.
const UNTAKEN: usize = 20;

/// A message, in either direction.
#[derive(Clone, Copy, Debug, Default)]
struct Fate {
    /// Whoever sent it was told that it is durable.
    durable: bool,
    arrived: u32,
}

/// What both sides wrote down; a message's number is its place.
#[derive(Debug, Default)]
struct Journal {
    down: Vec<Fate>,
    up: Vec<Fate>,
    /// What came and was never sent.
    unknown: u64,
    nacks: u64,
}

type Shared = Rc<RefCell<Journal>>;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    down: u64,
    up: u64,
    pub(crate) lost: u64,
    doubled: u64,
    unknown: u64,
    nacks: u64,
}

impl Totals {
    pub(crate) fn faults(self) -> u64 {
        self.lost + self.unknown + self.nacks
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { down, up, lost, doubled, unknown, nacks } = self;
        write!(
            f,
            "{down} acked to app servers, {up} to devices: lost {lost}, unknown {unknown}, nacks {nacks}, came again {doubled}"
        )
    }
}

/// All rounds; what they found.
pub(crate) async fn rounds(program: &Path, rounds: u64, seed: u64, sabotage: bool) -> Outcome<Totals> {
    let mut lab = Lab::open(program, seed, sabotage).await?;
    for number in 1..=rounds {
        let life = lab.round().await.map_err(|e| format!("round {number} (seed {seed}): {e}"))?;
        println!("xmpp {number}: killed after {} ms; {}", life.as_millis(), lab.totals());
    }
    let totals = lab.totals();
    lab.end().await?;
    println!("xmpp: {rounds} rounds, {totals}");
    Ok(totals)
}

struct Lab {
    program: PathBuf,
    server: Option<Binary>,
    folder: TempDir,
    chance: Chance,
    devices: Vec<Device>,
    journal: Shared,
    sabotage: bool,
}

impl Lab {
    async fn open(program: &Path, seed: u64, sabotage: bool) -> Outcome<Self> {
        let folder = TempDir::new()?;
        let server = Binary::start(program, &folder.path().join("data"))?;
        let world = World::of_demo(&server).await?;
        let mut devices = Vec::new();
        for _ in 0..DEVICES {
            devices.push(world.device().await?);
        }
        let chance = Chance::new(seed);
        let (program, server) = (program.to_owned(), Some(server));
        Ok(Self { program, server, folder, chance, devices, journal: Rc::default(), sabotage })
    }

    async fn round(&mut self) -> Outcome<Duration> {
        let (data, before) = (self.folder.path().join("data"), self.folder.path().join("before"));
        if self.sabotage {
            copy(&data, &before)?;
        }
        let life = self.load_and_kill().await?;
        if self.sabotage {
            copy(&before, &data)?;
        }
        let server = Binary::start(&self.program, &data)?;
        let world = World::of_demo(&server).await?;
        timeout(PATIENCE, self.collect(&world)).await.map_err(|_| "not everything was handed out")??;
        self.server = Some(server);
        Ok(life)
    }

    async fn load_and_kill(&mut self) -> Outcome<Duration> {
        let server = self.server.take().ok_or("there is no server")?;
        let world = World::of_demo(&server).await?;
        let life = self.chance.between(SHORTEST_LIFE, LONGEST_LIFE);
        let live = async {
            let mut tasks = JoinSet::new();
            for _ in 0..APP_SERVERS {
                let xmpp = world.app_server().await?;
                let tokens = self.devices.iter().map(|device| device.token.clone()).collect();
                let app_server = AppServer::new(xmpp, tokens, self.chance.split(), self.journal.clone());
                tasks.spawn_local(app_server.run());
            }
            for (at, device) in self.devices.iter().enumerate() {
                let talking = talk(world.clone(), device.clone(), at, self.journal.clone());
                tasks.spawn_local(talking);
            }
            let begun = Instant::now();
            tokio::time::sleep(life).await;
            let lived = begun.elapsed();
            server.kill()?;
            let all_ended = async { while tasks.join_next().await.is_some() {} };
            timeout(PATIENCE, all_ended).await.map_err(|_| "somebody has not noticed the kill")?;
            Ok(lived)
        };
        LocalSet::new().run_until(live).await
    }

    /// Everything that waits is fetched. A last message in each direction comes after all the others.
    async fn collect(&self, world: &World) -> Outcome<()> {
        let mut last_up = BTreeMap::new();
        for (at, device) in self.devices.iter().enumerate() {
            let last = self.journal.borrow().down.len();
            self.journal.borrow_mut().down.push(Fate::default());
            world.accept(&json!({ "token": device.token, "data": { "n": last.to_string() } })).await?;
            self.journal.borrow_mut().down[last].durable = true;
            let mut connection = connect(world, device).await?;
            while self.journal.borrow().down[last].arrived == 0 {
                let Some(message) = connection.next().await? else {
                    return Err("a device was sent away".into());
                };
                arrived_down(&self.journal, message.get("n"));
            }
            let number = say(&mut connection, world, device, at, &self.journal).await?;
            if !connection.wait_until_taken(number.1).await? {
                return Err("a device was sent away".into());
            }
            self.journal.borrow_mut().up[number.0].durable = true;
            last_up.insert(number.0, ());
        }
        let mut xmpp = world.app_server().await?;
        while last_up.keys().any(|number| self.journal.borrow().up[*number].arrived == 0) {
            match xmpp.next().await? {
                FromServer::Upstream(message) => {
                    arrived_up(&self.journal, &message);
                    xmpp.acknowledge(&message).await?;
                }
                other => return Err(format!("not from a device: {other:?}").into()),
            }
        }
        Ok(())
    }

    fn totals(&self) -> Totals {
        let journal = self.journal.borrow();
        let durable = |fates: &[Fate]| fates.iter().filter(|fate| fate.durable).count() as u64;
        let all = || journal.down.iter().chain(&journal.up);
        Totals {
            down: durable(&journal.down),
            up: durable(&journal.up),
            lost: all().filter(|fate| fate.durable && fate.arrived == 0).count() as u64,
            doubled: all().map(|fate| u64::from(fate.arrived.saturating_sub(1))).sum(),
            unknown: journal.unknown,
            nacks: journal.nacks,
        }
    }

    async fn end(mut self) -> Outcome<()> {
        let server = self.server.take().ok_or("there is no server")?;
        // On another thread: the connections to it are closed on this one.
        if tokio::task::spawn_blocking(|| server.stop()).await?? {
            Ok(())
        } else {
            Err("the server did not end well at SIGTERM".into())
        }
    }
}

/// An app server that sends as fast as it may, and acknowledges what it gets.
struct AppServer {
    xmpp: RawXmpp,
    tokens: Vec<String>,
    chance: Chance,
    journal: Shared,
    unanswered: usize,
}

impl AppServer {
    fn new(xmpp: RawXmpp, tokens: Vec<String>, chance: Chance, journal: Shared) -> Self {
        Self { xmpp, tokens, chance, journal, unanswered: 0 }
    }

    /// Until the server is dead.
    async fn run(mut self) {
        while self.step().await.is_ok_and(|goes_on| goes_on) {}
    }

    async fn step(&mut self) -> Outcome<bool> {
        while self.unanswered < WINDOW {
            let number = {
                let mut journal = self.journal.borrow_mut();
                journal.down.push(Fate::default());
                journal.down.len() - 1
            };
            let to = &self.tokens[self.chance.below(self.tokens.len())];
            let n = number.to_string();
            self.xmpp.send(&json!({ "to": to, "message_id": n, "data": { "n": n } })).await?;
            self.unanswered += 1;
        }
        match self.xmpp.next().await? {
            FromServer::Bare(answer) => self.answered(&answer),
            FromServer::Upstream(message) => {
                arrived_up(&self.journal, &message);
                self.xmpp.acknowledge(&message).await?;
            }
            FromServer::Stanza(_) => self.journal.borrow_mut().unknown += 1,
            FromServer::Closed => return Ok(false),
        }
        Ok(true)
    }

    fn answered(&mut self, answer: &Value) {
        self.unanswered -= 1;
        let mut journal = self.journal.borrow_mut();
        let number = answer["message_id"].as_str().and_then(|id| id.parse::<usize>().ok());
        match number.and_then(|number| journal.down.get_mut(number)) {
            Some(fate) if answer["message_type"] == "ack" => fate.durable = true,
            Some(_) => journal.nacks += 1,
            None => journal.unknown += 1,
        }
    }
}

/// A device that listens and talks, until the server is dead.
async fn talk(world: World, device: Device, at: usize, journal: Shared) {
    let Ok(mut connection) = connect(&world, &device).await else { return };
    let mut untaken: Vec<(usize, u32)> = Vec::new();
    loop {
        if untaken.len() < UNTAKEN {
            match say(&mut connection, &world, &device, at, &journal).await {
                Ok(said) => untaken.push(said),
                Err(_) => return,
            }
        }
        match timeout(LISTEN, connection.next()).await {
            Ok(Ok(Some(message))) => arrived_down(&journal, message.get("n")),
            Ok(_) => return,
            Err(_) => {}
        }
        untaken.retain(|(number, frame)| {
            let taken = connection.is_taken(*frame);
            journal.borrow_mut().up[*number].durable |= taken;
            !taken
        });
    }
}

async fn connect(world: &World, device: &Device) -> Outcome<Connection> {
    let options = ConnectOptions { acks: Acks::Automatic, ..ConnectOptions::default() };
    Ok(world.devices.connect(&device.credentials, options).await?)
}

/// Says the next thing: its number, and the frame that it was said in.
async fn say(
    connection: &mut Connection,
    world: &World,
    device: &Device,
    at: usize,
    journal: &Shared,
) -> Outcome<(usize, u32)> {
    let number = journal.borrow().up.len();
    journal.borrow_mut().up.push(Fate::default());
    let message = Upstream {
        sender_id: world.sender_id.clone(),
        category: "com.example.demo".into(),
        token: device.token.clone(),
        message_id: number.to_string(),
        persistent_id: format!("{at}-{number}"),
        data: vec![("n".into(), number.to_string())],
        ttl_seconds: 86_400,
    };
    Ok((number, connection.upstream(&message).await?))
}

fn arrived_down(journal: &Shared, number: Option<&str>) {
    let mut journal = journal.borrow_mut();
    match number.and_then(|n| n.parse::<usize>().ok()).and_then(|number| journal.down.get_mut(number)) {
        Some(fate) => fate.arrived += 1,
        None => journal.unknown += 1,
    }
}

fn arrived_up(journal: &Shared, message: &Value) {
    let mut journal = journal.borrow_mut();
    let number = message["data"]["n"].as_str().filter(|n| message["message_id"] == **n);
    match number.and_then(|n| n.parse::<usize>().ok()).and_then(|number| journal.up.get_mut(number)) {
        Some(fate) => fate.arrived += 1,
        None => journal.unknown += 1,
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
