//! Does the whole server keep what it acknowledged? `cargo xtask crash --kind server` runs this.
//!
//! Devices register, some connect, many sends are in flight, and the server is killed with -9 at a
//! random moment; then it is started again on the same folder and every device collects what waits
//! for it. The checker knows only what the senders and the devices wrote down, and the rules. With
//! `--sabotage` the folder is put back to what it was before the load, and the checker must find that
//! messages are gone: a test that cannot fail shows nothing.
//!
//! With `--xmpp` (`cargo xtask crash --kind xmpp`) app servers of old send, and devices talk back to them.
//!
//! With `--outbound` (`cargo xtask crash --kind outbound`) push services of others carry, which are fakes.
//!
//! With `--faults` (`cargo xtask crash --kind faults`) slow and half-open devices, garbage, storms, a full
//! disk and a clock that jumps come on top, all at once and until the kill.

mod chance;
mod checker;
mod clock;
mod collect;
mod faults;
mod journal;
mod load;
mod outbound;
mod round;
mod xmpp;

use std::path::PathBuf;
use std::process::ExitCode;

use cresset_e2e::{Outcome, now};

use self::checker::Findings;
use self::faults::Applied;
use self::round::{Lab, Setting};

const USAGE: &str = "usage: cresset-crash --server FILE [--rounds N] [--seed N] [--sabotage]
       [--faults [--crowd N] [--may-mount]] [--xmpp | --outbound]";

struct Plan {
    server: PathBuf,
    rounds: u64,
    seed: u64,
    sabotage: bool,
    faults: bool,
    xmpp: bool,
    outbound: bool,
    /// Devices that connect all at once.
    crowd: usize,
    /// We are in a mount namespace of our own, and may mount in it.
    may_mount: bool,
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

/// One thread: the server needs the others. Push services are work of their own.
fn run(plan: &Plan) -> Outcome<()> {
    let mut runtime = match plan.outbound {
        true => tokio::runtime::Builder::new_multi_thread(),
        false => tokio::runtime::Builder::new_current_thread(),
    };
    runtime.worker_threads(2).enable_all().build()?.block_on(rounds(plan))
}

async fn rounds(plan: &Plan) -> Outcome<()> {
    println!("seed {}{}", plan.seed, if plan.sabotage { ", sabotaged (control)" } else { "" });
    if plan.xmpp {
        let found = xmpp::rounds(&plan.server, plan.rounds, plan.seed, plan.sabotage).await?;
        return plan.judge_counts(found.lost, found.faults());
    }
    if plan.outbound {
        let found = outbound::rounds(&plan.server, plan.rounds, plan.seed, plan.sabotage).await?;
        return plan.judge_counts(found.lost, found.faults());
    }
    let mut lab = Lab::open(&plan.setting()).await?;
    let kind = if plan.faults { "faults" } else { "server" };
    let left_out = lab.faults().map(|faults| faults.left_out.clone()).unwrap_or_default();
    for (fault, why) in &left_out {
        println!("{fault}: left out: {why}");
    }
    let (mut total, mut applied) = (Findings::default(), Applied::default());
    let mut restarts = Vec::new();
    for number in 1..=plan.rounds {
        let report = lab.round().await.map_err(|e| format!("round {number} (seed {}): {e}", plan.seed))?;
        println!("{kind} {number}: {report}");
        total += report.findings;
        applied += report.applied.unwrap_or_default();
        restarts.push(report.restart_ms);
    }
    let enough = lab.faults().map_or(Ok(()), |faults| faults.judge(&applied));
    lab.end().await?;
    restarts.sort_unstable();
    println!(
        "{kind}: {} rounds, {total}; served again in {} ms (median), {} ms (longest)",
        plan.rounds,
        restarts.get(restarts.len() / 2).copied().unwrap_or_default(),
        restarts.last().copied().unwrap_or_default(),
    );
    if plan.faults {
        println!("applied: {applied}, kill -9 {}", plan.rounds);
        println!("faults: lost {}, doubled {}", total.lost, total.doubled);
    }
    enough?;
    if !left_out.is_empty() && in_ci() {
        return Err("what was left out has failed, as this is CI".into());
    }
    plan.judge(&total)
}

#[expect(clippy::disallowed_methods, reason = "a tool, and CI says so only there")]
fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|ci| !ci.is_empty())
}

impl Plan {
    fn parse(mut args: impl Iterator<Item = String>) -> Outcome<Self> {
        let mut plan = Self {
            server: PathBuf::new(),
            rounds: 10,
            seed: now().as_millis(),
            sabotage: false,
            faults: false,
            xmpp: false,
            outbound: false,
            crowd: 2_000,
            may_mount: false,
        };
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value\n{USAGE}"));
            match arg.as_str() {
                "--server" => plan.server = value()?.into(),
                "--rounds" => plan.rounds = value()?.parse()?,
                "--seed" => plan.seed = value()?.parse()?,
                "--faults" => plan.faults = true,
                "--xmpp" => plan.xmpp = true,
                "--outbound" => plan.outbound = true,
                "--crowd" => plan.crowd = value()?.parse()?,
                "--may-mount" => plan.may_mount = true,
                "--sabotage" => plan.sabotage = true,
                _ => return Err(USAGE.into()),
            }
        }
        if plan.server.as_os_str().is_empty() { Err(USAGE.into()) } else { Ok(plan) }
    }

    fn setting(&self) -> Setting<'_> {
        Setting {
            program: &self.server,
            seed: self.seed,
            sabotage: self.sabotage,
            faults: self.faults.then_some((self.crowd, self.may_mount)),
        }
    }

    fn judge(&self, total: &Findings) -> Outcome<()> {
        self.judge_counts(total.lost, total.faults())
    }

    fn judge_counts(&self, lost: u64, faults: u64) -> Outcome<()> {
        match (self.sabotage, faults) {
            (false, 0) => Ok(()),
            (false, faults) => Err(format!("{faults} faults (seed {})", self.seed).into()),
            (true, _) if lost == 0 => Err("the checker is blind: it missed what was taken away".into()),
            (true, _) => Ok(()),
        }
    }
}
