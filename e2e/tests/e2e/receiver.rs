//! The device SDK as an app developer takes it: messages come, each once, whatever happens to the
//! server, the connection, and the app's own process.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use cresset_device_client::{
    AndroidApp, Client, Endpoints, Event, FileStore, MemoryStore, Message, Priority, Receiver, Store as _,
    Surroundings, Trust, WebApp,
};
use cresset_e2e::{TestServer, World, config, patiently};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

fn app(world: &World) -> AndroidApp {
    AndroidApp::new("com.example.demo", &world.sender_id)
}

/// A receiver that keeps its state in `store`.
fn receiver(world: &World, store: &MemoryStore) -> Receiver {
    Receiver::android(world.devices.clone(), app(world)).store(store.clone()).open().unwrap()
}

async fn next(receiver: &mut Receiver) -> Event {
    patiently("an event", receiver.next()).await.unwrap()
}

/// The next message, past what else happens.
async fn message(receiver: &mut Receiver) -> Message {
    loop {
        if let Event::Message(message) = next(receiver).await {
            return message;
        }
    }
}

async fn word(receiver: &mut Receiver) -> String {
    message(receiver).await.data.remove("word").unwrap_or_default()
}

async fn connected(receiver: &mut Receiver) {
    while !matches!(next(receiver).await, Event::Connected) {}
}

async fn say(world: &World, token: &str, word: &str) -> String {
    world.accept(&json!({ "token": token, "data": { "word": word } })).await.unwrap()
}

#[tokio::test]
async fn a_message_arrives_with_all_its_parts() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let web = WebApp::new(server.web_app().await.unwrap());
    let receivers = [
        receiver(&world, &MemoryStore::default()),
        Receiver::web(world.devices.clone(), web).open().unwrap(),
    ];
    for (mut receiver, is_web) in receivers.into_iter().zip([false, true]) {
        let token = receiver.token().await.unwrap().to_owned();
        let id = world
            .accept(&json!({
                "token": token,
                "data": { "score": "850" },
                "notification": { "title": "Hi", "body": "there", "image": "https://a.test/i.png" },
                "android": { "collapse_key": "k", "ttl": "60s", "notification": { "color": "#112233" } },
                "webpush": {
                    "headers": { "Topic": "k", "TTL": "60", "Urgency": "high" },
                    "notification": { "silent": true },
                    "fcm_options": { "link": "https://a.test/" },
                },
            }))
            .await
            .unwrap();
        assert!(matches!(next(&mut receiver).await, Event::Token(told) if told == token));
        assert!(matches!(next(&mut receiver).await, Event::Connected));
        let message = message(&mut receiver).await;
        assert_eq!((message.id, message.from), (id, world.sender_id.clone()));
        assert_eq!(message.data.into_iter().collect::<Vec<_>>(), [("score".into(), "850".into())]);
        assert_eq!(
            (message.collapse_key.as_deref(), message.ttl),
            (Some("k"), Some(Duration::from_secs(60)))
        );
        assert!(message.sent.is_some() && message.raw_data.is_none());
        let shown = message.notification.unwrap();
        assert_eq!((shown.title.as_deref(), shown.body.as_deref()), (Some("Hi"), Some("there")));
        assert_eq!(shown.image.as_deref(), Some("https://a.test/i.png"));
        if is_web {
            assert_eq!(
                (message.priority, message.link.as_deref()),
                (Some(Priority::High), Some("https://a.test/"))
            );
            assert_eq!(shown.other["silent"], true);
            let fid = receiver.fid().unwrap();
            world.accept(&json!({ "fid": fid, "data": { "word": "by fid" } })).await.unwrap();
            assert_eq!(word(&mut receiver).await, "by fid");
        } else {
            assert_eq!(shown.other["color"], "#112233");
        }
        receiver.close().await.unwrap();
    }
}

