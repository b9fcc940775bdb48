//! Durable `messages:send`: how many a second are acknowledged, and what one costs the server.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use cresset_e2e::{Outcome, World};
use futures_util::future::try_join_all;
use serde_json::json;

use crate::figures::{Latencies, median};
use crate::process::{cpu, load, own_cpu};
use crate::{Subject, http1, http2};

/// A typical message; with its token and its JSON a body is about 1 KB.
const TEXT_BYTES: usize = 780;

/// Before the first measurement: page caches, allocators, registrations read for the first time.
const WARM_UP: usize = 5_000;

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Registrations that the sends are spread over
    #[arg(long, default_value_t = 1_000)]
    tokens: usize,
    /// Sends in one run
    #[arg(long, default_value_t = 60_000)]
    count: usize,
    /// Seconds that one run may take
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Runs of each kind; medians are printed
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Only 100 in flight over HTTP/2, such as for a profiler
    #[arg(long)]
    one: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { tokens: 1_000, count: 60_000, seconds: 20, runs: 3, one: false }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) protocol: Protocol,
    pub(crate) connections: usize,
    /// Of all connections together.
    pub(crate) in_flight: usize,
    pub(crate) count: usize,
    pub(crate) limit: Duration,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Http1 => "HTTP/1.1",
            Protocol::Http2 => "HTTP/2",
        };
        write!(f, "{protocol}, {} in flight on {} connections", self.in_flight, self.connections)
    }
}

pub(crate) async fn measure(subject: &Subject, options: &Options) -> Outcome<()> {
    let tokens = register(&subject.world, options.tokens).await?;
    let bodies = bodies(&tokens);
    let bytes = bodies.first().map_or(0, Bytes::len);
    println!("send: durable messages:send over TLS, bodies of {bytes} bytes, {} tokens", tokens.len());
    let plan = |protocol, connections, in_flight| Plan {
        protocol,
        connections,
        in_flight,
        count: options.count,
        limit: Duration::from_secs(options.seconds),
    };
    let usual = plan(Protocol::Http2, 4, 100);
    run(subject, &Plan { count: WARM_UP, ..usual }, &bodies).await?;
    let mut plans = vec![usual];
    if !options.one {
        plans.extend([plan(Protocol::Http2, 4, 500), plan(Protocol::Http1, 100, 100)]);
    }
    for plan in &plans {
        let before = load();
        let mut runs = Vec::new();
        for _ in 0..options.runs {
            runs.push(run(subject, plan, &bodies).await?);
        }
        println!("  {plan}: {}   (load {before} -> {})", Run::median(&runs), load());
    }
    Ok(())
}

/// Registers devices that never connect.
pub(crate) async fn register(world: &World, count: usize) -> Outcome<Vec<String>> {
    /// At a time: enough for the server to gather their writes.
    const TOGETHER: usize = 50;
    let mut tokens = Vec::with_capacity(count);
    while tokens.len() < count {
        let batch = TOGETHER.min(count - tokens.len());
        let devices = try_join_all((0..batch).map(|_| world.device())).await?;
        tokens.extend(devices.into_iter().map(|device| device.token));
    }
    Ok(tokens)
}

/// One request body a token, made before the clock runs.
pub(crate) fn bodies(tokens: &[String]) -> Vec<Bytes> {
    let text = "All work and no play makes Jack a dull boy. ".repeat(TEXT_BYTES / 40);
    let body = |token: &String| {
        json!({ "message": { "token": token, "data": { "kind": "chat", "text": text[..TEXT_BYTES] } } })
            .to_string()
            .into()
    };
    tokens.iter().map(body).collect()
}

/// What the workers of one run share.
pub(crate) struct Shared<'a> {
    bodies: &'a [Bytes],
    next: Cell<usize>,
    count: usize,
    until: Instant,
    latencies: RefCell<Latencies>,
}

impl<'a> Shared<'a> {
    /// The next body to send, if there is one.
    pub(crate) fn next(&self) -> Option<(usize, &'a Bytes)> {
        let n = self.next.get();
        if n >= self.count || Instant::now() >= self.until {
            return None;
        }
        self.next.set(n + 1);
        let at = n % self.bodies.len();
        Some((at, &self.bodies[at]))
    }

    pub(crate) fn acknowledged(&self, begun: Instant) {
        self.latencies.borrow_mut().add(begun.elapsed());
    }
}

/// Sends as planned; anything but 200 ends it.
pub(crate) async fn run(subject: &Subject, plan: &Plan, bodies: &[Bytes]) -> Outcome<Run> {
    let world = &subject.world;
    let shared = |count| Shared {
        bodies,
        next: Cell::new(0),
        count,
        until: Instant::now() + plan.limit,
        latencies: RefCell::new(Latencies::with_room_for(plan.count)),
    };
    let pid = subject.binary.pid();
    match plan.protocol {
        Protocol::Http2 => {
            let connections = http2::connect(world, plan.connections).await?;
            let clock = Stopwatch::start(pid)?;
            let shared = shared(plan.count);
            http2::send(&connections, plan.in_flight, &shared).await?;
            clock.stop(shared.latencies.into_inner())
        }
        Protocol::Http1 => {
            let connections = http1::connect(world, plan.in_flight, bodies).await?;
            let clock = Stopwatch::start(pid)?;
            let shared = shared(plan.count);
            http1::send(connections, &shared).await?;
            clock.stop(shared.latencies.into_inner())
        }
    }
}

struct Stopwatch {
    pid: u32,
    begun: Instant,
    server: Duration,
    client: Duration,
}

impl Stopwatch {
    fn start(pid: u32) -> Outcome<Self> {
        Ok(Self { pid, begun: Instant::now(), server: cpu(pid)?, client: own_cpu()? })
    }

    fn stop(self, mut latencies: Latencies) -> Outcome<Run> {
        let seconds = self.begun.elapsed().as_secs_f64();
        let sent = latencies.count() as f64;
        let (p50_ms, p99_ms) = latencies.p50_p99();
        let per_million = |now: Duration, before: Duration| (now - before).as_secs_f64() * 1e6 / sent;
        Ok(Run {
            per_second: sent / seconds,
            p50_ms,
            p99_ms,
            server_per_million: per_million(cpu(self.pid)?, self.server),
            client_per_million: per_million(own_cpu()?, self.client),
        })
    }
}

/// What a run found; CPU in seconds a million sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    server_per_million: f64,
    client_per_million: f64,
}

impl Run {
    /// Each figure's own median.
    fn median(runs: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| median(runs.iter().map(figure).collect());
        Self {
            per_second: of(|run| run.per_second),
            p50_ms: of(|run| run.p50_ms),
            p99_ms: of(|run| run.p99_ms),
            server_per_million: of(|run| run.server_per_million),
            client_per_million: of(|run| run.client_per_million),
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0} acknowledged/s, p50 {:.2} ms, p99 {:.2} ms, server {:.1} CPU-s per million (client {:.1})",
            self.per_second, self.p50_ms, self.p99_ms, self.server_per_million, self.client_per_million
        )
    }
}
