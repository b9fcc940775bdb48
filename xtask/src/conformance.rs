//! `cargo xtask conformance`: clients that others wrote, unmodified, against a server of this tree.
//!
//! All of it runs in a mount and network namespace of its own. Nothing can leave the machine, no port
//! of the machine is in the way, and a dummy interface with a default route makes Chromium believe that it
//! is online.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::run::{output, quietly, root, succeeds, target};
use crate::setup;
use crate::test::{self, Counts, counted, heading};

/// For the server to start, and to stop: it takes a second, on a loaded machine some.
const PATIENCE: Duration = Duration::from_secs(60);

/// A suite that hangs is killed then; the longest takes half a minute.
const SUITE_SECONDS: &str = "300";

/// By which the run inside the namespaces knows where it is.
const APART: &str = "--apart";

/// What `cresset exec` leads to.
const ADDRESS: &str = "127.83.0.1";

/// Whose devices no account of the others may reach.
const OTHER: &str = "other";

/// More than a device may be sent in a minute, and few enough to be sent quickly.
const PROJECT_PER_MINUTE: u32 = 500;

/// Of the Android app of each project.
const PACKAGE: &str = "com.example.demo";

/// A test program, with the version of firebase-admin that it tests.
struct Suite {
    file: &'static str,
    sdk: Sdk,
    server: Kind,
    /// Whose account it has.
    project: &'static str,
}

