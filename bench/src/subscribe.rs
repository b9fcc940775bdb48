//! Durable memberships: `batchAdd` of a thousand tokens, some calls in flight.

use std::cell::Cell;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use cresset_e2e::{Http2, Outcome};
use futures_util::future::try_join_all;

use crate::figures::{Latencies, Spread};
use crate::process::{cpu, load, own_cpu};
use crate::{Subject, send, topics};

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Registrations, each a member of all topics in the end
    #[arg(long, default_value_t = 4_000)]
    tokens: usize,
    /// Topics of one run, new in each
    #[arg(long, default_value_t = 25)]
    topics: usize,
    /// Calls in flight, each on a connection of its own
    #[arg(long, default_value_t = 4)]
    in_flight: usize,
    /// Runs; medians are printed
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

pub(crate) async fn measure(subject: &Subject, options: &Options) -> Outcome<()> {
    let tokens = send::register(&subject.world, options.tokens).await?;
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let connections = try_join_all((0..options.in_flight).map(|_| subject.world.sender())).await?;
    println!(
        "subscribe: batchAdd of {} tokens, {} calls in flight, {} topics of {} members",
        topics::MAX_TOKENS.min(tokens.len()),
        options.in_flight,
        options.topics,
        tokens.len()
    );
    let before = load();
    let mut runs = Vec::new();
    for number in 0..options.runs {
        let calls: Vec<Call> = calls(&tokens, options.topics, number);
        runs.push(run(subject, &connections, &calls).await?);
    }
    let of = |figure: fn(&Run) -> f64| Spread::of(runs.iter().map(figure).collect());
    println!("  memberships a second: {}   (load {before} -> {})", of(|run| run.per_second), load());
    println!("  server CPU in us a membership: {}", of(|run| run.server));
    println!("  generator CPU in us a membership: {}", of(|run| run.generator));
    println!("  ms to an answer: p50 {}, p99 {}", of(|run| run.p50_ms), of(|run| run.p99_ms));
    Ok(())
}

struct Call {
    body: Bytes,
    tokens: usize,
}

/// Made before the clock runs.
fn calls(tokens: &[&str], topics: usize, run: usize) -> Vec<Call> {
    let call =
        |topic: &str, tokens: &[&str]| Call { body: topics::body(topic, tokens), tokens: tokens.len() };
    let names = (0..topics).map(|n| format!("run-{run}-topic-{n}"));
    names.flat_map(|name| tokens.chunks(topics::MAX_TOKENS).map(move |tokens| call(&name, tokens))).collect()
}

/// CPU in microseconds a membership.
struct Run {
    per_second: f64,
    server: f64,
    generator: f64,
    p50_ms: f64,
    p99_ms: f64,
}

async fn run(subject: &Subject, connections: &[Http2], calls: &[Call]) -> Outcome<Run> {
    let pid = subject.binary.pid();
    let next = Cell::new(0);
    let (server, generator, begun) = (cpu(pid)?, own_cpu()?, Instant::now());
    let work = connections.iter().map(|http| work(subject, http, calls, &next));
    let latencies = try_join_all(work).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let memberships: usize = calls.iter().map(|call| call.tokens).sum();
    let each = |time: Duration| time.as_secs_f64() * 1e6 / memberships as f64;
    let mut all = Latencies::with_room_for(calls.len());
    latencies.into_iter().flatten().for_each(|time| all.add(time));
    let (p50_ms, p99_ms) = all.p50_p99();
    Ok(Run {
        per_second: memberships as f64 / seconds,
        server: each(cpu(pid)? - server),
        generator: each(own_cpu()? - generator),
        p50_ms,
        p99_ms,
    })
}

/// One call after the other, until none is left.
async fn work(subject: &Subject, http: &Http2, calls: &[Call], next: &Cell<usize>) -> Outcome<Vec<Duration>> {
    let mut times = Vec::new();
    while let Some(call) = calls.get(next.replace(next.get() + 1)) {
        let begun = Instant::now();
        topics::add(&subject.world, http, call.body.clone(), call.tokens).await?;
        times.push(begun.elapsed());
    }
    Ok(times)
}
