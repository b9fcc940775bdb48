//! What became of a message can be told, whatever became of it.

use std::collections::BTreeMap;
use std::time::Duration;

use cresset_delivery::{Counts, Dropped, End, Limits, Quotas, Stage, Told, What};
use cresset_message::{AndroidConfig, DeviceId, Message, MessageId, ProjectNumber, Target, Timestamp};
use cresset_store::Table;
use cresset_store::tables::events;

use crate::fanout::{to, topic};
use crate::world::{KEPT, NOW, PROJECT, World, device, message};

const MINUTE: Duration = Duration::from_secs(60);

impl World {
    async fn try_trace(&self, name: &str, now: Timestamp) -> Option<Told> {
        self.dispatcher.trace_of(PROJECT, name, None, 100, now).await.unwrap()
    }

    pub(crate) async fn trace(&self, id: MessageId) -> Told {
        self.try_trace(&id.to_string(), NOW).await.expect("it is known")
    }

    /// The only delivery of a message.
    async fn stage(&self, id: MessageId) -> Stage {
        self.stage_at(id, NOW).await
    }

    async fn stage_at(&self, id: MessageId, now: Timestamp) -> Stage {
        let told = self.try_trace(&id.to_string(), now).await.expect("it is known");
        assert_eq!((told.deliveries.len(), told.counts.deliveries), (1, 1));
        told.deliveries[0].stage
    }

    async fn ack(&self, on: DeviceId, id: MessageId) {
        self.dispatcher.acknowledge(on, &[id], NOW).await.unwrap();
    }

    async fn restart(&mut self) {
        self.kill(Quotas::OFF, Limits::default(), NOW).await;
    }
}

fn with_ttl(token: &str, ttl: Duration) -> Message {
    let android = AndroidConfig { ttl: Some(ttl), ..AndroidConfig::default() };
    Message { android: Some(android), ..message(token, None) }
}

fn counts(deliveries: u64) -> Counts {
    Counts { deliveries, ..Counts::default() }
}

#[tokio::test]
async fn a_single_delivery_waits_is_sent_and_is_acknowledged() {
    let mut world = World::new().await;
    let token = world.register(device(1), 1).await;
    let id = world.send(&token, None).await;
    assert_eq!(world.stage(id).await, Stage::Waiting);
    let waiting = world.pending(device(1), 10).await;
    world.dispatcher.sent(device(1), &waiting, NOW + MINUTE);
    assert_eq!(world.stage(id).await, Stage::Sent);
    world.restart().await;
    assert_eq!(world.stage(id).await, Stage::Sent, "a restart forgets nothing that was told before");
    world.ack(device(1), id).await;
    world.restart().await;
    let told = world.trace(id).await;
    let [story] = &told.deliveries[..] else { panic!("there is one delivery") };
    assert_eq!((&told.what, story.stage), (&What::One, Stage::Ended(End::Acknowledged)));
    assert_eq!((story.ended, story.token.as_deref()), (Some(NOW), Some(&*token)));
    assert_eq!(told.counts, Counts { acknowledged: 1, ..counts(1) });
}

#[tokio::test]
async fn sent_and_acknowledged_within_seconds_is_one_row() {
    let world = World::new().await;
    let token = world.register(device(1), 1).await;
    let id = world.send(&token, None).await;
    world.dispatcher.sent(device(1), &world.pending(device(1), 10).await, NOW);
    for seconds in [0, 4] {
        world.dispatcher.tidy(NOW + Duration::from_secs(seconds)).await.unwrap();
    }
    world.ack(device(1), id).await;
    world.dispatcher.tidy(NOW).await.unwrap();
    assert_eq!(world.count(Table::Events, &events::partition(id.micros)).await, 1);
    assert_eq!(world.trace(id).await.deliveries[0].sent, Some(NOW));
}

