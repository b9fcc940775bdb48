//! A send to a topic of a million registrations that are not connected: how long its sender waits,
//! how long until it is spread to all of them, and what it costs.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use cresset_e2e::{Binary, Outcome, World};
use cresset_message::Topic;
use cresset_server::DataFolder;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::figures::Spread;
use crate::offline::{self, Plan};
use crate::process::{allow_many_files, cpu, forget_peak, load, on_disk, peak, resident};
use crate::{Cli, Subject, http1, stop};

/// Bytes of a message's content.
const PAYLOAD: usize = 256;

/// For a fan-out to be spread, and for a server to come to rest after it.
const PATIENCE: Duration = Duration::from_secs(300);

/// Between two questions how many jobs are open.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// A server that used no more than this in this time is at rest.
const REST: Duration = Duration::from_millis(100);
const AT_REST: Duration = Duration::from_millis(10);

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Registrations, none of them connected
    #[arg(long, default_value_t = 1_000_000)]
    registrations: u64,
    /// Topics that every registration is a member of
    #[arg(long, default_value_t = 1)]
    topics_each: usize,
    /// Members of one further topic, evenly spread over all registrations; 0: no such topic
    #[arg(long, default_value_t = 1_000)]
    members_of_one: u64,
    /// Sends to each kind of topic
    #[arg(long, default_value_t = 11)]
    sends: usize,
    /// Memory for the server's cache of rows, in megabytes [default: the server's]
    #[arg(long)]
    store_cache_mb: Option<u64>,
    /// A data folder that such a run has left: taken as it is; where there is none, it is made and left
    #[arg(long, value_name = "DIR")]
    filled: Option<PathBuf>,
}

pub(crate) async fn measure(cli: &Cli, options: &Options) -> Outcome<()> {
    let mut subject = fill(cli, options).await?;
    let jobs = Jobs::of(&subject.world);
    if options.topics_each > 0 {
        let names: Vec<Target> = (0..options.topics_each).map(|n| Target::Topic(everyone(n))).collect();
        let what = format!("a topic of all {}", options.registrations);
        send_to(&subject, &what, &names, options.sends, &jobs).await?;
    }
    if options.members_of_one > 0 {
        let what = format!("a topic of {}", options.members_of_one.min(options.registrations));
        send_to(&subject, &what, &[Target::Topic(SPARSE.to_owned())], options.sends, &jobs).await?;
    }
    if options.topics_each >= CONDITION_TOPICS {
        // Nothing of its topics is in memory.
        subject = start_again(cli, options, subject).await?;
        let jobs = Jobs::of(&subject.world);
        ask_a_condition(&subject, options.sends).await?;
        let what = "a condition over five of them, after that";
        send_to(&subject, what, &[Target::Condition(condition())], options.sends, &jobs).await?;
    }
    Ok(())
}

/// Topics of a condition, the most it may have (`protocol/http-v1.md` §5).
const CONDITION_TOPICS: usize = 5;

/// True for everybody, and not before all five have been looked at.
fn condition() -> String {
    let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(|n| format!("'{}' in topics", everyone(n)));
    format!("({a} && {b}) && ({c} || !({d})) && !(!({e}))")
}

/// How long it takes to know whom a condition names: the first time and later.
async fn ask_a_condition(subject: &Subject, times: usize) -> Outcome<()> {
    let World { project, .. } = &subject.world;
    let http = subject.world.sender().await?;
    let authorization = subject.world.authorization();
    let path = format!("/cresset/v1/projects/{project}/targets:preview");
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let mut took = Vec::new();
    let mut named = Value::Null;
    for _ in 0..times {
        let body = json!({ "condition": condition() }).to_string();
        let begun = Instant::now();
        let answer = http.post(&path, &headers, body.into()).await?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
        if !answer.status.is_success() {
            return Err(format!("a preview was answered {}: {}", answer.status, answer.text()).into());
        }
        named = answer.json()["registrations"].clone();
    }
    let (first, later) = took.split_at(1);
    println!("  a preview of a condition over five topics, which names {named}, counted by platform:");
    println!("    ms the first time {:.1}, later {}", first[0], Spread::of(later.to_vec()));
    Ok(())
}

