//! `cresset send`, as it is typed: what arrives, what is printed, and how it ends.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use cresset_device_client::{Client, ConnectOptions, Connection, Endpoints, Received, Register3, Trust};
use cresset_server::Server;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{command, server};

/// For anything that a test waits for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server, its demo project, and a device that listens.
struct Place {
    server: Server,
    _folder: TempDir,
    token: String,
    device: Connection,
}

impl Place {
    async fn open() -> Self {
        let folder = TempDir::new().unwrap();
        let server = server(folder.path()).await;
        let project = |arguments: &[&str]| {
            let ran = run(server.folder.path(), arguments, "");
            assert!(ran.status.success(), "{arguments:?}: {}", text(&ran.stderr));
            text(&ran.stdout)
        };
        project(&["project", "create", "demo"]);
        project(&["project", "add-app", "demo", "--platform", "android", "--package", "com.example.demo"]);
        let shown: Value = serde_json::from_str(&project(&["project", "show", "demo", "--json"])).unwrap();
        let number = shown["projectNumber"].as_str().unwrap();
        let (token, device) = device(&server, number).await;
        Self { server, _folder: folder, token, device }
    }

    fn folder(&self) -> PathBuf {
        self.server.folder.path().to_owned()
    }

    fn send(&self, arguments: &[&str], input: &str) -> Output {
        let arguments: Vec<&str> = ["send"].iter().chain(arguments).copied().collect();
        run(&self.folder(), &arguments, input)
    }

    /// Sends, insists on success, and gives the message as it arrives.
    async fn arrives(&mut self, arguments: &[&str], input: &str) -> Received {
        let sent = self.send(arguments, input);
        assert!(sent.status.success(), "{arguments:?}: {}", text(&sent.stderr));
        let said = text(&sent.stdout);
        let said: Value = serde_json::from_str(&said).unwrap_or_else(|_| said.trim().into());
        let name = said["name"].as_str().or(said.as_str()).unwrap().to_owned();
        let id = name.strip_prefix("projects/demo/messages/").unwrap_or_else(|| panic!("{name}"));
        let received = tokio::time::timeout(PATIENCE, self.device.next()).await.expect("it should arrive");
        let received = received.unwrap().unwrap();
        assert_eq!(received.persistent_id(), id, "{arguments:?}");
        received
    }

    /// Sends, insists on this end, and gives what is printed: to standard output and to errors.
    fn refused(&self, arguments: &[&str], input: &str, code: i32) -> (String, String) {
        let sent = self.send(arguments, input);
        assert_eq!(sent.status.code(), Some(code), "{arguments:?}: {}", text(&sent.stderr));
        (text(&sent.stdout), text(&sent.stderr))
    }
}

async fn device(server: &Server, project_number: &str) -> (String, Connection) {
    let endpoints = Endpoints {
        http_base: format!("http://{}", server.running.http),
        mcs: server.running.mcs.to_string(),
        server_name: Some("mtalk.google.com".into()),
    };
    let ca = std::fs::read_to_string(server.folder.path().join("ca.pem")).unwrap();
    let client = Client::new(endpoints, Trust::pem(&ca).unwrap()).unwrap();
    let device = client.check_in(None).await.unwrap();
    let form = Register3::android("com.example.demo", project_number);
    let token = client.register3(&device, &form).await.unwrap();
    (token, client.connect(&device, ConnectOptions::default()).await.unwrap())
}

