//! What is accepted for who is reached over push services of others gets there, once the service can; and
//! what became of it is told.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cresset_e2e::fakes::{
    Answer as Said, Apns, ApnsConfig, Fault, PushService, PushServiceConfig, Style, Subscription,
};
use cresset_e2e::{Http2, TestServer, World, config, now, patiently};
use cresset_identity::{ApnsCredential, ApnsSecret, NewApp};
use cresset_message::Platform;
use cresset_server::config::Config;
use cresset_wire::es256::SigningKey;
use cresset_wire::webpush::encode_base64;
use serde_json::{Value, json};
use tempfile::TempDir;

const BUNDLE: &str = "com.example.app";
const KEY: &str = "ABC123DEFG";
const TEAM: &str = "DEF123GHIJ";

/// A server that may reach a push service and APNs, both fakes.
struct House {
    server: TestServer,
    world: World,
    web: PushService,
    apns: Apns,
    api_key: String,
    web_app: String,
    config: Config,
}

fn clock() -> cresset_e2e::fakes::Clock {
    Arc::new(now)
}

impl House {
    async fn new() -> Self {
        let web =
            PushService::start(PushServiceConfig::new(Style::Mozilla, "localhost", clock())).await.unwrap();
        let apns = Apns::start(ApnsConfig::new(clock())).await.unwrap();
        let folder = Arc::new(TempDir::new().unwrap());
        let ca = folder.path().join("fakes.pem");
        std::fs::write(&ca, [web.authority().pem(), apns.authority().pem()].concat()).unwrap();
        let mut config = config(&folder.path().join("data"));
        config.outgoing.web_push = true;
        config.outgoing.apns = true;
        config.outgoing.contact = "mailto:ops@example.org".into();
        config.outgoing.private_hosts = vec!["localhost".into()];
        config.outgoing.ca = Some(ca);
        config.outgoing.apns_host = format!("localhost:{}", apns.address().port());
        config.outgoing.apns_sandbox_host = config.outgoing.apns_host.clone();
        let server = TestServer::start_with(folder, &config).await.unwrap();
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        apns.add_key(KEY, TEAM, *SigningKey::from_pem(&key).unwrap().public(), &[BUNDLE]);
        let (demo, identity) = ("demo".parse().unwrap(), server.identity());
        let app = NewApp { platform: Platform::Ios, package: BUNDLE.into(), display_name: String::new() };
        identity.add_app(&demo, app, now()).await.unwrap();
        let secret = ApnsSecret::Key { pem: key, key_id: KEY.into(), team_id: TEAM.into() };
        let credential =
            ApnsCredential { bundle_id: BUNDLE.into(), production: true, sandbox: false, secret };
        identity.set_apns_credential(&demo, &credential, now()).await.unwrap();
        let web_app = server.web_app().await.unwrap();
        let world = server.world().await.unwrap();
        let (api_key, web_app) = (web_app.api_key, web_app.app_id);
        Self { server, world, web, apns, api_key, web_app, config }
    }

    /// Ends, and starts on the same folder.
    async fn again(self) -> Self {
        let folder = self.server.stop().await.unwrap();
        let server = TestServer::start_with(folder, &self.config).await.unwrap();
        let world = server.world().await.unwrap();
        Self { server, world, ..self }
    }

