//! Both sides of a server: an app server that may send, and devices that register and connect.

use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use cresset_device_client::{
    Client, ConnectOptions, Connection, Credentials, Endpoints, Register3, Trust as DeviceTrust,
};
use cresset_message::Timestamp;
use cresset_server::Running;
use serde_json::{Value, json};

use crate::credential::access_token_at;
use crate::{Answer, Binary, Http2, Outcome, RawXmpp, Trust, access_token};

/// The Android app that devices here have.
pub(crate) const PACKAGE: &str = "com.example.demo";

/// Everything there is to say to one server.
#[derive(Clone)]
pub struct World {
    pub running: Running,
    pub trust: Trust,
    pub project: String,
    pub access: String,
    /// The project's number, which devices register with.
    pub sender_id: String,
    /// What app servers of old show.
    pub server_key: String,
    pub devices: Client,
    account: Value,
    http: Http2,
}

/// A device and its app's registration.
#[derive(Clone, Debug)]
pub struct Device {
    pub credentials: Credentials,
    pub token: String,
}

impl World {
    /// `account` is the service-account file of the project; `sender_id` its number.
    pub async fn open(
        running: Running,
        folder: &Path,
        account: &Value,
        sender_id: impl Into<String>,
        server_key: impl Into<String>,
    ) -> Outcome<Self> {
        let trust = Trust::of_folder(folder)?;
        let access = access_token(running.https, &trust, account).await?;
        let http = Http2::connect(running.https, "fcm.googleapis.com", &trust).await?;
        let devices = devices(&running, &trust, running.mcs)?;
        let project = account["project_id"].as_str().ok_or("the service account has no project")?.to_owned();
        let account = account.clone();
        let (sender_id, server_key) = (sender_id.into(), server_key.into());
        Ok(Self { running, trust, project, access, sender_id, server_key, devices, account, http })
    }

    /// The demo project of a binary.
    pub async fn of_demo(binary: &Binary) -> Outcome<Self> {
        let folder = &binary.folder;
        let account: Value = serde_json::from_slice(&std::fs::read(folder.join("credentials/demo.json"))?)?;
        let shown: Value = serde_json::from_slice(&binary.ask(&["project", "show", "demo", "--json"])?)?;
        let sender_id = shown["projectNumber"].as_str().ok_or("the project has no number")?;
        let server_key = shown["serverKeys"][0].as_str().ok_or("the project has no server key")?;
        Self::open(binary.running.clone(), folder, &account, sender_id, server_key).await
    }

    /// A new device with a registration.
    pub async fn device(&self) -> Outcome<Device> {
        let credentials = self.devices.check_in(None).await?;
        let form = Register3::android(PACKAGE, &self.sender_id);
        let token = self.devices.register3(&credentials, &form).await?;
        Ok(Device { credentials, token })
    }

    pub async fn connect(&self, device: &Device) -> Outcome<Connection> {
        Ok(self.devices.connect(&device.credentials, ConnectOptions::default()).await?)
    }

    /// An app server of old, connected by XMPP.
    pub async fn app_server(&self) -> Outcome<RawXmpp> {
        let address = self.running.xmpp.ok_or("XMPP is not served")?;
        RawXmpp::log_in(address, &self.trust, &self.sender_id, &self.server_key).await
    }

    /// Devices that connect to another address than the server's, and by it to the server.
    pub fn devices_by(&self, mcs: SocketAddr) -> Outcome<Client> {
        devices(&self.running, &self.trust, mcs)
    }

    /// An access token of a server whose clock shows `now`.
    pub async fn access_at(&self, now: Timestamp) -> Outcome<String> {
        access_token_at(self.running.https, &self.trust, &self.account, now).await
    }

    pub fn send_path(&self) -> String {
        format!("/v1/projects/{}/messages:send", self.project)
    }

    /// A connection of its own for sends; [`World::send`] has one that is shared.
    pub async fn sender(&self) -> Outcome<Http2> {
        Http2::connect(self.running.https, "fcm.googleapis.com", &self.trust).await
    }

    pub fn authorization(&self) -> String {
        format!("Bearer {}", self.access)
    }

    /// `message` is what stands under `message` in a request.
    pub async fn send(&self, message: &Value) -> Outcome<Answer> {
        self.send_over(&self.http, message).await
    }

    pub async fn send_over(&self, http: &Http2, message: &Value) -> Outcome<Answer> {
        let authorization = self.authorization();
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let body = json!({ "message": message }).to_string();
        http.post(&self.send_path(), &headers, Bytes::from(body)).await
    }

    /// Sends, insists on success, and gives the message's id, which is also its persistent id.
    pub async fn accept(&self, message: &Value) -> Outcome<String> {
        let answer = self.send(message).await?;
        id_of(&answer).ok_or_else(|| format!("refused: {} {}", answer.status, answer.text()).into())
    }
}

fn devices(running: &Running, trust: &Trust, mcs: SocketAddr) -> Outcome<Client> {
    let endpoints = Endpoints {
        http_base: format!("http://{}", running.http),
        mcs: mcs.to_string(),
        server_name: Some("mtalk.google.com".into()),
    };
    Ok(Client::new(endpoints, DeviceTrust::pem(&trust.pem)?)?)
}

/// The id in a success answer.
pub fn id_of(answer: &Answer) -> Option<String> {
    let body = answer.json();
    let name = body["name"].as_str().filter(|_| answer.status.is_success())?;
    Some(name.rsplit('/').next()?.to_owned())
}
