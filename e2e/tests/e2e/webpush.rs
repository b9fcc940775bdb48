//! A push service: application servers push to the endpoints of browsers that are devices here, by MCS as
//! Chromium and by WebSocket as Firefox.

use aws_lc_rs::rand::SystemRandom;
use bytes::Bytes;
use cresset_device_client::Register3;
use cresset_e2e::{Answer, Browser, Heard, Http2, TestServer, World, now, opened, patiently};
use cresset_message::WebKeys;
use cresset_wire::es256::SigningKey;
use cresset_wire::webpush::vapid::VapidKey;
use cresset_wire::webpush::{KeyPair, aes128gcm, encode_base64, encode_base64_padded};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message as Frame;

const CHANNELS: [&str; 2] = ["0f8fad5b-d9cb-469f-a165-70867728950e", "7c9e6679-7425-40de-944b-e07fc1f90ae7"];
const AUTH: [u8; 16] = [7; 16];

/// A server, and an application server with a key.
struct House {
    server: TestServer,
    world: World,
    http: Http2,
    key: VapidKey,
    /// Of the page's subscriptions.
    pair: KeyPair,
}

impl House {
    async fn new() -> Self {
        Self::on(TestServer::start().await.unwrap()).await
    }

    async fn on(server: TestServer) -> Self {
        let world = server.world().await.unwrap();
        let http = Http2::connect(world.running.https, "fcm.googleapis.com", &world.trust).await.unwrap();
        let key = SigningKey::from_scalar(&[3; 32]).unwrap();
        let key = VapidKey { key, subject: "mailto:a@b.test".into() };
        Self { server, world, http, key, pair: KeyPair::from_scalar(&[9; 32]).unwrap() }
    }

    async fn again(self) -> Self {
        Self::on(TestServer::start_in(self.server.stop().await.unwrap()).await.unwrap()).await
    }

    async fn browser(&self, uaid: &str) -> Browser {
        let hello = Browser::hello(self.world.running.https, &self.world.trust, uaid);
        patiently("a hello", hello).await.unwrap()
    }

    fn public(&self) -> String {
        encode_base64_padded(self.key.key.public())
    }

    fn sealed(&self, text: &str) -> Vec<u8> {
        let keys = WebKeys { p256dh: *self.pair.public(), auth: AUTH };
        let ephemeral = KeyPair::generate(&SystemRandom::new()).unwrap();
        aes128gcm::seal(&keys, text.as_bytes(), [1; 16], &ephemeral).unwrap()
    }

    async fn push(&self, endpoint: &str, headers: &[(&str, &str)], text: &str) -> Answer {
        let (_, rest) = endpoint.split_once("://").unwrap();
        let path = &rest[rest.find('/').unwrap()..];
        // After a restart it listens on another port, which is another origin.
        let origin = format!("https://localhost:{}", self.world.running.https.port());
        let authorization = self.key.authorization(&origin, now(), &SystemRandom::new()).unwrap();
        let usual = [("authorization", &*authorization), ("content-encoding", "aes128gcm")];
        let ttl = headers.iter().all(|(name, _)| *name != "ttl").then_some(("ttl", "60"));
        let all: Vec<_> = usual.into_iter().chain(ttl).chain(headers.iter().copied()).collect();
        self.http.post(path, &all, Bytes::from(self.sealed(text))).await.unwrap()
    }

    async fn pushed(&self, endpoint: &str, headers: &[(&str, &str)], text: &str) -> Answer {
        let answer = self.push(endpoint, headers, text).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer
    }

    fn text_of(&self, notification: &Value) -> String {
        String::from_utf8(opened(notification, &self.pair, &AUTH).unwrap()).unwrap()
    }

    /// The texts that come, each acknowledged, up to and with `last`.
    async fn texts_until(&self, browser: &mut Browser, last: &str) -> Vec<String> {
        let mut texts = Vec::new();
        while texts.last().is_none_or(|text| text != last) {
            let told = patiently("a notification", browser.next()).await.unwrap();
            browser.acknowledge(&told).await.unwrap();
            texts.push(self.text_of(&told));
        }
        texts
    }
}

/// Answers come in order: what was said before has been done.
async fn settled(browser: &mut Browser) {
    browser.say(&json!({ "messageType": "unregister", "channelID": CHANNELS[1] })).await.unwrap();
    let told = patiently("an answer", browser.next()).await.unwrap();
    assert_eq!(told["messageType"], "unregister");
}

