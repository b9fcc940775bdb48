//! Multicasts over the legacy protocol: one request to a thousand tokens, from the request until the
//! answer, by which all of it is durable; to devices that are away, and to devices that are connected.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use clap::Args;
use cresset_e2e::{Device, Http2, Outcome, now};
use cresset_message::DeviceId;
use cresset_store::embedded::{EmbeddedEngine, Options as StoreOptions};
use cresset_store::tables::devices as rows;
use cresset_store::{Store, Table};
use serde_json::{Value, json};

use crate::devices::{self, Devices};
use crate::direct::{OTHER_FILES, at_least_one, wait_for_messages};
use crate::figures::{Latencies, Spread};
use crate::kill::store_of;
use crate::process::{allow_files, cpu, load};
use crate::subscriber::Clock;
use crate::topic::wait_for_rest;
use crate::{Cli, Subject, stop};

/// Each device gets a message of each request, and more than a few may wait for it.
const UNLIMITED: &str = "[quotas]\nprofile = \"off\"\n";

/// A typical message.
const TEXT_BYTES: usize = 780;

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Tokens of one request, each of a device of its own
    #[arg(long, default_value_t = 1_000, value_parser = at_least_one)]
    tokens: usize,
    /// Requests of one run, one after the other; to connected devices, each when all have the one before
    #[arg(long, default_value_t = 50, value_parser = at_least_one)]
    count: usize,
    /// Runs, after one that does not count
    #[arg(long, default_value_t = 3, value_parser = at_least_one)]
    runs: usize,
}

pub(crate) async fn measure(cli: &Cli, options: &Options) -> Outcome<()> {
    allow_files(options.tokens as u64 + OTHER_FILES)?;
    let subject = Subject::serve(cli, UNLIMITED).await?;
    let before = load();
    let away = devices::register(&subject.world, options.tokens).await?;
    let here = devices::register(&subject.world, options.tokens).await?;
    let connected = Devices::connected(&here, &subject.world, Clock::start()).await?;
    let offline = Multicast::to(&subject, &away).await?;
    let online = Multicast::to(&subject, &here).await?;
    let mut figures = Vec::new();
    for (name, multicast, receivers) in [("away", &offline, None), ("connected", &online, Some(&connected))] {
        run(&subject, multicast, receivers, options).await?;
        let mut runs = Vec::new();
        for _ in 0..options.runs {
            runs.push(run(&subject, multicast, receivers, options).await?);
        }
        figures.push((name, runs));
    }
    drop((connected, offline, online));
    let sent = options.count * (options.runs + 1);
    durable(subject, &away, sent, &here).await?;
    println!(
        "legacy: {} requests to {} tokens each, one after the other, {} runs   (load {before} -> {})",
        options.count,
        options.tokens,
        options.runs,
        load()
    );
    figures.iter().for_each(|(name, runs)| print(name, runs));
    println!("  every message to who is away waits in the store; none that was acknowledged does");
    Ok(())
}

/// One request, to be sent many times.
struct Multicast {
    http: Http2,
    authorization: String,
    body: Bytes,
    tokens: usize,
}

impl Multicast {
    async fn to(subject: &Subject, devices: &[Device]) -> Outcome<Self> {
        let tokens: Vec<&str> = devices.iter().map(|device| device.token.as_str()).collect();
        let text = "All work and no play makes Jack a dull boy. ".repeat(TEXT_BYTES / 40);
        let data = json!({ "kind": "chat", "text": text[..TEXT_BYTES] });
        let body = json!({ "registration_ids": tokens, "data": data }).to_string().into();
        let world = &subject.world;
        let http = world.sender().await?;
        Ok(Self { http, authorization: world.authorization(), body, tokens: tokens.len() })
    }

    /// Everybody must be answered with success.
    async fn send(&self) -> Outcome<()> {
        let headers = [
            ("authorization", &*self.authorization),
            ("access_token_auth", "true"),
            ("content-type", "application/json"),
        ];
        let answer = self.http.post("/fcm/send", &headers, self.body.clone()).await?;
        match &answer.json()["success"] {
            Value::Number(sent) if sent.as_u64() == Some(self.tokens as u64) => Ok(()),
            _ => Err(format!("a multicast was answered {} {}", answer.status, answer.text()).into()),
        }
    }
}

/// What a run found; CPU in seconds a million recipients.
struct Run {
    p50_ms: f64,
    p99_ms: f64,
    server: f64,
}

async fn run(
    subject: &Subject,
    multicast: &Multicast,
    receivers: Option<&Devices>,
    options: &Options,
) -> Outcome<Run> {
    let pid = subject.binary.pid();
    wait_for_rest(subject).await?;
    let recipients = options.count * multicast.tokens;
    let mut wanted = receivers.map_or(0, Devices::messages);
    let (server, mut latencies) = (cpu(pid)?, Latencies::with_room_for(options.count));
    for _ in 0..options.count {
        let begun = Instant::now();
        multicast.send().await?;
        latencies.add(begun.elapsed());
        // Else it would be measured how the next one waits for the messages of this one.
        wanted += multicast.tokens;
        if let Some(receivers) = receivers {
            wait_for_messages(receivers, wanted).await?;
        }
    }
    if let Some(receivers) = receivers {
        receivers.ask(|room| room.acknowledge()).await?;
    }
    wait_for_rest(subject).await?;
    let (p50_ms, p99_ms) = latencies.p50_p99();
    let server = (cpu(pid)? - server).as_secs_f64() * 1e6 / recipients as f64;
    Ok(Run { p50_ms, p99_ms, server })
}

/// Looks into the store of the stopped server: so many rows for each that is away, none for those who
/// acknowledged.
async fn durable(subject: Subject, away: &[Device], sent: usize, here: &[Device]) -> Outcome<()> {
    let Subject { binary, world, folder } = subject;
    let store = store_of(&binary.folder)?;
    stop(binary, world).await?;
    let store: Store = Arc::new(EmbeddedEngine::open(&store, StoreOptions::default())?);
    for (devices, expected) in [(away, sent), (here, 0)] {
        for device in devices {
            let id = DeviceId::new(device.credentials.android_id).ok_or("a device has no number")?;
            let inbox = store.scan(Table::Inbox, &rows::partition(id), b"", sent + 1, now()).await?;
            if inbox.rows.len() != expected {
                return Err(format!("{} rows for a device, not {expected}", inbox.rows.len()).into());
            }
        }
    }
    store.close().await?;
    drop(folder);
    Ok(())
}

fn print(name: &str, runs: &[Run]) {
    let of = |figure: fn(&Run) -> f64| Spread::of(runs.iter().map(figure).collect());
    println!(
        "  {name}: ms from request to answer: p50 {}, p99 {}; server CPU-s per million recipients {}",
        of(|run| run.p50_ms),
        of(|run| run.p99_ms),
        of(|run| run.server)
    );
}
