//! `cargo xtask test`: sets up, and runs everything.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use crate::run::{describe, is_root, root};
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

    /// Prints the closing line. In CI nothing may be left out.
    pub(crate) fn verdict(self) -> Result<(), String> {
        let Self { passed, failed, skipped } = self;
        if skipped > 0 {
            println!("{passed} passed, {failed} failed, {skipped} skipped");
        } else {
            println!("{passed} passed, {failed} failed");
        }
        match (passed, failed) {
            (0, 0) => Err("no test ran".into()),
            (_, 0) if skipped > 0 && in_ci() => Err("in CI nothing may be skipped".into()),
            (_, 0) => Ok(()),
            (_, failed) => Err(format!("{failed} tests failed")),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a tool, and CI says so only there")]
fn in_ci() -> bool {
    std::env::var_os("CI").is_some()
}

pub(crate) fn run() -> Result<(), String> {
    setup::run()?;
    let mut counts = cargo_tests()?;
    counts += crashes();
    counts += conformance::run(&[])?;
    counts.verdict()
}

fn cargo_tests() -> Result<Counts, String> {
    heading("cargo test --workspace");
    let mut command = Command::new("cargo");
    command.args(["test", "--workspace", "--no-fail-fast"]).current_dir(root());
    counted(&mut command, cargo_line)
}

/// A few rounds, so that the harness itself stays whole; the long runs are for releases and engines.
fn crashes() -> Counts {
    let mut counts = Counts::default();
    let mut plans = vec![vec!["--rounds", "3", "--kind", "kill"]];
    if is_root() {
        plans.push(vec!["--rounds", "3", "--kind", "power"]);
        plans.push(vec!["--rounds", "3", "--kind", "power", "--no-fsync"]);
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

pub(crate) fn heading(text: &str) {
    println!("\n=== {text}");
}

/// Runs a test runner, shows what it prints, and adds up what `count` finds in its lines. A runner
/// that fails without having counted a failure counts as one.
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
    if !status.success() && counts.failed == 0 {
        println!("`{name}` failed: {status}");
        counts.failed = 1;
    }
    Ok(counts)
}

/// `test result: ok. 5 passed; 0 failed; 1 ignored; …`
fn cargo_line(line: &str) -> Option<Counts> {
    let rest = line.strip_prefix("test result: ")?;
    let number = |word: &str| {
        let before = rest.split_once(word)?.0;
        before.trim_end().rsplit(' ').next()?.parse().ok()
    };
    Some(Counts { passed: number(" passed")?, failed: number(" failed")?, skipped: number(" ignored")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_closing_line_is_understood() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(cargo_line(line), Some(Counts { passed: 12, failed: 3, skipped: 1 }));
        assert_eq!(cargo_line("test a::b ... ok"), None);
    }

    #[test]
    fn nothing_run_is_a_failure() {
        assert!(Counts::default().verdict().is_err());
        assert!(Counts::of(3, 1).verdict().is_err());
        assert!(Counts::of(3, 0).verdict().is_ok());
    }
}