#[tokio::test]
async fn a_push_reaches_a_browser_that_is_connected_and_one_that_comes_later() {
    let house = House::new().await;
    let mut browser = house.browser("").await;
    let endpoint = browser.register(CHANNELS[0], Some(&house.public())).await.unwrap();
    let origin = format!("https://localhost:{}/wpush/v2/", house.world.running.https.port());
    assert!(endpoint.starts_with(&origin), "{endpoint}");
    assert_eq!(browser.register(CHANNELS[0], Some(&house.public())).await.unwrap(), endpoint, "again");
    let answer = house.pushed(&endpoint, &[("urgency", "high")], "now").await;
    assert!(answer.headers["location"].to_str().unwrap().contains("/m/"));
    let told = patiently("a notification", browser.next()).await.unwrap();
    assert_eq!((&told["messageType"], &told["channelID"]), (&json!("notification"), &json!(CHANNELS[0])));
    assert_eq!(house.text_of(&told), "now");
    // It left without acknowledging: the same comes again.
    let uaid = browser.uaid.clone();
    drop(browser);
    let house = house.again().await;
    house.pushed(&endpoint, &[], "later").await;
    let mut browser = house.browser(&uaid).await;
    assert_eq!(browser.uaid, uaid);
    let again = patiently("a notification", browser.next()).await.unwrap();
    assert_eq!(again["version"], told["version"]);
    browser.acknowledge(&again).await.unwrap();
    assert_eq!(house.texts_until(&mut browser, "later").await, ["later"]);
    settled(&mut browser).await;
    drop(browser);
    let mut browser = house.browser(&uaid).await;
    house.pushed(&endpoint, &[], "last").await;
    assert_eq!(house.texts_until(&mut browser, "last").await, ["last"], "what was acknowledged is over");
}

#[tokio::test]
async fn topics_collapse_ttl_0_is_not_kept_and_what_is_taken_back_does_not_come() {
    let house = House::new().await;
    let mut browser = house.browser("").await;
    let uaid = browser.uaid.clone();
    let endpoint = browser.register(CHANNELS[0], Some(&house.public())).await.unwrap();
    settled(&mut browser).await;
    browser.send(Frame::Close(None)).await.unwrap();
    while patiently("the end", browser.hear()).await.unwrap() != Heard::Closed(None) {}
    for n in 0..25 {
        house.pushed(&endpoint, &[], &n.to_string()).await;
    }
    house.pushed(&endpoint, &[("ttl", "0")], "never").await;
    let back = house.pushed(&endpoint, &[], "taken back").await;
    for n in 0..3 {
        house.pushed(&endpoint, &[("topic", "score")], &format!("score {n}")).await;
    }
    let location = back.headers["location"].to_str().unwrap();
    let path = &location[location.find("/m/").unwrap()..];
    let request = http::Request::builder().method("DELETE").uri(format!("https://fcm.googleapis.com{path}"));
    let answer = house.http.send(request.body(()).unwrap(), Bytes::new()).await.unwrap();
    assert_eq!(answer.status, 204);
    let mut browser = house.browser(&uaid).await;
    let mut expected = vec!["score 2".to_owned()];
    expected.extend((0..25).map(|n| n.to_string()));
    assert_eq!(house.texts_until(&mut browser, "24").await, expected, "a topic comes first");
    house.pushed(&endpoint, &[("ttl", "0")], "now").await;
    assert_eq!(house.texts_until(&mut browser, "now").await, ["now"]);
}

#[tokio::test]
async fn a_subscription_that_ended_is_gone_and_another_key_is_refused() {
    let house = House::new().await;
    let mut browser = house.browser("").await;
    let endpoint = browser.register(CHANNELS[0], Some(&house.public())).await.unwrap();
    let others = encode_base64_padded(SigningKey::from_scalar(&[4; 32]).unwrap().public());
    let other = browser.register(CHANNELS[1], Some(&others)).await.unwrap();
    let open = browser.register("11111111-2222-3333-4444-555555555555", None).await.unwrap();
    assert_eq!(house.push(&other, &[], "x").await.status, 401);
    house.pushed(&open, &[], "open").await;
    assert_eq!(house.texts_until(&mut browser, "open").await, ["open"]);
    browser
        .say(&json!({ "messageType": "unregister", "channelID": CHANNELS[0], "code": 200 }))
        .await
        .unwrap();
    let told = patiently("an answer", browser.next()).await.unwrap();
    assert_eq!((&told["status"], &told["channelID"]), (&json!(200), &json!(CHANNELS[0])));
    let answer = house.push(&endpoint, &[], "x").await;
    assert_eq!((answer.status.as_u16(), &answer.json()["errno"]), (410, &json!(106)));
    let bad = json!({ "messageType": "register", "channelID": CHANNELS[0], "key": "AAAA" });
    browser.say(&bad).await.unwrap();
    assert_eq!(patiently("an answer", browser.next()).await.unwrap()["status"], 400);
}

