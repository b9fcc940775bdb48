//! Sends to single devices that are connected, each to anybody of them by chance: from the request until
//! the row is deleted that the device has acknowledged, as Chromium does by every tenth message.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use cresset_e2e::{Device, Outcome, now};
use cresset_message::DeviceId;
use cresset_store::embedded::{EmbeddedEngine, Options as StoreOptions};
use cresset_store::tables::devices as rows;
use cresset_store::{Store, Table};

use crate::devices::{self, Devices};
use crate::figures::Spread;
use crate::kill::store_of;
use crate::process::{allow_files, cpu, load, own_cpu};
use crate::stamped::{Sender, Whom};
use crate::subscriber::Clock;
use crate::topic::wait_for_rest;
use crate::{Cli, Subject, stop};

/// Files that generator and server have open beside their connections.
pub(crate) const OTHER_FILES: u64 = 1_000;

/// A project's sends are not limited; all else is as by default.
pub(crate) const NO_RATE: &str = "[quotas]\nproject_per_minute = 0\n";

/// For the next message to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at how many have come.
const LOOK: Duration = Duration::from_millis(5);

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Connected devices
    #[arg(long, default_value_t = 10_000, value_parser = at_least_one)]
    devices: usize,
    /// Sends in one run
    #[arg(long, default_value_t = 200_000, value_parser = at_least_one)]
    count: usize,
    /// Sends that are not answered yet, at a time
    #[arg(long, default_value_t = 200, value_parser = at_least_one)]
    in_flight: usize,
    /// Runs, after one that does not count
    #[arg(long, default_value_t = 3, value_parser = at_least_one)]
    runs: usize,
}

/// For numbers without which there is nothing to measure.
pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1".into()),
        Ok(number) => Ok(number),
        Err(e) => Err(format!("{e}")),
    }
}

pub(crate) async fn measure(cli: &Cli, options: &Options) -> Outcome<()> {
    allow_files(options.devices as u64 + OTHER_FILES)?;
    let subject = Subject::serve(cli, NO_RATE).await?;
    let (clock, before) = (Clock::start(), load());
    let registered = devices::register(&subject.world, options.devices).await?;
    let tokens: Vec<String> = registered.iter().map(|device| device.token.clone()).collect();
    let connected = Devices::connected(&registered, &subject.world, clock).await?;
    let sender = Sender::open(&subject.world, &tokens, Whom::Anybody, clock).await?;
    run(&subject, &connected, &sender, options).await?;
    let mut runs = Vec::new();
    for _ in 0..options.runs {
        runs.push(run(&subject, &connected, &sender, options).await?);
    }
    drop((sender, connected));
    let left = rows_left(subject, &registered).await?;
    println!(
        "direct: {} sends to {} connected devices, {} in flight over HTTP/2, {} runs   (load {before} -> {})",
        options.count,
        options.devices,
        options.in_flight,
        options.runs,
        load()
    );
    print(&runs);
    if left > 0 {
        return Err(format!("{left} devices have rows that they acknowledged").into());
    }
    println!("  no row is left in the store");
    Ok(())
}

/// What a run found; CPU in seconds a million sends.
struct Run {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    server: f64,
    generator: f64,
}

async fn run(subject: &Subject, devices: &Devices, sender: &Sender<'_>, options: &Options) -> Outcome<Run> {
    let pid = subject.binary.pid();
    wait_for_rest(subject).await?;
    devices.arrivals().await?;
    let wanted = devices.messages() + options.count;
    let (server, generator, begun) = (cpu(pid)?, own_cpu()?, Instant::now());
    sender.at_once(options.count, options.in_flight).await?;
    let took = begun.elapsed();
    wait_for_messages(devices, wanted).await?;
    devices.ask(|room| room.acknowledge()).await?;
    wait_for_rest(subject).await?;
    let mut arrivals = devices.arrivals().await?;
    let (p50_ms, p99_ms) = arrivals.times.p50_p99();
    let per_million = |time: Duration| time.as_secs_f64() * 1e6 / options.count as f64;
    Ok(Run {
        per_second: options.count as f64 / took.as_secs_f64(),
        p50_ms,
        p99_ms,
        server: per_million(cpu(pid)? - server),
        generator: per_million(own_cpu()? - generator),
    })
}

pub(crate) async fn wait_for_messages(devices: &Devices, wanted: usize) -> Outcome<()> {
    let (mut seen, mut since) = (devices.messages(), Instant::now());
    while seen < wanted {
        tokio::time::sleep(LOOK).await;
        if devices.messages() > seen {
            (seen, since) = (devices.messages(), Instant::now());
        } else if since.elapsed() > PATIENCE {
            return Err(format!("{} messages do not come", wanted - seen).into());
        }
    }
    Ok(())
}

/// How many devices have something in their inbox, looked for in the store of the stopped server.
async fn rows_left(subject: Subject, devices: &[Device]) -> Outcome<usize> {
    let Subject { binary, world, folder } = subject;
    let store = store_of(&binary.folder)?;
    stop(binary, world).await?;
    let store: Store = Arc::new(EmbeddedEngine::open(&store, StoreOptions::default())?);
    let (now, mut left) = (now(), 0);
    for device in devices {
        let device = DeviceId::new(device.credentials.android_id).ok_or("a device has no number")?;
        let inbox = store.scan(Table::Inbox, &rows::partition(device), b"", 1, now).await?;
        left += usize::from(!inbox.rows.is_empty());
    }
    store.close().await?;
    drop(folder);
    Ok(left)
}

fn print(runs: &[Run]) {
    let of = |figure: fn(&Run) -> f64| Spread::of(runs.iter().map(figure).collect());
    println!("  sends/s {}", of(|run| run.per_second));
    println!("  ms from request to device: p50 {}, p99 {}", of(|run| run.p50_ms), of(|run| run.p99_ms));
    println!(
        "  CPU-s per million, from request to deleted row: server {}, generator {}",
        of(|run| run.server),
        of(|run| run.generator)
    );
}
