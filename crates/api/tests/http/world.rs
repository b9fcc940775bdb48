//! A server without sockets: what a test says to it and hears from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use base64::Engine as _;
use cresset_api::{Api, PushService};
use cresset_delivery::{Dispatcher, Quotas};
use cresset_identity::{Identity, NewApp, Project};
use cresset_message::{Platform, Timestamp};
use cresset_store::Store;
use cresset_wire::checkin::{AndroidCheckin, AndroidCheckinRequest, AndroidCheckinResponse};
use cresset_wire::token::TokenKey;
use cresset_wire::webpush::Origins;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::engine::Engine;

pub(crate) struct World {
    router: Router,
    pub engine: Arc<Engine>,
    pub identity: Arc<Identity>,
    now: Arc<AtomicU64>,
}

pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// A device that checked in.
pub(crate) struct Phone {
    pub id: u64,
    pub security_token: u64,
}

/// Claims, a key and a `kid` for a JWT.
pub(crate) struct Signer {
    pub email: String,
    pub key_id: String,
    private_key: Vec<u8>,
}

/// Bytes from a counter: the same in each run, and never twice the same.
fn dice() -> Arc<dyn Fn(&mut [u8]) + Send + Sync> {
    let count = AtomicU64::new(1);
    Arc::new(move |bytes| {
        for chunk in bytes.chunks_mut(8) {
            let n = count.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            chunk.copy_from_slice(&(n ^ n >> 29).to_be_bytes()[..chunk.len()]);
        }
    })
}

/// As `limits.device_days` has it by default.
pub(crate) const DEVICE_LIFE: Duration = Duration::from_secs(270 * 86_400);

fn origins() -> Origins {
    let names = ["localhost", "fcm.googleapis.com", "jmt17.google.com"].map(str::to_owned);
    Origins::new(None, &names, &[8443, 443], &[8080])
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with_quotas(Quotas::OFF).await
    }

    pub(crate) async fn with_quotas(quotas: Quotas) -> Self {
        let now = Arc::new(AtomicU64::new(1_800_000_000_000_000));
        let engine = Arc::new(Engine::default());
        let store: Store = engine.clone();
        let tokens = TokenKey::new(&[9; 32]);
        let start = Timestamp::from_micros(now.load(Ordering::Relaxed));
        let identity = Identity::open(store.clone(), tokens.clone(), dice(), start).await.unwrap();
        let identity = Arc::new(identity.with_device_life(DEVICE_LIFE));
        let dispatcher = Dispatcher::open(store, tokens, dice(), start).await.unwrap().with_quotas(quotas);
        let dispatcher = Arc::new(dispatcher);
        let clock = {
            let now = now.clone();
            Arc::new(move || Timestamp::from_micros(now.load(Ordering::Relaxed)))
        };
        let router = cresset_api::router(Api {
            identity: identity.clone(),
            dispatcher,
            clock,
            sends: Arc::default(),
            push: PushService::new(origins()),
        });
        let world = Self { router, engine, identity, now };
        world.project("demo").await;
        world
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.now.load(Ordering::Relaxed))
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.now.fetch_add(time.as_micros() as u64, Ordering::Relaxed);
    }

    /// A project with an Android and a web app.
    pub(crate) async fn project(&self, id: &str) -> Arc<Project> {
        let id = id.parse().unwrap();
        self.identity.create_project(&id, "", None, self.now()).await.unwrap();
        for (platform, package) in [(Platform::Android, "com.example.app"), (Platform::Web, "")] {
            let app = NewApp { platform, package: package.into(), display_name: String::new() };
            self.identity.add_app(&id, app, self.now()).await.unwrap();
        }
        self.identity.project(id.as_str()).unwrap()
    }

    pub(crate) fn demo(&self) -> Arc<Project> {
        self.identity.project("demo").unwrap()
    }

    pub(crate) async fn signer(&self, project: &str) -> Signer {
        let file =
            self.identity.add_service_account_key(&project.parse().unwrap(), self.now()).await.unwrap().0;
        let pem = file["private_key"].as_str().unwrap();
        let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let pkcs8 = base64::prelude::BASE64_STANDARD.decode(base64).unwrap();
        Signer {
            email: file["client_email"].as_str().unwrap().to_owned(),
            key_id: file["private_key_id"].as_str().unwrap().to_owned(),
            // Behind 26 bytes of envelope stands the bare RSA key.
            private_key: pkcs8[26..].to_vec(),
        }
    }

    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn form(&self, path: &str, headers: &[(&str, &str)], fields: &[(&str, &str)]) -> Answer {
        let body: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.request("POST", path, headers, body).await
    }

    /// An access token of the demo project, by the grant that SDKs use.
    pub(crate) async fn access_token(&self, project: &str) -> String {
        let signer = self.signer(project).await;
        let assertion = signer.sign(&signer.claims(self.now()));
        let answer = self.grant(&assertion).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn grant(&self, assertion: &str) -> Answer {
        let jwt_bearer = "urn:ietf:params:oauth:grant-type:jwt-bearer";
        self.form("/token", &[], &[("grant_type", jwt_bearer), ("assertion", assertion)]).await
    }

    pub(crate) async fn send(&self, project: &str, credential: &str, body: &str) -> Answer {
        let path = format!("/v1/projects/{project}/messages:send");
        let authorization = format!("Bearer {credential}");
        self.request("POST", &path, &[("authorization", &authorization)], body.to_owned()).await
    }

    pub(crate) async fn check_in(&self) -> Phone {
        let answer = self.request("POST", "/checkin", &[], check_in_body(0, 0)).await;
        assert_eq!(answer.status, StatusCode::OK);
        let answer = AndroidCheckinResponse::parse(&answer.body).unwrap();
        Phone { id: answer.android_id.unwrap(), security_token: answer.security_token.unwrap() }
    }

    pub(crate) async fn register3(&self, phone: &Phone, fields: &[(&str, &str)]) -> Answer {
        let device = phone.id.to_string();
        let login = phone.login();
        let mut all = vec![("device", device.as_str())];
        all.extend_from_slice(fields);
        self.form("/c2dm/register3", &[("authorization", &login)], &all).await
    }

    /// A phone with an Android app registered: its token.
    pub(crate) async fn android_token(&self) -> (Phone, String) {
        let phone = self.check_in().await;
        let sender = self.demo().number.to_string();
        let fields =
            [("app", "com.example.app"), ("sender", &*sender), ("X-subtype", &*sender), ("X-scope", "*")];
        let answer = self.register3(&phone, &fields).await;
        let token = answer.text().strip_prefix("token=").expect("a token").to_owned();
        (phone, token)
    }
}