/// A soak found it: half of the rows stayed as long as their messages might have lived.
#[tokio::test]
async fn nothing_is_left_of_what_was_sent_and_acknowledged_later() {
    let world = World::new().await;
    let token = world.register(device(1), 1).await;
    let id = world.send(&token, None).await;
    world.dispatcher.sent(device(1), &world.pending(device(1), 10).await, NOW);
    for seconds in [0, 5] {
        world.dispatcher.tidy(NOW + Duration::from_secs(seconds)).await.unwrap();
    }
    let partition = events::partition(id.micros);
    assert_eq!(world.count(Table::Events, &partition).await, 2, "that it was accepted, and that it was sent");
    world.ack(device(1), id).await;
    assert_eq!(world.trace(id).await.deliveries[0].sent, Some(NOW));
    let left = world.store.scan(Table::Events, &partition, b"", 10, NOW + KEPT + MINUTE).await.unwrap();
    assert_eq!(left.rows, []);
}

#[tokio::test]
async fn what_ends_otherwise_says_why() {
    let world = World::with_quotas(Quotas { stored: Some(2), collapse_keys: Some(1), ..Quotas::OFF }).await;
    let token = world.register(device(1), 1).await;

    let (older, newer) = (world.send(&token, Some("score")).await, world.send(&token, Some("score")).await);
    world.pending(device(1), 10).await;
    let collapsed = Stage::Ended(End::Collapsed { by: Some(newer) });
    assert_eq!(world.stage(older).await, collapsed);

    world.send(&token, Some("other")).await;
    let mut plain = Vec::new();
    for _ in 0..3 {
        plain.push(world.send(&token, None).await);
    }
    world.dispatcher.settle(device(1), NOW).await.unwrap();
    assert_eq!(world.stage(newer).await, Stage::Ended(End::Dropped(Dropped::TooManyCollapseKeys)));
    for id in plain {
        assert_eq!(world.stage(id).await, Stage::Ended(End::Dropped(Dropped::TooManyStored)));
    }

    let brief = world.dispatcher.send(PROJECT, with_ttl(&token, MINUTE), false, NOW).await.unwrap();
    assert_eq!(world.stage(brief).await, Stage::Waiting);
    assert_eq!(world.stage_at(brief, NOW + MINUTE * 2).await, Stage::Ended(End::Expired));
    let later = NOW + MINUTE * 2 + KEPT;
    assert_eq!(world.try_trace(&brief.to_string(), later).await, None, "and then no more");

    let never = world.dispatcher.send(PROJECT, with_ttl(&token, Duration::ZERO), false, NOW).await.unwrap();
    assert_eq!(world.stage(never).await, Stage::Ended(End::Dropped(Dropped::NotConnected)));

    let orphan = world.send(&token, None).await;
    world.unregister(1).await;
    let gone = Stage::Ended(End::Dropped(Dropped::Unregistered));
    assert_eq!(world.stage(orphan).await, gone, "before its row goes");
    world.pending(device(1), 10).await;
    assert_eq!(world.stage(orphan).await, gone, "and after");
    assert_eq!(world.trace(orphan).await.deliveries[0].token, None);
}

