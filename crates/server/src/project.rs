//! `cresset project`: Cresset's own API, spoken to the running server, or to the data folder when
//! it is at rest.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tower::ServiceExt as _;

use crate::cli::{Project, ProjectCommand};
use crate::clock;
use crate::config::Config;
use crate::data::{DataFolder, reachable, write_secret};
use crate::failure::Failure;
use crate::output::print;
use crate::server::{Core, open_core};

/// For an answer of the running server.
const PATIENCE: Duration = Duration::from_secs(30);

pub async fn run(args: &Project) -> Result<(), Failure> {
    let folder = DataFolder::open(&args.data.folder)?;
    check_is_ours(&folder)?;
    let api = Api::open(&folder).await?;
    let done = command(&api, &folder, &args.command).await;
    api.close().await;
    done
}

/// A project as the API tells of it.
pub(crate) async fn show(folder: &DataFolder, project: &str) -> Result<Value, Failure> {
    let api = Api::open(folder).await?;
    let shown = api.call(Method::GET, project, None).await;
    api.close().await;
    shown
}

/// Nothing is made in a folder that has other things in it.
fn check_is_ours(folder: &DataFolder) -> Result<(), Failure> {
    let is_empty = std::fs::read_dir(folder.path()).is_ok_and(|mut entries| entries.next().is_none());
    if is_empty || folder.store().exists() {
        return Ok(());
    }
    Err(Failure::new(format!("{} is not a data folder of Cresset; --data names it", folder.path().display())))
}

async fn command(api: &Api, folder: &DataFolder, command: &ProjectCommand) -> Result<(), Failure> {
    match command {
        ProjectCommand::Create { project, name, number } => {
            let body = json!({ "projectId": project, "displayName": name, "projectNumber": number });
            api.call(Method::POST, "", Some(body)).await?;
            save_service_account(api, folder, project).await?;
            print(&describe(&api.call(Method::GET, project, None).await?));
            println!("\nNext:  cresset project add-app {project} --platform web");
            println!("       cresset exec --project {project} -- node app.js");
        }
        ProjectCommand::List { json } => {
            let all = api.call(Method::GET, "", None).await?;
            if *json { print_json(&all) } else { print(&table(&all)) }
        }
        ProjectCommand::Show { project, json } => {
            let shown = api.call(Method::GET, project, None).await?;
            if *json { print_json(&shown) } else { print(&describe(&shown)) }
        }
        ProjectCommand::Delete { project, yes } => {
            if !yes {
                return Err(Failure::new(format!(
                    "deleting `{project}` ends its apps, credentials and registrations; say --yes"
                )));
            }
            api.call(Method::DELETE, project, None).await?;
            let _ = std::fs::remove_file(folder.credentials(project));
            println!("Project `{project}` is deleted.");
        }
        ProjectCommand::AddApp { project, platform, package, name } => {
            let body = json!({ "platform": platform, "package": package, "displayName": name });
            let made = api.call(Method::POST, &format!("{project}/apps"), Some(body)).await?;
            println!("{}", text(&made["appId"]));
        }
        ProjectCommand::ServiceAccount { project, save: true } => {
            print_json(&save_service_account(api, folder, project).await?);
        }
        ProjectCommand::ServiceAccount { project, save: false } => {
            print_json(&api.call(Method::POST, &format!("{project}/serviceAccountKeys"), None).await?);
        }
        ProjectCommand::UserCredential { project } => {
            print_json(&api.call(Method::GET, &format!("{project}/userCredential"), None).await?);
        }
        ProjectCommand::WebPushKey { project, new: false, import: None } => {
            let shown = api.call(Method::GET, project, None).await?;
            let newest = list(&shown["webPushKeys"])
                .last()
                .ok_or_else(|| Failure::new(format!("project `{project}` has none; make one with --new")))?;
            println!("{}", text(newest));
        }
        ProjectCommand::WebPushKey { project, import, .. } => {
            let body = json!({ "privateKey": import });
            let made = api.call(Method::POST, &format!("{project}/webPushKeys"), Some(body)).await?;
            println!("{}", text(&made["vapidKey"]));
        }
        ProjectCommand::Apns { project, bundle_id, remove: true, .. } => {
            let path = format!("{project}/apnsCredentials/{bundle_id}");
            let removed = api.call(Method::DELETE, &path, None).await?;
            println!("{} credentials of {bundle_id} are forgotten.", removed["removed"]);
        }
        ProjectCommand::Apns {
            project, bundle_id, key, key_id, team_id, certificate, environment, ..
        } => {
            let is = |name: &str| environment.as_ref().is_none_or(|only| only == name);
            let body = json!({
                "bundleId": bundle_id,
                "production": is("production"),
                "sandbox": is("sandbox"),
                "privateKey": file(key.as_deref())?,
                "keyId": key_id.as_deref().unwrap_or_default(),
                "teamId": team_id.as_deref().unwrap_or_default(),
                "certificate": file(certificate.as_deref())?,
            });
            api.call(Method::POST, &format!("{project}/apnsCredentials"), Some(body)).await?;
            println!("APNs knows {bundle_id} by it from now on (outgoing.apns lets messages out).");
        }
        ProjectCommand::ApiKey { project, new: true } => {
            let made = api.call(Method::POST, &format!("{project}/apiKeys"), None).await?;
            println!("{}", text(&made["apiKey"]));
        }
        ProjectCommand::ApiKey { project, new: false } => {
            let shown = api.call(Method::GET, project, None).await?;
            println!("{}", text(&shown["apiKeys"][0]));
        }
        ProjectCommand::GoogleServices { project, package } => {
            let shown = api.call(Method::GET, project, None).await?;
            let wanted = |app: &Value| package.as_ref().is_none_or(|p| app["package"] == p.as_str());
            print_json(&app_config(&shown, "android", wanted)?);
        }
        ProjectCommand::WebConfig { project, app } => {
            let shown = api.call(Method::GET, project, None).await?;
            let wanted = |value: &Value| app.as_ref().is_none_or(|id| value["appId"] == id.as_str());
            print_json(&app_config(&shown, "web", wanted)?);
        }
    }
    Ok(())
}

