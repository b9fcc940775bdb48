use std::sync::Arc;

use cresset_wire::checkin::{
    AndroidCheckin, AndroidCheckinRequest, AndroidCheckinResponse, ChromeBuild, DeviceType,
};
use rustls::ClientConfig;

use crate::http::{Body, Http};
use crate::{ConnectOptions, Connection, Error, Register3, Trust};

/// Where the server is.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// `http://host:port` or `https://host:port`.
    pub http_base: String,
    /// `host:port` of MCS, which is always TLS.
    pub mcs: String,
    /// The name that the certificate of MCS must have; that in `mcs` if absent.
    pub server_name: Option<String>,
}

/// Where each service of a server is, when they have hosts of their own as Google's have.
#[derive(Clone, Debug)]
pub struct Hosts {
    /// URL of check-in and of register3.
    pub android: String,
    /// URL of Firebase Installations.
    pub installations: String,
    /// URL of FCM's registrations.
    pub registrations: String,
    /// `host:port` of MCS.
    pub mcs: String,
    /// The name that the certificate of MCS must have; that in `mcs` if absent.
    pub server_name: Option<String>,
}

impl Hosts {
    /// Google's own (`clients/device-clients.md` §1).
    pub fn google() -> Self {
        Self {
            android: "https://android.clients.google.com".into(),
            installations: "https://firebaseinstallations.googleapis.com".into(),
            registrations: "https://fcmregistrations.googleapis.com".into(),
            mcs: "mtalk.google.com:5228".into(),
            server_name: None,
        }
    }
}

impl From<Endpoints> for Hosts {
    fn from(endpoints: Endpoints) -> Self {
        let Endpoints { http_base, mcs, server_name } = endpoints;
        Self {
            android: http_base.clone(),
            installations: http_base.clone(),
            registrations: http_base,
            mcs,
            server_name,
        }
    }
}

/// A device's identity, given out by check-in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    pub android_id: u64,
    pub security_token: u64,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({}, ..)", self.android_id)
    }
}

/// A way to one server, for any number of devices. Clones share their HTTP connections.
#[derive(Clone)]
pub struct Client {
    android: Arc<Http>,
    pub(crate) installations: Arc<Http>,
    pub(crate) registrations: Arc<Http>,
    hosts: Arc<Hosts>,
    tls: Arc<ClientConfig>,
}

impl Client {
    /// To a server whose services are at one URL ([`Endpoints`]) or at several ([`Hosts`]).
    pub fn new(hosts: impl Into<Hosts>, trust: Trust) -> Result<Self, Error> {
        let (hosts, tls) = (hosts.into(), trust.config()?);
        let http = |base: &str| Ok::<_, Error>(Arc::new(Http::new(base, tls.clone())?));
        let android = http(&hosts.android)?;
        // Services at one place share their connections.
        let beside = |base: &str| if base == hosts.android { Ok(android.clone()) } else { http(base) };
        let (installations, registrations) = (beside(&hosts.installations)?, beside(&hosts.registrations)?);
        Ok(Self { android, installations, registrations, hosts: Arc::new(hosts), tls })
    }

    /// To Google, which the system's certificates vouch for.
    pub fn google() -> Result<Self, Error> {
        Self::new(Hosts::google(), Trust::system())
    }

    /// Gets an identity, or shows the one it has.
    pub async fn check_in(&self, known: Option<&Credentials>) -> Result<Credentials, Error> {
        const PATH: &str = "/checkin";
        let request = AndroidCheckinRequest {
            id: Some(known.map_or(0, |known| known.android_id as i64)),
            security_token: known.map(|known| known.security_token),
            version: Some(3),
            user_serial_number: Some(0),
            checkin: AndroidCheckin {
                r#type: Some(DeviceType::ChromeBrowser.into()),
                chrome_build: Some(ChromeBuild {
                    platform: Some(3),
                    chrome_version: Some("156.0.0.0".into()),
                    channel: Some(1),
                }),
                ..AndroidCheckin::default()
            },
            ..AndroidCheckinRequest::default()
        };
        let body = Body::new("application/x-protobuf", request.to_bytes());
        let answer = self.android.post(PATH, &[], body).await?;
        let unexpected = || Error::Answer { path: PATH.into(), body: format!("{} bytes", answer.len()) };
        let response = AndroidCheckinResponse::parse(&answer).map_err(|_| unexpected())?;
        match (response.android_id, response.security_token) {
            (Some(android_id), Some(security_token)) if android_id != 0 && security_token != 0 => {
                Ok(Credentials { android_id, security_token })
            }
            _ => Err(unexpected()),
        }
    }

    /// Gets a token for one app or subscription of the device.
    pub async fn register3(&self, device: &Credentials, form: &Register3) -> Result<String, Error> {
        form.send(&self.android, device).await
    }

    /// Logs in to MCS.
    pub async fn connect(&self, device: &Credentials, options: ConnectOptions) -> Result<Connection, Error> {
        let address = &self.hosts.mcs;
        let name = self.hosts.server_name.as_deref().unwrap_or_else(|| crate::http::host_of(address));
        Connection::open(address, name, self.tls.clone(), device, options).await
    }
}