#[tokio::test]
async fn a_topic_is_told_by_sets_and_each_of_its_deliveries_can_be_asked_for() {
    let mut world = World::new().await;
    for n in 1..=5 {
        world.register(device(n), n as u16).await;
        world.join(n as u16, "news").await;
    }
    let line = world.connect(device(2)).await;
    let id = world.send_to(topic("news"), 1).await;
    let before = world.try_trace(&id.micros.to_string(), NOW).await.unwrap();
    assert_eq!((before.spreading, before.counts), (true, counts(0)));
    world.spread(NOW).await;
    let persistent = line.taken()[0];
    let told = world.trace(persistent).await;
    assert_eq!((told.id, told.what), (id, What::Topic("news".into())));
    assert_eq!(told.counts, Counts { waiting: 4, sent: 1, ..counts(5) });
    assert_eq!((told.deliveries.len(), told.deliveries[0].stage), (1, Stage::Sent), "only the one");

    let of = |n: u64| MessageId { unique: id.unique ^ n, ..id };
    world.ack(device(2), persistent).await;
    world.dispatcher.tidy(NOW).await.unwrap();
    // What is written later must not forget what was written before.
    world.restart().await;
    world.ack(device(3), of(3)).await;
    world
        .dispatcher
        .ended(cresset_message::RegistrationId { project: PROJECT, bucket: 0, slot: 4 }, NOW)
        .await
        .unwrap();
    world.dispatcher.tidy(NOW).await.unwrap();
    world.restart().await;
    let dropped = BTreeMap::from([(Dropped::Unregistered, 1)]);
    let told = world.trace(id).await;
    assert_eq!(told.counts, Counts { waiting: 2, acknowledged: 2, dropped, ..counts(5) });
    let stages: Vec<Stage> = told.deliveries.iter().map(|story| story.stage).collect();
    let acknowledged = Stage::Ended(End::Acknowledged);
    let gone = Stage::Ended(End::Dropped(Dropped::Unregistered));
    assert_eq!(stages, [Stage::Waiting, acknowledged, acknowledged, gone, Stage::Waiting]);

    let page = world.dispatcher.trace_of(PROJECT, &id.to_string(), None, 2, NOW).await.unwrap().unwrap();
    let next = world.dispatcher.trace_of(PROJECT, &id.to_string(), page.next.as_deref(), 4, NOW).await;
    let next = next.unwrap().unwrap();
    assert_eq!([page.deliveries, next.deliveries].concat(), told.deliveries);
    assert_eq!(next.next, None);
}

#[tokio::test]
async fn a_topics_message_that_took_the_place_of_another_is_named_once_for_all() {
    let world = World::new().await;
    for n in 1..=3 {
        world.register(device(n), n as u16).await;
        world.join(n as u16, "news").await;
    }
    let keyed = |n| Message { android: message("", Some("k")).android, ..to(topic("news"), n) };
    let older = world.dispatcher.send(PROJECT, keyed(1), false, NOW).await.unwrap();
    let newer = world.dispatcher.send(PROJECT, keyed(2), false, NOW).await.unwrap();
    world.spread(NOW).await;
    for n in 1..=3 {
        world.pending(device(n), 10).await;
    }
    let told = world.trace(older).await;
    assert_eq!(told.counts, Counts { collapsed: 3, ..counts(3) });
    let collapsed = Stage::Ended(End::Collapsed { by: Some(newer) });
    assert!(told.deliveries.iter().all(|story| story.stage == collapsed), "{told:?}");
    // The head, for whom it was, and those collapsed.
    assert_eq!(world.count(Table::Events, &events::partition(older.micros)).await, 3);
}

/// Most messages for many are over long before they might have been.
#[tokio::test]
async fn what_is_told_of_a_topic_is_kept_from_its_end_on() {
    let world = World::new().await;
    for n in 1..=2 {
        world.register(device(n), n as u16).await;
        world.join(n as u16, "news").await;
    }
    let id = world.send_to(topic("news"), 1).await;
    world.spread(NOW).await;
    let left = async || {
        let partition = events::partition(id.micros);
        world.store.scan(Table::Events, &partition, b"", 10, NOW + KEPT + MINUTE).await.unwrap().rows.len()
    };
    let of = |n: u64| MessageId { unique: id.unique ^ n, ..id };
    world.ack(device(1), of(1)).await;
    world.dispatcher.tidy(NOW).await.unwrap();
    assert_eq!(left().await, 3, "its head, for whom it is, and who has it: one may come yet");
    world.ack(device(2), of(2)).await;
    world.dispatcher.tidy(NOW).await.unwrap();
    assert_eq!(world.trace(id).await.counts, Counts { acknowledged: 2, ..counts(2) });
    assert_eq!(left().await, 0);
}

