//! Push services of others that a server is let out to, both fakes; and apps whose registrations they carry.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use cresset_wire::es256::SigningKey;
use cresset_wire::webpush::{decode_base64, encode_base64};
use serde_json::{Value, json};

use crate::fakes::{Apns, ApnsConfig, PushService, PushServiceConfig, Style, Subscription};
use crate::{Binary, Http2, Outcome, World, now};

/// The app on Apple devices.
pub const BUNDLE: &str = "com.example.app";
const KEY: &str = "ABC123DEFG";
const TEAM: &str = "DEF123GHIJ";

/// They outlive servers.
pub struct Outside {
    pub web: PushService,
    pub apns: Apns,
    /// Apple's key for the app, PEM.
    pub key: String,
}

impl Outside {
    /// By what Apple knows the key.
    pub const KEY_AND_TEAM: [&str; 2] = [KEY, TEAM];

    pub async fn start() -> Outcome<Self> {
        Self::start_keeping(100_000).await
    }

    /// They remember so many messages in full.
    pub async fn start_keeping(keep: usize) -> Outcome<Self> {
        let clock: crate::fakes::Clock = Arc::new(now);
        let config = PushServiceConfig::new(Style::Mozilla, "localhost", clock.clone());
        let web = PushService::start(PushServiceConfig { keep, ..config }).await?;
        let apns = Apns::start(ApnsConfig { keep, ..ApnsConfig::new(clock) }).await?;
        let key = rcgen::KeyPair::generate()?.serialize_pem();
        apns.add_key(KEY, TEAM, *SigningKey::from_pem(&key)?.public(), &[BUNDLE]);
        Ok(Self { web, apns, key })
    }

    /// Whom a server has to trust.
    pub fn ca(&self) -> String {
        [self.web.authority().pem(), self.apns.authority().pem()].concat()
    }

    /// What a server has to be told to reach them; its file of CAs is written to `ca`.
    pub fn configuration(&self, ca: &Path) -> Outcome<String> {
        std::fs::write(ca, self.ca())?;
        let apns = format!("localhost:{}", self.apns.address().port());
        Ok(format!(
            "[outgoing]\nweb_push = true\napns = true\ncontact = \"mailto:ops@example.org\"\n\
             private_hosts = [\"localhost\"]\nca = {:?}\napns_host = \"{apns}\"\napns_sandbox_host = \"{apns}\"\n",
            ca.display().to_string()
        ))
    }

    /// Has a binary's demo project know its apps, by its commands.
    pub fn join(&self, binary: &Binary) -> Outcome<Apps> {
        let file = binary.folder.join("AuthKey.p8");
        std::fs::write(&file, &self.key)?;
        let file = file.to_str().ok_or("the folder has a strange name")?;
        binary.ask(&["project", "add-app", "demo", "--platform", "ios", "--package", BUNDLE])?;
        let web_app = binary.ask(&["project", "add-app", "demo", "--platform", "web"])?;
        let credential = ["--bundle-id", BUNDLE, "--key", file, "--key-id", KEY, "--team-id", TEAM];
        let only = ["--environment", "production"];
        binary.ask(&[&["project", "apns", "demo"][..], &credential, &only].concat())?;
        let said = |said: Vec<u8>| Outcome::Ok(String::from_utf8(said)?.trim().to_owned());
        let vapid = said(binary.ask(&["project", "web-push-key", "demo"])?)?;
        let vapid =
            decode_base64(&vapid).and_then(|key| key.try_into().ok()).ok_or("it has no Web Push key")?;
        let api_key = said(binary.ask(&["project", "api-key", "demo"])?)?;
        Ok(Apps { api_key, web_app: said(web_app)?, vapid })
    }
}

/// What clients of a project are configured with.
#[derive(Clone, Debug)]
pub struct Apps {
    pub api_key: String,
    pub web_app: String,
    /// The project's public key for Web Push.
    pub vapid: [u8; 65],
}

impl Apps {
    /// A browser of another push service: its registration token, and what the service knows it by.
    pub async fn browser(&self, world: &World, service: &PushService) -> Outcome<(String, Subscription)> {
        let subscription = service.subscribe(Some(self.vapid))?;
        let token = self.register(world, &json!({ "web": self.web(&subscription) })).await?;
        Ok((token, subscription))
    }

    /// An Apple device with this APNs token: its registration token.
    pub async fn iphone(&self, world: &World, apns: &Apns, token: &str) -> Outcome<String> {
        self.iphone_with(world, apns, token, BUNDLE).await
    }

    /// The same with another app.
    pub async fn iphone_with(&self, world: &World, apns: &Apns, token: &str, app: &str) -> Outcome<String> {
        apns.add_device(token, app);
        let ios = json!({ "apns_token": token, "apns_environment": "PROD", "bundle_id": app });
        self.register(world, &json!({ "ios": ios })).await
    }

    /// What a client says of its subscription.
    pub fn web(&self, subscription: &Subscription) -> Value {
        json!({
            "endpoint": subscription.endpoint,
            "p256dh": encode_base64(subscription.keys.p256dh),
            "auth": encode_base64(subscription.keys.auth),
            "applicationPubKey": encode_base64(self.vapid),
        })
    }

    /// An installation's auth token.
    pub async fn install(&self, world: &World) -> Outcome<String> {
        let body =
            json!({ "fid": "", "authVersion": "FIS_v2", "appId": self.web_app, "sdkVersion": "w:0.6.24" });
        let made = self.post(world, "installations", "", &body).await?;
        text(&made["authToken"]["token"])
    }

    async fn register(&self, world: &World, how: &Value) -> Outcome<String> {
        let auth = self.install(world).await?;
        text(&self.post(world, "registrations", &auth, how).await?["token"])
    }

    /// A request of a client's; its answer, which must be a success.
    pub async fn post(&self, world: &World, what: &str, auth: &str, body: &Value) -> Outcome<Value> {
        let http =
            Http2::connect(world.running.https, "fcmregistrations.googleapis.com", &world.trust).await?;
        let headers = [("x-goog-api-key", &*self.api_key), ("x-goog-firebase-installations-auth", auth)];
        let path = format!("/v1/projects/{}/{what}", world.project);
        let answer = http.post(&path, &headers, Bytes::from(body.to_string())).await?;
        if answer.status.is_success() {
            return Ok(answer.json());
        }
        Err(format!("{what}: {} {}", answer.status, answer.text()).into())
    }
}

fn text(value: &Value) -> Outcome<String> {
    Ok(value.as_str().ok_or("an answer without a token")?.to_owned())
}

impl World {
    /// Has registrations join a topic.
    pub async fn join_topic(&self, topic: &str, tokens: &[String]) -> Outcome<()> {
        // As many as one request may have (`protocol/topics-and-batch.md`).
        for tokens in tokens.chunks(1_000) {
            let body = json!({ "to": format!("/topics/{topic}"), "registration_tokens": tokens }).to_string();
            let authorization = self.authorization();
            let headers = [("authorization", &*authorization), ("access_token_auth", "true")];
            let answer = self.sender().await?.post("/iid/v1:batchAdd", &headers, Bytes::from(body)).await?;
            let results = answer.json()["results"].as_array().cloned().unwrap_or_default();
            if results.len() != tokens.len() || results.iter().any(|one| *one != json!({})) {
                return Err(format!("not all have joined: {} {}", answer.status, answer.text()).into());
            }
        }
        Ok(())
    }
}
