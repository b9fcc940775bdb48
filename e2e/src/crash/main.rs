//! Does the whole server keep what it acknowledged? `cargo xtask crash --kind server` runs this.
//!
//! Devices register, some connect, many sends are in flight, and the server is killed with -9 at a
//! random moment; then it is started again on the same folder and every device collects what waits
//! for it. The checker knows only what the senders and the devices wrote down, and the rules. With
//! `--sabotage` the folder is put back to what it was before the load, and the checker must find that
//! messages are gone: a test that cannot fail shows nothing.

mod chance;
mod checker;
mod collect;
mod journal;
mod load;
mod round;

use std::path::PathBuf;
use std::process::ExitCode;

use cresset_e2e::{Outcome, now};

use self::checker::Findings;
use self::round::Lab;

const USAGE: &str = "usage: cresset-crash --server FILE [--rounds N] [--seed N] [--sabotage]";

struct Plan {
    server: PathBuf,
    rounds: u64,
    seed: u64,
    sabotage: bool,
}

fn main() -> ExitCode {
    match Plan::parse(std::env::args().skip(1)).and_then(|plan| run(&plan)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("cresset-crash: {e}");
            ExitCode::FAILURE
        }
    }
}

/// One thread: the server needs the others.
fn run(plan: &Plan) -> Outcome<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(rounds(plan))
}

async fn rounds(plan: &Plan) -> Outcome<()> {
    println!("seed {}{}", plan.seed, if plan.sabotage { ", sabotaged (control)" } else { "" });
    let mut lab = Lab::open(&plan.server, plan.seed, plan.sabotage).await?;
    let mut total = Findings::default();
    let mut restarts = Vec::new();
    for number in 1..=plan.rounds {
        let report = lab.round().await?;
        println!("server {number}: {report}");
        total += report.findings;
        restarts.push(report.restart_ms);
    }
    lab.end().await?;
    restarts.sort_unstable();
    println!(
        "server: {} rounds, {total}; served again in {} ms (median), {} ms (longest)",
        plan.rounds,
        restarts.get(restarts.len() / 2).copied().unwrap_or_default(),
        restarts.last().copied().unwrap_or_default(),
    );
    plan.judge(&total)
}

impl Plan {
    fn parse(mut args: impl Iterator<Item = String>) -> Outcome<Self> {
        let mut plan = Self { server: PathBuf::new(), rounds: 10, seed: now().as_millis(), sabotage: false };
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value\n{USAGE}"));
            match arg.as_str() {
                "--server" => plan.server = value()?.into(),
                "--rounds" => plan.rounds = value()?.parse()?,
                "--seed" => plan.seed = value()?.parse()?,
                "--sabotage" => plan.sabotage = true,
                _ => return Err(USAGE.into()),
            }
        }
        if plan.server.as_os_str().is_empty() { Err(USAGE.into()) } else { Ok(plan) }
    }

    fn judge(&self, total: &Findings) -> Outcome<()> {
        match (self.sabotage, total.faults()) {
            (false, 0) => Ok(()),
            (false, faults) => Err(format!("{faults} faults (seed {})", self.seed).into()),
            (true, _) if total.lost == 0 => Err("the checker is blind: it missed what was taken away".into()),
            (true, _) => Ok(()),
        }
    }
}
