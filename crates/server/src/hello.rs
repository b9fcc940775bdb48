//! `cresset up --hello`: the whole way of one message, by the front doors. A device registers and
//! connects; a sender gets an access token and sends through HTTP v1; the message arrives. The device
//! stays connected and prints what is sent to it.

use std::time::{Duration, Instant};

use cresset_device_client::{AndroidApp, Error, Event, FileStore, Message, Receiver};
use cresset_message::{Platform, ProjectId};
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::project::over_http;
use crate::server::Server;
use crate::{clock, listen, service_account};

/// For the message to arrive: it takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Shows the journey; gives the device's token, and leaves the device connected.
pub(crate) async fn run(server: &Server, id: &ProjectId) -> Result<String, Failure> {
    println!("\nA first message:\n");
    let project = server.identity.project(id.as_str()).ok_or_else(|| failed("the project", &"it is gone"))?;
    let app = project.apps.iter().find(|app| app.platform == Platform::Android);
    let package = app.map_or(listen::PACKAGE, |app| &app.package);
    let mut device = device(server, AndroidApp::new(package, project.number.to_string()))?;
    let token = device.token().await.map_err(|e| failed("the registration", &e))?.to_owned();
    let shown = token.chars().take(40).collect::<String>();
    step("a device registers", &format!("{package}, token {shown}…"));

    patiently("connected", connect(&mut device)).await?;
    step("it connects, and stays", &format!("MCS on {}", server.running.mcs));

    let access = access_token(server, id).await?;
    step("a sender shows its key", "service account, JWT bearer grant, access token");

    let started = Instant::now();
    let name = send(server, id, &access, &token).await?;
    step("it sends", &format!("POST /v1/projects/{id}/messages:send"));
    step("it is answered: durable", &name);

    let sent = name.rsplit('/').next().unwrap_or_default();
    let received = patiently("arrived", receive(&mut device, sent)).await?;
    let took = started.elapsed().as_secs_f64() * 1_000.0;
    step("the device receives", &format!("{}   ({took:.1} ms after the send began)", content(&received)));
    tokio::spawn(device.run(std::future::pending(), async |event| {
        if let Event::Message(message) = event {
            announce(&message);
        }
    }));
    Ok(token)
}

fn step(what: &str, shown: &str) {
    println!("  ✓ {what:<26} {shown}");
}

fn failed(what: &str, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(format!("the first message: {what} failed: {why}"))
}

/// As the device of the last time, so that its token stays the same.
fn device(server: &Server, app: AndroidApp) -> Result<Receiver, Failure> {
    let client = listen::client_of(&server.folder, &server.running)?;
    let store = FileStore::open(server.folder.path().join("hello.json"));
    let store = store.map_err(|e| failed("the device's state", &e))?;
    Receiver::android(client, app).store(store).open().map_err(|e| failed("the device's state", &e))
}

async fn access_token(server: &Server, id: &ProjectId) -> Result<String, Failure> {
    let path = server.folder.credentials(id.as_str());
    let file = std::fs::read(&path).map_err(|e| failed(&format!("reading {}", path.display()), &e))?;
    let file: Value = serde_json::from_slice(&file).map_err(|e| failed("reading the service account", &e))?;
    let assertion = service_account::assertion(&file, clock::now())
        .map_err(|e| Failure::new(format!("the service account {e}")))?;
    let request = Request::builder()
        .method(Method::POST)
        .uri("/token")
        .header(header::HOST, "oauth2.googleapis.com")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(service_account::grant_form(&assertion))
        .map_err(|e| failed("the token request", &e))?;
    let answer = ask(server, request).await?;
    let token = answer["access_token"].as_str();
    token.map(str::to_owned).ok_or_else(|| failed("the access token", &answer))
}

async fn send(server: &Server, id: &ProjectId, access: &str, token: &str) -> Result<String, Failure> {
    let message = json!({ "message": { "token": token, "data": { "hello": "from Cresset" } } });
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("/v1/projects/{id}/messages:send"))
        .header(header::HOST, "fcm.googleapis.com")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::AUTHORIZATION, format!("Bearer {access}"))
        .body(message.to_string())
        .map_err(|e| failed("the send", &e))?;
    let answer = ask(server, request).await?;
    answer["name"].as_str().map(str::to_owned).ok_or_else(|| failed("the send", &answer))
}

async fn ask(server: &Server, request: Request<String>) -> Result<Value, Failure> {
    let (status, bytes) = over_http(server.running.http, request).await?;
    let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if status == StatusCode::OK { Ok(value) } else { Err(failed("a request", &format!("{status}: {value}"))) }
}

async fn patiently<T>(what: &str, event: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
    let failed = |why: &dyn std::fmt::Display| failed("the device", why);
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(happened) => happened.map_err(|e| failed(&e)),
        Err(_) => Err(failed(&format!("nothing has {what} in {} s", PATIENCE.as_secs()))),
    }
}

async fn connect(device: &mut Receiver) -> Result<(), Error> {
    while !matches!(device.next().await?, Event::Connected) {}
    Ok(())
}

/// The message with this id; what waited from the last time comes before it.
async fn receive(device: &mut Receiver, id: &str) -> Result<Message, Error> {
    loop {
        match device.next().await? {
            Event::Message(message) if message.id == id => return Ok(message),
            Event::Message(message) => announce(&message),
            _ => {}
        }
    }
}

fn content(message: &Message) -> String {
    let pairs: Vec<String> = message.data.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join("  ")
}

fn announce(message: &Message) {
    println!("  ← {}", listen::line_of(message));
}
