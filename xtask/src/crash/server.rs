//! The whole server: `cresset-crash` of `e2e` does the work; here both binaries are built and it is run.

use std::process::Command;

use crate::run::{cargo, quietly, target};

pub(super) fn run(rounds: u64, seed: u64, sabotage: bool) -> Result<(), String> {
    cargo(&["build", "--quiet", "--release", "--package", "cresset-server", "--bin", "cresset"])?;
    cargo(&["build", "--quiet", "--release", "--package", "cresset-e2e", "--bin", "cresset-crash"])?;
    let built = target()?.join("release");
    let mut crash = Command::new(built.join("cresset-crash"));
    crash.arg("--server").arg(built.join("cresset"));
    crash.args(["--rounds", &rounds.to_string(), "--seed", &seed.to_string()]);
    if sabotage {
        crash.arg("--sabotage");
    }
    quietly(&mut crash)
}