#[tokio::test]
async fn topics_are_joined_and_left() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let web = WebApp::new(server.web_app().await.unwrap());
    let mut android = receiver(&world, &MemoryStore::default());
    let mut browser = Receiver::web(world.devices.clone(), web).open().unwrap();
    for receiver in [&mut android, &mut browser] {
        receiver.subscribe("/topics/news").await.unwrap();
        receiver.subscribe("100%~").await.unwrap();
        assert_eq!(receiver.topics().collect::<Vec<_>>(), ["100%~", "news"]);
        let refused = receiver.subscribe("no topic").await.unwrap_err();
        assert!(!refused.is_passing(), "{refused}");
        connected(receiver).await;
    }
    world.accept(&json!({ "topic": "news", "data": { "word": "first" } })).await.unwrap();
    world.accept(&json!({ "topic": "100%~", "data": { "word": "second" } })).await.unwrap();
    for receiver in [&mut android, &mut browser] {
        let mut words = [word(receiver).await, word(receiver).await];
        words.sort();
        assert_eq!(words, ["first", "second"]);
        receiver.unsubscribe("news").await.unwrap();
        receiver.unsubscribe("was-never-in").await.unwrap();
    }
    world.accept(&json!({ "topic": "news", "data": { "word": "for nobody" } })).await.unwrap();
    for receiver in [&mut android, &mut browser] {
        let token = receiver.token().await.unwrap().to_owned();
        say(&world, &token, "last").await;
        assert_eq!(word(receiver).await, "last");
    }
}

#[tokio::test]
async fn it_comes_back_after_a_restart_and_gets_each_message_once() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let mut receiver = receiver(&world, &MemoryStore::default());
    let token = receiver.token().await.unwrap().to_owned();
    connected(&mut receiver).await;
    say(&world, &token, "before").await;
    assert_eq!(word(&mut receiver).await, "before");

    // The server never hears that "before" has arrived until the receiver comes back.
    let running = world.running.clone();
    drop(world);
    let folder = server.stop().await.unwrap();
    let mut config = config(folder.path());
    (config.listen.https, config.listen.http, config.listen.mcs) = (running.https, running.http, running.mcs);
    let server = TestServer::start_with(folder, &config).await.unwrap();
    let world = server.world().await.unwrap();
    say(&world, &token, "meanwhile").await;
    assert_eq!(word(&mut receiver).await, "meanwhile");
    say(&world, &token, "after").await;
    assert_eq!(word(&mut receiver).await, "after");
}

#[tokio::test]
async fn what_a_file_keeps_survives_the_process() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("device.json");
    let open = || {
        let store = FileStore::open(&path).unwrap();
        Receiver::android(world.devices.clone(), app(&world)).store(store).open().unwrap()
    };
    let mut receiver = open();
    let token = receiver.token().await.unwrap().to_owned();
    for word in ["handled", "in hand"] {
        say(&world, &token, word).await;
    }
    assert_eq!(word(&mut receiver).await, "handled");
    assert_eq!(word(&mut receiver).await, "in hand");
    // As in a crash: nobody has asked for more, so what was handed out last counts as not handled.
    drop(receiver);

    let mut receiver = open();
    assert!(matches!(next(&mut receiver).await, Event::Connected), "its token is no news");
    assert_eq!(receiver.token().await.unwrap(), token);
    assert_eq!(word(&mut receiver).await, "in hand");
    receiver.close().await.unwrap();

    let mut receiver = open();
    say(&world, &token, "new").await;
    assert_eq!(word(&mut receiver).await, "new");
}

#[tokio::test]
async fn a_device_that_is_not_known_starts_over_and_tells_its_token() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let store = MemoryStore::default();
    let mut known = receiver(&world, &store);
    known.subscribe("news").await.unwrap();
    let token = known.token().await.unwrap().to_owned();
    drop(known);
    let mut state: Value = serde_json::from_slice(&store.load().unwrap().unwrap()).unwrap();
    state["device"]["android_id"] = json!("4711");
    store.save(state.to_string().as_bytes()).unwrap();

    let surroundings = Arc::new(Hurried::default());
    let builder = Receiver::android(world.devices.clone(), app(&world)).store(store);
    let mut stranger = builder.surroundings(surroundings).open().unwrap();
    let Event::Disconnected { error, .. } = next(&mut stranger).await else { panic!("it was let in") };
    assert!(matches!(error, cresset_device_client::Error::LoginRefused { .. }), "{error}");
    let Event::Token(new) = next(&mut stranger).await else { panic!("it has no new token") };
    assert_ne!(new, token);
    connected(&mut stranger).await;
    world.accept(&json!({ "topic": "news", "data": { "word": "still in it" } })).await.unwrap();
    assert_eq!(word(&mut stranger).await, "still in it");
}