#[derive(Clone, Copy)]
enum Sdk {
    /// By its name in package.json.
    Node(&'static str),
    /// By the virtual environment that it is in.
    Python(&'static str),
    Go,
    Java,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// As `cresset up` starts it.
    Usual,
    /// With FCM's quotas, but for the project's. It is used up for a minute, so that each suite has a
    /// project to itself.
    Limited,
    /// On a small volume, which the suites fill.
    Small,
}

const NODE: Sdk = Sdk::Node("firebase-admin");
const NODE_13: Sdk = Sdk::Node("firebase-admin-13");
const NODE_12: Sdk = Sdk::Node("firebase-admin-12");
const NODE_11: Sdk = Sdk::Node("firebase-admin-11");
const PYTHON: Sdk = Sdk::Python(".venv");
const PYTHON_6: Sdk = Sdk::Python(".venv-6");
const PYTHON_5: Sdk = Sdk::Python(".venv-5");
const PYTHON_LEGACY: Sdk = Sdk::Python(".venv-legacy");
const PYTHON_RECEIVERS: Sdk = Sdk::Python(".venv-receivers");
const PYTHON_PUSH: Sdk = Sdk::Python(".venv-push");
const PYTHON_XMPP: Sdk = Sdk::Python(".venv-xmpp");

const SUITES: [Suite; 44] = [
    Suite::new("sender.test.mjs", NODE),
    Suite::new("receiver.test.mjs", NODE),
    Suite::new("receivers.test.mjs", NODE),
    Suite::new("test_receivers.py", PYTHON_RECEIVERS),
    Suite::new("test_xmpp.py", PYTHON_XMPP),
    Suite::new("xmpp.test.mjs", NODE),
    Suite::new("browser.test.mjs", NODE),
    Suite::new("push-services.test.mjs", NODE),
    Suite::new("push/test_push_services.py", PYTHON_PUSH),
    Suite::new("webpush.test.mjs", NODE),
    Suite::new("push/test_webpush.py", PYTHON_PUSH),
    Suite::new("firefox.test.mjs", NODE),
    Suite::new("batch.test.mjs", NODE_13),
    Suite::new("batch.test.mjs", NODE_12),
    Suite::new("batch.test.mjs", NODE_11),
    Suite::new("legacy.test.mjs", NODE_12),
    Suite::new("legacy.test.mjs", NODE_11),
    Suite::new("legacy-clients.test.mjs", NODE),
    Suite::new("test_legacy.py", PYTHON_LEGACY),
    Suite::new("topics.test.mjs", NODE),
    Suite::new("topics.test.mjs", NODE_13),
    Suite::new("topics.test.mjs", NODE_12),
    Suite::new("topics.test.mjs", NODE_11),
    Suite::new("test_topics.py", PYTHON),
    Suite::new("test_topics.py", PYTHON_6),
    Suite::new("test_topics.py", PYTHON_5),
    Suite::new("errors.test.mjs", NODE),
    Suite::new("errors.test.mjs", NODE_11),
    Suite::new("test_sender.py", PYTHON),
    Suite::new("test_batch.py", PYTHON_6),
    Suite::new("test_batch.py", PYTHON_5),
    Suite::new("test_discovery.py", PYTHON_6),
    Suite::new("sender_test.go", Sdk::Go),
    Suite::new("Sender.java", Sdk::Java),
    Suite::new("test_errors.py", PYTHON),
    Suite::new("test_errors.py", PYTHON_6),
    Suite::new("quota.test.mjs", NODE).on(Kind::Limited, "quota-node"),
    Suite::new("quota.test.mjs", NODE_11).on(Kind::Limited, "quota-node-11"),
    Suite::new("test_quota.py", PYTHON).on(Kind::Limited, "quota-python"),
    Suite::new("test_quota.py", PYTHON_6).on(Kind::Limited, "quota-python-6"),
    Suite::new("unavailable.test.mjs", NODE).on(Kind::Small, "demo"),
    Suite::new("unavailable.test.mjs", NODE_11).on(Kind::Small, "demo"),
    Suite::new("test_unavailable.py", PYTHON).on(Kind::Small, "demo"),
    Suite::new("test_unavailable.py", PYTHON_6).on(Kind::Small, "demo"),
];

impl Suite {
    const fn new(file: &'static str, sdk: Sdk) -> Self {
        Self { file, sdk, server: Kind::Usual, project: "demo" }
    }

    const fn on(self, server: Kind, project: &'static str) -> Self {
        Self { server, project, ..self }
    }

    fn name(&self) -> String {
        match self.sdk {
            Sdk::Node("firebase-admin") | Sdk::Python(".venv") | Sdk::Go | Sdk::Java => self.file.to_owned(),
            Sdk::Node(name) => format!("{} with {name}", self.file),
            Sdk::Python(environment) => format!("{} in {environment}", self.file),
        }
    }
}

impl Sdk {
    fn folder(self) -> PathBuf {
        root().join(match self {
            Self::Node(_) => "conformance/node",
            Self::Python(_) => "conformance/python",
            Self::Go => "conformance/go",
            Self::Java => "conformance/java",
        })
    }

    /// The command line that runs a file.
    fn runner(self, file: &str) -> Vec<PathBuf> {
        match self {
            Self::Node(_) => {
                vec![setup::node(), "--test".into(), "--test-reporter=spec".into(), file.into()]
            }
            // -B: no compiled files among the sources.
            Self::Python(environment) => {
                let pytest = ["-B", "-m", "pytest", "-q", file].map(PathBuf::from);
                [setup::python(environment)].into_iter().chain(pytest).collect()
            }
            // All of its files are in it.
            Self::Go => vec![setup::go_tests(), "-test.v".into()],
            Self::Java => vec!["java".into(), "-cp".into(), setup::java_libraries().join("*"), file.into()],
        }
    }

    fn count(self, line: &str) -> Option<Counts> {
        match self {
            Self::Node(_) => node_line(line),
            Self::Python(_) => pytest_line(line),
            Self::Go => go_line(line),
            // Without its name the line would be this program's own.
            Self::Java => closing_line(line.strip_prefix("Sender: ")?),
        }
    }
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
    if let Some(name) = names.iter().find(|name| SUITES.iter().all(|suite| suite.file != **name)) {
        return Err(format!("there is no suite {name}"));
    }
    Ok(SUITES.iter().filter(|suite| names.iter().any(|name| suite.file == name)).collect())
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
    let mut counts = Counts::default();
    for kind in [Kind::Usual, Kind::Limited, Kind::Small] {
        let suites: Vec<&Suite> = suites.iter().copied().filter(|suite| suite.server == kind).collect();
        if !suites.is_empty() {
            counts += with_server(kind, &suites)?;
        }
    }
    Ok(counts)
}

fn with_server(kind: Kind, suites: &[&Suite]) -> Result<Counts, String> {
    let folder = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
    let server = Server::start(kind, folder.path())?;
    let projects = Projects(folder.path().join("data"));
    projects.create(OTHER)?;
    let mut counts = Counts::default();
    for suite in suites {
        heading(&suite.name());
        if kind == Kind::Limited {
            projects.create(suite.project)?;
        }
        if matches!(suite.sdk, Sdk::Go) && !setup::go_tests().exists() {
            println!("left out: it needs a newer Go");
            counts.skipped += 1;
            continue;
        }
        let mut command = projects.exec(suite)?;
        command.args(suite.sdk.runner(suite.file)).current_dir(suite.sdk.folder());
        counts += counted(&mut command, |line| suite.sdk.count(line))?;
    }
    if kind == Kind::Usual {
        heading("cresset doctor");
        let mut doctor = Command::new(cresset()?);
        doctor.args(["doctor", "--data"]).arg(folder.path().join("data"));
        counts += verdict(quietly(&mut doctor));
    }
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

/// A configuration with FCM's quotas, but for the project's.
fn limits(folder: &Path) -> Result<PathBuf, String> {
    let path = folder.join("limited.toml");
    // 5228 and 5235 on every address would leave none for `cresset exec`.
    let text = format!(
        "[listen]\nmcs = \"127.0.0.1:5228\"\nxmpp = \"127.0.0.1:5235\"\nexec = \"{ADDRESS}\"\n\
         [quotas]\nprofile = \"fcm\"\nproject_per_minute = {PROJECT_PER_MINUTE}\n"
    );
    std::fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    Ok(path)
}

/// Mounted in this run's own namespace, and gone with it. The store's journals and some memtables fit.
fn small_volume(path: &Path) -> Result<(), String> {
    std::fs::create_dir(path).map_err(|e| format!("no folder for the volume: {e}"))?;
    quietly(Command::new("mount").args(["-t", "tmpfs", "-o", "size=256M", "none"]).arg(path))
}

struct Server(Child);

impl Server {
    fn start(kind: Kind, folder: &Path) -> Result<Self, String> {
        let log = std::fs::File::create(folder.join("log")).map_err(|e| format!("no log: {e}"))?;
        let data = folder.join("data");
        if kind == Kind::Small {
            small_volume(&data)?;
        }
        let mut command = Command::new(cresset()?);
        match kind {
            Kind::Limited => command.arg("serve").arg("--config").arg(limits(folder)?),
            Kind::Usual | Kind::Small => command.args(["up", "--exec-address", ADDRESS]),
        };
        let child = command
            .args(["--log-level", "info,cresset=debug", "--data"])
            .arg(&data)
            .env("RUST_BACKTRACE", "1")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| format!("the server cannot be started: {e}"))?;
        let mut server = Self(child);
        let begun = Instant::now();
        // `cresset serve` makes no project.
        let has_project = || kind == Kind::Limited || data.join("credentials/demo.json").exists();
        let projects = Projects(data.clone());
        while TcpStream::connect((ADDRESS, 443)).is_err()
            || !has_project()
            || projects.run(&["list"]).is_err()
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

/// The projects of a running server, by its command line.
struct Projects(PathBuf);

impl Projects {
    fn run(&self, args: &[&str]) -> Result<String, String> {
        output(Command::new(cresset()?).arg("project").arg("--data").arg(&self.0).args(args))
    }

    /// What app servers of old send with.
    fn server_key(&self, project: &str) -> Result<String, String> {
        let shown: serde_json::Value = serde_json::from_str(&self.run(&["show", project, "--json"])?)
            .map_err(|e| format!("`project show` is no JSON: {e}"))?;
        let key = shown["serverKeys"][0].as_str();
        key.map(str::to_owned).ok_or_else(|| format!("project {project} has no server key"))
    }

    /// Like the one that `cresset up` makes.
    fn create(&self, id: &str) -> Result<(), String> {
        self.run(&["create", id])?;
        self.run(&["add-app", id, "--platform", "android", "--package", PACKAGE])?;
        self.run(&["add-app", id, "--platform", "web"])?;
        self.run(&["service-account", id, "--save"]).map(drop)
    }

    /// `cresset exec --` with what a suite is told, and a bound on how long it may take.
    fn exec(&self, suite: &Suite) -> Result<Command, String> {
        let mut command = Command::new(cresset()?);
        command
            .args(["exec", "--project", suite.project, "--data"])
            .arg(&self.0)
            .args(["--", "timeout", "--kill-after=10", SUITE_SECONDS])
            .env("CONFORMANCE_NODE", setup::node())
            .env("CONFORMANCE_LISTENER", setup::rust_receiver()?)
            .env("CONFORMANCE_FAKE", target()?.join("debug/cresset-fake"))
            .env("CONFORMANCE_TALKER", target()?.join("debug/examples/talk"))
            .env("CONFORMANCE_WEB_CONFIG", self.run(&["web-config", suite.project])?)
            .env("CONFORMANCE_OTHER_WEB_CONFIG", self.run(&["web-config", OTHER])?)
            .env("CONFORMANCE_SERVER_KEY", self.server_key(suite.project)?)
            .env("CONFORMANCE_VAPID_KEY", self.run(&["web-push-key", suite.project])?.trim())
            .env("CONFORMANCE_PROJECT_PER_MINUTE", PROJECT_PER_MINUTE.to_string())
            .env("CONFORMANCE_FILLER", self.0.join("filler"));
        if let Sdk::Node(name) = suite.sdk {
            command.env("CONFORMANCE_ADMIN", name);
        }
        Ok(command)
    }
}

/// `--- PASS: TestSend (0.04s)`
fn go_line(line: &str) -> Option<Counts> {
    match line.strip_prefix("--- ")?.split_once(": ")?.0 {
        "PASS" => Some(Counts::of(1, 0)),
        "FAIL" => Some(Counts::of(0, 1)),
        "SKIP" => Some(Counts { skipped: 1, ..Counts::default() }),
        _ => None,
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
        assert_eq!(go_line("--- FAIL: TestSend (0.04s)"), Some(Counts::of(0, 1)));
        assert_eq!(go_line("=== RUN   TestSend"), None);
        assert_eq!(closing_line("9 passed, 1 failed"), Some(Counts::of(9, 1)));
    }
}
