//! `cresset-simulate`: one seed with its story, or many on all cores.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use clap::Parser;
use cresset_simulation::{Broken, Figures, Options, Sabotage, run};

/// Failing seeds that are told of; their number is told of all.
const TOLD: usize = 10;

#[derive(Parser)]
#[command(about = "Virtual days of delivery from a seed, and a checker that says what went wrong")]
struct Arguments {
    /// Run this seed.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Run all of these, the last one excluded: FROM..TO.
    #[arg(long, value_parser = range)]
    seeds: Option<(u64, u64)>,
    /// Print all that happens.
    #[arg(long)]
    log: bool,
    /// Rows of a batch that a crash tore apart come later, not before the server starts again.
    #[arg(long)]
    torn: bool,
    /// Some apps are behind push services.
    #[arg(long)]
    outside: bool,
    /// Do something wrong, to see that it is found.
    #[arg(long)]
    sabotage: Option<Sabotage>,
    /// Threads; as many as there are cores if it is not said.
    #[arg(long)]
    threads: Option<usize>,
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let parsed = text.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    parsed.filter(|(from, to)| from < to).ok_or_else(|| "must be FROM..TO".to_owned())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Arguments { log, torn, outside, sabotage, .. } = arguments;
    let options = Options { log, torn, outside, sabotage };
    let (from, to) = match (arguments.seed, arguments.seeds) {
        (Some(seed), _) => (seed, seed + 1),
        (None, Some(range)) => range,
        (None, None) => (0, 1_000),
    };
    let threads =
        arguments.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let begun = Instant::now();
    let (figures, failed) = run_all(from, to, &options, threads);
    tell(&figures, begun.elapsed().as_secs_f64());
    println!("{failed} of {} seeds failed", figures.seeds);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_all(from: u64, to: u64, options: &Options, threads: usize) -> (Figures, usize) {
    let next = AtomicU64::new(from);
    let total = Mutex::new((Figures::default(), 0));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= to {
                        return;
                    }
                    let outcome = run(seed, options);
                    outcome.log.iter().for_each(|line| println!("{line}"));
                    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                    total.0.add(&outcome.figures);
                    let Some(story) = outcome.story else { continue };
                    total.1 += 1;
                    if total.1 <= TOLD {
                        println!("cresset-simulate --seed {seed} --log{}\n{story}", wrong(options));
                    }
                }
            });
        }
    });
    total.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn wrong(options: &Options) -> String {
    let outside = if options.outside { " --outside" } else { "" };
    let torn = if options.torn { " --torn" } else { "" };
    let sabotage = options.sabotage.map_or_else(String::new, |kind| format!(" --sabotage {kind}"));
    format!("{outside}{torn}{sabotage}")
}

fn tell(figures: &Figures, seconds: f64) {
    let days = figures.micros as f64 / 86_400e6;
    println!(
        "{} seeds in {seconds:.1} s ({:.0} a second), {days:.0} virtual days, {} messages, {} accepted, {} deliveries, {} kills",
        figures.seeds,
        figures.seeds as f64 / seconds,
        figures.messages,
        figures.accepted,
        figures.deliveries,
        figures.kills
    );
    let broken = Broken::ALL.map(|kind| format!("{kind} {}", figures.broken.get(&kind).unwrap_or(&0)));
    println!("{}", broken.join(", "));
}
