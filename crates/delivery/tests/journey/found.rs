//! What the simulation has found, each as small as it gets.

use std::time::Duration;

use cresset_delivery::{Limits, Quotas};
use cresset_message::{AndroidConfig, Message, MessageId, Timestamp};
use cresset_store::Batch;
use cresset_store::tables::jobs::{self, JobRecord};

use crate::fanout::{to, topic};
use crate::world::{NOW, PROJECT, World, device, ids};

/// Every set is turned into rows at once.
const NO_SETS: Limits = Limits { live_fanouts: 0, live_bytes: 256 << 20 };

const PHONE: u64 = 7;

fn news(config: AndroidConfig) -> Message {
    Message { android: Some(config), ..to(topic("news"), 1) }
}

fn collapsible() -> Message {
    news(AndroidConfig { collapse_key: Some("score".into()), ..AndroidConfig::default() })
}

async fn world() -> World {
    let mut world = World::new().await;
    world.register(device(PHONE), 1).await;
    world.join(1, "news").await;
    world.kill(Quotas::OFF, NO_SETS, NOW).await;
    world
}

impl World {
    async fn send_news(&self, message: Message) -> MessageId {
        self.dispatcher.send(PROJECT, message, false, NOW).await.unwrap()
    }

    async fn waiting(&self) -> Vec<MessageId> {
        ids(&self.pending(device(PHONE), 10).await)
    }

    /// The rows of a set are made, and the process ends before the set's own row says so.
    async fn kill_between_rows_and_set(&mut self) {
        let writes = self.engine.writes.available_permits();
        self.engine.writes.forget_permits(writes - 1);
        let dispatcher = self.dispatcher.clone();
        let tidying = tokio::spawn(async move { dispatcher.tidy(NOW).await });
        while self.rows(device(PHONE)).await == 0 {
            tokio::task::yield_now().await;
        }
        tidying.abort();
        self.engine.writes.add_permits(writes);
        self.kill(Quotas::OFF, Limits::default(), NOW).await;
    }
}

/// Both had its collapse key, and each seemed to be replaced by the other.
#[tokio::test]
async fn a_delivery_that_is_in_its_set_and_in_a_row_is_one() {
    let mut world = world().await;
    let sent = world.send_news(collapsible()).await;
    world.spread(NOW).await;
    world.kill_between_rows_and_set().await;
    let waiting = world.waiting().await;
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].micros, sent.micros);

    world.dispatcher.acknowledge(device(PHONE), &waiting, NOW).await.unwrap();
    assert_eq!(world.waiting().await, [], "neither is left");
}

#[tokio::test]
async fn a_set_whose_job_a_crash_left_behind_is_not_made_again() {
    let mut world = world().await;
    let sent = world.send_news(collapsible()).await;
    world.spread(NOW).await;
    let mut batch = Batch::default();
    let record = JobRecord { project: PROJECT.0, ..JobRecord::default() };
    batch.put(jobs::key(sent), record.to_bytes(), None);
    assert!(world.store.write(batch, NOW).await.unwrap());
    world.kill(Quotas::OFF, NO_SETS, NOW).await;
    assert_eq!(world.waiting().await.len(), 1);
    world.spread(NOW).await;
    world.dispatcher.tidy(NOW).await.unwrap();
    assert_eq!((world.waiting().await.len(), world.rows(device(PHONE)).await), (1, 1));
}

#[tokio::test]
async fn a_login_sees_what_is_older_and_still_being_spread() {
    let world = World::new().await;
    let token = world.register(device(PHONE), 1).await;
    world.join(1, "news").await;
    let older = world.send_news(collapsible()).await;
    let newer = world.send(&token, None).await;
    let waiting = world.waiting().await;
    assert_eq!(waiting.iter().map(|id| id.micros).collect::<Vec<_>>(), [older.micros, newer.micros]);
}

#[tokio::test]
async fn what_is_to_come_now_or_never_gets_no_row_though_the_clock_is_set_back() {
    let world = world().await;
    // Web apps may have it later.
    let fleeting = AndroidConfig { ttl: Some(Duration::ZERO), ..AndroidConfig::default() };
    world.send_news(news(fleeting)).await;
    world.spread(NOW).await;
    let earlier = Timestamp::from_secs(NOW.as_secs() - 3_600);
    world.dispatcher.tidy(earlier).await.unwrap();
    assert_eq!(world.rows(device(PHONE)).await, 0);
}

/// What replaced it is on its way to the device, and its row could not be deleted.
#[tokio::test]
async fn what_was_replaced_does_not_come_after_what_replaced_it() {
    let world = World::new().await;
    let token = world.register(device(PHONE), 1).await;
    world.send(&token, Some("score")).await;
    let newer = world.send(&token, Some("score")).await;
    world.engine.refuse(true);
    assert_eq!(world.waiting().await, [newer]);
    let given = |id: MessageId| id == newer;
    let later = world.dispatcher.pending(device(PHONE), 10, &given, NOW).await.unwrap();
    assert_eq!(ids(&later), []);
}
