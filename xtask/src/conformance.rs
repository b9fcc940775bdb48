//! `cargo xtask conformance`: clients that others wrote, unmodified, against a server of this tree.
//!
//! All of it runs in a mount and network namespace of its own. Nothing can leave the machine, no port
//! of the machine is in the way, and a dummy interface with a default route makes Chromium believe that it
//! is online.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::run::{quietly, root, succeeds, target};
use crate::setup;
use crate::test::{self, Counts, counted, heading};

/// For the server to start, and to stop: it takes a second, on a loaded machine some.
const PATIENCE: Duration = Duration::from_secs(60);

/// A suite that hangs is killed then; the longest takes a quarter of a minute.
const SUITE_SECONDS: &str = "300";

/// By which the run inside the namespaces knows where it is.
const APART: &str = "--apart";

/// A test program of one runner.
struct Suite {
    file: &'static str,
    folder: &'static str,
    runner: fn() -> Vec<PathBuf>,
    count: fn(&str) -> Option<Counts>,
}

const SUITES: [Suite; 4] = [
    Suite { file: "sender.test.mjs", folder: "conformance/node", runner: node, count: node_line },
    Suite { file: "receiver.test.mjs", folder: "conformance/node", runner: node, count: node_line },
    Suite { file: "browser.test.mjs", folder: "conformance/node", runner: node, count: node_line },
    Suite { file: "test_sender.py", folder: "conformance/python", runner: pytest, count: pytest_line },
];

fn node() -> Vec<PathBuf> {
    vec![setup::node(), "--test".into(), "--test-reporter=spec".into()]
}

fn pytest() -> Vec<PathBuf> {
    // -B: no compiled files among the sources.
    vec![setup::python(), "-B".into(), "-m".into(), "pytest".into(), "-q".into()]
}

/// The suites of these names; all, without names.
pub(crate) fn run(args: &[String]) -> Result<Counts, String> {
    let apart = args.first().is_some_and(|arg| arg == APART);
    let suites = chosen(&args[usize::from(apart)..])?;
    if apart {
        return inside(&suites);
    }
    heading("real clients");
    if !succeeds(unshare().arg("true")) {
        println!("left out: they need namespaces of their own and port 443, and so root");
        return Ok(Counts { skipped: suites.len() as u64, ..Counts::default() });
    }
    setup::run()?;
    test::build()?;
    let this = std::env::current_exe().map_err(|e| format!("cannot find myself: {e}"))?;
    // The inner run's closing line is not the last word; it is counted like any other runner's.
    counted(unshare().arg(this).args(["conformance", APART]).args(args), closing_line)
}

fn chosen(names: &[String]) -> Result<Vec<&'static Suite>, String> {
    if names.is_empty() {
        return Ok(SUITES.iter().collect());
    }
    let find = |name: &String| SUITES.iter().find(|suite| suite.file == name);
    names.iter().map(|name| find(name).ok_or_else(|| format!("there is no suite {name}"))).collect()
}

/// The start of a command line whose rest runs in namespaces of its own. With it, all that it started
/// ends: no browser is left behind.
fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--propagation", "private"]);
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
    command
}

/// `12 passed, 0 failed`
fn closing_line(line: &str) -> Option<Counts> {
    let (passed, rest) = line.split_once(" passed, ")?;
    Some(Counts::of(passed.parse().ok()?, rest.strip_suffix(" failed")?.parse().ok()?))
}