/// What a file says; nothing, if none is named.
fn file(path: Option<&std::path::Path>) -> Result<String, Failure> {
    let Some(path) = path else { return Ok(String::new()) };
    std::fs::read_to_string(path).map_err(|e| Failure::new(format!("cannot read {}: {e}", path.display())))
}

/// Makes a key and keeps its file where `cresset exec` looks.
async fn save_service_account(api: &Api, folder: &DataFolder, project: &str) -> Result<Value, Failure> {
    let file = api.call(Method::POST, &format!("{project}/serviceAccountKeys"), None).await?;
    write_secret(&folder.credentials(project), format!("{file:#}\n").as_bytes())?;
    Ok(file)
}

pub(crate) fn app_config(
    project: &Value,
    platform: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Result<Value, Failure> {
    let apps = project["apps"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = apps.iter().find(|app| app["platform"] == platform && wanted(app));
    found.map(|app| app["config"].clone()).ok_or_else(|| {
        let id = text(&project["projectId"]);
        Failure::new(format!(
            "project `{id}` has no such {platform} app; add one with `cresset project add-app {id} --platform {platform}`"
        ))
    })
}

/// A project for people.
pub(crate) fn describe(project: &Value) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| out.push_str(&format!("{name:<16} {value}\n"));
    line("project", text(&project["projectId"]));
    line("number", &format!("{} (also the sender id)", text(&project["projectNumber"])));
    for key in list(&project["apiKeys"]) {
        line("API key", text(key));
    }
    for key in list(&project["serverKeys"]) {
        line("server key", text(key));
    }
    for key in list(&project["webPushKeys"]) {
        line("Web Push key", text(key));
    }
    for apns in list(&project["apnsCredentials"]) {
        let by = apns["keyId"].as_str().map_or("a certificate".to_owned(), |id| format!("key {id}"));
        let environments: Vec<_> = list(&apns["environments"]).iter().map(text).collect();
        line("APNs", &format!("{} by {by} ({})", text(&apns["bundleId"]), environments.join(", ")));
    }
    for account in list(&project["serviceAccounts"]) {
        line("service account", text(&account["email"]));
    }
    for app in list(&project["apps"]) {
        let package = app["package"].as_str().map(|p| format!("  {p}")).unwrap_or_default();
        line(&format!("{} app", text(&app["platform"])), &format!("{}{package}", text(&app["appId"])));
    }
    out
}

fn table(all: &Value) -> String {
    let rows = list(&all["projects"]);
    if rows.is_empty() {
        return "There is no project; make one with `cresset project create my-app`.\n".into();
    }
    let mut out = format!("{:<30}  {:<12}  {:>4}  NAME\n", "PROJECT", "NUMBER", "APPS");
    for project in rows {
        out.push_str(&format!(
            "{:<30}  {:<12}  {:>4}  {}\n",
            text(&project["projectId"]),
            text(&project["projectNumber"]),
            list(&project["apps"]).len(),
            text(&project["displayName"]),
        ));
    }
    out
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn print_json(value: &Value) {
    print(&format!("{value:#}\n"));
}

/// Cresset's own API, wherever it is.
enum Api {
    Running { address: std::net::SocketAddr, token: String },
    AtRest { router: Router, token: String, core: Core },
}

impl Api {
    async fn open(folder: &DataFolder) -> Result<Self, Failure> {
        let token = folder.admin_token(&*clock::random())?;
        if let Some(running) = folder.running() {
            return Ok(Self::Running { address: running.http, token });
        }
        let core = open_core(folder, &Config::default()).await?;
        let admin = cresset_admin::Admin {
            identity: core.identity.clone(),
            clock: clock::clock(),
            token: token.as_str().into(),
        };
        Ok(Self::AtRest { router: cresset_admin::router(admin), token, core })
    }

    async fn close(self) {
        if let Self::AtRest { core, .. } = self
            && let Err(e) = core.store.close().await
        {
            eprintln!("cresset: the store did not close well: {e}");
        }
    }

    /// `path` below `/cresset/v1/projects`.
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        let (Self::Running { token, .. } | Self::AtRest { token, .. }) = self;
        let slash = if path.is_empty() { "" } else { "/" };
        let bytes = body.map(|b| b.to_string()).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(format!("/cresset/v1/projects{slash}{path}"))
            .header(header::HOST, "localhost")
            .header(header::AUTHORIZATION, format!("Bearer {token}"));
        let request =
            request.body(bytes).map_err(|_| Failure::new(format!("`{path}` cannot be part of a URL")))?;
        let (status, bytes) = match self {
            Self::Running { address, .. } => over_http(*address, request).await?,
            Self::AtRest { router, .. } => in_process(router.clone(), request).await?,
        };
        answer(status, &bytes)
    }
}

/// What Cresset's own API said, or why it did not.
pub(crate) fn answer(status: http::StatusCode, bytes: &[u8]) -> Result<Value, Failure> {
    let value: Value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
    if status.is_success() {
        return Ok(value);
    }
    let said = value["error"]["message"].as_str();
    Err(Failure::new(said.map_or_else(|| format!("the server answered {status}"), str::to_owned)))
}

async fn in_process(
    router: Router,
    request: Request<String>,
) -> Result<(http::StatusCode, bytes::Bytes), Failure> {
    let Ok(response) = router.oneshot(request.map(Body::from)).await;
    let status = response.status();
    let body = response.into_body().collect().await;
    let body = body.map_err(|e| Failure::new(format!("the answer broke off: {e}")))?;
    Ok((status, body.to_bytes()))
}

pub(crate) async fn over_http(
    address: std::net::SocketAddr,
    request: Request<String>,
) -> Result<(http::StatusCode, bytes::Bytes), Failure> {
    let answered = tokio::time::timeout(PATIENCE, ask(address, request)).await;
    answered.unwrap_or_else(|_| {
        Err(Failure::new(format!("the server at {address} does not answer within {} s", PATIENCE.as_secs())))
    })
}

async fn ask(
    address: std::net::SocketAddr,
    request: Request<String>,
) -> Result<(http::StatusCode, bytes::Bytes), Failure> {
    let failed =
        |e: &dyn std::fmt::Display| Failure::new(format!("the server at {address} does not answer: {e}"));
    let stream = TcpStream::connect(reachable(address)).await.map_err(|e| failed(&e))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| failed(&e))?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request.map(|b| Full::new(bytes::Bytes::from(b)))).await;
    let response: http::Response<hyper::body::Incoming> = response.map_err(|e| failed(&e))?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|e| failed(&e))?.to_bytes();
    driver.abort();
    Ok((status, body))
}
