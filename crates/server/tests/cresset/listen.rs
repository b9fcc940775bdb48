//! `cresset listen`, as it is typed: what it prints, and how it ends.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};

use cresset_server::Server;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::{command, server};

/// A server and its demo project, with an Android app and a web app.
struct Place {
    server: Server,
    folder: TempDir,
}

impl Place {
    async fn open() -> Self {
        let folder = TempDir::new().unwrap();
        let server = server(folder.path()).await;
        let place = Self { server, folder };
        place.run(&["project", "create", "demo"]);
        let add = ["project", "add-app", "demo", "--platform"];
        place.run(&[&add[..], &["android", "--package", "com.example.demo"]].concat());
        place.run(&[&add[..], &["web"]].concat());
        place
    }

    fn run(&self, arguments: &[&str]) {
        let ran = command(self.server.folder.path(), arguments).output().unwrap();
        assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    }

    fn listen(&self, arguments: &[&str]) -> Listening {
        Listening::start(self.server.folder.path(), arguments)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A `cresset listen`; killed when dropped.
struct Listening {
    child: Child,
    out: Option<BufReader<ChildStdout>>,
}

impl Listening {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let arguments: Vec<&str> = ["listen"].iter().chain(arguments).copied().collect();
        let mut command = command(folder, &arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = child.stdout.take().map(BufReader::new);
        Self { child, out }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.as_mut().unwrap().read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn json(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line:?}: {e}"))
    }

    /// Its exit code, what is left of its output, and what it said on standard error.
    fn end(mut self) -> (Option<i32>, String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        self.out.take().unwrap().read_to_string(&mut out).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        (self.child.wait().unwrap().code(), out, err)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_printed_and_then_each_message_until_there_are_enough() {
    let place = Place::open().await;
    let mut device = place.listen(&["--topic", "news", "--count", "2"]);
    let line = device.line();
    let token = line.strip_prefix("token  ").unwrap_or_else(|| panic!("{line}"));
    // Before it has connected, perhaps: the message waits.
    place.run(&["send", "--token", token, "--title", "Hi", "--body", "there", "--data", "score=850"]);
    let line = device.line();
    assert!(line.ends_with("  «Hi: there»  score=850"), "{line}");
    place.run(&["send", "--topic", "news", "--data", "n=1"]);
    let line = device.line();
    assert!(line.ends_with("  n=1  [topic news]"), "{line}");
    let (code, rest, said) = device.end();
    assert_eq!((code, rest.as_str(), said.as_str()), (Some(0), "", "cresset: connected\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_file_makes_it_the_same_device_again() {
    let place = Place::open().await;
    let state = place.file("device.json").display().to_string();
    for kind in [&["--json"][..], &["--json", "--web"]] {
        let arguments = [kind, &["--count", "1", "--state", &state]].concat();
        let mut device = place.listen(&arguments);
        let first = device.json();
        let token = first["token"].as_str().unwrap();
        assert_eq!(first["fid"].is_string(), kind.contains(&"--web"));
        // While it listens, the file is its own.
        let (code, _, said) = place.listen(&arguments).end();
        assert!(code == Some(1) && said.contains(&state), "{said}");
        place.run(&["send", "--token", token, "--data", "n=1", "--ttl", "60"]);
        let message = device.json();
        assert_eq!((&message["event"], &message["data"]["n"]), (&"message".into(), &"1".into()));
        assert_eq!(device.end().0, Some(0));
        let mut again = place.listen(&arguments);
        assert_eq!(again.json(), first);
        place.run(&["send", "--token", token, "--data", "n=2"]);
        assert_eq!(again.json()["data"]["n"], "2", "what was printed does not come again");
        assert_eq!(again.end().0, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_well_when_told_to() {
    let place = Place::open().await;
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut device = place.listen(&[]);
        assert!(device.line().starts_with("token  "));
        kill(Pid::from_raw(i32::try_from(device.child.id()).unwrap()), signal).unwrap();
        let (code, rest, _) = device.end();
        assert_eq!((code, rest.as_str()), (Some(0), ""));
    }
    // As in `cresset listen | head -1`.
    let mut device = place.listen(&[]);
    let token = device.line().split_off("token  ".len());
    device.out = None;
    place.run(&["send", "--token", &token, "--data", "n=1"]);
    assert_eq!(device.child.wait().unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_it_from_listening_is_told() {
    let place = Place::open().await;
    let garbage = place.file("garbage.json");
    std::fs::write(&garbage, "{").unwrap();
    let garbage = garbage.display().to_string();
    let nothing = place.file("nothing").display().to_string();
    let rows: [(&[&str], i32, &str); 8] = [
        (&["--project", "other"], 1, "other"),
        (&["--web", "--app-id", "1:2:web:3"], 1, "no such web app"),
        (&["--topic", "no topic"], 1, "\"no topic\""),
        (&["--state", &garbage], 1, &garbage),
        (&["--folder", &nothing], 1, "cresset up"),
        (&["--google"], 2, "--sender-id"),
        (&["--google", "--web", "--api-key", "A"], 2, "--app-id"),
        (
            &["--url", "http://127.0.0.1:1", "--mcs", "127.0.0.1:1", "--package", "a.b", "--sender-id", "1"],
            1,
            "127.0.0.1:1",
        ),
    ];
    for (arguments, expected, why) in rows {
        let (code, _, said) = place.listen(arguments).end();
        assert_eq!(code, Some(expected), "{arguments:?}: {said}");
        assert!(said.starts_with("cresset: ") && said.contains(why), "{arguments:?}: {said}");
    }
    let folder = place.server.folder.path().to_owned();
    assert!(place.server.stop().await);
    let (code, _, said) = Listening::start(&folder, &[]).end();
    assert!(code == Some(1) && said.contains("no Cresset is running"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cresset_is_listened_to_by_its_url() {
    let place = Place::open().await;
    let running = &place.server.running;
    let url = format!("https://localhost:{}", running.https.port());
    let mcs = format!("localhost:{}", running.mcs.port());
    let ca = place.server.folder.path().join("ca.pem").display().to_string();
    let shown = command(place.server.folder.path(), &["project", "show", "demo", "--json"]).output().unwrap();
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let text = |pointer: &str| shown.pointer(pointer).and_then(Value::as_str).unwrap();
    let web = shown["apps"].as_array().unwrap().iter().find(|app| app["platform"] == "web").unwrap();
    let there = ["--url", &url, "--mcs", &mcs, "--ca", &ca, "--count", "1"];
    let android = ["--package", "com.example.demo", "--sender-id", text("/projectNumber")];
    let web = [
        "--web",
        "--project",
        "demo",
        "--api-key",
        text("/apiKeys/0"),
        "--app-id",
        web["appId"].as_str().unwrap(),
    ];
    for app in [&android[..], &web[..]] {
        let mut device = place.listen(&[&there[..], app].concat());
        let token = device.line().split_off("token  ".len());
        place.run(&["send", "--token", &token, "--data", "n=1"]);
        let (code, rest, said) = device.end();
        assert!(code == Some(0) && rest.ends_with("  n=1\n"), "{rest} {said}");
    }
}