/// The command with `input`, to its end.
fn run(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = command(folder, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without reading.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_of_it_is_told() {
    let mut place = Place::open().await;
    let token = place.token.clone();
    place.arrives(&["--token", &token, "--data", "n=1"], "").await;
    let sent = text(&place.send(&["--token", &token, "--data", "n=2"], "").stdout);
    let name = sent.trim().to_owned();
    let second = tokio::time::timeout(PATIENCE, place.device.next()).await.expect("it should arrive");
    place.device.acknowledge(&second.unwrap().unwrap()).await.unwrap();
    // That a device has it is told by the device, a moment later.
    let trace = |arguments: &[&str]| {
        let arguments: Vec<&str> = ["trace"].iter().chain(arguments).copied().collect();
        run(&place.folder(), &arguments, "")
    };
    let told = tokio::time::timeout(PATIENCE, async {
        loop {
            let told = trace(&[&name]);
            assert!(told.status.success(), "{}", text(&told.stderr));
            if text(&told.stdout).contains("1 acknowledged") {
                return text(&told.stdout);
            }
            tokio::task::yield_now().await;
        }
    });
    let told = told.await.expect("the acknowledgement should arrive");
    assert!(told.contains("to token") && told.contains("android"), "{told}");
    let id = name.strip_prefix("projects/demo/messages/").unwrap();
    let json = trace(&[id, "--json"]);
    let json: Value = serde_json::from_str(&text(&json.stdout)).unwrap();
    assert_eq!((&json["id"], &json["deliveries"][0]["token"]), (&id.into(), &token.as_str().into()));
    let strange = trace(&["0:1%0000000000000001"]);
    assert_eq!(strange.status.code(), Some(1));
    assert!(text(&strange.stderr).contains("Nothing is known of this message"), "{}", text(&strange.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_on_the_command_line_arrives() {
    let mut place = Place::open().await;
    let token = place.token.clone();
    let words = ["--title", "Hi", "--body", "there", "--data", "score=850", "--data", "sum=1+1=2"];
    let options =
        ["--priority", "high", "--ttl", "60s", "--collapse-key", "k", "--image", "https://a.test/i.png"];
    let arguments: Vec<&str> = ["--token", &token].into_iter().chain(words).chain(options).collect();
    let received = place.arrives(&arguments, "").await;
    assert_eq!((received.get("score"), received.get("sum")), (Some("850"), Some("1+1=2")));
    assert_eq!(received.get("gcm.n.title").or(received.get("gcm.notification.title")), Some("Hi"));
    let stanza = &received.stanza;
    assert_eq!((stanza.ttl, stanza.token.as_deref()), (Some(60), Some("k")));

    let received = place.arrives(&["--token", &token, "--data", "a=", "--json"], "").await;
    assert_eq!(received.get("a"), Some(""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_sent_as_it_is_written() {
    let mut place = Place::open().await;
    let message = json!({ "token": place.token, "data": { "n": "1" } });
    let file = place.folder().join("message.json");
    std::fs::write(&file, message.to_string()).unwrap();
    let received = place.arrives(&["--message", file.to_str().unwrap()], "").await;
    assert_eq!(received.get("n"), Some("1"));

    let lenient = format!("{{'message': {{token: '{}', 'data': {{'n': '2',}},}}}}", place.token);
    let whole = json!({ "message": message, "validateOnly": false }).to_string();
    for (written, n) in [(lenient, "2"), (whole.clone(), "1")] {
        let received = place.arrives(&["--message", "-"], &written).await;
        assert_eq!(received.get("n"), Some(n), "{written}");
    }

    // Answered as usual, and not delivered: what arrives next is what is sent next.
    for written in [message.to_string(), whole] {
        let dry = place.send(&["--message", "-", "--dry-run"], &written);
        assert!(dry.status.success(), "{}", text(&dry.stderr));
        assert!(text(&dry.stdout).starts_with("projects/demo/messages/"));
    }
    let token = place.token.clone();
    place.arrives(&["--token", &token, "--data", "n=3"], "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_line_by_line_and_as_json() {
    let place = Place::open().await;
    let (said, why) = place.refused(&["--token", "not-a-token"], "", 1);
    assert!(said.is_empty());
    let lines: Vec<_> = why.lines().collect();
    assert_eq!(
        lines,
        [
            "cresset: refused with 400 INVALID_ARGUMENT: The registration token is not a valid FCM registration token",
            "  message.token: The registration token is not a valid FCM registration token",
        ]
    );
    let (said, why) = place.refused(&["--fid", "not-a-fid", "--json"], "", 1);
    assert!(why.contains("404 NOT_FOUND UNREGISTERED"), "{why}");
    let answer: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(answer["error"]["status"], "NOT_FOUND");
    let (_, why) = place.refused(&["--message", "-"], "{\"token\": 1}", 1);
    assert!(why.contains("message.token"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cresset_is_reached_by_its_url() {
    let mut place = Place::open().await;
    let folder = place.folder();
    let [key, ca] = ["credentials/demo.json", "ca.pem"].map(|name| folder.join(name).display().to_string());
    let url = format!("https://localhost:{}", place.server.running.https.port());
    let token = place.token.clone();
    let there = ["--token", &token, "--url", &url, "--credentials", &key];
    let trusting: Vec<&str> = there.iter().copied().chain(["--ca", &ca]).collect();
    place.arrives(&trusting, "").await;
    let (_, why) = place.refused(&there, "", 1);
    assert!(why.contains("is not trusted"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_it_from_sending_is_told() {
    let place = Place::open().await;
    let elsewhere = TempDir::new().unwrap();
    let nothing = elsewhere.path().join("nothing").display().to_string();
    let rows: [(&[&str], &str, i32, &str); 7] = [
        (&["--title", "Hi"], "", 2, "--token"),
        (&["--token", "t", "--data", "folder"], "", 2, "--folder"),
        (&["--message", "-", "--dry-run"], "{'message': {}}", 2, "strict JSON"),
        (&["--message", &nothing], "", 1, &nothing),
        (&["--token", "t", "--folder", &nothing], "", 1, "cresset up"),
        (&["--token", "t", "--project", "other"], "", 1, "service-account"),
        (&["--token", "t", "--google", "--credentials", &nothing], "", 1, &nothing),
    ];
    for (arguments, input, code, expected) in rows {
        let (_, why) = place.refused(arguments, input, code);
        assert!(why.contains(expected), "{arguments:?}: {why}");
    }
    let (_, why) = place.refused(&["--message", "-"], &" ".repeat((1 << 20) + 1), 1);
    assert!(why.contains("longer than"), "{why}");
    let folder = place.folder();
    assert!(place.server.stop().await);
    let (_, why) = {
        let ran = run(&folder, &["send", "--token", "t"], "");
        (text(&ran.stdout), text(&ran.stderr))
    };
    assert!(why.contains("no Cresset is running"), "{why}");
}