/// What is sent to.
enum Target {
    Topic(String),
    Condition(String),
}

impl Target {
    fn message(&self) -> Value {
        let (field, value) = match self {
            Self::Topic(name) => ("topic", name),
            Self::Condition(text) => ("condition", text),
        };
        json!({ field: value, "data": { "k": "x".repeat(PAYLOAD - 1) } })
    }
}

const SPARSE: &str = "sparse";

fn everyone(number: usize) -> String {
    format!("everyone-{number}")
}

/// A server whose demo project has the registrations, made while it was stopped.
async fn fill(cli: &Cli, options: &Options) -> Outcome<Subject> {
    allow_many_files()?;
    let folder = match &cli.folder {
        Some(parent) => TempDir::new_in(parent)?,
        None => TempDir::new()?,
    };
    let data = options.filled.clone().unwrap_or_else(|| folder.path().join("data"));
    if !data.exists() {
        make(cli, options, &data).await?;
    }
    start(cli, options, folder, &data).await
}

async fn make(cli: &Cli, options: &Options, data: &Path) -> Outcome<()> {
    let binary = Binary::start(&cli.program()?, data)?;
    let world = World::of_demo(&binary).await?;
    let topic = |name: &str| Ok::<Topic, cresset_e2e::Failure>(name.parse()?);
    let plan = Plan {
        project: world.sender_id.parse()?,
        registrations: options.registrations,
        topics: (0..options.topics_each).map(|n| topic(&everyone(n))).collect::<Outcome<_>>()?,
        sparse: (options.members_of_one > 0)
            .then(|| topic(SPARSE).map(|topic| (topic, options.members_of_one)))
            .transpose()?,
    };
    stop(binary, world).await?;
    let before = load();
    let store = DataFolder::open(data).map_err(|e| e.to_string())?.store();
    let made = offline::make(&store, &plan).await?;
    println!(
        "topic: {} registrations in {} topics each, made in {:.1} s: {:.0} rows/s, {:.1} us of CPU a row   (load {before} -> {})",
        plan.registrations,
        plan.topics.len(),
        made.time.as_secs_f64(),
        made.rows as f64 / made.time.as_secs_f64(),
        made.cpu.as_secs_f64() * 1e6 / made.rows as f64,
        load()
    );
    Ok(())
}

/// The server stops and starts, with nothing in memory.
async fn start_again(cli: &Cli, options: &Options, subject: Subject) -> Outcome<Subject> {
    let Subject { binary, world, folder } = subject;
    let data = binary.folder.clone();
    stop(binary, world).await?;
    start(cli, options, folder, &data).await
}

async fn start(cli: &Cli, options: &Options, folder: TempDir, data: &Path) -> Outcome<Subject> {
    let size = on_disk(data)?;
    let begun = Instant::now();
    let binary = match options.store_cache_mb {
        None => Binary::start(&cli.program()?, data)?,
        Some(megabytes) => {
            let config = folder.path().join("cresset.toml");
            std::fs::write(&config, format!("[limits]\nstore_cache_mb = {megabytes}\n"))?;
            Binary::serve(&cli.program()?, data, &config)?
        }
    };
    println!(
        "  the server starts on {} MB of disk in {:.0} ms and takes {} MB of memory",
        size >> 20,
        begun.elapsed().as_secs_f64() * 1e3,
        resident(binary.pid())? / 1_024
    );
    let world = World::of_demo(&binary).await?;
    Ok(Subject { binary, world, folder })
}

