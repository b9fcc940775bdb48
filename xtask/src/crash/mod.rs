//! `cargo xtask crash`: does the store keep what it acknowledged?
//!
//! A writer process (`crates/store/examples/crash_writer.rs`) writes under load and prints what was
//! acknowledged. At a random moment it is killed, or the file system under it is shut down as if the
//! power had gone; then every acknowledged row is looked for. With `--no-fsync` the power kind must find
//! losses: a test that cannot fail shows nothing. The kind `server` kills the whole server instead, under
//! sends over HTTP and devices over MCS; its control is `--sabotage`. The kind `faults` does the same while
//! everything around the server goes wrong.

mod round;
mod server;
mod volume;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use self::round::{Findings, Kind, Lab};
use self::volume::Volume;

const USAGE: &str = "usage: cargo xtask crash [--rounds N] [--kind kill|power|both] [--seed N] [--no-fsync]
       cargo xtask crash --kind server|xmpp|outbound [--rounds N] [--seed N] [--sabotage]
       cargo xtask crash --kind faults [--rounds N] [--seed N] [--sabotage] [--crowd N]";

/// How long a writer lives: from the middle of its opening to some hundred commits and a flush.
const SHORTEST_LIFE: Duration = Duration::from_millis(20);
const LONGEST_LIFE: Duration = Duration::from_millis(1_800);

#[derive(Clone, Debug)]
struct Plan {
    rounds: u64,
    kinds: Vec<Kind>,
    seed: u64,
    fsync: bool,
    /// The whole server, instead of the store alone.
    server: bool,
    /// The whole server, and all faults.
    faults: bool,
    /// The whole server, under app servers of old.
    xmpp: bool,
    /// The whole server, and push services of others.
    outbound: bool,
    sabotage: bool,
    crowd: Option<u64>,
    /// Already in a mount namespace of our own.
    apart: bool,
}

pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let mut plan = Plan::parse(args)?;
    if plan.server {
        let Plan { rounds, seed, sabotage, faults, xmpp, outbound, crowd, .. } = plan;
        return server::Run { rounds, seed, sabotage, faults, xmpp, outbound, crowd }.go();
    }
    if plan.kinds.contains(&Kind::Power) {
        if !volume::is_root() {
            println!("power needs root (loop devices, mounts): left out");
            plan.kinds.retain(|kind| *kind != Kind::Power);
        } else if !plan.apart {
            return run_apart(args, plan.seed);
        }
    }
    let writer = build_writer()?;
    println!("seed {}, {}", plan.seed, if plan.fsync { "with fsync" } else { "without fsync (control)" });
    for kind in plan.kinds.clone() {
        run_kind(&plan, kind, &writer)?;
    }
    Ok(())
}

/// Runs this again in a mount namespace of its own: however it ends, by ctrl-c or `kill -9`, its mounts
/// and its loop device go with it.
fn run_apart(args: &[String], seed: u64) -> Result<(), String> {
    let this = std::env::current_exe().map_err(|e| format!("cannot find myself: {e}"))?;
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(this)
        .arg("crash")
        .args(args)
        .args(["--seed", &seed.to_string(), "--apart"])
        .status()
        .map_err(|e| format!("cannot run unshare: {e}"))?;
    if status.success() { Ok(()) } else { Err("the crash test failed".into()) }
}

fn build_writer() -> Result<PathBuf, String> {
    let built = Command::new("cargo")
        .args(["build", "--quiet", "--release", "--package", "cresset-store", "--example", "crash_writer"])
        .status()
        .map_err(|e| format!("cannot run cargo: {e}"))?;
    if !built.success() {
        return Err("the writer cannot be built".into());
    }
    // target/debug/xtask -> target/release/examples/crash_writer
    let this = std::env::current_exe().map_err(|e| format!("cannot find myself: {e}"))?;
    let target = this.ancestors().nth(2).ok_or("xtask stands outside a target folder")?;
    Ok(target.join("release/examples/crash_writer"))
}

