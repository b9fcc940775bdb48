//! How much may wait for an app instance (`protocol/http-v1.md` §6).

use std::sync::Arc;

use cresset_delivery::{Content, Delivery, Limits, Quotas};
use cresset_message::{DeviceId, MessageId};
use cresset_store::Table;

use crate::fanout::topic;
use crate::world::{NOW, World, device, ids};

/// FCM's limits on what waits, without those on how fast.
const STORED: Quotas = Quotas { stored: Some(100), collapse_keys: Some(4), ..Quotas::OFF };

async fn log_in(world: &World, device: DeviceId) -> Vec<Arc<Delivery>> {
    world.dispatcher.settle(device, NOW).await.unwrap();
    world.pending(device, 1_000).await
}

fn deleted(deliveries: &[Arc<Delivery>]) -> Vec<u32> {
    let total = |delivery: &Arc<Delivery>| match delivery.content {
        Content::Deleted { total } => Some(total),
        Content::Message(_) | Content::Push(_) => None,
    };
    deliveries.iter().filter_map(total).collect()
}

#[tokio::test]
async fn a_hundred_messages_wait_and_with_one_more_all_are_dropped() {
    let world = World::with_quotas(STORED).await;
    let phone = device(7);
    let (token, other) = (world.register(phone, 1).await, world.register(phone, 2).await);
    let kept = world.send(&other, None).await;
    let collapsible = world.send(&token, Some("score")).await;
    let mut sent: Vec<MessageId> = Vec::new();
    for _ in 0..100 {
        sent.push(world.send(&token, None).await);
    }
    let all: Vec<MessageId> = [kept, collapsible].into_iter().chain(sent).collect();
    assert_eq!(ids(&log_in(&world, phone).await), all, "a hundred is not too many");

    world.send(&token, None).await;
    let found = log_in(&world, phone).await;
    assert_eq!(ids(&found)[..2], [kept, collapsible], "others are none the worse");
    assert_eq!((found.len(), deleted(&found)), (3, vec![101]));

    // Until it is acknowledged the notice stays the same; then it counts what came since.
    assert_eq!(ids(&log_in(&world, phone).await), ids(&found));
    for _ in 0..150 {
        world.send(&token, None).await;
    }
    let later = log_in(&world, phone).await;
    assert_eq!((later.len(), deleted(&later)), (3, vec![251]));
    world.dispatcher.acknowledge(phone, &ids(&later), NOW).await.unwrap();
    assert_eq!(world.rows(phone).await, 0);
}

#[tokio::test]
async fn of_five_collapse_keys_the_one_used_longest_ago_is_dropped() {
    let world = World::with_quotas(STORED).await;
    let phone = device(7);
    let token = world.register(phone, 1).await;
    let mut last = Vec::new();
    for round in 0..3 {
        last.clear();
        for key in ["a", "b", "c", "d", "e"] {
            last.push(world.send(&token, Some(key)).await);
        }
        assert_eq!(last.len(), 5, "round {round}");
    }
    // The first key is used again and is now the newest.
    last.push(world.send(&token, Some("a")).await);
    assert_eq!(ids(&log_in(&world, phone).await), last[2..]);
    assert_eq!(world.rows(phone).await, 4);
}

#[tokio::test]
async fn more_than_a_batch_is_dropped_with_one_notice() {
    let world = World::with_quotas(STORED).await;
    let phone = device(7);
    let token = world.register(phone, 1).await;
    for _ in 0..2_500 {
        world.send(&token, None).await;
    }
    let found = log_in(&world, phone).await;
    assert_eq!((found.len(), deleted(&found)), (1, vec![2_500]));
}

#[tokio::test]
async fn what_waits_for_who_stays_away_does_not_grow() {
    let world = World::with_quotas(STORED).await;
    let phone = device(7);
    let token = world.register(phone, 1).await;
    for _ in 0..300 {
        world.send(&token, Some("score")).await;
    }
    world.dispatcher.tidy(NOW).await.unwrap();
    assert_eq!(world.rows(phone).await, 1, "the newest of its key");
    for _ in 0..101 {
        world.send(&token, None).await;
    }
    world.dispatcher.tidy(NOW).await.unwrap();
    assert_eq!(world.rows(phone).await, 2, "and a notice");
    let mut later = Vec::new();
    for _ in 0..50 {
        later.push(world.send(&token, None).await);
    }
    world.dispatcher.tidy(NOW).await.unwrap();
    let found = log_in(&world, phone).await;
    assert_eq!((found.len(), deleted(&found)), (52, vec![101]));
    assert_eq!(ids(&found)[2..], later);
}

#[tokio::test]
async fn without_limits_everything_waits() {
    let world = World::new().await;
    let phone = device(7);
    let token = world.register(phone, 1).await;
    for _ in 0..300 {
        world.send(&token, None).await;
    }
    assert_eq!(log_in(&world, phone).await.len(), 300);
}

/// `cresset-simulate --seed 3082929`: what was dropped came all the same, and counted once more.
#[tokio::test]
async fn what_is_dropped_while_its_rows_are_made_stays_dropped() {
    let quotas = Quotas { stored: Some(2), ..Quotas::OFF };
    let mut world = World::with_quotas(quotas).await;
    let phone = device(7);
    world.register(phone, 1).await;
    world.join(1, "news").await;
    for n in 0..3 {
        world.send_to(topic("news"), n).await;
    }
    world.spread(NOW).await;
    world.kill(quotas, Limits { live_fanouts: 2, ..Limits::default() }, NOW).await;
    assert_eq!(world.pending(phone, 64).await.len(), 3);
    let making_rows = world.engine.stop_at(Table::Registrations);
    let dispatcher = world.dispatcher.clone();
    let tidying = tokio::spawn(async move { dispatcher.tidy(NOW).await });
    making_rows.reached().await;
    let dispatcher = world.dispatcher.clone();
    let settling = tokio::spawn(async move { dispatcher.settle(phone, NOW).await });
    // All that it can do before the rows are there.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    making_rows.go();
    tidying.await.unwrap().unwrap();
    settling.await.unwrap().unwrap();
    let found = world.pending(phone, 64).await;
    assert_eq!((found.len(), deleted(&found)), (1, vec![3]));
}