#[tokio::test]
async fn deliveries_that_became_rows_are_told_too() {
    let mut world = World::new().await;
    for n in 1..=3 {
        world.register(device(n), n as u16).await;
        world.join(n as u16, "news").await;
    }
    let id = world.send_to(topic("news"), 1).await;
    world.spread(NOW).await;
    world.kill(Quotas::OFF, Limits { live_fanouts: 0, ..Limits::default() }, NOW).await;
    world.dispatcher.preview_target(PROJECT, &topic("news"), NOW).await.unwrap();
    // A login brings the bucket into memory, tidying up turns it into rows.
    world.pending(device(1), 10).await;
    world
        .dispatcher
        .arrived(device(1), std::sync::Arc::new(crate::fanout::Line::default()), NOW)
        .await
        .unwrap();
    world.dispatcher.tidy(NOW).await.unwrap();
    assert_eq!(world.rows(device(1)).await, 1);
    let waiting = world.pending(device(1), 10).await;
    world.ack(device(1), waiting[0].id).await;
    let told = world.trace(id).await;
    assert_eq!(told.counts, Counts { waiting: 2, acknowledged: 1, ..counts(3) });
    assert_eq!(told.deliveries[0].stage, Stage::Ended(End::Acknowledged));
    assert_eq!(told.deliveries[1].stage, Stage::Waiting);
}

#[tokio::test]
async fn of_a_message_for_now_or_never_it_is_told_who_was_there() {
    let world = World::new().await;
    for n in 1..=3 {
        world.register(device(n), n as u16).await;
        world.join(n as u16, "news").await;
    }
    world.connect(device(2)).await;
    let mut fleeting = with_ttl("", Duration::ZERO);
    fleeting.target = topic("news");
    fleeting.webpush = Some(cresset_message::WebpushConfig {
        headers: vec![("TTL".into(), "0".into())],
        ..Default::default()
    });
    fleeting.apns = Some(cresset_message::ApnsConfig {
        headers: vec![("apns-expiration".into(), "0".into())],
        ..Default::default()
    });
    let id = world.dispatcher.send(PROJECT, fleeting, false, NOW).await.unwrap();
    world.spread(NOW).await;
    let told = world.trace(id).await;
    assert_eq!(told.counts.dropped, BTreeMap::from([(Dropped::NotConnected, 2)]));
    assert_eq!(told.counts.deliveries, 3);
}

#[tokio::test]
async fn nothing_is_told_to_another_project_and_nothing_is_kept_without_a_trace() {
    let world = World::new().await;
    let token = world.register(device(1), 1).await;
    let id = world.send(&token, None).await;
    let other = ProjectNumber(PROJECT.0 + 1);
    assert_eq!(world.dispatcher.trace_of(other, &id.to_string(), None, 10, NOW).await.unwrap(), None);
    for strange in ["", "0:1%2", "x", "-1", "99999999999999999999999", "0:1%0000000000000002"] {
        assert_eq!(world.try_trace(strange, NOW).await, None, "{strange}");
    }
    let bad = world.dispatcher.trace_of(PROJECT, &id.to_string(), Some("x"), 10, NOW).await;
    assert!(bad.is_err());

    let silent = crate::world::dispatcher(&world.store, NOW).await.with_trace(Duration::ZERO);
    let id = silent.send(PROJECT, message(&token, None), false, NOW).await.unwrap();
    silent.acknowledge(device(1), &[id], NOW).await.unwrap();
    silent.tidy(NOW).await.unwrap();
    assert_eq!(world.count(Table::Events, &events::partition(id.micros)).await, 0);
    let group = Message { target: Target::Topic("news".into()), ..message("", None) };
    let id = silent.send(PROJECT, group, false, NOW).await.unwrap();
    assert_eq!(world.count(Table::Events, &events::partition(id.micros)).await, 0);
}
