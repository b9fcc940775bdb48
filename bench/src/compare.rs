//! One publish to many subscribers that are connected over TLS: Cresset beside Redis and Mosquitto,
//! in turns, on one machine and by one generator. The next publish waits for the last subscriber.
//!
//! The peers forget a message when it is written to the sockets; Cresset's is durable before its
//! sender is answered, and is acknowledged by each device. The acknowledgements are in its figures.

mod cresset;
mod mosquitto;
mod peer;
mod redis;

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use cresset_e2e::Outcome;

use self::cresset::Cresset;
use self::mosquitto::Mosquitto;
pub(crate) use self::peer::PAYLOAD;
use self::peer::Peer;
use self::redis::Redis;
use crate::crowd::Crowd;
use crate::figures::Spread;
use crate::process::{allow_many_files, cpu, load, own_cpu};
use crate::{Cli, Subject};

/// Files that generator and server have open beside their connections.
const OTHER_FILES: u64 = 500;

/// Publishes before the measured ones; like those a multiple of ten, so that everything is
/// acknowledged in the end.
const WARM_UP: usize = 10;

/// Between two looks at whether a server has come to rest; what little it does then is its clock's.
const REST: Duration = Duration::from_millis(200);
const AT_REST: Duration = Duration::from_millis(10);
const RESTS: usize = 50;

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Who is compared
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Who::Redis, Who::Mosquitto, Who::Cresset])]
    peers: Vec<Who>,
    /// Subscribers
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000])]
    counts: Vec<usize>,
    /// Rounds, each with every peer in its turn
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Deliveries that are measured in a turn
    #[arg(long, default_value_t = 400_000)]
    deliveries: usize,
    /// Cresset by a send to each token, instead of one to a topic
    #[arg(long)]
    direct: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Who {
    Redis,
    Mosquitto,
    Cresset,
}

pub(crate) async fn measure(cli: &Cli, options: &Options) -> Outcome<()> {
    let most = options.counts.iter().copied().max().unwrap_or(0);
    let limit = allow_many_files()?;
    if options.counts.contains(&0) || options.rounds == 0 {
        return Err("there is nothing to compare".into());
    }
    if limit < most as u64 + OTHER_FILES {
        return Err(format!("{most} connections need more than the {limit} open files allowed").into());
    }
    let mut peers: Vec<Box<dyn Peer>> = Vec::new();
    for who in &options.peers {
        peers.push(match who {
            Who::Redis => Box::new(Redis::start(most)?),
            Who::Mosquitto => Box::new(Mosquitto::start()?),
            Who::Cresset => {
                Box::new(Cresset::start(Subject::start(cli).await?, &options.counts, options.direct).await?)
            }
        });
    }
    options.counts.iter().try_for_each(|count| compare(&peers, *count, options))
}

/// All rounds of one count.
fn compare(peers: &[Box<dyn Peer>], count: usize, options: &Options) -> Outcome<()> {
    let publishes = (options.deliveries / count).max(10).next_multiple_of(10);
    let before = load();
    let mut turns: Vec<Vec<Turn>> = vec![Vec::new(); peers.len()];
    for _ in 0..options.rounds {
        for (peer, turns) in peers.iter().zip(&mut turns) {
            turns.push(take_turn(&**peer, count, publishes)?);
        }
    }
    println!(
        "compare: {PAYLOAD} bytes to {count} subscribers over TLS, {publishes} publishes one after the other, \
         {} rounds   (load {before} -> {})",
        options.rounds,
        load()
    );
    print(peers, &turns);
    Ok(())
}

/// What a turn found.
#[derive(Clone, Debug)]
struct Turn {
    /// CPU seconds of the server a million deliveries.
    server: f64,
    /// And of the generator.
    generator: f64,
    /// Milliseconds from a publish to the last subscriber: the median publish.
    last_ms: f64,
    secured_by: String,
}

fn take_turn(peer: &dyn Peer, count: usize, publishes: usize) -> Outcome<Turn> {
    let in_turn = |e| format!("{}: {e}", peer.title());
    let mut crowd = Crowd::connect(&peer.listener(), peer.subscribers(count)).map_err(in_turn)?;
    let mut publisher = peer.publisher(count).map_err(in_turn)?;
    let mut publish = |crowd: &mut Crowd| -> Outcome<f64> {
        let begun = Instant::now();
        publisher.publish()?;
        crowd.receive_one_each()?;
        let last = begun.elapsed();
        publisher.confirm()?;
        Ok(last.as_secs_f64() * 1e3)
    };
    for _ in 0..WARM_UP {
        publish(&mut crowd).map_err(in_turn)?;
    }
    rest(peer.pid(), &mut crowd).map_err(in_turn)?;
    let (server, generator) = (cpu(peer.pid())?, own_cpu()?);
    let last_ms =
        (0..publishes).map(|_| publish(&mut crowd)).collect::<Outcome<Vec<f64>>>().map_err(in_turn)?;
    let generator = own_cpu()? - generator;
    rest(peer.pid(), &mut crowd).map_err(in_turn)?;
    let server = cpu(peer.pid())? - server;
    let per_million = |time: Duration| time.as_secs_f64() * 1e6 / (publishes * count) as f64;
    Ok(Turn {
        server: per_million(server),
        generator: per_million(generator),
        last_ms: Spread::of(last_ms).median,
        secured_by: crowd.secured_by(),
    })
}

/// Waits until the server has dealt with all it was sent, acknowledgements among them.
fn rest(pid: u32, crowd: &mut Crowd) -> Outcome<()> {
    let mut before = cpu(pid)?;
    for _ in 0..RESTS {
        crowd.be_quiet(REST)?;
        let now = cpu(pid)?;
        if now - before <= AT_REST {
            return Ok(());
        }
        before = now;
    }
    Err("the server does not come to rest".into())
}

fn print(peers: &[Box<dyn Peer>], turns: &[Vec<Turn>]) {
    println!(
        "  {:<32} {:<26} {:<30} {:<14} TLS",
        "median (least to most)", "server CPU-s per million", "ms from publish to the last", "generator"
    );
    let spread = |turns: &[Turn], of: fn(&Turn) -> f64| Spread::of(turns.iter().map(of).collect());
    for (peer, turns) in peers.iter().zip(turns) {
        let server = spread(turns, |turn| turn.server).to_string();
        let last = spread(turns, |turn| turn.last_ms).to_string();
        let generator = spread(turns, |turn| turn.generator).median;
        let secured_by = turns.first().map(|turn| turn.secured_by.as_str()).unwrap_or_default();
        println!("  {:<32} {server:<26} {last:<30} {generator:<14.2} {secured_by}", peer.title());
    }
    let Some((peer, base)) = peers.iter().zip(turns).next() else { return };
    for (other, turns) in peers.iter().zip(turns).skip(1) {
        let ratio = |of: fn(&Turn) -> f64| spread(turns, of).median / spread(base, of).median;
        println!(
            "  {} / {}: server CPU {:.2}, to the last {:.2}",
            other.title(),
            peer.title(),
            ratio(|turn| turn.server),
            ratio(|turn| turn.last_ms)
        );
    }
}
