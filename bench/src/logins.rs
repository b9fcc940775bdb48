//! New logins, as many as the server takes, and what those notice of it who are connected: messages come
//! to them evenly, and say how old they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender as Told, channel};
use std::time::{Duration, Instant};

use clap::Args;
use cresset_device_client::Credentials;
use cresset_e2e::{Outcome, World};
use rustls::ClientConfig;
use rustls::client::Resumption;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::crowd::{Crowd, Listener, TOGETHER};
use crate::devices::{self, Devices};
use crate::direct::{OTHER_FILES, at_least_one};
use crate::figures::{Spread, median};
use crate::process::{allow_files, cpu, load, own_cpu};
use crate::stamped::{Sender, Whom};
use crate::subscriber::{Clock, Subscriber};
use crate::topic::wait_for_rest;
use crate::{Cli, Subject};

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Connected devices that messages are sent to
    #[arg(long, default_value_t = 1_000, value_parser = at_least_one)]
    devices: usize,
    /// Messages to them, a second
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// Other devices that log in, again and again
    #[arg(long, default_value_t = 1_000, value_parser = at_least_one)]
    storm: usize,
    /// Seconds of each turn
    #[arg(long, default_value_t = 10, value_parser = at_least_one)]
    seconds: usize,
    /// Rounds of three turns: without logins, with full handshakes, with resumed ones
    #[arg(long, default_value_t = 3, value_parser = at_least_one)]
    rounds: usize,
}

/// What those do that log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Storm {
    None,
    Full,
    Resumed,
}

const STORMS: [Storm; 3] = [Storm::None, Storm::Full, Storm::Resumed];

pub(crate) async fn measure(cli: &Cli, options: &Options) -> Outcome<()> {
    if options.rate.is_nan() || options.rate <= 0.0 {
        return Err("messages a second are more than 0".into());
    }
    allow_files((options.devices + options.storm) as u64 + OTHER_FILES)?;
    let subject = Subject::serve(cli, "").await?;
    let (clock, before) = (Clock::start(), load());
    let registered = devices::register(&subject.world, options.devices).await?;
    let tokens: Vec<String> = registered.iter().map(|device| device.token.clone()).collect();
    let connected = Devices::connected(&registered, &subject.world, clock).await?;
    let sender = Sender::open(&subject.world, &tokens, Whom::Anybody, clock).await?;
    let storm = devices::check_in(&subject.world, options.storm).await?;
    let mut turns = STORMS.map(|_| Vec::new());
    for _ in 0..options.rounds {
        for (kind, turns) in STORMS.into_iter().zip(&mut turns) {
            let turn = Turn { subject: &subject, connected: &connected, sender: &sender, kind, options };
            turns.push(turn.take(&storm).await?);
        }
    }
    println!(
        "logins: as many as possible, {TOGETHER} at a time, of {} devices, while {} others are sent {} messages/s, \
         {} rounds   (load {before} -> {})",
        options.storm,
        options.devices,
        options.rate,
        options.rounds,
        load()
    );
    STORMS.into_iter().zip(&turns).for_each(|(kind, found)| print(kind, found, &turns[0]));
    Ok(())
}

struct Turn<'a> {
    subject: &'a Subject,
    connected: &'a Devices,
    sender: &'a Sender<'a>,
    kind: Storm,
    options: &'a Options,
}

/// What a turn found.
struct Found {
    p50_ms: f64,
    p99_ms: f64,
    logins: Logins,
    seconds: f64,
    /// CPU seconds.
    server: f64,
    generator: f64,
}

impl Turn<'_> {
    async fn take(&self, storm: &[Credentials]) -> Outcome<Found> {
        let pid = self.subject.binary.pid();
        let storm = match self.kind {
            Storm::None => None,
            kind => Some(Gathering::ready(&self.subject.world, storm.to_vec(), kind).await?),
        };
        wait_for_rest(self.subject).await?;
        self.connected.arrivals().await?;
        let (server, generator, begun) = (cpu(pid)?, own_cpu()?, Instant::now());
        let storm = storm.map(Gathering::begin);
        let time = Duration::from_secs(self.options.seconds as u64);
        self.sender.evenly(self.options.rate, time).await?;
        let logins = match storm {
            None => Logins::default(),
            Some(storm) => storm.end().await?,
        };
        let (seconds, server) = (begun.elapsed().as_secs_f64(), (cpu(pid)? - server).as_secs_f64());
        let generator = (own_cpu()? - generator).as_secs_f64();
        let (p50_ms, p99_ms) = self.connected.arrivals().await?.times.p50_p99();
        Ok(Found { p50_ms, p99_ms, logins, seconds, server, generator })
    }
}

