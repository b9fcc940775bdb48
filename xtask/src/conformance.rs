//! `cargo xtask conformance`: clients that others wrote, unmodified, against a server of this tree.
//!
//! All of it runs in a mount and network namespace of its own. Nothing can leave the machine, no port
//! of the machine is in the way, and a dummy interface with a default route makes Chromium believe that it
//! is online.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::run::{self, is_root, quietly, root};
use crate::setup;
use crate::test::{Counts, counted, heading};

/// For the server to start, and to stop: it takes a second, on a loaded machine some.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(args: &[String]) -> Result<Counts, String> {
    if !is_root() {
        println!("real clients need root (namespaces, port 443): left out");
        return Ok(Counts { skipped: 1, ..Counts::default() });
    }
    if args.iter().any(|arg| arg == "--apart") {
        return inside();
    }
    run::cargo(&["build", "--quiet", "--package", "cresset-server"])?;
    heading("real clients");
    let this = std::env::current_exe().map_err(|e| format!("cannot find myself: {e}"))?;
    let mut apart = Command::new("unshare");
    apart.args(["--mount", "--net", "--propagation", "private"]).arg(this).args(["conformance", "--apart"]);
    // The inner run's closing line is not the last word; it is counted like any other runner's.
    counted(&mut apart, closing_line)
}

/// `12 passed, 0 failed`
fn closing_line(line: &str) -> Option<Counts> {
    let (passed, rest) = line.split_once(" passed, ")?;
    Some(Counts::of(passed.parse().ok()?, rest.strip_suffix(" failed")?.parse().ok()?))
}

fn inside() -> Result<Counts, String> {
    network()?;
    let folder = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
    let server = Server::start(folder.path())?;
    let clients = Clients::prepare(folder.path())?;
    let mut counts = Counts::default();
    for suite in ["sender.test.mjs", "receiver.test.mjs", "browser.test.mjs"] {
        heading(suite);
        let mut command = clients.exec(&setup::node());
        command.args(["--test", "--test-reporter=tap", suite]).current_dir(root().join("conformance/node"));
        counts += counted(&mut command, node_line)?;
    }
    heading("test_sender.py");
    let mut command = clients.exec(&setup::python());
    command.args(["-m", "pytest", "-q"]).current_dir(root().join("conformance/python"));
    counts += counted(&mut command, pytest_line)?;
    heading("cresset doctor");
    let mut doctor = Command::new(cresset()?);
    doctor.args(["doctor", "--data"]).arg(folder.path().join("data"));
    counts += if quietly(&mut doctor).is_ok() { Counts::of(1, 0) } else { Counts::of(0, 1) };
    counts += server.stop();
    if counts.failed > 0 {
        println!(
            "--- the server's log\n{}",
            std::fs::read_to_string(folder.path().join("log")).unwrap_or_default()
        );
    }
    Ok(counts)
}

/// Loopback, and an interface that leads nowhere.
fn network() -> Result<(), String> {
    let ip = |args: &str| quietly(Command::new("ip").args(args.split(' ')));
    ip("link set lo up")?;
    ip("link add online0 type veth peer name online1")?;
    ip("address add 198.51.100.1/24 dev online0")?;
    ip("link set online0 up")?;
    ip("link set online1 up")?;
    ip("route add default via 198.51.100.2")
}

fn cresset() -> Result<PathBuf, String> {
    Ok(run::target()?.join("debug/cresset"))
}

struct Server(Child);

impl Server {
    fn start(folder: &Path) -> Result<Self, String> {
        let log = std::fs::File::create(folder.join("log")).map_err(|e| format!("no log: {e}"))?;
        let child = Command::new(cresset()?)
            .args(["up", "--log-level", "info,cresset=debug", "--data"])
            .arg(folder.join("data"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| format!("the server cannot be started: {e}"))?;
        let server = Self(child);
        let begun = Instant::now();
        while TcpStream::connect("127.83.0.1:443").is_err()
            || !folder.join("data/credentials/demo.json").exists()
        {
            if begun.elapsed() > PATIENCE {
                return Err("the server does not come up".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    /// SIGTERM, and it must end well by itself.
    fn stop(mut self) -> Counts {
        heading("SIGTERM");
        let asked = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.0.id() as i32),
            nix::sys::signal::Signal::SIGTERM,
        );
        let begun = Instant::now();
        while asked.is_ok() && begun.elapsed() < PATIENCE {
            if let Ok(Some(status)) = self.0.try_wait() {
                println!("the server ended after {} ms: {status}", begun.elapsed().as_millis());
                return if status.success() { Counts::of(1, 0) } else { Counts::of(0, 1) };
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        println!("the server did not end");
        Counts::of(0, 1)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the clients are told.
struct Clients {
    data: PathBuf,
    web_config: String,
    other_web_config: String,
}

impl Clients {
    fn prepare(folder: &Path) -> Result<Self, String> {
        let data = folder.join("data");
        let project = |args: &[&str]| {
            let mut command = Command::new(cresset()?);
            let output = command.arg("project").arg("--data").arg(&data).args(args).output();
            let output = output.map_err(|e| format!("cresset project: {e}"))?;
            match output.status.success() {
                true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
                false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
            }
        };
        project(&["create", "other"])?;
        project(&["add-app", "other", "--platform", "web"])?;
        let web_config = project(&["web-config", "demo"])?;
        let other_web_config = project(&["web-config", "other"])?;
        Ok(Self { data, web_config, other_web_config })
    }

    /// `cresset exec -- program`, to be completed.
    fn exec(&self, program: &Path) -> Command {
        let mut command = Command::new(cresset().unwrap_or_else(|_| "cresset".into()));
        command
            .args(["exec", "--data"])
            .arg(&self.data)
            .arg("--")
            .arg(program)
            .env("CONFORMANCE_NODE", setup::node())
            .env("CONFORMANCE_WEB_CONFIG", &self.web_config)
            .env("CONFORMANCE_OTHER_WEB_CONFIG", &self.other_web_config);
        command
    }
}

/// `# pass 12` and `# fail 0` of TAP.
fn node_line(line: &str) -> Option<Counts> {
    let number = |prefix: &str| line.strip_prefix(prefix)?.trim().parse().ok();
    match (number("# pass "), number("# fail ")) {
        (Some(passed), _) => Some(Counts::of(passed, 0)),
        (_, Some(failed)) => Some(Counts::of(0, failed)),
        _ => None,
    }
}

/// `2 failed, 13 passed in 4.20s`
fn pytest_line(line: &str) -> Option<Counts> {
    let (parts, _) = line.trim_matches(['=', ' ']).rsplit_once(" in ")?;
    let mut counts = Counts::default();
    for part in parts.split(", ") {
        let (number, word) = part.split_once(' ')?;
        let number = number.parse::<u64>().ok()?;
        match word {
            "passed" => counts.passed += number,
            "failed" | "error" | "errors" => counts.failed += number,
            "skipped" => counts.skipped += number,
            _ => {}
        }
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_understood() {
        assert_eq!(pytest_line("2 failed, 13 passed in 4.20s"), Some(Counts::of(13, 2)));
        assert_eq!(pytest_line("15 passed in 0.9s"), Some(Counts::of(15, 0)));
        assert_eq!(pytest_line("collected in a hurry"), None);
        assert_eq!(node_line("# pass 12"), Some(Counts::of(12, 0)));
        assert_eq!(node_line("# fail 1"), Some(Counts::of(0, 1)));
        assert_eq!(node_line("# passing by"), None);
        assert_eq!(closing_line("9 passed, 1 failed"), Some(Counts::of(9, 1)));
    }
}