fn run_kind(plan: &Plan, kind: Kind, writer: &Path) -> Result<(), String> {
    let volume = match kind {
        Kind::Kill => Volume::folder()?,
        Kind::Power => Volume::loop_device()?,
    };
    let mut lab = Lab::new(volume, writer, plan.fsync);
    let mut chance = Chance(plan.seed);
    let mut total = Total::default();
    for number in 1..=plan.rounds {
        let life = chance.between(SHORTEST_LIFE, LONGEST_LIFE);
        let findings = lab.round(kind, life)?;
        println!("{kind} {number}: stopped after {} ms; {findings}", life.as_millis());
        total.add(&findings);
    }
    println!("{kind}: {} rounds, {total}", plan.rounds);
    plan.judge(kind, &total)
}

/// What all rounds of one kind found.
#[derive(Default)]
struct Total {
    acknowledged: u64,
    faults: u64,
    reopened_in_ms: Vec<u64>,
}

impl Total {
    fn add(&mut self, findings: &Findings) {
        self.acknowledged += findings.new_acknowledged;
        self.faults += findings.faults();
        self.reopened_in_ms.push(findings.reopen_ms);
        self.reopened_in_ms.sort_unstable();
    }
}

impl std::fmt::Display for Total {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let times = &self.reopened_in_ms;
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        let longest = times.last().copied().unwrap_or_default();
        write!(
            f,
            "{} batches acknowledged, {} rows lost or wrong; reopened in {median} ms (median), {longest} ms (longest)",
            self.acknowledged, self.faults
        )
    }
}

impl Plan {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut plan = Self {
            rounds: 10,
            kinds: vec![Kind::Kill, Kind::Power],
            seed: any_seed(),
            fsync: true,
            server: false,
            faults: false,
            xmpp: false,
            outbound: false,
            sabotage: false,
            crowd: None,
            apart: false,
        };
        let mut args = args.iter().map(String::as_str);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value\n{USAGE}"));
            match arg {
                "--rounds" => plan.rounds = number(value()?)?,
                "--seed" => plan.seed = number(value()?)?,
                "--kind" => match value()? {
                    "server" => plan.server = true,
                    "xmpp" => (plan.server, plan.xmpp) = (true, true),
                    "outbound" => (plan.server, plan.outbound) = (true, true),
                    "faults" => (plan.server, plan.faults) = (true, true),
                    word => plan.kinds = Kind::parse(word).ok_or(USAGE)?,
                },
                "--crowd" => plan.crowd = Some(number(value()?)?),
                "--sabotage" => plan.sabotage = true,
                "--no-fsync" => plan.fsync = false,
                "--apart" => plan.apart = true,
                _ => return Err(USAGE.into()),
            }
        }
        // Each control belongs to its kinds; ignoring it would pass for having run it.
        if plan.sabotage && !plan.server || plan.server && !plan.fsync || plan.crowd.is_some() && !plan.faults
        {
            return Err(USAGE.into());
        }
        Ok(plan)
    }

    /// With fsync nothing may be lost; without it, power cuts that lose nothing were none. (A single one
    /// may: the engine syncs its journal whenever it flushes a memtable, perhaps just before.)
    fn judge(&self, kind: Kind, total: &Total) -> Result<(), String> {
        match (kind, self.fsync, total.faults) {
            (_, true, 0) | (Kind::Kill, false, 0) => Ok(()),
            (Kind::Power, false, 0) => Err("the power test is blind: it lost nothing without fsync".into()),
            (Kind::Power, false, _) => Ok(()),
            (_, _, faults) => Err(format!("{kind}: {faults} rows lost or wrong (seed {})", self.seed)),
        }
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number\n{USAGE}"))
}

#[expect(clippy::disallowed_methods, reason = "a tool, not a part of the server")]
fn any_seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}

/// splitmix64 (Steele, Lea, Flood 2014), so that a seed replays its moments.
struct Chance(u64);

impl Chance {
    fn between(&mut self, from: Duration, to: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        from + (to - from).mul_f64((z >> 11) as f64 / (1_u64 << 53) as f64)
    }
}