/// How many have logged in, and how many of them by a session of before.
#[derive(Clone, Copy, Debug, Default)]
struct Logins {
    all: usize,
    resumed: usize,
}

/// A thread on which devices log in one after the other, each anew when its turn comes again.
struct Gathering {
    go: Told<()>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Outcome<Logins>>,
}

impl Gathering {
    /// When each has logged in once, and so may have a session.
    async fn ready(world: &World, devices: Vec<Credentials>, kind: Storm) -> Outcome<Self> {
        let listeners = listeners(world, devices.len(), kind)?;
        let (go, told) = channel();
        let (is_ready, ready) = oneshot::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = tokio::task::spawn_blocking(move || {
            let mut crowd = Crowd::new()?;
            log_in(&mut crowd, &listeners, &devices, 0..devices.len())?;
            let before = crowd.total();
            let _ = is_ready.send(());
            if told.recv().is_ok() {
                let until_stopped =
                    (0..devices.len()).cycle().take_while(|_| !stopped.load(Ordering::Relaxed));
                log_in(&mut crowd, &listeners, &devices, until_stopped)?;
            }
            let after = crowd.total();
            Ok(Logins { all: after.subscribed - before.subscribed, resumed: after.resumed - before.resumed })
        });
        match ready.await {
            Ok(()) => Ok(Self { go, stop, thread }),
            Err(_) => Err(thread.await?.err().unwrap_or_else(|| "the devices are gone".into())),
        }
    }

    fn begin(self) -> Self {
        // A thread that is gone has a reason, which its end tells.
        let _ = self.go.send(());
        self
    }

    async fn end(self) -> Outcome<Logins> {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.go);
        self.thread.await?
    }
}

/// For each device its own, which keeps its session as a device does.
fn listeners(world: &World, count: usize, kind: Storm) -> Outcome<Vec<Listener>> {
    let plain = devices::listener(world)?;
    let listener = |_| {
        let mut tls = ClientConfig::clone(&plain.tls);
        if kind == Storm::Resumed {
            tls.resumption = Resumption::in_memory_sessions(1);
        }
        Listener { tls: Arc::new(tls), ..plain.clone() }
    };
    Ok((0..count).map(listener).collect())
}

fn log_in(
    crowd: &mut Crowd,
    listeners: &[Listener],
    devices: &[Credentials],
    places: impl Iterator<Item = usize>,
) -> Outcome<()> {
    for place in places {
        crowd.come(place, &listeners[place], Box::new(Subscriber::new(devices[place])))?;
    }
    crowd.wait_for_logins(0)
}

fn print(kind: Storm, found: &[Found], quiet: &[Found]) {
    let of = |figure: &dyn Fn(&Found) -> f64| Spread::of(found.iter().map(figure).collect());
    let name = match kind {
        Storm::None => "no logins",
        Storm::Full => "full handshakes",
        Storm::Resumed => "resumed sessions",
    };
    println!(
        "  {name}: ms from request to device p50 {}, p99 {}",
        of(&|found| found.p50_ms),
        of(&|found| found.p99_ms)
    );
    println!(
        "    server {} % of a core, generator {} %",
        of(&|found| found.server * 100.0 / found.seconds),
        of(&|found| found.generator * 100.0 / found.seconds)
    );
    if kind == Storm::None {
        return;
    }
    // What the messages cost is not the logins'.
    let messages = median(quiet.iter().map(|quiet| quiet.server / quiet.seconds).collect());
    let cost = |found: &Found| (found.server - messages * found.seconds) / found.logins.all as f64;
    println!(
        "    logins/s {}, resumed {} %; server CPU-us a login {}, logins per core-second {}",
        of(&|found| found.logins.all as f64 / found.seconds),
        of(&|found| found.logins.resumed as f64 * 100.0 / found.logins.all as f64),
        of(&|found| cost(found) * 1e6),
        of(&|found| 1.0 / cost(found))
    );
}
