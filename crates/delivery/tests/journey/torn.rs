//! Engines whose batches a crash may tear apart: what is missing comes later, and does no harm until then.

use cresset_message::{RegistrationId, Topic};
use cresset_store::tables::members::{self, TopicKey};
use cresset_store::tables::{counters, inbox};
use cresset_store::{Batch, Op};

use crate::fanout::topic;
use crate::world::{NOW, PROJECT, World, device, dispatcher, message};

const APP: RegistrationId = RegistrationId { project: PROJECT, bucket: 0, slot: 1 };

async fn torn_world() -> (World, String) {
    let world = World::new().await;
    world.engine.may_tear();
    let token = world.register(device(7), APP.slot).await;
    (world, token)
}

fn news() -> Topic {
    "news".parse().unwrap()
}

/// Whether each of the two rows of a membership is there.
async fn rows(world: &World) -> [bool; 2] {
    let keys = [members::key(APP, TopicKey::of("news")), members::topic_key(APP, "news")];
    let [in_set, of_app] = keys.each_ref().map(|key| world.store.get(key, NOW));
    [in_set.await.unwrap().is_some(), of_app.await.unwrap().is_some()]
}

/// Of a change of membership only one row appears: the one in the set, or the app's own.
async fn half(world: &World, change: impl Fn(&mut Batch), in_set: bool) {
    let mut batch = Batch::default();
    change(&mut batch);
    let table = members::key(APP, TopicKey::of("news")).table;
    batch.ops.retain(|op: &Op| (op.key().table == table) == in_set);
    assert_eq!(batch.ops.len(), 1);
    assert!(world.store.write(batch, NOW).await.unwrap());
}

/// Where somebody is about to join the topic, or is in it and about to leave.
async fn torn_world_before(join: bool) -> (World, String) {
    let (world, token) = torn_world().await;
    if !join {
        world.join(APP.slot, "news").await;
    }
    (world, token)
}

fn change(join: bool) -> impl Fn(&mut Batch) {
    move |batch| match join {
        true => members::join(batch, APP, &news(), NOW),
        false => members::leave(batch, APP, &news()),
    }
}

/// How many get a message to the topic.
async fn reached(world: &World) -> usize {
    let before = world.pending(device(7), 100).await.len();
    world.send_to(topic("news"), 1).await;
    world.spread(NOW).await;
    world.pending(device(7), 100).await.len() - before
}

/// `cresset-simulate --torn --seed 9016686` of an earlier version: the row was there, and what says where ids go
/// on was not; another message got its moment.
#[tokio::test]
async fn no_row_is_written_before_its_id_is_covered() {
    let (world, token) = torn_world().await;
    let all = world.engine.writes.forget_permits(usize::MAX);
    let (sender, sent) = (world.dispatcher.clone(), message(&token, None));
    let send = tokio::spawn(async move { sender.send(PROJECT, sent, false, NOW).await });
    world.engine.writes.add_permits(1);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.rows(device(7)).await, 0);
    let mark = world.store.get(&counters::last_message(), NOW).await.unwrap().expect("it comes first");
    let mark = counters::from_bytes(&mark.value).unwrap();
    // Another process begins here, and the row of the first may be there as well.
    world.engine.writes.add_permits(all);
    let first = send.await.unwrap().unwrap();
    assert!(world.store.get(&inbox::key(device(7), first), NOW).await.unwrap().is_some());
    assert!(first.micros <= mark, "{first} is covered by {mark}");
    let mut batch = Batch::default();
    batch.put(counters::last_message(), counters::to_bytes(mark), None);
    world.store.write(batch, NOW).await.unwrap();
    let next = dispatcher(&world.store, NOW).await.send(PROJECT, message(&token, None), false, NOW).await;
    assert!(next.unwrap().micros > first.micros);
}

#[tokio::test]
async fn who_asks_again_is_in_a_topic_or_out_of_it_whatever_a_crash_left() {
    for join in [true, false] {
        for in_set in [true, false] {
            let (world, token) = torn_world_before(join).await;
            half(&world, change(join), in_set).await;
            let tokens = [token];
            let done = match join {
                true => world.dispatcher.subscribe(PROJECT, &news(), &tokens, NOW).await,
                false => world.dispatcher.unsubscribe(PROJECT, &news(), &tokens, NOW).await,
            };
            assert_eq!(done.unwrap(), [Ok(())]);
            assert_eq!(rows(&world).await, [join; 2], "join {join}, in set {in_set}");
            assert_eq!(reached(&world).await, usize::from(join));
        }
    }
}

/// `cresset-simulate --torn --seed 9094864` of an earlier version: what was missing came after the set had been
/// read into memory.
#[tokio::test]
async fn who_asks_again_is_where_the_rows_say_though_they_came_late() {
    for join in [true, false] {
        let (world, token) = torn_world_before(join).await;
        half(&world, change(join), false).await;
        assert_eq!(reached(&world).await, usize::from(!join), "as the set was");
        half(&world, change(join), true).await;
        let done = match join {
            true => world.dispatcher.subscribe_one(APP, &news(), NOW).await,
            false => world.dispatcher.unsubscribe(PROJECT, &news(), &[token], NOW).await.map(|_| true),
        };
        assert!(done.unwrap(), "it is so already");
        assert_eq!(reached(&world).await, usize::from(join));
    }
}

#[tokio::test]
async fn who_is_given_exactly_these_topics_is_in_them() {
    let (world, _) = torn_world().await;
    half(&world, |batch| members::join(batch, APP, &news(), NOW), false).await;
    let replaced = world.dispatcher.replace_topics(APP, &[news()], NOW).await.unwrap();
    assert_eq!((replaced.added, replaced.removed), (0, 0));
    assert_eq!(rows(&world).await, [true; 2]);
    assert_eq!(reached(&world).await, 1);
}
