//! A server in this process.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cresset_device_client::App;
use cresset_identity::{Identity, NewApp};
use cresset_message::{Platform, ProjectId};
use cresset_server::config::{Config, QuotaProfile};
use cresset_server::{Running, Server};
use serde_json::Value;
use tempfile::TempDir;

use crate::world::PACKAGE;
use crate::{Outcome, World, now};

/// For anything that a test waits for: milliseconds, unless the machine is very busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server with a project, in a folder that outlives it: a test may stop it and start it again.
pub struct TestServer {
    server: Server,
    folder: Arc<TempDir>,
    account: Value,
}

impl TestServer {
    /// On a folder of its own.
    pub async fn start() -> Outcome<Self> {
        Self::start_in(Arc::new(TempDir::new()?)).await
    }

    /// On a folder that is new, or was a test server's before.
    pub async fn start_in(folder: Arc<TempDir>) -> Outcome<Self> {
        let config = config(folder.path());
        Self::start_with(folder, &config).await
    }

    /// With other settings than [`config`]'s, whose data folder must be `folder`.
    pub async fn start_with(folder: Arc<TempDir>, config: &Config) -> Outcome<Self> {
        let server = Server::start(config).await?;
        let account = have_project(&server, &"demo".parse()?).await?;
        Ok(Self { server, folder, account })
    }

    pub async fn world(&self) -> Outcome<World> {
        let project = self.server.identity.project("demo").ok_or("the project is gone")?;
        let number = project.number.to_string();
        let key = project.server_keys.first().ok_or("the project has no server key")?;
        World::open(self.server.running.clone(), self.server.folder.path(), &self.account, number, key).await
    }

    /// Another web app of the project, as its pages are configured.
    pub async fn web_app(&self) -> Outcome<App> {
        let identity = &self.server.identity;
        let app = NewApp { platform: Platform::Web, package: String::new(), display_name: String::new() };
        let made = identity.add_app(&"demo".parse()?, app, now()).await?;
        let project = identity.project("demo").ok_or("the project is gone")?;
        let api_key = project.api_keys.first().ok_or("the project has no API key")?.clone();
        Ok(App { project_id: "demo".into(), api_key, app_id: made.to_string() })
    }

    /// What the server knows of projects.
    pub fn identity(&self) -> &Identity {
        &self.server.identity
    }

    /// The service-account file of the project.
    pub fn account(&self) -> &Value {
        &self.account
    }

    /// Where it listens.
    pub fn running(&self) -> &Running {
        &self.server.running
    }

    pub fn folder(&self) -> &Arc<TempDir> {
        &self.folder
    }

    /// As at SIGTERM: drains, then ends. Gives the folder to start again on; fails if something in
    /// flight had to be given up.
    pub async fn stop(self) -> Outcome<Arc<TempDir>> {
        if self.server.stop().await { Ok(self.folder) } else { Err("the server gave up draining".into()) }
    }
}

/// Loopback, and ports that the kernel chooses.
pub fn config(folder: &Path) -> Config {
    let mut config = Config { data: folder.to_owned(), ..Config::default() };
    // Tests send faster than anybody may with FCM's quotas.
    config.quotas.profile = QuotaProfile::Off;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    (config.listen.https, config.listen.http, config.listen.mcs) = (any, any, any);
    config.listen.xmpp = any.to_string();
    config
}

/// A project with an Android app; its service account.
async fn have_project(server: &Server, id: &ProjectId) -> Outcome<Value> {
    let identity = &server.identity;
    if identity.project(id.as_str()).is_none() {
        identity.create_project(id, "", None, now()).await?;
        let app =
            NewApp { platform: Platform::Android, package: PACKAGE.into(), display_name: String::new() };
        identity.add_app(id, app, now()).await?;
    }
    Ok(identity.add_service_account_key(id, now()).await?.0)
}

/// Waits for what must happen, but not for ever.
pub async fn patiently<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: did not happen within {} s", PATIENCE.as_secs()),
    }
}