fn inside(suites: &[&Suite]) -> Result<Counts, String> {
    network()?;
    let folder = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
    let server = Server::start(folder.path())?;
    let clients = Clients::prepare(folder.path())?;
    let mut counts = Counts::default();
    for suite in suites {
        heading(suite.file);
        let mut command = clients.exec();
        command.args((suite.runner)()).arg(suite.file).current_dir(root().join(suite.folder));
        counts += counted(&mut command, suite.count)?;
    }
    heading("cresset doctor");
    let mut doctor = Command::new(cresset()?);
    doctor.args(["doctor", "--data"]).arg(folder.path().join("data"));
    counts += verdict(quietly(&mut doctor));
    heading("the server ends");
    counts += verdict(server.stop());
    let log = read_log(folder.path());
    counts += verdict(if log.contains("panicked at") { Err("it panicked".into()) } else { Ok(()) });
    if counts.failed > 0 {
        println!("--- the server's log\n{log}---");
    }
    Ok(counts)
}

/// A test of our own among those of the runners.
fn verdict(outcome: Result<(), String>) -> Counts {
    match outcome {
        Ok(()) => Counts::of(1, 0),
        Err(why) => {
            println!("{why}");
            Counts::of(0, 1)
        }
    }
}

fn read_log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
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
    Ok(target()?.join("debug/cresset"))
}

struct Server(Child);

impl Server {
    fn start(folder: &Path) -> Result<Self, String> {
        let log = std::fs::File::create(folder.join("log")).map_err(|e| format!("no log: {e}"))?;
        let child = Command::new(cresset()?)
            .args(["up", "--log-level", "info,cresset=debug", "--data"])
            .arg(folder.join("data"))
            .env("RUST_BACKTRACE", "1")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| format!("the server cannot be started: {e}"))?;
        let mut server = Self(child);
        let begun = Instant::now();
        while TcpStream::connect("127.83.0.1:443").is_err()
            || !folder.join("data/credentials/demo.json").exists()
        {
            let ended = server.0.try_wait().is_ok_and(|status| status.is_some());
            if ended || begun.elapsed() > PATIENCE {
                return Err(format!("the server does not come up\n{}", read_log(folder)));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    /// SIGTERM, and it must end well by itself.
    fn stop(mut self) -> Result<(), String> {
        let pid = nix::unistd::Pid::from_raw(self.0.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)
            .map_err(|e| format!("the server is gone: {e}"))?;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.0.try_wait().map_err(|e| e.to_string())? {
                println!("after {} ms: {status}", begun.elapsed().as_millis());
                return if status.success() { Ok(()) } else { Err(format!("the server failed: {status}")) };
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err("the server does not end".into())
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

    /// `cresset exec --` with a bound on how long what follows may take.
    fn exec(&self) -> Command {
        let mut command = Command::new(cresset().unwrap_or_else(|_| "cresset".into()));
        command
            .args(["exec", "--data"])
            .arg(&self.data)
            .args(["--", "timeout", "--kill-after=10", SUITE_SECONDS])
            .env("CONFORMANCE_NODE", setup::node())
            .env("CONFORMANCE_WEB_CONFIG", &self.web_config)
            .env("CONFORMANCE_OTHER_WEB_CONFIG", &self.other_web_config);
        command
    }
}

/// `ℹ pass 12`, `ℹ fail 0`, `ℹ cancelled 0`
fn node_line(line: &str) -> Option<Counts> {
    let (word, number) = line.strip_prefix("ℹ ")?.split_once(' ')?;
    let number = number.parse().ok()?;
    match word {
        "pass" => Some(Counts::of(number, 0)),
        "fail" | "cancelled" => Some(Counts::of(0, number)),
        "skipped" | "todo" => Some(Counts { skipped: number, ..Counts::default() }),
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
        assert_eq!(node_line("ℹ pass 12"), Some(Counts::of(12, 0)));
        assert_eq!(node_line("ℹ fail 1"), Some(Counts::of(0, 1)));
        assert_eq!(node_line("ℹ cancelled 2"), Some(Counts::of(0, 2)));
        assert_eq!(node_line("ℹ duration_ms 943.4"), None);
        assert_eq!(node_line("  ✔ says ℹ pass 3 (1 ms)"), None);
        assert_eq!(closing_line("9 passed, 1 failed"), Some(Counts::of(9, 1)));
    }
}
