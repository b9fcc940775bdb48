//! Web apps: Firebase Installations, FCM registrations, and opening what comes
//! (`protocol/device-registration.md` §4 and §5).

use aws_lc_rs::rand::SystemRandom;
use cresset_wire::webpush::{KeyPair, aesgcm, encode_base64, random};
use serde_json::{Value, json};

use crate::http::Body;
use crate::{Client, Credentials, DEFAULT_VAPID_KEY, Error, Received, Register3};

/// What a Firebase app is configured with.
#[derive(Clone, Debug)]
pub struct App {
    pub project_id: String,
    pub api_key: String,
    /// `1:<number>:web:<hex>`.
    pub app_id: String,
}

/// An app's installation on one device.
#[derive(Clone, Debug)]
pub struct Installation {
    pub fid: String,
    pub auth_token: String,
    pub refresh_token: String,
}

/// A web app that can receive: its token, and the keys that open its messages.
#[derive(Debug)]
pub struct WebRegistration {
    /// What senders address.
    pub token: String,
    /// The `subtype` of its messages on the device's connection.
    pub subtype: String,
    pub installation: Installation,
    keys: KeyPair,
    auth: [u8; 16],
}

impl Client {
    /// Makes an installation; the server chooses its FID.
    pub async fn create_installation(&self, app: &App) -> Result<Installation, Error> {
        let path = format!("/v1/projects/{}/installations", app.project_id);
        let body = json!({ "authVersion": "FIS_v2", "appId": app.app_id, "sdkVersion": "w:0.6.24" });
        let headers = [("x-goog-api-key", app.api_key.as_str())];
        let answer = self.http.post(&path, &headers, Body::json(&body)).await?;
        let answer = parse(&path, &answer)?;
        let text = |pointer: &str| text(&path, &answer, pointer);
        Ok(Installation {
            fid: text("/fid")?,
            auth_token: text("/authToken/token")?,
            refresh_token: text("/refreshToken")?,
        })
    }

    /// Registers a web app on the device: installation, subscription, registration. `subtype`
    /// must differ between the apps of a device.
    pub async fn register_web(
        &self,
        device: &Credentials,
        app: &App,
        subtype: &str,
    ) -> Result<WebRegistration, Error> {
        let installation = self.create_installation(app).await?;
        let form = Register3::web(subtype, DEFAULT_VAPID_KEY).with("appid", &installation.fid);
        let subscription = self.register3(device, &form).await?;
        let randomness = SystemRandom::new();
        let (keys, auth) = (KeyPair::generate(&randomness)?, random(&randomness)?);
        let token = self.register_subscription(app, &installation, &subscription, &keys, &auth).await?;
        Ok(WebRegistration { token, subtype: subtype.to_owned(), installation, keys, auth })
    }

    async fn register_subscription(
        &self,
        app: &App,
        installation: &Installation,
        subscription: &str,
        keys: &KeyPair,
        auth: &[u8; 16],
    ) -> Result<String, Error> {
        let path = format!("/v1/projects/{}/registrations", app.project_id);
        let body = json!({ "web": {
            "endpoint": format!("https://fcm.googleapis.com/fcm/send/{subscription}"),
            "p256dh": encode_base64(keys.public()),
            "auth": encode_base64(auth),
        } });
        let authorization = format!("FIS {}", installation.auth_token);
        let headers = [
            ("x-goog-api-key", app.api_key.as_str()),
            ("x-goog-firebase-installations-auth", authorization.as_str()),
        ];
        let answer = self.http.post(&path, &headers, Body::json(&body)).await?;
        text(&path, &parse(&path, &answer)?, "/token")
    }
}

impl WebRegistration {
    /// Whether a message of the device's connection is for this app.
    pub fn is_for(&self, message: &Received) -> bool {
        message.get("subtype") == Some(&self.subtype)
    }

    /// The JSON of a message for this app.
    pub fn open(&self, message: &Received) -> Result<Value, Error> {
        let header = |name| message.get(name).unwrap_or_default();
        let body = message.stanza.raw_data.as_deref().unwrap_or_default();
        let plaintext =
            aesgcm::open(&self.keys, &self.auth, header("crypto-key"), header("encryption"), body)?;
        parse("a message", &plaintext)
    }
}

fn parse(path: &str, body: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(body).map_err(|_| Error::Answer {
        path: path.to_owned(),
        body: String::from_utf8_lossy(body).into_owned(),
    })
}

fn text(path: &str, answer: &Value, pointer: &str) -> Result<String, Error> {
    let text = answer.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    text.ok_or_else(|| Error::Answer { path: path.to_owned(), body: answer.to_string() })
}
