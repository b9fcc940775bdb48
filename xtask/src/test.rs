//! `cargo xtask test`: sets up, and runs everything.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitCode, Stdio};

use crate::run::{cargo, describe, is_root, root, target};
use crate::{conformance, crash, setup};

/// What test runners said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl Counts {
    pub(crate) const fn of(passed: u64, failed: u64) -> Self {
        Self { passed, failed, skipped: 0 }
    }

    /// Prints the closing line, which stays the last: whoever watches reads the result from it. In CI
    /// what was left out has failed.
    pub(crate) fn verdict(mut self) -> ExitCode {
        if self.skipped > 0 {
            println!("{} left out", self.skipped);
            if in_ci() {
                self.failed += std::mem::take(&mut self.skipped);
            }
        }
        println!("{} passed, {} failed", self.passed, self.failed);
        if self.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// Nothing failed, and something ran.
    fn is_good(self) -> bool {
        self.failed == 0 && self.passed > 0
    }
}

#[expect(clippy::disallowed_methods, reason = "a tool, and CI says so only there")]
fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|ci| !ci.is_empty())
}

pub(crate) fn run() -> Result<ExitCode, String> {
    setup::run()?;
    let mut counts = cargo_tests()?;
    counts += crashes();
    counts += kills_in_fan_outs()?;
    counts += small_figures()?;
    counts += conformance::run(&[])?;
    Ok(counts.verdict())
}

fn cargo_tests() -> Result<Counts, String> {
    heading("cargo test --workspace");
    build()?;
    let mut command = Command::new("cargo");
    command.args(["test", "--workspace", "--no-fail-fast"]).current_dir(root());
    counted(&mut command, cargo_line)
}

/// Builds the tests and the binaries in one go, with the same features: built apart, a part of what
/// they share would be compiled twice. Without this program: a running one loses its name when another
/// is put in its place, and could not start itself again.
pub(crate) fn build() -> Result<(), String> {
    cargo(&["build", "--quiet", "--workspace", "--exclude", "xtask", "--bins", "--tests", "--examples"])
}

/// A few rounds, so that the harness itself stays whole; the long runs are for releases and engines.
fn crashes() -> Counts {
    let mut counts = Counts::default();
    let mut plans = vec![
        vec!["--rounds", "3", "--kind", "kill"],
        vec!["--rounds", "3", "--kind", "server"],
        vec!["--rounds", "3", "--kind", "server", "--sabotage"],
        vec!["--rounds", "3", "--kind", "xmpp"],
        vec!["--rounds", "3", "--kind", "xmpp", "--sabotage"],
        vec!["--rounds", "3", "--kind", "outbound"],
        vec!["--rounds", "3", "--kind", "outbound", "--sabotage"],
        vec!["--rounds", "2", "--kind", "faults", "--crowd", "200"],
        vec!["--rounds", "2", "--kind", "faults", "--crowd", "200", "--sabotage"],
    ];
    if is_root() {
        plans.push(vec!["--rounds", "3", "--kind", "power"]);
        plans.push(vec!["--rounds", "6", "--kind", "power", "--no-fsync"]);
    } else {
        println!("power loss needs root (loop devices): left out");
        counts.skipped += 2;
    }
    for plan in plans {
        heading(&format!("cargo xtask crash {}", plan.join(" ")));
        let args: Vec<String> = plan.into_iter().map(str::to_owned).collect();
        counts += match crash::run(&args) {
            Ok(()) => Counts::of(1, 0),
            Err(reason) => {
                println!("{reason}");
                Counts::of(0, 1)
            }
        };
    }
    counts
}

/// The server is killed while it spreads; with `--sabotage` the check must see the loss that it is shown.
fn kills_in_fan_outs() -> Result<Counts, String> {
    let mut counts = Counts::default();
    for options in [&[][..], &["--sabotage"]] {
        counts += bench(&[&["kill", "--rounds", "3", "--registrations", "5000"], options].concat())?;
    }
    Ok(counts)
}

/// The figures are for releases; here they are so small that they mean nothing, and only have to be there.
const SMALL_FIGURES: [&[&str]; 9] = [
    &["outbound", "--seals", "100", "--pushes", "1000", "--rounds", "1"],
    &["pushes", "--registrations", "10", "--count", "100", "--to-topic", "3", "--runs", "1"],
    &["idle", "--count", "300", "--seconds", "1", "--heartbeat", "10"],
    &["legacy", "--tokens", "20", "--count", "3", "--runs", "1"],
    &["xmpp", "--connections", "3", "--devices", "20", "--count", "600", "--runs", "1"],
    &["direct", "--devices", "20", "--count", "200", "--runs", "1"],
    &["logins", "--devices", "20", "--storm", "70", "--rate", "50", "--seconds", "1", "--rounds", "1"],
    &["restart", "--devices", "20", "--each", "3", "--rounds", "1"],
    &[
        "soak",
        "--minutes",
        "0.1",
        "--every",
        "1",
        "--rate",
        "50",
        "--devices",
        "20",
        "--stay",
        "4",
        "--away",
        "1",
    ],
];

fn small_figures() -> Result<Counts, String> {
    let mut counts = Counts::default();
    for arguments in SMALL_FIGURES {
        counts += bench(arguments)?;
    }
    Ok(counts)
}

fn bench(arguments: &[&str]) -> Result<Counts, String> {
    heading(&format!("cresset-bench {}", arguments.join(" ")));
    let ended =
        Command::new(target()?.join("debug/cresset-bench")).args(arguments).current_dir(root()).status();
    Ok(match ended {
        Ok(status) if status.success() => Counts::of(1, 0),
        _ => Counts::of(0, 1),
    })
}

pub(crate) fn heading(text: &str) {
    println!("\n=== {text}");
}

/// Runs a test runner, shows what it prints, and adds up what `count` finds in its lines. A runner
/// that fails without having counted a failure counts as one, and so does one that ran nothing.
pub(crate) fn counted(
    command: &mut Command,
    count: impl Fn(&str) -> Option<Counts>,
) -> Result<Counts, String> {
    let name = describe(command);
    let mut child = command
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .map_err(|e| format!("`{name}` cannot be run: {e}"))?;
    let mut counts = Counts::default();
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    for line in lines.map_while(Result::ok) {
        println!("{line}");
        if let Some(found) = count(&line) {
            counts += found;
        }
    }
    let status = child.wait().map_err(|e| format!("`{name}`: {e}"))?;
    let silent = counts == Counts::default();
    if counts.failed == 0 && (silent || !status.success()) {
        println!("`{name}` ended with {status}{}", if silent { ", and reported no test" } else { "" });
        counts.failed = 1;
    }
    Ok(counts)
}

/// `test result: ok. 5 passed; 0 failed; 1 ignored; …`. An ignored test is not left out by accident: it
/// says why, which `tidy` checks.
fn cargo_line(line: &str) -> Option<Counts> {
    let rest = line.strip_prefix("test result: ")?;
    let number = |word: &str| {
        let before = rest.split_once(word)?.0;
        before.trim_end().rsplit(' ').next()?.parse().ok()
    };
    Some(Counts::of(number(" passed")?, number(" failed")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_closing_line_is_understood() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(cargo_line(line), Some(Counts::of(12, 3)));
        assert_eq!(cargo_line("test a::b ... ok"), None);
    }

    #[test]
    fn nothing_run_is_a_failure() {
        assert!(!Counts::default().is_good());
        assert!(!Counts::of(3, 1).is_good());
        assert!(Counts::of(3, 0).is_good());
    }
}