/// Sends to the topics in turn, each when the one before has been spread and the server is at rest.
/// The first one to a topic, which finds nothing in memory, is told apart.
async fn send_to(subject: &Subject, what: &str, topics: &[Target], sends: usize, jobs: &Jobs) -> Outcome<()> {
    let (pid, before) = (subject.binary.pid(), load());
    wait_for_rest(subject).await?;
    let http = subject.world.sender().await?;
    let at_rest = resident(pid)?;
    forget_peak(pid)?;
    let mut done = Vec::new();
    for target in topics.iter().cycle().take(sends.max(topics.len())) {
        let message = target.message();
        let server = cpu(subject.binary.pid())?;
        let begun = Instant::now();
        let answer = subject.world.send_over(&http, &message).await?;
        let accepted = begun.elapsed();
        if !answer.status.is_success() {
            return Err(format!("a send was answered {}: {}", answer.status, answer.text()).into());
        }
        let spread = Some(jobs.wait_until_spread(begun).await?);
        wait_for_rest(subject).await?;
        done.push(Send { accepted, spread, server: cpu(subject.binary.pid())? - server });
    }
    let (first, later) = done.split_at(topics.len());
    println!("  {what}   (load {before} -> {})", load());
    print("the first send", first);
    print("later ones", later);
    println!(
        "    resident memory of the server: {} MB before, {} MB at the most, {} MB after",
        at_rest / 1_024,
        peak(pid)? / 1_024,
        resident(pid)? / 1_024
    );
    Ok(())
}

struct Send {
    accepted: Duration,
    spread: Option<Duration>,
    server: Duration,
}

fn print(which: &str, sends: &[Send]) {
    if sends.is_empty() {
        return;
    }
    let of = |figure: fn(&Send) -> Option<Duration>| {
        let times: Vec<f64> = sends.iter().filter_map(figure).map(|time| time.as_secs_f64() * 1e3).collect();
        (!times.is_empty()).then(|| Spread::of(times))
    };
    let told =
        |figure: Option<Spread>| figure.map_or_else(|| "not asked".into(), |spread| spread.to_string());
    println!(
        "    {which}: ms to accept {}, ms until spread {}, server CPU-ms {}",
        told(of(|send| Some(send.accepted))),
        told(of(|send| send.spread)),
        told(of(|send| Some(send.server)))
    );
}

/// Until the server has nothing to do any more.
pub(crate) async fn wait_for_rest(subject: &Subject) -> Outcome<()> {
    let (pid, until) = (subject.binary.pid(), Instant::now() + PATIENCE);
    let mut before = cpu(pid)?;
    while Instant::now() < until {
        tokio::time::sleep(REST).await;
        let now = cpu(pid)?;
        if now - before <= AT_REST {
            return Ok(());
        }
        before = now;
    }
    Err("the server does not come to rest".into())
}

/// Who is asked how many jobs are open.
pub(crate) struct Jobs {
    address: std::net::SocketAddr,
    request: String,
}

impl Jobs {
    pub(crate) fn of(world: &World) -> Self {
        let World { project, running, .. } = world;
        let request = format!(
            "GET /cresset/v1/projects/{project}/fanouts HTTP/1.1\r\nhost: localhost\r\nauthorization: {}\r\n\r\n",
            world.authorization()
        );
        Self { address: running.http, request }
    }

    /// Asks until none is open; the time since the send.
    pub(crate) async fn wait_until_spread(&self, sent: Instant) -> Outcome<Duration> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        while sent.elapsed() < PATIENCE {
            if self.open(&mut stream).await? == 0 {
                return Ok(sent.elapsed());
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
        Err("a fan-out is not spread to its end".into())
    }

    async fn open(&self, stream: &mut TcpStream) -> Outcome<u64> {
        stream.write_all(self.request.as_bytes()).await?;
        let mut read = Vec::new();
        while !http1::is_whole(&read)? {
            if stream.read_buf(&mut read).await? == 0 {
                return Err("the server ended a connection".into());
            }
        }
        let answer = String::from_utf8(read)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        if !head.starts_with("HTTP/1.1 200 ") {
            return Err(format!("the question for open jobs was answered {answer}").into());
        }
        let body: Value = serde_json::from_str(body)?;
        body["open"].as_u64().ok_or_else(|| format!("there is no number in {body}").into())
    }
}
