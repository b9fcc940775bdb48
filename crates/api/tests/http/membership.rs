//! What stands beside a registration comes and goes with it, and who wants to know is told.

use std::sync::{Arc, Mutex};

use cresset_delivery::Dispatcher;
use cresset_identity::{Told, Watch};
use cresset_message::{DeviceId, Platform, ProjectNumber, RegistrationId, Rejection, Timestamp, Topic};
use cresset_store::tables::members::{self, TopicKey};
use cresset_store::tables::{carried, registrations};
use cresset_store::{Batch, Engine as _, Store, Table};
use cresset_wire::token::{Presented, TokenKey, present};
use serde_json::json;

use crate::registration::{SUBTYPE, VAPID, WebApp, install, register_web, subscribe};
use crate::world::{Phone, World};

#[derive(Clone, Debug, PartialEq, Eq)]
enum News {
    Registered(RegistrationId, u64),
    Ended(RegistrationId),
    ProjectDeleted(ProjectNumber),
}

#[derive(Default)]
struct Listener(Mutex<Vec<News>>);

impl Listener {
    fn hear(&self, news: News) -> Told<'_> {
        self.0.lock().unwrap().push(news);
        Box::pin(async {})
    }

    fn heard(&self) -> Vec<News> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Watch for Listener {
    fn registered(&self, id: RegistrationId, device: DeviceId, _: Timestamp) -> Told<'_> {
        self.hear(News::Registered(id, device.get()))
    }

    fn ended(&self, id: RegistrationId, _: Timestamp) -> Told<'_> {
        self.hear(News::Ended(id))
    }

    fn project_deleted(&self, project: ProjectNumber, _: Timestamp) -> Told<'_> {
        self.hear(News::ProjectDeleted(project))
    }
}

async fn watched() -> (World, Arc<Listener>) {
    let world = World::new().await;
    let listener = Arc::new(Listener::default());
    world.identity.set_watch(listener.clone());
    (world, listener)
}

fn id_of(token: &str) -> RegistrationId {
    match present(&TokenKey::new(&[9; 32]), token) {
        Presented::Registration(id) => id,
        other => panic!("{other:?}: {token}"),
    }
}

/// As the topics of delivery write it.
async fn join(world: &World, id: RegistrationId, count: usize) {
    let mut batch = Batch::default();
    for n in 0..count {
        members::join(&mut batch, id, &topic(n), world.now());
    }
    assert!(world.engine.write(batch, world.now()).await.unwrap());
}

fn topic(n: usize) -> Topic {
    format!("topic-{n}").parse().unwrap()
}

/// Rows that the registration has: its record, in the universe, on the device, of the first topic
/// in either direction.
async fn rows(world: &World, id: RegistrationId, device: u64) -> [bool; 5] {
    let keys = [
        registrations::key(id),
        members::key(id, TopicKey::of_platform(Platform::Android)),
        carried::key(DeviceId::new(device).unwrap(), id),
        members::key(id, TopicKey::of("topic-0")),
        members::topic_key(id, "topic-0"),
    ];
    let mut there = [false; 5];
    for (there, key) in there.iter_mut().zip(&keys) {
        *there = world.engine.get(key, world.now()).await.unwrap().is_some();
    }
    for platform in [Platform::Ios, Platform::Web] {
        let key = members::key(id, TopicKey::of_platform(platform));
        there[1] |= world.engine.get(&key, world.now()).await.unwrap().is_some();
    }
    there
}

const NOTHING: [bool; 5] = [false; 5];
const ALL: [bool; 5] = [true; 5];

async fn android(world: &World, phone: &Phone, auth: &str) -> RegistrationId {
    let sender = world.demo().number.to_string();
    let fields = [
        ("app", "com.example.app"),
        ("sender", &*sender),
        ("X-subtype", &*sender),
        ("X-scope", "*"),
        ("X-Goog-Firebase-Installations-Auth", auth),
    ];
    id_of(world.register3(phone, &fields).await.text().strip_prefix("token=").unwrap())
}

async fn unregister(world: &World, phone: &Phone, app: &str, subtype: &str) {
    let fields =
        [("app", app), ("X-subtype", subtype), ("sender", "*"), ("X-scope", "*"), ("delete", "true")];
    assert!(world.register3(phone, &fields).await.text().starts_with("token="));
}

async fn web(world: &World, web: &WebApp, phone: &Phone) -> RegistrationId {
    let endpoint = subscribe(world, phone).await;
    id_of(register_web(world, web, &endpoint).await.json()["token"].as_str().unwrap())
}

