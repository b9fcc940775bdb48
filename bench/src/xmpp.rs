//! Sends by XMPP, each to anybody by chance of devices that are not connected: from the write of a stanza to
//! its ack, which means that the message is durable.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use clap::Args;
use cresset_e2e::{FromServer, Outcome, RawXmpp, xmpp_message};
use futures_util::future::try_join_all;
use serde_json::json;

use crate::devices;
use crate::direct::at_least_one;
use crate::figures::{Latencies, Spread};
use crate::process::{cpu, load, own_cpu};
use crate::topic::wait_for_rest;
use crate::{Cli, Subject};

/// Many to few, and none of them fetches any.
const NO_QUOTAS: &str = "[quotas]\nprofile = \"off\"\n";

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Connections of one sender
    #[arg(long, default_value_t = 10, value_parser = at_least_one)]
    connections: usize,
    /// Messages that are not acked yet, on each
    #[arg(long, default_value_t = 100, value_parser = at_least_one)]
    window: usize,
    /// Registered devices
    #[arg(long, default_value_t = 10_000, value_parser = at_least_one)]
    devices: usize,
    /// Sends in one run
    #[arg(long, default_value_t = 200_000, value_parser = at_least_one)]
    count: usize,
    /// Runs, after one that does not count
    #[arg(long, default_value_t = 3, value_parser = at_least_one)]
    runs: usize,
}

pub(crate) async fn measure(cli: &Cli, options: &Options) -> Outcome<()> {
    let subject = Subject::serve(cli, NO_QUOTAS).await?;
    let before = load();
    let registered = devices::register(&subject.world, options.devices).await?;
    let tokens: Vec<String> = registered.into_iter().map(|device| device.token).collect();
    let mut app_servers = Vec::new();
    for number in 0..options.connections {
        let xmpp = subject.world.app_server().await?;
        app_servers.push(AppServer { xmpp, tokens: &tokens, window: options.window, next: number, sent: 0 });
    }
    run(&subject, &mut app_servers, options).await?;
    let mut runs = Vec::new();
    for _ in 0..options.runs {
        runs.push(run(&subject, &mut app_servers, options).await?);
    }
    println!(
        "xmpp: {} sends to {} devices that are away, {} connections with windows of {}, {} runs   (load {before} -> {})",
        options.count,
        options.devices,
        options.connections,
        options.window,
        options.runs,
        load()
    );
    let of = |figure: fn(&Run) -> f64| Spread::of(runs.iter().map(figure).collect());
    println!("  acked and durable sends/s {}", of(|run| run.per_second));
    println!("  ms to the ack: p50 {}, p99 {}", of(|run| run.p50_ms), of(|run| run.p99_ms));
    println!("  CPU-s per million: server {}, generator {}", of(|run| run.server), of(|run| run.generator));
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

async fn run(subject: &Subject, app_servers: &mut [AppServer<'_>], options: &Options) -> Outcome<Run> {
    let pid = subject.binary.pid();
    wait_for_rest(subject).await?;
    let each = options.count.div_ceil(app_servers.len());
    let count = each * app_servers.len();
    let (server, generator, begun) = (cpu(pid)?, own_cpu()?, Instant::now());
    let times = try_join_all(app_servers.iter_mut().map(|app_server| app_server.send(each))).await?;
    let took = begun.elapsed();
    let (server, generator) = (cpu(pid)? - server, own_cpu()? - generator);
    let mut all = Latencies::with_room_for(count);
    times.into_iter().flatten().for_each(|time| all.add(time));
    let (p50_ms, p99_ms) = all.p50_p99();
    let per_million = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    Ok(Run {
        per_second: count as f64 / took.as_secs_f64(),
        p50_ms,
        p99_ms,
        server: per_million(server),
        generator: per_million(generator),
    })
}

struct AppServer<'a> {
    xmpp: RawXmpp,
    tokens: &'a [String],
    window: usize,
    /// Whose turn it is.
    next: usize,
    sent: u64,
}

impl AppServer<'_> {
    /// Sends so many, and gives how long each waited for its ack.
    async fn send(&mut self, count: usize) -> Outcome<Vec<Duration>> {
        let (mut left, mut times) = (count, Vec::with_capacity(count));
        let mut unanswered = HashMap::new();
        while times.len() < count {
            let mut stanzas = String::new();
            let begun = Instant::now();
            while unanswered.len() < self.window && left > 0 {
                left -= 1;
                stanzas.push_str(&self.stanza());
                unanswered.insert(self.sent.to_string(), begun);
            }
            if !stanzas.is_empty() {
                self.xmpp.write(&stanzas).await?;
            }
            let mut answer = Some(self.xmpp.next().await?);
            while let Some(told) = answer {
                let FromServer::Bare(ack) = &told else { return Err(format!("no ack: {told:?}").into()) };
                let id = ack["message_id"].as_str().filter(|_| ack["message_type"] == "ack");
                let Some(begun) = id.and_then(|id| unanswered.remove(id)) else {
                    return Err(format!("not acked: {ack}").into());
                };
                times.push(begun.elapsed());
                answer = self.xmpp.ready()?;
            }
        }
        Ok(times)
    }

    fn stanza(&mut self) -> String {
        self.sent += 1;
        // A prime, so that all have their turn and neighbours are far apart.
        self.next = (self.next + 7_919) % self.tokens.len();
        let to = &self.tokens[self.next];
        xmpp_message(
            &json!({ "to": to, "message_id": self.sent.to_string(), "data": { "k": "x".repeat(100) } }),
        )
    }
}
