//! Messages to one that wait while something older for many is on its way: each comes in its turn.

use std::sync::Arc;
use std::time::Duration;

use cresset_delivery::{Limits, Quotas};
use cresset_message::{AndroidConfig, Message, MessageId};
use cresset_store::Table;
use tokio::task::JoinHandle;

use crate::fanout::{Line, topic};
use crate::world::{NOW, PROJECT, Stop, World, device, message};

/// As many as may wait at a time (`cresset_delivery`, `turn.rs`).
const MOST: usize = 16_384;

/// A phone that is connected, and something for it and many that is stopped on its way.
struct Scene {
    world: World,
    line: Arc<Line>,
    token: String,
    stop: Arc<Stop>,
    many: MessageId,
    /// Accepted after it.
    one: MessageId,
}

impl Scene {
    async fn new(world: World) -> Self {
        let token = world.register(device(1), 1).await;
        world.join(1, "news").await;
        let line = world.connect(device(1)).await;
        let many = world.send_to(topic("news"), 1).await;
        let stop = world.engine.stop_at(Table::TopicMembers);
        let one = world.send(&token, None).await;
        stop.reached().await;
        Self { world, line, token, stop, many, one }
    }

    /// What the phone got, by when it was accepted.
    fn got(&self) -> Vec<u64> {
        self.line.taken().iter().map(|id| id.micros).collect()
    }

    fn send(&self, sent: Message) -> JoinHandle<MessageId> {
        let sender = self.world.dispatcher.clone();
        tokio::spawn(async move { sender.send(PROJECT, sent, false, NOW).await.unwrap() })
    }
}

/// Until nobody can go on.
async fn rest() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

/// `cresset-simulate --seed 8967082` of an earlier version: a phone that logs in, and has a message from when the
/// clock was days ahead, lets all pass that is older than that: what is newer than one that waits, too.
#[tokio::test]
async fn who_waits_is_not_overtaken_by_what_is_newer_and_for_many_whoever_brings_it() {
    let mut world = World::new().await;
    let other = world.register(device(2), 2).await;
    let later = NOW + Duration::from_secs(2 * 86_400);
    world.dispatcher.send(PROJECT, message(&other, None), false, later).await.unwrap();
    world.kill(Quotas::OFF, Limits::default(), NOW).await;
    let scene = Scene::new(world).await;
    let dispatcher = scene.world.dispatcher.clone();
    let login =
        tokio::spawn(async move { dispatcher.pending(device(2), 10, &|_| false, NOW).await.unwrap() });
    rest().await;
    let waits = scene.world.send(&scene.token, None).await;
    let newer = scene.world.send_to(topic("news"), 2).await;
    let newest = scene.world.send(&scene.token, None).await;
    rest().await;
    assert_eq!(scene.got(), [0; 0], "all wait for the first");
    scene.stop.go();
    assert_eq!(login.await.unwrap().len(), 1);
    rest().await;
    let in_order = [scene.many, scene.one, waits, newer, newest];
    assert_eq!(scene.got(), in_order.map(|id| id.micros));
    scene.world.spread(NOW).await;
    assert_eq!(scene.got(), [0; 0], "and nothing twice");
}

#[tokio::test]
async fn a_member_of_a_group_and_a_multicast_wait_as_well() {
    let scene = Scene::new(World::new().await).await;
    let dispatcher = &scene.world.dispatcher;
    let group = dispatcher.create_group(PROJECT, "user-42", &[&scene.token], NOW).await.unwrap();
    let tokens = vec![scene.token.clone(); 3];
    let many = dispatcher.send_many(PROJECT, message("", None), tokens, false, NOW).await;
    let mut in_order = vec![scene.many.micros, scene.one.micros];
    in_order.extend(many.into_iter().map(|sent| sent.unwrap().id.micros));
    in_order.push(scene.world.send(&group, None).await.micros);
    in_order.push(scene.world.send_to(topic("news"), 2).await.micros);
    rest().await;
    assert_eq!(scene.got(), [0; 0], "all wait for the first");
    scene.stop.go();
    rest().await;
    scene.world.spread(NOW).await;
    assert_eq!(scene.got(), in_order);
}

#[tokio::test]
async fn now_or_never_waits_for_nobody_and_what_is_acknowledged_is_not_pushed_again() {
    let scene = Scene::new(World::new().await).await;
    let android = AndroidConfig { ttl: Some(Duration::ZERO), ..AndroidConfig::default() };
    let now = scene.send(Message { android: Some(android), ..message(&scene.token, None) }).await.unwrap();
    assert_eq!(scene.got(), [now.micros]);
    let last = scene.world.send(&scene.token, None).await;
    scene.world.dispatcher.acknowledge(device(1), &[scene.one], NOW).await.unwrap();
    scene.stop.go();
    rest().await;
    assert_eq!(scene.got(), [scene.many, last].map(|id| id.micros));
}

#[tokio::test]
async fn who_waits_is_pushed_all_the_same_if_what_is_older_cannot_be() {
    let scene = Scene::new(World::new().await).await;
    let last = scene.world.send(&scene.token, None).await;
    scene.world.engine.refuse(true);
    scene.stop.go();
    rest().await;
    assert_eq!(scene.got(), [scene.one, last].map(|id| id.micros));
    scene.world.engine.refuse(false);
    scene.world.spread(NOW).await;
    assert_eq!(scene.got(), [scene.many.micros], "it comes when it can");
}

#[tokio::test]
async fn when_as_many_wait_as_may_the_next_sender_is_answered_when_there_is_room() {
    let scene = Scene::new(World::new().await).await;
    let tokens = vec![scene.token.clone(); MOST - 1];
    for some in tokens.chunks(1_000) {
        let many = scene.world.dispatcher.send_many(PROJECT, message("", None), some.to_vec(), false, NOW);
        assert_eq!(many.await.iter().find(|sent| sent.is_err()), None);
    }
    let over = scene.send(message(&scene.token, None));
    rest().await;
    assert_eq!(scene.world.rows(device(1)).await, MOST + 1, "it is durable");
    assert!(!over.is_finished(), "and there is no room for it");
    scene.stop.go();
    let over = over.await.unwrap();
    rest().await;
    let got = scene.got();
    assert!(got.is_sorted());
    assert_eq!((got.len(), got.last()), (MOST + 2, Some(&over.micros)));
}
