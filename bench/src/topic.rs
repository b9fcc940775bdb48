//! A send to a topic of a million registrations that are not connected: how long its sender waits,
//! how long until it is spread to all of them, and what it costs.

use std::time::{Duration, Instant};

use clap::Args;
use cresset_e2e::{Binary, Outcome, World};
use cresset_message::Topic;
use cresset_server::DataFolder;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::figures::Spread;
use crate::offline::{self, Plan};
use crate::process::{cpu, load, resident};
use crate::{Cli, Subject, http1};

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
}

pub(crate) async fn measure(cli: &Cli, options: &Options) -> Outcome<()> {
    let subject = fill(cli, options).await?;
    let pid = subject.binary.pid();
    let jobs = Jobs::of(&subject.world);
    println!("  resident memory of the server after its start: {} MB", resident(pid)? / 1_024);
    if options.topics_each > 0 {
        let names: Vec<String> = (0..options.topics_each).map(everyone).collect();
        let what = format!("a topic of all {}", options.registrations);
        send_to(&subject, &what, &names, options.sends, &jobs).await?;
    }
    if options.members_of_one > 0 {
        let what = format!("a topic of {}", options.members_of_one.min(options.registrations));
        send_to(&subject, &what, &[SPARSE.to_owned()], options.sends, &jobs).await?;
    }
    println!("  resident memory of the server in the end: {} MB", resident(pid)? / 1_024);
    Ok(())
}

const SPARSE: &str = "sparse";

fn everyone(number: usize) -> String {
    format!("everyone-{number}")
}

/// A server whose demo project has the registrations, made while it was stopped.
async fn fill(cli: &Cli, options: &Options) -> Outcome<Subject> {
    let Subject { binary, world, folder } = Subject::start(cli).await?;
    let data = binary.folder.clone();
    let topic = |name: &str| Ok::<Topic, cresset_e2e::Failure>(name.parse()?);
    let plan = Plan {
        project: world.sender_id.parse()?,
        registrations: options.registrations,
        topics: (0..options.topics_each).map(|n| topic(&everyone(n))).collect::<Outcome<_>>()?,
        sparse: (options.members_of_one > 0)
            .then(|| topic(SPARSE).map(|topic| (topic, options.members_of_one)))
            .transpose()?,
    };
    // This thread ends the connections of `world`, which the server waits for.
    drop(world);
    if !tokio::task::spawn_blocking(|| binary.stop()).await?? {
        return Err("the server did not stop well".into());
    }
    let before = load();
    let store = DataFolder::open(&data).map_err(|e| e.to_string())?.store();
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
    let begun = Instant::now();
    let binary = Binary::start(&cli.program()?, &data)?;
    println!("  the server starts on them in {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);
    let world = World::of_demo(&binary).await?;
    Ok(Subject { binary, world, folder })
}

/// Sends to the topics in turn, each when the one before has been spread and the server is at rest.
/// The first one to a topic, which finds nothing in memory, is told apart.
async fn send_to(subject: &Subject, what: &str, topics: &[String], sends: usize, jobs: &Jobs) -> Outcome<()> {
    let before = load();
    let http = subject.world.sender().await?;
    wait_for_rest(subject).await?;
    let mut done = Vec::new();
    for name in topics.iter().cycle().take(sends.max(topics.len())) {
        let message = json!({ "topic": name, "data": { "k": "x".repeat(PAYLOAD - 1) } });
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
async fn wait_for_rest(subject: &Subject) -> Outcome<()> {
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