#[tokio::test]
async fn an_app_that_unregisters_leaves_nothing() {
    let (world, listener) = watched().await;
    let phone = world.check_in().await;
    let id = android(&world, &phone, "").await;
    assert_eq!(rows(&world, id, phone.id).await, [true, true, true, false, false]);
    assert_eq!(listener.heard(), [News::Registered(id, phone.id)]);
    assert_eq!(android(&world, &phone, "").await, id);
    assert_eq!(listener.heard(), [], "it was found again");

    join(&world, id, 2_000).await;
    assert_eq!(rows(&world, id, phone.id).await, ALL);
    unregister(&world, &phone, "com.example.app", &world.demo().number.to_string()).await;
    assert_eq!(rows(&world, id, phone.id).await, NOTHING);
    assert_eq!(world.engine.rows(Table::MemberTopics, &members::topics_partition(id)).await, 0);
    let last = members::partition(id.project, id.bucket, TopicKey::of("topic-1999"));
    assert_eq!(world.engine.rows(Table::TopicMembers, &last).await, 0);
    assert_eq!(listener.heard(), [News::Ended(id)]);
}

#[tokio::test]
async fn an_app_with_a_new_installation_takes_the_place_of_the_old_one() {
    let (world, listener) = watched().await;
    let phone = world.check_in().await;
    let demo = world.demo();
    let app = demo.apps.iter().find(|app| app.id.as_str().contains("android")).unwrap();
    let auth = async || {
        let made = world.identity.create_installation(&demo, app.id.as_str(), None, world.now()).await;
        made.unwrap().auth_token
    };
    let (first, second) = (auth().await, auth().await);
    let old = android(&world, &phone, &first).await;
    join(&world, old, 3).await;
    listener.heard();
    let new = android(&world, &phone, &second).await;
    assert_eq!(rows(&world, old, phone.id).await, NOTHING);
    assert_eq!(rows(&world, new, phone.id).await, [true, true, true, false, false]);
    assert_eq!(listener.heard(), [News::Registered(new, phone.id), News::Ended(old)]);
}

#[tokio::test]
async fn a_web_app_moves_to_the_device_of_its_subscription() {
    let (world, listener) = watched().await;
    let (phone, other) = (world.check_in().await, world.check_in().await);
    let app = install(&world, "").await;
    let id = web(&world, &app, &phone).await;
    join(&world, id, 1).await;
    assert_eq!(rows(&world, id, phone.id).await, ALL);
    let heard = listener.heard();
    let [News::Registered(below, _), News::Registered(above, device)] = &heard[..] else {
        panic!("{heard:?}");
    };
    assert_eq!((*above, *device), (id, phone.id));
    assert_eq!(
        rows(&world, *below, phone.id).await,
        [true, false, true, false, false],
        "a bare subscription is of no project"
    );
    // The subscription goes first: that the app was on its device is known all the same.
    unregister(&world, &phone, "org.chromium.linux", SUBTYPE).await;
    assert_eq!(web(&world, &app, &other).await, id);
    assert_eq!(rows(&world, id, other.id).await, ALL);
    assert_eq!(rows(&world, id, phone.id).await, [true, true, false, true, true]);
    let heard = listener.heard();
    assert_eq!(heard.last(), Some(&News::Registered(id, other.id)));
    assert_eq!(web(&world, &app, &other).await, id);
    assert_eq!(listener.heard(), [News::Registered(id, other.id)], "its keys may be others");

    let key = world.demo().api_keys[0].clone();
    let headers = [("x-goog-api-key", &*key), ("x-goog-firebase-installations-auth", &*app.auth_token)];
    let path = format!("/v1/projects/demo/registrations/{}", app.fid);
    assert_eq!(world.request("DELETE", &path, &headers, "").await.text(), "{}");
    assert_eq!(rows(&world, id, other.id).await, NOTHING);
    assert_eq!(listener.heard(), [News::Ended(id)]);
}

#[tokio::test]
async fn an_installation_ends_with_its_registration() {
    let (world, listener) = watched().await;
    let phone = world.check_in().await;
    let app = install(&world, "").await;
    let id = web(&world, &app, &phone).await;
    join(&world, id, 3).await;
    listener.heard();
    let key = world.demo().api_keys[0].clone();
    let refresh = format!("FIS_v2 {}", app.refresh_token);
    let headers = [("x-goog-api-key", &*key), ("authorization", &*refresh)];
    let path = format!("/v1/projects/demo/installations/{}", app.fid);
    assert_eq!(world.request("DELETE", &path, &headers, "").await.text(), "{}");
    assert_eq!(rows(&world, id, phone.id).await, NOTHING);
    assert_eq!(listener.heard(), [News::Ended(id)]);
}

