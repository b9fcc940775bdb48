//! `cresset up --hello`: the whole way of one message, by the front doors. A device checks in,
//! registers and connects; a sender gets an access token and sends through HTTP v1; the message
//! arrives. The device stays connected and prints what is sent to it.

use std::time::{Duration, Instant};

use cresset_device_client::{
    Client, ConnectOptions, Connection, Credentials, Endpoints, Received, Register3, Trust,
};
use cresset_message::{Platform, ProjectId};
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::project::over_http;
use crate::server::Server;
use crate::{clock, data, service_account};

/// For the message to arrive: it takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Shows the journey; gives the device's token, and leaves the device connected.
pub(crate) async fn run(server: &Server, id: &ProjectId) -> Result<String, Failure> {
    println!("\nA first message:\n");
    let client = device_client(server)?;
    let device = check_in(server, &client).await?;
    step("a device checks in", &format!("android_id {}", device.android_id));

    let project = server.identity.project(id.as_str()).ok_or_else(|| failed("the project", &"it is gone"))?;
    let app = project.apps.iter().find(|app| app.platform == Platform::Android);
    let package = app.map_or("com.example.demo", |app| &app.package);
    let form = Register3::android(package, &project.number.to_string());
    let token = client.register3(&device, &form).await.map_err(|e| failed("the registration", &e))?;
    step(
        &format!("it registers {package}"),
        &format!("token {}…", token.chars().take(40).collect::<String>()),
    );

    let mut connection =
        client.connect(&device, ConnectOptions::default()).await.map_err(|e| failed("the connection", &e))?;
    step("it connects, and stays", &format!("MCS on {}", server.running.mcs));

    let access = access_token(server, id).await?;
    step("a sender shows its key", "service account, JWT bearer grant, access token");

    let started = Instant::now();
    let name = send(server, id, &access, &token).await?;
    step("it sends", &format!("POST /v1/projects/{id}/messages:send"));
    step("it is answered: durable", &name);

    let sent = name.rsplit('/').next().unwrap_or_default();
    let received = receive(&mut connection, sent).await?;
    let took = started.elapsed().as_secs_f64() * 1_000.0;
    step("the device receives", &format!("{}   ({took:.1} ms after the send began)", content(&received)));
    tokio::spawn(keep_receiving(client, device, connection));
    Ok(token)
}

fn step(what: &str, shown: &str) {
    println!("  ✓ {what:<26} {shown}");
}

fn failed(what: &str, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(format!("the first message: {what} failed: {why}"))
}

fn device_client(server: &Server) -> Result<Client, Failure> {
    let ca = std::fs::read_to_string(server.folder.ca()).map_err(|e| failed("reading the CA", &e))?;
    let endpoints = Endpoints {
        http_base: format!("http://{}", reachable(server.running.http)),
        mcs: reachable(server.running.mcs).to_string(),
        server_name: Some("mtalk.google.com".into()),
    };
    let trust = Trust::pem(&ca).map_err(|e| failed("reading the CA", &e))?;
    Client::new(endpoints, trust).map_err(|e| failed("the device", &e))
}

/// Listening on all addresses, the server is reached on loopback.
fn reachable(address: std::net::SocketAddr) -> std::net::SocketAddr {
    if address.ip().is_unspecified() { ([127, 0, 0, 1], address.port()).into() } else { address }
}

/// As the device of the last time, so that its token stays the same; else as a new one.
async fn check_in(server: &Server, client: &Client) -> Result<Credentials, Failure> {
    let path = server.folder.path().join("hello-device.json");
    if let Some(known) = read_credentials(&path)
        && let Ok(device) = client.check_in(Some(&known)).await
    {
        return Ok(device);
    }
    let device = client.check_in(None).await.map_err(|e| failed("the check-in", &e))?;
    let text = json!({ "android_id": device.android_id, "security_token": device.security_token });
    data::write_secret(&path, text.to_string().as_bytes())?;
    Ok(device)
}

fn read_credentials(path: &std::path::Path) -> Option<Credentials> {
    let value: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let number = |name: &str| value[name].as_u64();
    Some(Credentials { android_id: number("android_id")?, security_token: number("security_token")? })
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

/// The message with this id; what waited from the last time comes before it.
async fn receive(connection: &mut Connection, id: &str) -> Result<Received, Failure> {
    let arrival = async {
        while let Some(message) = connection.next().await? {
            connection.acknowledge(&message).await?;
            if message.persistent_id() == id {
                return Ok(Some(message));
            }
            announce(&message);
        }
        Ok::<_, cresset_device_client::Error>(None)
    };
    match tokio::time::timeout(PATIENCE, arrival).await {
        Ok(Ok(Some(message))) => Ok(message),
        Ok(Ok(None)) => Err(failed("the device", &"the connection was closed")),
        Ok(Err(e)) => Err(failed("the device", &e)),
        Err(_) => Err(failed("the device", &format!("nothing arrived in {} s", PATIENCE.as_secs()))),
    }
}

fn content(message: &Received) -> String {
    // Keys of Google's own are for its SDKs.
    let own = message.data().filter(|(key, _)| !key.starts_with("google."));
    let pairs: Vec<String> = own.map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join("  ")
}

fn announce(message: &Received) {
    println!("  ← {}   {}", message.persistent_id(), content(message));
}

/// Prints what arrives, for as long as the server is there.
async fn keep_receiving(client: Client, device: Credentials, first: Connection) {
    const PAUSE: Duration = Duration::from_secs(5);
    let mut connection = Some(first);
    loop {
        if let Some(connected) = &mut connection {
            while let Ok(Some(message)) = connected.next().await {
                announce(&message);
                if connected.acknowledge(&message).await.is_err() {
                    break;
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
        connection = client.connect(&device, ConnectOptions::default()).await.ok();
    }
}
