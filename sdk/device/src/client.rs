use std::sync::Arc;

use cresset_wire::checkin::{
    AndroidCheckin, AndroidCheckinRequest, AndroidCheckinResponse, ChromeBuild, DeviceType,
};
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::http::{Body, Http};
use crate::{ConnectOptions, Connection, Error, Register3};

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

/// Which certificates are trusted. There are no built-in ones.
#[derive(Clone, Debug)]
pub struct Trust(RootCertStore);

impl Trust {
    /// Trusts the certificates in a PEM text, and those that they signed.
    pub fn pem(text: &str) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
            let certificate = certificate.map_err(|error| Error::Roots(error.to_string()))?;
            roots.add(certificate).map_err(|error| Error::Roots(error.to_string()))?;
        }
        if roots.is_empty() { Err(Error::Roots("no certificate in it".into())) } else { Ok(Self(roots)) }
    }

    /// Trusts what is in `roots`.
    pub fn roots(roots: RootCertStore) -> Self {
        Self(roots)
    }

    fn config(self) -> Result<Arc<ClientConfig>, Error> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Roots(error.to_string()))?
            .with_root_certificates(self.0)
            .with_no_client_auth();
        // Thousands of devices in one process would share, and so falsify, one session cache.
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
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
    pub(crate) http: Arc<Http>,
    endpoints: Arc<Endpoints>,
    tls: Arc<ClientConfig>,
}

impl Client {
    pub fn new(endpoints: Endpoints, trust: Trust) -> Result<Self, Error> {
        let tls = trust.config()?;
        let http = Arc::new(Http::new(&endpoints.http_base, tls.clone())?);
        Ok(Self { http, endpoints: Arc::new(endpoints), tls })
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
        let answer = self.http.post(PATH, &[], body).await?;
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
        form.send(&self.http, device).await
    }

    /// Logs in to MCS.
    pub async fn connect(&self, device: &Credentials, options: ConnectOptions) -> Result<Connection, Error> {
        let address = &self.endpoints.mcs;
        let name = self.endpoints.server_name.as_deref().unwrap_or_else(|| crate::http::host_of(address));
        Connection::open(address, name, self.tls.clone(), device, options).await
    }
}