#[tokio::test]
async fn an_installation_that_is_forgotten_is_made_anew() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let (web, store) = (WebApp::new(server.web_app().await.unwrap()), MemoryStore::default());
    let open = || Receiver::web(world.devices.clone(), web.clone()).store(store.clone()).open().unwrap();
    let token = open().token().await.unwrap().to_owned();
    let mut state: Value = serde_json::from_slice(&store.load().unwrap().unwrap()).unwrap();
    state["registration"]["installation"]["fid"] = json!("cdefghijklmnopqrstuvwx");
    store.save(state.to_string().as_bytes()).unwrap();

    let mut receiver = open();
    let refused = receiver.subscribe("news").await.unwrap_err();
    assert!(matches!(refused, cresset_device_client::Error::Refused { .. }), "{refused}");
    receiver.subscribe("news").await.unwrap();
    assert!(matches!(next(&mut receiver).await, Event::Token(new) if new != token));
    world.accept(&json!({ "topic": "news", "data": { "word": "in it" } })).await.unwrap();
    assert_eq!(word(&mut receiver).await, "in it");
}

#[tokio::test]
async fn it_ends_when_told_and_has_acknowledged() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let store = MemoryStore::default();
    let mut first = receiver(&world, &store);
    let token = first.token().await.unwrap().to_owned();
    say(&world, &token, "one").await;
    let (told, stop) = tokio::sync::oneshot::channel();
    let mut told = Some(told);
    let stop = async { drop(stop.await) };
    let ended = first.run(stop, async |event| {
        if matches!(event, Event::Message(_)) {
            let _ = told.take().unwrap().send(());
        }
    });
    patiently("an orderly end", ended).await.unwrap();
    say(&world, &token, "two").await;
    assert_eq!(word(&mut receiver(&world, &store)).await, "two");
}

/// Time that passes only by waiting, and no dice.
#[derive(Default)]
struct Hurried {
    waits: Mutex<Vec<Duration>>,
}

impl Surroundings for Hurried {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.elapsed()
    }

    fn elapsed(&self) -> Duration {
        self.waits.lock().unwrap().iter().sum()
    }

    fn chance(&self) -> f64 {
        0.5
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.waits.lock().unwrap().push(duration);
        Box::pin(std::future::ready(()))
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Plain,
    Tls,
    /// TLS, and nothing more after the words.
    Silent,
}

/// Says `words` to whoever comes, after their login or at once, and hangs up or falls silent.
async fn hostile(words: &'static [u8], manner: Manner) -> (String, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        let mut silent = Vec::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            if manner == Manner::Plain {
                let _ = socket.write_all(words).await;
                continue;
            }
            let Ok(mut stream) = acceptor.accept(socket).await else { continue };
            let _ = stream.read(&mut [0; 4_096]).await;
            let _ = stream.write_all(words).await;
            match manner {
                // For as long as the test lasts.
                Manner::Silent => silent.push(stream),
                _ => drop(stream.shutdown().await),
            }
        }
    });
    (address, made.cert.pem())
}

const LOGIN: &[u8] = &[41, 3, 4, 0x0a, 0, 0x30, 1];
const LOGIN_AND_GARBAGE: &[u8] = &[41, 3, 4, 0x0a, 0, 0x30, 1, 8, 3, 0xff, 0xff, 0xff];

#[tokio::test]
async fn it_leaves_a_hostile_server_ever_longer_alone() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let cases: [(&[u8], Manner); 7] = [
        (b"", Manner::Plain),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Manner::Plain),
        (b"", Manner::Tls),
        (&[41, 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Manner::Tls),
        (&[1, 2, 3], Manner::Tls),
        (LOGIN_AND_GARBAGE, Manner::Tls),
        (LOGIN, Manner::Silent),
    ];
    for (words, manner) in cases {
        let (mcs, pem) = hostile(words, manner).await;
        let http_base = format!("http://{}", world.running.http);
        let endpoints = Endpoints { http_base, mcs, server_name: Some("localhost".into()) };
        let client = Client::new(endpoints, Trust::pem(&pem).unwrap()).unwrap();
        let surroundings = Arc::new(Hurried::default());
        let builder = Receiver::android(client, app(&world)).surroundings(surroundings.clone());
        let mut receiver = builder.heartbeat(Duration::from_millis(20)).open().unwrap();
        let mut failures = 0;
        while failures < 12 {
            match next(&mut receiver).await {
                Event::Disconnected { error, .. } => {
                    assert!(error.is_passing(), "{error}");
                    failures += 1;
                }
                Event::Token(_) | Event::Connected => {}
                other => panic!("{words:?}: {other:?}"),
            }
        }
        let waits: Vec<u64> = surroundings.waits.lock().unwrap().iter().map(Duration::as_secs).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600], "{words:?}");
    }
}
