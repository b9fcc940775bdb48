//! Messages that the server accepts over HTTP/2 and delivers to push services of others, which are fakes: to
//! browsers and to Apple devices one by one, and to a topic of browsers.

use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use cresset_e2e::{Http2, Outcome, Outside, World};
use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::json;
use tempfile::TempDir;

use crate::direct::{NO_RATE, at_least_one};
use crate::figures::Spread;
use crate::process::{cpu, load, own_cpu, resident};
use crate::{Cli, Subject, stop};

/// Until the next delivery comes.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(5);
const TOPIC: &str = "pushed";

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Registrations at each of the two services
    #[arg(long, default_value_t = 1_000, value_parser = at_least_one)]
    registrations: usize,
    /// Single sends of a run, to each service
    #[arg(long, default_value_t = 20_000, value_parser = at_least_one)]
    count: usize,
    /// Sends of a run to a topic of all browsers
    #[arg(long, default_value_t = 20, value_parser = at_least_one)]
    to_topic: usize,
    /// Sends that are not answered yet, at a time
    #[arg(long, default_value_t = 100, value_parser = at_least_one)]
    in_flight: usize,
    /// Runs, after one that does not count
    #[arg(long, default_value_t = 3, value_parser = at_least_one)]
    runs: usize,
}

pub(crate) async fn measure(cli: &Cli, options: &Options) -> Outcome<()> {
    // The fakes open and check each message: they have two threads, as they would have two cores.
    let run = || -> Outcome<()> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build()?;
        runtime.block_on(measure_here(cli, options))
    };
    std::thread::scope(|scope| scope.spawn(run).join()).map_err(|_| "the bench has panicked")?
}

async fn measure_here(cli: &Cli, options: &Options) -> Outcome<()> {
    let (outside, folder) = (Outside::start_keeping(0).await?, TempDir::new()?);
    let configuration = outside.configuration(&folder.path().join("fakes.pem"))?;
    let subject = Subject::serve(cli, &format!("{NO_RATE}{configuration}")).await?;
    let (browsers, phones) = register(&subject, &outside, options.registrations).await?;
    subject.world.join_topic(TOPIC, &browsers).await?;
    let world = &subject.world;
    let to_topic = vec![json!({ "topic": TOPIC, "data": content() }).to_string()];
    let each = |tokens: &[String]| {
        let body = |token: &String| json!({ "token": token, "data": content() }).to_string();
        tokens.iter().map(body).collect::<Vec<_>>()
    };
    println!(
        "pushes: {} registrations at each service, {} single sends, {} in flight, {} runs   (load {})",
        options.registrations,
        options.count,
        options.in_flight,
        options.runs,
        load()
    );
    let taken = || outside.web.taken() + outside.apns.taken();
    for (name, messages, count, deliveries) in [
        ("Web Push, one by one", each(&browsers), options.count, options.count),
        ("APNs, one by one", each(&phones), options.count, options.count),
        ("Web Push, to a topic", to_topic, options.to_topic, options.to_topic * options.registrations),
    ] {
        let load = Load { world, pid: subject.binary.pid(), messages, count, deliveries };
        let mut runs = Vec::new();
        for number in 0..=options.runs {
            let run = load.run(options.in_flight, &taken).await?;
            runs.extend((number > 0).then_some(run));
        }
        print(name, &runs);
    }
    println!("  load {}", load());
    let Subject { binary, world, .. } = subject;
    stop(binary, world).await
}

/// Of a message as people send them.
fn content() -> serde_json::Value {
    json!({ "text": "x".repeat(100) })
}

async fn register(subject: &Subject, outside: &Outside, count: usize) -> Outcome<(Vec<String>, Vec<String>)> {
    let apps = outside.join(&subject.binary)?;
    let (mut browsers, mut phones) = (Vec::new(), Vec::new());
    for number in 0..count {
        browsers.push(apps.browser(&subject.world, &outside.web).await?.0);
        phones.push(apps.iphone(&subject.world, &outside.apns, &format!("{number:064x}")).await?);
    }
    Ok((browsers, phones))
}

struct Load<'a> {
    world: &'a World,
    pid: u32,
    /// They are sent one after the other, and from the beginning again.
    messages: Vec<String>,
    count: usize,
    deliveries: usize,
}

/// CPU in seconds a million deliveries.
struct Run {
    per_second: f64,
    server: f64,
    generator: f64,
    resident_mb: (f64, f64),
}

impl Load<'_> {
    /// Until the services have taken everything; nothing may come twice.
    async fn run(&self, in_flight: usize, taken: &impl Fn() -> u64) -> Outcome<Run> {
        let wanted = taken() + self.deliveries as u64;
        let before = resident(self.pid)?;
        let (server, generator, begun) = (cpu(self.pid)?, own_cpu()?, Instant::now());
        self.send(in_flight).await?;
        let (mut seen, mut since) = (taken(), Instant::now());
        while seen < wanted {
            tokio::time::sleep(LOOK).await;
            if taken() > seen {
                (seen, since) = (taken(), Instant::now());
            } else if since.elapsed() > PATIENCE {
                return Err(format!("{} deliveries do not come", wanted - seen).into());
            }
        }
        let took = begun.elapsed();
        if taken() > wanted {
            return Err(format!("{} deliveries came twice", taken() - wanted).into());
        }
        let per_million = |time: Duration| time.as_secs_f64() * 1e6 / self.deliveries as f64;
        let megabytes = |kilobytes: u64| kilobytes as f64 / 1e3;
        Ok(Run {
            per_second: self.deliveries as f64 / took.as_secs_f64(),
            server: per_million(cpu(self.pid)? - server),
            generator: per_million(own_cpu()? - generator),
            resident_mb: (megabytes(before), megabytes(resident(self.pid)?)),
        })
    }

    async fn send(&self, in_flight: usize) -> Outcome<()> {
        let http = self.world.sender().await?;
        let messages = self.messages.iter().cycle().take(self.count);
        let mut answers =
            stream::iter(messages).map(|message| self.post(&http, message)).buffer_unordered(in_flight);
        while let Some(answered) = answers.next().await {
            answered?;
        }
        Ok(())
    }

    async fn post(&self, http: &Http2, message: &str) -> Outcome<()> {
        let authorization = self.world.authorization();
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let body = Bytes::from(format!(r#"{{"message":{message}}}"#));
        let answer = http.post(&self.world.send_path(), &headers, body).await?;
        if answer.status.is_success() {
            return Ok(());
        }
        Err(format!("refused: {} {}", answer.status, answer.text()).into())
    }
}

fn print(name: &str, runs: &[Run]) {
    let of = |figure: fn(&Run) -> f64| Spread::of(runs.iter().map(figure).collect());
    println!("  {name}: deliveries/s {}", of(|run| run.per_second));
    println!(
        "    CPU-s per million, from request to told: server {}, generator and fakes {}",
        of(|run| run.server),
        of(|run| run.generator)
    );
    let first = runs.first().map_or(f64::NAN, |run| run.resident_mb.0);
    let last = runs.last().map_or(f64::NAN, |run| run.resident_mb.1);
    println!("    MB of the server: {first:.1} before, {last:.1} after all runs");
}