pub(crate) fn check_in_body(id: i64, security_token: u64) -> Vec<u8> {
    AndroidCheckinRequest {
        id: Some(id),
        security_token: Some(security_token),
        checkin: AndroidCheckin::default(),
        version: Some(3),
        ..AndroidCheckinRequest::default()
    }
    .to_bytes()
}

impl Phone {
    pub(crate) fn login(&self) -> String {
        format!("AidLogin {}:{}", self.id, self.security_token)
    }
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// `error.status`, and the code of the detail that SDKs read.
    pub(crate) fn refusal(&self) -> (u16, String, String) {
        let error = self.json()["error"].clone();
        let details = error["details"].as_array().cloned().unwrap_or_default();
        let code = details.iter().find_map(|d| d["errorCode"].as_str()).unwrap_or_default();
        (self.status.as_u16(), error["status"].as_str().unwrap_or_default().into(), code.into())
    }
}

impl Signer {
    /// As the Admin SDKs write them.
    pub(crate) fn claims(&self, now: Timestamp) -> Value {
        json!({
            "iss": self.email,
            "scope": "https://www.googleapis.com/auth/cloud-platform https://www.googleapis.com/auth/userinfo.email",
            "aud": "https://oauth2.googleapis.com/token",
            "iat": now.as_secs(),
            "exp": now.as_secs() + 3_600,
        })
    }

    /// Without `kid`, as Node's SDK.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_with(claims, None)
    }

    pub(crate) fn sign_with(&self, claims: &Value, key_id: Option<&str>) -> String {
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256);
        header.kid = key_id.map(str::to_owned);
        let key = jsonwebtoken::EncodingKey::from_rsa_der(&self.private_key);
        jsonwebtoken::encode(&header, claims, &key).unwrap()
    }
}
