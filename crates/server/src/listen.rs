//! `cresset listen`: a device on the command line, by the device SDK.

use std::io::Write as _;

use cresset_device_client::{
    AndroidApp, App, Builder, Client, DEFAULT_VAPID_KEY, Endpoints, Error, Event, FileStore, Hosts, Receiver,
    Trust, WebApp,
};
use serde_json::Value;

use crate::cli::{Listen, ListenElsewhere};
use crate::data::{DataFolder, Running, reachable};
use crate::failure::Failure;
use crate::project;
use crate::server::asked_to_stop;

mod told;

pub(crate) use told::line_of;

/// The certificate of MCS must have this name: all device clients look for it.
const MCS_NAME: &str = "mtalk.google.com";

/// Of the local project, where none is named.
const DEMO: &str = "demo";

/// Where no Android app is in the project, and none is named.
pub(crate) const PACKAGE: &str = "com.example.demo";

pub async fn run(args: &Listen) -> Result<(), Failure> {
    let mut receiver = open(args).await?;
    tokio::select! {
        ended = listen(&mut receiver, args) => ended?,
        stopped = asked_to_stop() => drop(stopped?),
    }
    receiver.close().await.map_err(|e| failure(&e))
}

/// Until so many messages have come, or nobody reads what is printed.
async fn listen(receiver: &mut Receiver, args: &Listen) -> Result<(), Failure> {
    let mut token = receiver.token().await.map_err(|e| failure(&e))?.to_owned();
    if !print(&told::token(&token, receiver.fid(), args.json)) {
        return Ok(());
    }
    for topic in &args.topic {
        receiver.subscribe(topic).await.map_err(|e| failure(&e))?;
    }
    let mut left = args.count;
    while left != Some(0) {
        let event = receiver.next().await.map_err(|e| failure(&e))?;
        let line = match &event {
            // It was printed above.
            Event::Token(known) if *known == token => continue,
            Event::Token(new) => {
                token.clone_from(new);
                told::token(new, receiver.fid(), args.json)
            }
            Event::Message(message) => {
                left = left.map(|left| left - 1);
                told::message(message, args.json)
            }
            Event::DeletedMessages { total } => told::deleted(*total, args.json),
            other => {
                if let Some(state) = told::state(other) {
                    eprintln!("cresset: {state}");
                }
                continue;
            }
        };
        if !print(&line) {
            break;
        }
    }
    Ok(())
}

/// Whether somebody reads it: `cresset listen | head -1` ends after its first line.
fn print(line: &str) -> bool {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).is_ok()
}

async fn open(args: &Listen) -> Result<Receiver, Failure> {
    let builder = if args.elsewhere.google || args.elsewhere.url.is_some() {
        elsewhere(args, &args.elsewhere)?
    } else {
        here(args).await?
    };
    let builder = match &args.state {
        Some(file) => {
            let store = FileStore::open(file);
            builder.store(store.map_err(|e| Failure::new(format!("cannot use {}: {e}", file.display())))?)
        }
        None => builder,
    };
    builder.open().map_err(|e| match (&args.state, &e) {
        (Some(file), Error::State(_)) => Failure::new(format!("{}: {e}", file.display())),
        _ => failure(&e),
    })
}

/// As an app of a project of the running Cresset.
async fn here(args: &Listen) -> Result<Builder, Failure> {
    let folder = DataFolder::open(&args.folder)?;
    let running = folder.must_run()?;
    let id = args.project.as_deref().unwrap_or(DEMO);
    let shown = project::show(&folder, id).await?;
    let client = client_of(&folder, &running)?;
    if args.web {
        let app = project::app_config(&shown, "web", |app| {
            args.app_id.as_ref().is_none_or(|id| app["appId"] == id.as_str())
        })?;
        return Ok(Receiver::web(client, WebApp::new(web_config(&app)).vapid_key(vapid_key(args))));
    }
    let package = args.package.as_deref().or_else(|| first_package(&shown)).unwrap_or(PACKAGE);
    let number = shown["projectNumber"].as_str().unwrap_or_default();
    Ok(Receiver::android(client, AndroidApp::new(package, number)))
}

/// A way to the server that runs on a data folder.
pub(crate) fn client_of(folder: &DataFolder, running: &Running) -> Result<Client, Failure> {
    let ca = std::fs::read_to_string(folder.ca());
    let ca = ca.map_err(|e| Failure::new(format!("cannot read {}: {e}", folder.ca().display())))?;
    let endpoints = Endpoints {
        http_base: format!("http://{}", reachable(running.http)),
        mcs: reachable(running.mcs).to_string(),
        server_name: Some(MCS_NAME.into()),
    };
    Trust::pem(&ca).and_then(|trust| Client::new(endpoints, trust)).map_err(|e| failure(&e))
}

fn first_package(project: &Value) -> Option<&str> {
    let apps = project["apps"].as_array()?;
    apps.iter().find(|app| app["platform"] == "android")?["package"].as_str()
}

/// From what `initializeApp()` of the JS SDK takes.
fn web_config(config: &Value) -> App {
    let text = |name: &str| config[name].as_str().unwrap_or_default().to_owned();
    App { project_id: text("projectId"), api_key: text("apiKey"), app_id: text("appId") }
}

fn vapid_key(args: &Listen) -> &str {
    args.vapid_key.as_deref().unwrap_or(DEFAULT_VAPID_KEY)
}

/// As an app of Google's, or of a Cresset elsewhere, that the command line describes.
fn elsewhere(args: &Listen, place: &ListenElsewhere) -> Result<Builder, Failure> {
    let mut trust = Trust::system();
    if let Some(file) = &place.ca {
        let pem = std::fs::read_to_string(file);
        let pem = pem.map_err(|e| Failure::new(format!("cannot read {}: {e}", file.display())))?;
        trust = trust.and_pem(&pem).map_err(|e| Failure::new(format!("{}: {e}", file.display())))?;
    }
    let client = match (&place.url, &place.mcs) {
        (Some(url), Some(mcs)) => {
            // A Cresset with a CA of its own has the names of Google's in its certificate.
            let server_name = place.ca.as_ref().map(|_| MCS_NAME.to_owned());
            let url = url.trim_end_matches('/').to_owned();
            Client::new(Endpoints { http_base: url, mcs: mcs.clone(), server_name }, trust)
        }
        _ => Client::new(Hosts::google(), trust),
    };
    let client = client.map_err(|e| failure(&e))?;
    let firebase = match (&args.project, &place.api_key, &args.app_id) {
        (Some(project), Some(api_key), Some(app_id)) => {
            let (project_id, api_key, app_id) = (project.clone(), api_key.clone(), app_id.clone());
            Some(App { project_id, api_key, app_id })
        }
        _ => None,
    };
    if args.web {
        let app = firebase.ok_or_else(|| missing("a web app", "--project, --api-key and --app-id"))?;
        return Ok(Receiver::web(client, WebApp::new(app).vapid_key(vapid_key(args))));
    }
    let (Some(package), Some(sender)) = (&args.package, &place.sender_id) else {
        return Err(missing("an Android app", "--package and --sender-id"));
    };
    let app = AndroidApp::new(package, sender);
    Ok(Receiver::android(
        client,
        match firebase {
            Some(firebase) => app.firebase(firebase),
            None => app,
        },
    ))
}

fn missing(what: &str, options: &str) -> Failure {
    Failure::with_code(format!("{what} that is not of the local Cresset is described by {options}"), 2)
}

fn failure(error: &Error) -> Failure {
    Failure::new(error.to_string())
}
