//! What is accepted for who is reached over push services of others gets there, once the service can; and
//! what became of it is told.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cresset_e2e::fakes::{Answer as Said, Fault, Subscription};
use cresset_e2e::{Apps, BUNDLE, Http2, Outside, TestServer, World, config, now, patiently};
use cresset_identity::{ApnsCredential, ApnsSecret, NewApp};
use cresset_message::Platform;
use cresset_server::config::Config;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A server that may reach a push service and APNs, both fakes.
pub(crate) struct House {
    pub(crate) server: TestServer,
    pub(crate) world: World,
    pub(crate) outside: Outside,
    pub(crate) apps: Apps,
    pub(crate) config: Config,
}

impl House {
    pub(crate) async fn new() -> Self {
        let outside = Outside::start().await.unwrap();
        let folder = Arc::new(TempDir::new().unwrap());
        let toml = outside.configuration(&folder.path().join("fakes.pem")).unwrap();
        let mut config = config(&folder.path().join("data"));
        config.outgoing = Config::parse(&toml).unwrap().outgoing;
        let server = TestServer::start_with(folder, &config).await.unwrap();
        let web_app = server.web_app().await.unwrap();
        let vapid = server.identity().project("demo").unwrap().web_push_keys[0].public;
        let apps = Apps { api_key: web_app.api_key, web_app: web_app.app_id, vapid };
        let world = server.world().await.unwrap();
        let house = Self { server, world, outside, apps, config };
        house.apple_app(BUNDLE).await;
        house
    }

    /// An app that APNs knows by the key of its team, in production.
    pub(crate) async fn apple_app(&self, bundle_id: &str) {
        let (demo, identity) = ("demo".parse().unwrap(), self.server.identity());
        let app = NewApp { platform: Platform::Ios, package: bundle_id.into(), display_name: String::new() };
        identity.add_app(&demo, app, now()).await.unwrap();
        let (key_id, team_id) = Outside::KEY_AND_TEAM.map(str::to_owned).into();
        let secret = ApnsSecret::Key { pem: self.outside.key.clone(), key_id, team_id };
        let credential =
            ApnsCredential { bundle_id: bundle_id.into(), production: true, sandbox: false, secret };
        identity.set_apns_credential(&demo, &credential, now()).await.unwrap();
    }

    /// Ends, and starts on the same folder.
    async fn again(self) -> Self {
        let folder = self.server.stop().await.unwrap();
        let server = TestServer::start_with(folder, &self.config).await.unwrap();
        let world = server.world().await.unwrap();
        Self { server, world, ..self }
    }

    /// A browser with a web app of the project: its registration token.
    async fn browser(&self) -> (String, Subscription) {
        self.apps.browser(&self.world, &self.outside.web).await.unwrap()
    }

    /// An Apple device with the app: its registration token.
    async fn iphone(&self, number: usize) -> String {
        self.apps.iphone(&self.world, &self.outside.apns, &format!("{number:064x}")).await.unwrap()
    }

    /// What stands in the texts that browsers were sent.
    fn words(&self, endpoint: &str) -> Vec<String> {
        let arrivals = self.outside.web.arrivals();
        let its = arrivals.iter().filter(|arrival| arrival.endpoint == endpoint);
        its.map(|arrival| {
            let json: Value = serde_json::from_slice(&arrival.plaintext).unwrap();
            json["data"]["word"].as_str().unwrap().to_owned()
        })
        .collect()
    }

    pub(crate) async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        patiently(what, async {
            while !is_so().await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let (_, page) = crate::support::plain_get(self.world.running.http, "/metrics").await.unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok())
    }