#[tokio::test]
async fn receivers_of_2018_come_and_go_too() {
    let (world, listener) = watched().await;
    let phone = world.check_in().await;
    let endpoint = subscribe(&world, &phone).await;
    listener.heard();
    let number = world.demo().number.to_string();
    let fields = [
        ("authorized_entity", &*number),
        ("endpoint", &*endpoint),
        ("encryption_key", VAPID),
        ("encryption_auth", "AAAAAAAAAAAAAAAAAAAAAA"),
    ];
    let made = world.form("/fcm/connect/subscribe", &[], &fields).await.json();
    let (token, push_set) = (made["token"].as_str().unwrap(), made["pushSet"].as_str().unwrap());
    let id = id_of(token);
    join(&world, id, 1).await;
    assert_eq!(rows(&world, id, phone.id).await, ALL);
    assert_eq!(listener.heard(), [News::Registered(id, phone.id)]);
    let again = [&fields[..], &[("token", token), ("push_set", push_set)]].concat();
    world.form("/fcm/connect/subscribe", &[], &again).await;
    assert_eq!(listener.heard(), [News::Registered(id, phone.id)]);
    let gone = [("authorized_entity", &*number), ("token", token), ("pushSet", push_set)];
    assert_eq!(world.form("/fcm/connect/unsubscribe", &[], &gone).await.json(), json!({}));
    assert_eq!(rows(&world, id, phone.id).await, NOTHING);
    assert_eq!(listener.heard(), [News::Ended(id)]);
}

#[tokio::test]
async fn a_project_that_is_deleted_is_told_of() {
    let (world, listener) = watched().await;
    let number = world.project("other").await.number;
    world.identity.delete_project(&"other".parse().unwrap(), world.now()).await.unwrap();
    assert_eq!(listener.heard(), [News::ProjectDeleted(number)]);
}

/// Whoever subscribes finds the registration gone, or whoever ends it finds the topic.
#[tokio::test]
async fn a_topic_that_comes_while_its_registration_ends_does_not_stay() {
    let (world, _) = watched().await;
    let store: Store = world.engine.clone();
    let dice = Arc::new(|bytes: &mut [u8]| bytes.fill(1));
    let dispatcher = Dispatcher::open(store, TokenKey::new(&[9; 32]), dice, world.now()).await.unwrap();
    let sender = world.demo().number.to_string();
    let (mut joined, mut late) = (0, 0);
    // A registration ends with such a row.
    world.engine.slow_writes(&[Table::DeviceRegistrations]);
    let wait = async |times: usize| {
        for _ in 0..times {
            tokio::task::yield_now().await;
        }
    };
    for round in 0..100 {
        let phone = world.check_in().await;
        let id = android(&world, &phone, "").await;
        let subscribe = async {
            wait(round % 10 * 3).await;
            match dispatcher.subscribe_one(id, &topic(0), world.now()).await {
                Ok(false) => joined += 1,
                Err(Rejection::Unregistered) => late += 1,
                other => panic!("{other:?}"),
            }
        };
        let end = async {
            wait(round / 10).await;
            unregister(&world, &phone, "com.example.app", &sender).await;
        };
        tokio::join!(end, subscribe);
        assert_eq!(rows(&world, id, phone.id).await, NOTHING, "round {round}");
    }
    assert!(joined > 1 && late > 1, "{joined} {late}");
}

/// A subscription below and a web app above, moved, renewed and ended all at once.
#[tokio::test]
async fn no_row_stays_of_what_moves_and_ends_at_the_same_moment() {
    let (world, listener) = watched().await;
    let phones = [world.check_in().await, world.check_in().await];
    let endpoints = [subscribe(&world, &phones[0]).await, subscribe(&world, &phones[1]).await];
    let key = world.demo().api_keys[0].clone();
    for _ in 0..20 {
        let app = install(&world, "").await;
        register_web(&world, &app, &endpoints[0]).await;
        let headers = [("x-goog-api-key", &*key), ("x-goog-firebase-installations-auth", &*app.auth_token)];
        let path = format!("/v1/projects/demo/registrations/{}", app.fid);
        let end = async || {
            world.request("DELETE", &path, &headers, "").await;
        };
        let to = async |endpoint: &str| {
            register_web(&world, &app, endpoint).await;
        };
        tokio::join!(to(&endpoints[1]), end(), to(&endpoints[0]), end(), to(&endpoints[1]));
        end().await;
    }
    for phone in &phones {
        let partition = carried::partition(DeviceId::new(phone.id).unwrap());
        assert_eq!(world.engine.rows(Table::Carried, &partition).await, 1, "the subscription");
    }
    let demo = world.demo().number;
    let everyone = members::partition(demo, 0, TopicKey::of_platform(Platform::Web));
    assert_eq!(world.engine.rows(Table::TopicMembers, &everyone).await, 0);
    // Whoever was told that one began was told that it ended, later.
    let heard = listener.heard();
    for (at, news) in heard.iter().enumerate() {
        if let News::Registered(id, _) = news
            && id.project == demo
        {
            assert!(heard[at..].contains(&News::Ended(*id)), "{id:?}");
        }
    }
}
