//! Web apps: Firebase Installations, FCM registrations, and opening what comes
//! (`protocol/device-registration.md` §4 and §5).

use aws_lc_rs::rand::SystemRandom;
use cresset_wire::webpush::{KeyPair, aes128gcm, aesgcm, encode_base64, random};
use serde_json::{Value, json};

use crate::http::Body;
use crate::register::escape;
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
    keys: SubscriptionKeys,
}

/// The private half of a Web Push subscription.
#[derive(Debug)]
pub(crate) struct SubscriptionKeys {
    pub(crate) pair: KeyPair,
    pub(crate) auth: [u8; 16],
}

impl Client {
    /// Makes an installation; the server chooses its FID.
    pub async fn create_installation(&self, app: &App) -> Result<Installation, Error> {
        let path = format!("/v1/projects/{}/installations", app.project_id);
        let body = json!({ "authVersion": "FIS_v2", "appId": app.app_id, "sdkVersion": "w:0.6.24" });
        let headers = [("x-goog-api-key", app.api_key.as_str())];
        let answer = self.installations.post(&path, &headers, Body::json(&body)).await?;
        let answer = parse(&path, &answer)?;
        let text = |pointer: &str| text(&path, &answer, pointer);
        Ok(Installation {
            fid: text("/fid")?,
            auth_token: text("/authToken/token")?,
            refresh_token: text("/refreshToken")?,
        })
    }

    /// Gets the installation an auth token that is good for another week.
    pub async fn renew_installation(
        &self,
        app: &App,
        installation: &Installation,
    ) -> Result<Installation, Error> {
        let Installation { fid, refresh_token, .. } = installation;
        let path = format!("/v1/projects/{}/installations/{fid}/authTokens:generate", app.project_id);
        let body = json!({ "installation": { "sdkVersion": "w:0.6.24", "appId": app.app_id } });
        let authorization = format!("FIS_v2 {refresh_token}");
        let headers = [("x-goog-api-key", app.api_key.as_str()), ("authorization", &authorization)];
        let answer = self.installations.post(&path, &headers, Body::json(&body)).await?;
        let auth_token = text(&path, &parse(&path, &answer)?, "/token")?;
        Ok(Installation { auth_token, ..installation.clone() })
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
        let keys = SubscriptionKeys::generate()?;
        let token = self.subscribe(device, app, DEFAULT_VAPID_KEY, subtype, &installation, &keys).await?;
        Ok(WebRegistration { token, subtype: subtype.to_owned(), installation, keys })
    }

    /// Subscribes the installation to push, and registers the subscription; the app's token.
    pub(crate) async fn subscribe(
        &self,
        device: &Credentials,
        app: &App,
        vapid_key: &str,
        subtype: &str,
        installation: &Installation,
        keys: &SubscriptionKeys,
    ) -> Result<String, Error> {
        let form = Register3::web(subtype, vapid_key).with("appid", &installation.fid);
        let subscription = self.register3(device, &form).await?;
        let path = format!("/v1/projects/{}/registrations", app.project_id);
        let mut web = json!({
            "endpoint": format!("https://fcm.googleapis.com/fcm/send/{subscription}"),
            "p256dh": encode_base64(keys.pair.public()),
            "auth": encode_base64(keys.auth),
        });
        if vapid_key != DEFAULT_VAPID_KEY {
            web["applicationPubKey"] = vapid_key.into();
        }
        let authorization = format!("FIS {}", installation.auth_token);
        let headers = [
            ("x-goog-api-key", app.api_key.as_str()),
            ("x-goog-firebase-installations-auth", authorization.as_str()),
        ];
        let answer = self.registrations.post(&path, &headers, Body::json(&json!({ "web": web }))).await?;
        text(&path, &parse(&path, &answer)?, "/token")
    }

    /// An app that registered through its installation joins a topic, or leaves it.
    pub(crate) async fn change_topic_by_fid(
        &self,
        app: &App,
        installation: &Installation,
        topic: &str,
        join: bool,
    ) -> Result<(), Error> {
        let verb = if join { "subscribe" } else { "unsubscribe" };
        let (project, fid, topic) = (&app.project_id, &installation.fid, escape(topic));
        let path = format!("/v1/projects/{project}/registrations/{fid}/topicSubscriptions/{topic}:{verb}");
        let headers = [
            ("x-goog-api-key", app.api_key.as_str()),
            ("x-goog-firebase-installations-auth", &installation.auth_token),
        ];
        self.registrations.post(&path, &headers, Body::json(&json!({}))).await.map(drop)
    }
}

impl WebRegistration {
    /// Whether a message of the device's connection is for this app.
    pub fn is_for(&self, message: &Received) -> bool {
        message.get("subtype") == Some(&self.subtype)
    }

    /// The JSON of a message for this app.
    pub fn open(&self, message: &Received) -> Result<Value, Error> {
        parse("a message", &self.keys.open(message)?)
    }
}

impl SubscriptionKeys {
    pub(crate) fn generate() -> Result<Self, Error> {
        let randomness = SystemRandom::new();
        Ok(Self { pair: KeyPair::generate(&randomness)?, auth: random(&randomness)? })
    }

    /// What was sealed for these keys, in either coding (`protocol/payload-layout.md` §4).
    pub(crate) fn open(&self, message: &Received) -> Result<Vec<u8>, Error> {
        let header = |name| message.get(name).unwrap_or_default();
        let body = message.stanza.raw_data.as_deref().unwrap_or_default();
        Ok(match header("content-encoding") {
            "aes128gcm" => aes128gcm::open(&self.pair, &self.auth, body)?,
            _ => aesgcm::open(&self.pair, &self.auth, header("crypto-key"), header("encryption"), body)?,
        })
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
