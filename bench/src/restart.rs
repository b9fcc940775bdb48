//! A server that is killed when much waits in its queues: until it serves again, and until the first
//! device has what waited for it.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use cresset_device_client::{Client, ConnectOptions, Endpoints, Trust as DeviceTrust};
use cresset_e2e::{Binary, Device, Outcome, Trust};
use tokio::time::timeout;

use crate::devices;
use crate::direct::{NO_RATE, at_least_one};
use crate::figures::Spread;
use crate::process::{cpu, load, on_disk, resident};
use crate::stamped::{Sender, Whom};
use crate::subscriber::Clock;
use crate::{Cli, Subject};

/// Sends that are not answered yet, at a time.
const IN_FLIGHT: usize = 200;

/// For the next message to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Messages that FCM keeps for an app instance (`quotas.stored`): more would be dropped.
const MOST_EACH: usize = 100;

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Devices, none of them connected
    #[arg(long, default_value_t = 100_000, value_parser = at_least_one)]
    devices: usize,
    /// Messages that wait for each, made by as many sends
    #[arg(long, default_value_t = 10, value_parser = at_least_one)]
    each: usize,
    /// Times that the server is killed and started
    #[arg(long, default_value_t = 5, value_parser = at_least_one)]
    rounds: usize,
}

pub(crate) async fn measure(cli: &Cli, options: &Options) -> Outcome<()> {
    if options.each > MOST_EACH {
        return Err(format!("no more than {MOST_EACH} messages wait for a device").into());
    }
    let subject = Subject::serve(cli, NO_RATE).await?;
    let before = load();
    let devices = fill(&subject, options).await?;
    let Subject { mut binary, world, folder } = subject;
    drop(world);
    println!(
        "restart: {} messages wait for {} devices, on {} MB of disk; the server is killed (-9) and started \
         {} times, with what it reads in the page cache   (load {before} -> {})",
        options.devices * options.each,
        options.devices,
        on_disk(&binary.folder)? >> 20,
        options.rounds,
        load()
    );
    let (program, data, config) = (cli.program()?, binary.folder.clone(), folder.path().join("cresset.toml"));
    let (before, mut rounds) = (load(), Vec::new());
    for round in 0..options.rounds {
        binary.kill()?;
        let begun = Instant::now();
        binary = Binary::serve(&program, &data, &config)?;
        let serves = begun.elapsed();
        let device = &devices[round * devices.len() / options.rounds];
        receive(&binary, &data, device, options.each).await?;
        let (pid, received) = (binary.pid(), begun.elapsed());
        rounds.push(Round { serves, received, cpu: cpu(pid)?, memory: resident(pid)? });
    }
    print(&rounds);
    println!("  who was asked had its {}, and none twice   (load {before} -> {})", options.each, load());
    Ok(())
}

/// Makes all the messages as an app server would.
async fn fill(subject: &Subject, options: &Options) -> Outcome<Vec<Device>> {
    let devices = devices::register(&subject.world, options.devices).await?;
    let tokens: Vec<String> = devices.iter().map(|device| device.token.clone()).collect();
    let sender = Sender::open(&subject.world, &tokens, Whom::EachInTurn, Clock::start()).await?;
    sender.at_once(options.devices * options.each, IN_FLIGHT).await?;
    Ok(devices)
}

struct Round {
    serves: Duration,
    received: Duration,
    cpu: Duration,
    /// In kB.
    memory: u64,
}

/// Connects a device, which must have exactly what waits for it; it acknowledges nothing.
async fn receive(binary: &Binary, data: &Path, device: &Device, count: usize) -> Outcome<()> {
    let endpoints = Endpoints {
        http_base: format!("http://{}", binary.running.http),
        mcs: binary.running.mcs.to_string(),
        server_name: Some("mtalk.google.com".into()),
    };
    let client = Client::new(endpoints, DeviceTrust::pem(&Trust::of_folder(data)?.pem)?)?;
    let mut connection = client.connect(&device.credentials, ConnectOptions::default()).await?;
    let mut ids = HashSet::new();
    for n in 0..count {
        let message = timeout(PATIENCE, connection.next()).await;
        let message = message.map_err(|_| format!("a device has {n} of its {count} messages"))??;
        let message = message.ok_or("the server ended a connection")?;
        if !ids.insert(message.persistent_id().to_owned()) {
            return Err(format!("a device was given {} twice", message.persistent_id()).into());
        }
    }
    Ok(())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn print(rounds: &[Round]) {
    let of = |figure: fn(&Round) -> f64| Spread::of(rounds.iter().map(figure).collect());
    let (serves, received) = (of(|round| ms(round.serves)), of(|round| ms(round.received)));
    println!(
        "  ms from the start until it serves {serves}, until the first device has its messages {received}"
    );
    println!(
        "  CPU-ms of the server until then {}, resident memory {} MB",
        of(|round| ms(round.cpu)),
        of(|round| round.memory as f64 / 1_024.0)
    );
}