#[tokio::test]
async fn a_browser_is_known_by_what_it_was_given_and_only_if_it_subscribed() {
    let house = House::new().await;
    let mut browser = house.browser("").await;
    let idle = house.browser("").await;
    assert_ne!(browser.uaid, idle.uaid);
    browser.register(CHANNELS[0], None).await.unwrap();
    let mut forged = browser.uaid.clone();
    let last = if forged.ends_with('0') { "1" } else { "0" };
    forged.replace_range(31.., last);
    for strange in [&*forged, &*idle.uaid, "no-uaid", &"f".repeat(32)] {
        let other = house.browser(strange).await;
        assert!(other.uaid != strange && other.uaid != browser.uaid, "{strange}");
    }
    // The newest connection is the browser's.
    let again = house.browser(&browser.uaid).await;
    assert_eq!(again.uaid, browser.uaid);
    assert_eq!(patiently("the end", browser.hear()).await.unwrap(), Heard::Closed(Some(1000)));
}

#[tokio::test]
async fn who_does_not_keep_to_the_protocol_is_sent_away() {
    let house = House::new().await;
    let hello = json!({ "messageType": "hello", "use_webpush": true });
    let table: &[(&[Frame], u16)] = &[
        (&[Frame::text("{}")], 1011),
        (&[Frame::text("x")], 1011),
        (&[Frame::binary(vec![1])], 1003),
        (&[Frame::text(hello.to_string()), Frame::text(hello.to_string())], 1011),
        (&[Frame::text(hello.to_string()), Frame::text("{}"), Frame::text("{}")], 1011),
        (
            &[Frame::text(hello.to_string()), Frame::text(r#"{"messageType":"register","channelID":"X"}"#)],
            1011,
        ),
    ];
    for (frames, code) in table {
        let mut browser = Browser::connect(house.world.running.https, &house.world.trust).await.unwrap();
        for frame in *frames {
            browser.send(frame.clone()).await.unwrap();
        }
        let closed = loop {
            match patiently("the end", browser.hear()).await.unwrap() {
                Heard::Closed(code) => break code,
                _ => continue,
            }
        };
        assert_eq!(closed, Some(*code), "{frames:?}");
    }
    // A frame of another size than anything it could have to say.
    let mut browser = Browser::connect(house.world.running.https, &house.world.trust).await.unwrap();
    let _ = browser.send(Frame::text("x".repeat(64 << 10))).await;
    assert!(matches!(patiently("the end", browser.hear()).await.unwrap(), Heard::Closed(_)));
    let silent = Browser::connect(house.world.running.https, &house.world.trust).await;
    let heard = patiently("the end of who says nothing", silent.unwrap().hear()).await.unwrap();
    assert_eq!(heard, Heard::Closed(Some(1011)));
}

#[tokio::test]
async fn at_the_end_browsers_are_sent_away_and_come_back_to_what_waits() {
    let house = House::new().await;
    let mut browser = house.browser("").await;
    let endpoint = browser.register(CHANNELS[0], Some(&house.public())).await.unwrap();
    let listening = tokio::spawn(async move {
        let heard = patiently("the end", browser.hear()).await.unwrap();
        (heard, browser.uaid.clone())
    });
    let house = house.again().await;
    let (heard, uaid) = listening.await.unwrap();
    assert_eq!(heard, Heard::Closed(Some(1001)));
    house.pushed(&endpoint, &[], "waits").await;
    let mut browser = house.browser(&uaid).await;
    assert_eq!(house.texts_until(&mut browser, "waits").await, ["waits"]);
}

#[tokio::test]
async fn a_web_app_of_such_a_browser_gets_messages_of_the_project_in_the_coding_it_reads() {
    let house = House::new().await;
    let mut browser = house.browser("").await;
    let key = house.server.identity().project("demo").unwrap().web_push_keys[0].public;
    let endpoint = browser.register(CHANNELS[0], Some(&encode_base64_padded(key))).await.unwrap();
    let app = house.server.web_app().await.unwrap();
    let post = async |path: &str, auth: &str, body: Value| {
        let headers = [("x-goog-api-key", &*app.api_key), ("x-goog-firebase-installations-auth", auth)];
        let answer = house.http.post(path, &headers, Bytes::from(body.to_string())).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    };
    let install =
        json!({ "fid": "", "authVersion": "FIS_v2", "appId": app.app_id, "sdkVersion": "w:0.6.24" });
    let made = post("/v1/projects/demo/installations", "", install).await;
    let auth = made["authToken"]["token"].as_str().unwrap().to_owned();
    let web = json!({
        "endpoint": endpoint,
        "p256dh": encode_base64(house.pair.public()),
        "auth": encode_base64(AUTH),
        "applicationPubKey": encode_base64(key),
    });
    let made = post("/v1/projects/demo/registrations", &auth, json!({ "web": web })).await;
    let token = made["token"].as_str().unwrap();
    let words = |told: &Value| {
        let json: Value = serde_json::from_str(&house.text_of(told)).unwrap();
        json["data"]["word"].as_str().unwrap().to_owned()
    };
    let to = |word: &str| json!({ "token": token, "data": { "word": word } });
    house.world.accept(&to("connected")).await.unwrap();
    let told = patiently("a notification", browser.next()).await.unwrap();
    assert_eq!((words(&told), &told["channelID"]), ("connected".into(), &json!(CHANNELS[0])));
    browser.acknowledge(&told).await.unwrap();
    // To a condition everybody matches, which is a set.
    house.world.accept(&json!({ "condition": "!('x' in topics)", "data": { "word": "all" } })).await.unwrap();
    let told = patiently("a notification", browser.next()).await.unwrap();
    assert_eq!(words(&told), "all");
    browser.acknowledge(&told).await.unwrap();
    settled(&mut browser).await;
    let uaid = browser.uaid.clone();
    drop(browser);
    for n in 0..12 {
        house.world.accept(&to(&n.to_string())).await.unwrap();
    }
    let mut browser = house.browser(&uaid).await;
    for n in 0..12 {
        let told = patiently("a notification", browser.next()).await.unwrap();
        browser.acknowledge(&told).await.unwrap();
        assert_eq!(words(&told), n.to_string());
    }
    // One byte more than a record of its coding has room for.
    let large = json!({ "token": token, "data": { "word": "x".repeat(3_990) } });
    let answer = house.world.send(&large).await.unwrap();
    assert_eq!(answer.status, 400, "{}", answer.text());
}

#[tokio::test]
async fn a_push_reaches_a_subscription_of_mcs_in_the_coding_that_it_came_in() {
    let house = House::new().await;
    let device = house.world.device().await.unwrap();
    let key = encode_base64(house.key.key.public());
    let form = Register3::web("wp:https://page.test/#1", &key);
    let token = house.world.devices.register3(&device.credentials, &form).await.unwrap();
    let endpoint = format!("https://fcm.googleapis.com/fcm/send/{token}");
    house.pushed(&endpoint, &[], "stored").await;
    let mut connection = house.world.connect(&device).await.unwrap();
    for (text, connected) in [("stored", false), ("pushed", true)] {
        if connected {
            house.pushed(&endpoint, &[("topic", "t")], text).await;
        }
        let stanza = crate::support::next(&mut connection).await.stanza;
        assert_eq!((stanza.from.as_str(), stanza.category.as_str()), (key.as_str(), "org.chromium.linux"));
        assert_eq!(stanza.get("subtype"), Some("wp:https://page.test/#1"));
        assert_eq!(stanza.get("content-encoding"), Some("aes128gcm"));
        let opened = aes128gcm::open(&house.pair, &AUTH, stanza.raw_data.as_ref().unwrap()).unwrap();
        assert_eq!(opened, text.as_bytes());
    }
}

#[tokio::test]
async fn what_a_push_is_answered_is_durable() {
    let house = House::new().await;
    let mut browser = house.browser("").await;
    let endpoint = browser.register(CHANNELS[0], Some(&house.public())).await.unwrap();
    let uaid = browser.uaid.clone();
    drop(browser);
    for n in 0..30 {
        house.pushed(&endpoint, &[], &n.to_string()).await;
    }
    let house = house.again().await;
    let mut browser = house.browser(&uaid).await;
    let expected: Vec<_> = (0..30).map(|n| n.to_string()).collect();
    assert_eq!(house.texts_until(&mut browser, "29").await, expected);
    // Of who acknowledges nothing, no more than a batch is out.
    for n in 0..30 {
        house.pushed(&endpoint, &[], &n.to_string()).await;
    }
    drop(browser);
    let mut browser = house.browser(&uaid).await;
    for _ in 0..10 {
        patiently("a notification", browser.next()).await.unwrap();
    }
    // Its answer would come after whatever was sent before.
    settled(&mut browser).await;
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_all_have_so_many() {
    for (total, per_address, silent, status) in [(2, 100, 100, 503), (100, 2, 100, 429), (100, 100, 2, 429)] {
        let folder = std::sync::Arc::new(tempfile::TempDir::new().unwrap());
        let mut config = cresset_e2e::config(folder.path());
        config.limits.device_connections = total;
        config.limits.connections_per_address = per_address;
        config.limits.logins_per_address = silent;
        config.limits.count_loopback = true;
        let server = TestServer::start_with(folder, &config).await.unwrap();
        let trust = cresset_e2e::Trust::of_folder(server.folder().path()).unwrap();
        let address = server.running().https;
        let connect = async || Browser::connect(address, &trust).await;
        let open = [connect().await.unwrap(), connect().await.unwrap()];
        let refused = connect().await.err().expect("there is no room").to_string();
        assert!(refused.contains(&status.to_string()), "{refused}");
        drop(open);
        // Their end is noticed a little later.
        let again = async {
            while connect().await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        patiently("room for another", again).await;
    }
}