    /// The only delivery of a message, as its trace tells it.
    pub(crate) async fn delivery(&self, name: &str) -> Value {
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

pub(crate) fn saying(token: &str, word: &str) -> Value {
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
    let arrival = house.outside.web.arrivals().pop().unwrap();
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
    house.until("a notification", async || house.outside.apns.taken() == 1).await;
    let taken = house.outside.apns.notifications().pop().unwrap();
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
    let tokens = [token, house.iphone(1).await, house.iphone(2).await, phone.token];
    house.world.join_topic("news", &tokens).await.unwrap();
    house.world.accept(&json!({ "topic": "news", "data": { "word": "all" } })).await.unwrap();
    assert_eq!(crate::support::next(&mut connection).await.get("word"), Some("all"));
    house.until("both Apple devices", async || house.outside.apns.taken() == 2).await;
    house.until("the browser", async || house.words(&subscription.endpoint) == ["all"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_service_could_not_take_comes_after_a_restart_and_in_order() {
    let house = House::new().await;
    let (token, subscription) = house.browser().await;
    house.outside.web.refuse_connections(true);
    let words: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    for word in &words {
        house.world.accept(&saying(&token, word)).await.unwrap();
    }
    let iphone = house.iphone(3).await;
    // Another service is not held up by it.
    house.world.accept(&saying(&iphone, "meanwhile")).await.unwrap();
    house.until("the other one", async || house.outside.apns.taken() == 1).await;
    let house = house.again().await;
    assert_eq!(house.words(&subscription.endpoint), [""; 0]);
    house.outside.web.refuse_connections(false);
    house.until("all of them", async || house.words(&subscription.endpoint).len() >= 10).await;
    assert_eq!(house.words(&subscription.endpoint), words);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_ends_when_its_service_says_that_it_is_gone() {
    let house = House::new().await;
    let (browser, subscription) = house.browser().await;
    let iphone = house.iphone(4).await;
    house.outside.web.unsubscribe(&subscription);
    house.outside.apns.end_device(&format!("{:064x}", 4), "Unregistered", now());
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
    house.outside.apns.next(1, &Fault::Answer(said));
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
    house.outside.web.next(2, &Fault::Answer(busy));
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
    let subscription = house.outside.web.subscribe(Some(house.apps.vapid)).unwrap();
    let auth = house.apps.install(&house.world).await.unwrap();
    let web = json!({ "web": house.apps.web(&subscription) });
    let http = Http2::connect(house.world.running.https, "localhost", &house.world.trust).await.unwrap();
    let headers = [("x-goog-api-key", &*house.apps.api_key), ("x-goog-firebase-installations-auth", &*auth)];
    let path = "/v1/projects/demo/registrations";
    let refused = http.post(path, &headers, Bytes::from(web.to_string())).await.unwrap();
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("outgoing.hosts"), "{}", refused.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_registered_anew_with_another_service_does_not_wait_for_the_one_before() {
    let house = House::new().await;
    let (apps, world) = (&house.apps, &house.world);
    let elsewhere = Outside::start().await.unwrap();
    let auth = apps.install(world).await.unwrap();
    let register = async |subscription: &Subscription| {
        let how = json!({ "web": apps.web(subscription) });
        let made = apps.post(world, "registrations", &auth, &how).await.unwrap();
        made["token"].as_str().unwrap().to_owned()
    };
    let before = elsewhere.web.subscribe(Some(apps.vapid)).unwrap();
    // Nobody trusts it: it is as good as gone, and all that is for it waits.
    let token = register(&before).await;
    for word in ["a", "b"] {
        world.accept(&saying(&token, word)).await.unwrap();
    }
    let after = house.outside.web.subscribe(Some(apps.vapid)).unwrap();
    assert_eq!(register(&after).await, token);
    world.accept(&saying(&token, "c")).await.unwrap();
    house.until("all of them", async || house.words(&after.endpoint).len() == 3).await;
    assert_eq!(house.words(&after.endpoint), ["a", "b", "c"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_service_before_says_is_not_about_who_was_registered_anew() {
    let house = House::new().await;
    let (apps, world) = (&house.apps, &house.world);
    let auth = apps.install(world).await.unwrap();
    let register = async |subscription: &Subscription| {
        let how = json!({ "web": apps.web(subscription) });
        let made = apps.post(world, "registrations", &auth, &how).await.unwrap();
        made["token"].as_str().unwrap().to_owned()
    };
    let before = house.outside.web.subscribe(Some(apps.vapid)).unwrap();
    let token = register(&before).await;
    house.outside.web.unsubscribe(&before);
    // It says so, but takes its time; meanwhile the browser has a new subscription.
    house.outside.web.next(1, &Fault::Delay(Duration::from_millis(700)));
    world.accept(&saying(&token, "kept")).await.unwrap();
    house.until("a request", async || house.outside.web.counts().requests == 1).await;
    let after = house.outside.web.subscribe(Some(apps.vapid)).unwrap();
    assert_eq!(register(&after).await, token);
    house.until("the message", async || house.words(&after.endpoint) == ["kept"]).await;
    assert_eq!(world.send(&saying(&token, "more")).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_waits_for_what_is_on_its_way() {
    let house = House::new().await;
    let (token, subscription) = house.browser().await;
    house.outside.web.next(1, &Fault::Delay(Duration::from_millis(700)));
    for word in ["a", "b"] {
        house.world.accept(&saying(&token, word)).await.unwrap();
    }
    house.until("a request", async || house.outside.web.counts().requests == 1).await;
    let house = house.again().await;
    // The first was answered, and is not sent again; the second had not begun.
    house.until("both", async || house.words(&subscription.endpoint).len() >= 2).await;
    assert_eq!(house.words(&subscription.endpoint), ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_old_when_its_service_is_back_is_not_sent() {
    let house = House::new().await;
    let (token, subscription) = house.browser().await;
    house.outside.web.refuse_connections(true);
    let mut short = saying(&token, "short");
    short["webpush"] = json!({ "headers": { "TTL": "1" } });
    let id = house.world.accept(&short).await.unwrap();
    house.world.accept(&saying(&token, "long")).await.unwrap();
    house.until("its end", async || house.delivery(&id).await["state"] == "expired").await;
    house.outside.web.refuse_connections(false);
    house.until("the other", async || house.words(&subscription.endpoint).len() == 1).await;
    assert_eq!(house.words(&subscription.endpoint), ["long"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_registration_that_ends_is_told_so_at_the_next_start() {
    let house = House::new().await;
    let auth = house.apps.install(&house.world).await.unwrap();
    let subscription = house.outside.web.subscribe(Some(house.apps.vapid)).unwrap();
    let how = json!({ "web": house.apps.web(&subscription) });
    let made = house.apps.post(&house.world, "registrations", &auth, &how).await.unwrap();
    house.outside.web.refuse_connections(true);
    let id = house.world.accept(&saying(made["token"].as_str().unwrap(), "never")).await.unwrap();
    // Nobody visits it, as the operator lets nothing out any more.
    let mut house = house;
    house.config.outgoing.web_push = false;
    let house = house.again().await;
    let (identity, project) = (house.server.identity(), house.server.identity().project("demo").unwrap());
    identity.unregister_web(&project, &auth, made["token"].as_str().unwrap(), now()).await.unwrap();
    let house = house.again().await;
    house.until("its end", async || house.delivery(&id).await["state"] == "dropped").await;
    assert_eq!(house.delivery(&id).await["reason"], "unregistered");
}

/// More than the lane of a service has places (`outbound/src/courier.rs`).
const CROWD: usize = 1_300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_behind_a_service_that_is_gone_holds_up_nobody_else() {
    let house = House::new().await;
    let (identity, project) = (house.server.identity(), house.server.identity().project("demo").unwrap());
    let mut tokens = vec![house.iphone(1).await];
    for _ in 0..CROWD {
        let subscription = house.outside.web.subscribe(Some(house.apps.vapid)).unwrap();
        let shown = house.apps.web(&subscription);
        let text = |name: &str| shown[name].as_str().unwrap().to_owned();
        let subscription = cresset_identity::Subscription {
            endpoint: subscription.endpoint,
            p256dh: text("p256dh"),
            auth: text("auth"),
            application_pub_key: text("applicationPubKey"),
            origin: String::new(),
        };
        tokens.push(identity.connect_subscribe(&project, &subscription, "", now()).await.unwrap().token);
    }
    house.world.join_topic("all", &tokens).await.unwrap();
    house.outside.web.refuse_connections(true);
    house.world.accept(&json!({ "topic": "all", "data": { "word": "first" } })).await.unwrap();
    let aside = async || house.metric("cresset_outbound_aside_registrations").await.unwrap();
    house.until("some stand aside", async || aside().await > 0.0).await;
    house.world.accept(&json!({ "topic": "all", "data": { "word": "second" } })).await.unwrap();
    house.world.accept(&saying(&tokens[0], "third")).await.unwrap();
    house.until("what is for the phone", async || house.outside.apns.taken() == 3).await;
    house.outside.web.refuse_connections(false);
    house.until("everything else", async || house.outside.web.taken() == 2 * CROWD as u64).await;
    house.until("nobody stands aside", async || aside().await == 0.0).await;
    let mut last = std::collections::HashMap::new();
    for arrival in house.outside.web.arrivals() {
        let json: Value = serde_json::from_slice(&arrival.plaintext).unwrap();
        let word = json["data"]["word"].as_str().unwrap().to_owned();
        let before = last.insert(arrival.endpoint, word.clone());
        assert_eq!(before.as_deref(), (word == "second").then_some("first"));
    }
}