    async fn post(&self, path: &str, auth: &str, body: &Value) -> Value {
        let http =
            Http2::connect(self.world.running.https, "fcmregistrations.googleapis.com", &self.world.trust);
        let headers = [("x-goog-api-key", &*self.api_key), ("x-goog-firebase-installations-auth", auth)];
        let answer = http.await.unwrap().post(path, &headers, Bytes::from(body.to_string())).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    async fn installed(&self) -> String {
        let body =
            json!({ "fid": "", "authVersion": "FIS_v2", "appId": self.web_app, "sdkVersion": "w:0.6.24" });
        let made = self.post("/v1/projects/demo/installations", "", &body).await;
        made["authToken"]["token"].as_str().unwrap().to_owned()
    }

    async fn register(&self, how: Value) -> String {
        let auth = self.installed().await;
        let made = self.post("/v1/projects/demo/registrations", &auth, &how).await;
        made["token"].as_str().unwrap().to_owned()
    }

    /// A browser with a web app of the project: its registration token.
    async fn browser(&self) -> (String, Subscription) {
        let key = self.server.identity().project("demo").unwrap().web_push_keys[0].public;
        let subscription = self.web.subscribe(Some(key)).unwrap();
        let web = json!({
            "endpoint": subscription.endpoint,
            "p256dh": encode_base64(subscription.keys.p256dh),
            "auth": encode_base64(subscription.keys.auth),
            "applicationPubKey": encode_base64(key),
        });
        (self.register(json!({ "web": web })).await, subscription)
    }

    /// An Apple device with the app: its registration token.
    async fn iphone(&self, number: usize) -> String {
        let token = format!("{number:064x}");
        self.apns.add_device(&token, BUNDLE);
        let ios = json!({ "apns_token": token, "apns_environment": "PROD", "bundle_id": BUNDLE });
        self.register(json!({ "ios": ios })).await
    }

    /// What stands in the texts that browsers were sent.
    fn words(&self, endpoint: &str) -> Vec<String> {
        let arrivals = self.web.arrivals();
        let its = arrivals.iter().filter(|arrival| arrival.endpoint == endpoint);
        its.map(|arrival| {
            let json: Value = serde_json::from_slice(&arrival.plaintext).unwrap();
            json["data"]["word"].as_str().unwrap().to_owned()
        })
        .collect()
    }

    async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        patiently(what, async {
            while !is_so().await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    /// The only delivery of a message, as its trace tells it.
    async fn delivery(&self, name: &str) -> Value {
        let id = name.rsplit('/').next().unwrap().replace('%', "%25");
        let path = format!("/cresset/v1/projects/demo/messages/{id}");
        let http = Http2::connect(self.world.running.https, "localhost", &self.world.trust).await.unwrap();
        let authorization = self.world.authorization();
        let request = http::Request::get(format!("https://localhost{path}"));
        let request = request.header("authorization", authorization).body(()).unwrap();
        let answer = http.send(request, Bytes::new()).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["deliveries"][0].clone()
    }
}

fn saying(token: &str, word: &str) -> Value {
    json!({ "token": token, "data": { "word": word } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_of_another_service_gets_its_messages_in_order_and_encrypted() {
    let house = House::new().await;
    let (token, subscription) = house.browser().await;
    let mut sent = Vec::new();
    let mut last = String::new();
    for n in 0..20 {
        last = house.world.accept(&saying(&token, &n.to_string())).await.unwrap();
        sent.push(n.to_string());
    }
    house.until("all of them", async || house.words(&subscription.endpoint).len() == 20).await;
    assert_eq!(house.words(&subscription.endpoint), sent);
    let urgent = json!({ "token": token, "data": { "word": "now" }, "webpush": { "headers": {
        "TTL": "60", "Urgency": "high", "Topic": "t" } } });
    house.world.accept(&urgent).await.unwrap();
    house.until("the urgent one", async || house.words(&subscription.endpoint).len() == 21).await;
    let arrival = house.web.arrivals().pop().unwrap();
    assert!(arrival.ttl <= 60 && arrival.ttl > 30, "{}", arrival.ttl);
    assert_eq!((arrival.urgency.as_deref(), arrival.topic.as_deref()), (Some("high"), Some("t")));
    house.until("its end", async || house.delivery(&last).await["state"] == "acknowledged").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apple_device_is_reached_by_apns() {
    let house = House::new().await;
    let token = house.iphone(7).await;
    let message = json!({
        "token": token,
        "notification": { "title": "Order 42", "body": "On its way" },
        "data": { "orderId": "42" },
        "apns": { "headers": { "apns-collapse-id": "order" } },
    });
    house.world.accept(&message).await.unwrap();
    house.until("a notification", async || house.apns.taken() == 1).await;
    let taken = house.apns.notifications().pop().unwrap();
    assert_eq!(taken.payload["aps"]["alert"], json!({ "title": "Order 42", "body": "On its way" }));
    assert_eq!(taken.payload["orderId"], "42");
    assert_eq!(taken.headers["apns-topic"], BUNDLE);
    assert_eq!(taken.headers["apns-push-type"], "alert");
    assert_eq!(taken.headers["apns-collapse-id"], "order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_reaches_all_kinds_at_once() {
    let house = House::new().await;
    let (token, subscription) = house.browser().await;
    let phone = house.world.device().await.unwrap();
    let mut connection = house.world.connect(&phone).await.unwrap();
    let tokens = json!([token, house.iphone(1).await, house.iphone(2).await, phone.token]);
    let body = json!({ "to": "/topics/news", "registration_tokens": tokens }).to_string();
    let authorization = house.world.authorization();
    let headers = [("authorization", &*authorization), ("access_token_auth", "true")];
    let http = house.world.sender().await.unwrap();
    let joined = http.post("/iid/v1:batchAdd", &headers, Bytes::from(body)).await.unwrap();
    assert_eq!(joined.json()["results"], json!([{}, {}, {}, {}]));
    house.world.accept(&json!({ "topic": "news", "data": { "word": "all" } })).await.unwrap();
    assert_eq!(crate::support::next(&mut connection).await.get("word"), Some("all"));
    house.until("both Apple devices", async || house.apns.taken() == 2).await;
    house.until("the browser", async || house.words(&subscription.endpoint) == ["all"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_service_could_not_take_comes_after_a_restart_and_in_order() {
    let house = House::new().await;
    let (token, subscription) = house.browser().await;
    house.web.refuse_connections(true);
    let words: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    for word in &words {
        house.world.accept(&saying(&token, word)).await.unwrap();
    }
    let iphone = house.iphone(3).await;
    // Another service is not held up by it.
    house.world.accept(&saying(&iphone, "meanwhile")).await.unwrap();
    house.until("the other one", async || house.apns.taken() == 1).await;
    let house = house.again().await;
    assert_eq!(house.words(&subscription.endpoint), [""; 0]);
    house.web.refuse_connections(false);
    house.until("all of them", async || house.words(&subscription.endpoint).len() >= 10).await;
    assert_eq!(house.words(&subscription.endpoint), words);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_ends_when_its_service_says_that_it_is_gone() {
    let house = House::new().await;
    let (browser, subscription) = house.browser().await;
    let iphone = house.iphone(4).await;
    house.web.unsubscribe(&subscription);
    house.apns.end_device(&format!("{:064x}", 4), "Unregistered", now());
    for (token, status) in [(browser, "410"), (iphone, "410 Unregistered")] {
        let id = house.world.accept(&saying(&token, "late")).await.unwrap();
        house.until("the end", async || house.delivery(&id).await["state"] == "dropped").await;
        let delivery = house.delivery(&id).await;
        assert_eq!(delivery["reason"], "unregistered");
        assert!(delivery["told"].as_str().unwrap().starts_with(status), "{delivery}");
        let again = async || house.world.send(&saying(&token, "later")).await.unwrap();
        house.until("UNREGISTERED", async || again().await.status == 404).await;
        assert_eq!(again().await.json()["error"]["details"][0]["errorCode"], "UNREGISTERED");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_is_not_accepted_is_told_to_the_sender() {
    let house = House::new().await;
    let iphone = house.iphone(5).await;
    let said = Said::new(403, r#"{"reason":"InvalidProviderToken"}"#);
    house.apns.next(1, &Fault::Answer(said));
    let id = house.world.accept(&saying(&iphone, "first")).await.unwrap();
    house.until("the end", async || house.delivery(&id).await["state"] == "dropped").await;
    let delivery = house.delivery(&id).await;
    assert_eq!(delivery["reason"], "credentialRefused");
    assert_eq!(delivery["told"], "403 InvalidProviderToken");
    let refused = house.world.send(&saying(&iphone, "second")).await.unwrap();
    assert_eq!(refused.status, 401);
    let details = &refused.json()["error"]["details"];
    assert_eq!(details[0]["errorCode"], "THIRD_PARTY_AUTH_ERROR");
    assert_eq!(
        (&details[1]["statusCode"], &details[1]["reason"]),
        (&json!(403), &json!("InvalidProviderToken"))
    );
    // Nobody is forgotten for it.
    house.server.identity().remove_apns_credentials(&"demo".parse().unwrap(), BUNDLE, now()).await.unwrap();
    let refused = house.world.send(&saying(&iphone, "third")).await.unwrap();
    assert_eq!(refused.json()["error"]["details"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_asks_to_wait_is_asked_again_when_it_said() {
    let house = House::new().await;
    let (token, subscription) = house.browser().await;
    let busy = Said::new(503, "{}").with("retry-after", "1");
    house.web.next(2, &Fault::Answer(busy));
    for word in ["a", "b", "c"] {
        house.world.accept(&saying(&token, word)).await.unwrap();
    }
    house.until("all of them", async || house.words(&subscription.endpoint).len() == 3).await;
    assert_eq!(house.words(&subscription.endpoint), ["a", "b", "c"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_operator_does_not_permit_is_not_contacted() {
    let mut house = House::new().await;
    house.config.outgoing.hosts = vec!["push.example".into()];
    let house = house.again().await;
    let key = house.server.identity().project("demo").unwrap().web_push_keys[0].public;
    let subscription = house.web.subscribe(Some(key)).unwrap();
    let auth = house.installed().await;
    let web = json!({ "web": {
        "endpoint": subscription.endpoint,
        "p256dh": encode_base64(subscription.keys.p256dh),
        "auth": encode_base64(subscription.keys.auth),
        "applicationPubKey": encode_base64(key),
    } });
    let http = Http2::connect(house.world.running.https, "localhost", &house.world.trust).await.unwrap();
    let headers = [("x-goog-api-key", &*house.api_key), ("x-goog-firebase-installations-auth", &*auth)];
    let path = "/v1/projects/demo/registrations";
    let refused = http.post(path, &headers, Bytes::from(web.to_string())).await.unwrap();
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("outgoing.hosts"), "{}", refused.text());
}
