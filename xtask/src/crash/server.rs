//! The whole server: `cresset-crash` of `e2e` does the work; here both binaries are built and it is run.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{cargo, quietly, succeeds, target};

/// A run of `cresset-crash`.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) rounds: u64,
    pub(super) seed: u64,
    pub(super) sabotage: bool,
    pub(super) faults: bool,
    /// App servers by XMPP instead, and devices that talk back.
    pub(super) xmpp: bool,
    /// Push services of others, which are fakes.
    pub(super) outbound: bool,
    /// With faults: how many devices connect all at once.
    pub(super) crowd: Option<u64>,
}

impl Run {
    pub(super) fn go(&self) -> Result<(), String> {
        cargo(&["build", "--quiet", "--release", "--package", "cresset-server", "--bin", "cresset"])?;
        cargo(&["build", "--quiet", "--release", "--package", "cresset-e2e", "--bin", "cresset-crash"])?;
        let built = target()?.join("release");
        quietly(self.command(&built).arg("--server").arg(built.join("cresset")))
    }

    fn command(&self, built: &Path) -> Command {
        let program = built.join("cresset-crash");
        let mut crash = if self.faults { with_faults(program) } else { Command::new(program) };
        crash.args(["--rounds", &self.rounds.to_string(), "--seed", &self.seed.to_string()]);
        if self.xmpp {
            crash.arg("--xmpp");
        }
        if self.outbound {
            crash.arg("--outbound");
        }
        if self.sabotage {
            crash.arg("--sabotage");
        }
        if let Some(crowd) = self.crowd {
            crash.args(["--crowd", &crowd.to_string()]);
        }
        crash
    }
}

/// In a mount namespace of its own, with which its small volume goes however it ends; without one, where
/// that is not allowed. Who is not root needs a user namespace around it.
fn with_faults(program: PathBuf) -> Command {
    let apart = ["--mount", "--propagation", "private"];
    for way in [&apart[..], &["--user", "--map-root-user", "--mount", "--propagation", "private"]] {
        if succeeds(Command::new("unshare").args(way).arg("true")) {
            let mut command = Command::new("unshare");
            command.args(way).arg(program).args(["--faults", "--may-mount"]);
            return command;
        }
    }
    let mut command = Command::new(program);
    command.arg("--faults");
    command
}
