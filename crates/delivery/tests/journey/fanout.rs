//! Messages for topics and conditions: durable first, each member once, in order, whatever happens.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cresset_delivery::{Carrier, Content, Delivery, Handoff, Limits, Quotas};
use cresset_message::{DeviceId, Message, MessageId, ProjectNumber, RegistrationId, Rejection, Target};
use cresset_store::tables::{bodies, jobs, members, registrations};
use cresset_store::{Batch, Table};

use crate::world::{NOW, PROJECT, World, device, ids, message};

/// A connection that takes everything.
#[derive(Default)]
pub(crate) struct Line {
    taken: Mutex<Vec<MessageId>>,
    replaced: AtomicBool,
}

impl Line {
    pub(crate) fn taken(&self) -> Vec<MessageId> {
        std::mem::take(&mut self.taken.lock().unwrap())
    }

    pub(crate) fn seen(&self) -> Vec<MessageId> {
        self.taken.lock().unwrap().clone()
    }

    pub(crate) fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Relaxed)
    }
}

impl Carrier for Line {
    fn push(&self, delivery: &Delivery) -> Handoff {
        self.taken.lock().unwrap().push(delivery.id);
        Handoff::Accepted
    }

    fn replaced(&self) {
        self.replaced.store(true, Ordering::Relaxed);
    }
}

pub(crate) fn to(target: Target, n: usize) -> Message {
    Message { target, data: vec![("n".into(), n.to_string())], ..message("", None) }
}

pub(crate) fn topic(name: &str) -> Target {
    Target::Topic(name.into())
}

/// What a delivery brings.
pub(crate) fn text(delivery: &Delivery) -> &str {
    match &delivery.content {
        Content::Message(message) => &message.data[0].1,
        Content::Deleted { .. } => "deleted",
        Content::Push(_) => "push",
    }
}

fn condition(text: &str) -> Target {
    Target::Condition(text.into())
}

impl World {
    pub(crate) async fn join(&self, slot: u16, topic: &str) {
        self.join_in(0, slot, topic).await;
    }

    pub(crate) async fn join_in(&self, bucket: u32, slot: u16, topic: &str) {
        let mut batch = Batch::default();
        let id = RegistrationId { project: PROJECT, bucket, slot };
        members::join(&mut batch, id, &topic.parse().unwrap(), NOW);
        self.store.write(batch, NOW).await.unwrap();
    }

    pub(crate) async fn connect(&self, device: DeviceId) -> Arc<Line> {
        let line = Arc::new(Line::default());
        self.dispatcher.arrived(device, line.clone(), NOW).await.unwrap();
        line
    }

    /// All of them by one connection. Those without a registration yet are pushed to, but by no fan-out.
    pub(crate) async fn connect_all(&self, devices: impl IntoIterator<Item = u64>) -> Arc<Line> {
        let line = Arc::new(Line::default());
        for id in devices {
            self.dispatcher.arrived(device(id), line.clone(), NOW).await.unwrap();
        }
        line
    }

    pub(crate) async fn send_to(&self, target: Target, n: usize) -> MessageId {
        self.dispatcher.send(PROJECT, to(target, n), false, NOW).await.unwrap()
    }

    async fn sets(&self) -> usize {
        self.count(Table::FanOuts, &registrations::partition(PROJECT, 0)).await
    }
}

#[tokio::test]
async fn members_get_it_and_nobody_else() {
    let world = World::new().await;
    for n in 1..=4 {
        world.register(device(n), n as u16).await;
    }
    let connected = [world.connect(device(1)).await, world.connect(device(3)).await];
    world.join(1, "news").await;
    world.join(2, "news").await;
    world.join(4, "sports").await;
    world.send_to(topic("news"), 1).await;
    world.send_to(condition("'sports' in topics || !('news' in topics)"), 2).await;
    world.spread(NOW).await;
    let others = condition("'sports' in topics || !('news' in topics)");
    let preview = world.dispatcher.preview_target(PROJECT, &others, NOW).await.unwrap();
    assert_eq!((preview.registrations, preview.android, preview.web, preview.connected), (2, 2, 0, 1));
    assert_eq!(connected.map(|line| line.taken().len()), [1, 1], "the connected are pushed to");
    for (n, expected) in [(1, 1), (2, 1), (3, 1), (4, 1)] {
        assert_eq!(world.pending(device(n), 10).await.len(), expected, "device {n}");
    }
    assert_eq!(text(&world.pending(device(2), 10).await[0]), "1");
    assert_eq!(text(&world.pending(device(3), 10).await[0]), "2");
}

#[tokio::test]
async fn accepted_means_that_body_and_job_are_durable() {
    let mut world = World::new().await;
    world.register(device(1), 1).await;
    world.join(1, "news").await;
    let held = world.engine.writes.forget_permits(usize::MAX);
    let send = world.dispatcher.send(PROJECT, to(topic("news"), 1), false, NOW);
    assert!(tokio::time::timeout(Duration::from_millis(10), send).await.is_err(), "nothing is durable yet");
    world.engine.writes.add_permits(held);
    let id = world.send_to(topic("news"), 2).await;
    // Nothing has been spread: whoever comes next finds the job.
    world.kill(Quotas::OFF, Limits::default(), NOW).await;
    world.spread(NOW).await;
    let waiting = world.pending(device(1), 10).await;
    assert_eq!(waiting.len(), 2, "what was cut off is durable by now as well");
    assert_eq!(waiting[1].id.micros, id.micros);
    assert_eq!(world.count(Table::Jobs, jobs::PARTITION).await, 0);
}

#[tokio::test]
async fn a_kill_anywhere_loses_nothing_and_changes_no_id() {
    let mut world = World::new().await;
    let buckets = 6;
    for bucket in 0..buckets {
        for slot in 0..3 {
            let on = device(u64::from(bucket) * 10 + u64::from(slot) + 1);
            world.register_in(on, bucket, slot).await;
            world.join_in(bucket, slot, "news").await;
        }
    }
    world.send_to(topic("news"), 1).await;
    let mut turns = 0;
    let mut seen = vec![Vec::new(); 70];
    loop {
        // As far as it got, what can be seen has the id that it will always have.
        for n in 1..=60 {
            let now = ids(&world.pending(device(n), 10).await);
            assert!(now.starts_with(&seen[n as usize]), "device {n} after {turns} turns");
            seen[n as usize] = now;
        }
        if world.dispatcher.spread(NOW).await.is_none() {
            break;
        }
        turns += 1;
        world.kill(Quotas::OFF, Limits::default(), NOW).await;
    }
    assert_eq!(seen.iter().flatten().count(), 18);
    assert!(turns >= buckets, "{turns}");
}

#[tokio::test]
async fn two_apps_of_a_device_are_two_deliveries() {
    let world = World::new().await;
    let phone = device(1);
    for slot in [3, 9] {
        world.register(phone, slot).await;
        world.join(slot, "news").await;
    }
    world.send_to(topic("news"), 1).await;
    world.spread(NOW).await;
    let both = ids(&world.pending(phone, 10).await);
    assert_eq!(both.len(), 2);
    assert_ne!(both[0], both[1]);
    world.dispatcher.acknowledge(phone, &both[..1], NOW).await.unwrap();
    assert_eq!(ids(&world.pending(phone, 10).await), both[1..]);
}

#[tokio::test]
async fn what_all_have_leaves_nothing_behind() {
    let world = World::new().await;
    let id = {
        for n in 1..=3 {
            world.register(device(n), n as u16).await;
            world.join(n as u16, "news").await;
        }
        world.send_to(topic("news"), 1).await
    };
    world.spread(NOW).await;
    assert_eq!(world.sets().await, 1);
    for n in 1..=3 {
        let waiting = ids(&world.pending(device(n), 10).await);
        world.dispatcher.acknowledge(device(n), &waiting, NOW).await.unwrap();
    }
    world.dispatcher.tidy(NOW).await.unwrap();
    assert_eq!(world.sets().await, 0);
    assert_eq!(world.store.get(&bodies::key(id), NOW).await.unwrap(), None);
}

#[tokio::test]
async fn acknowledgements_outlive_the_process_once_they_are_tidied_up() {
    let mut world = World::new().await;
    for n in 1..=2 {
        world.register(device(n), n as u16).await;
        world.join(n as u16, "news").await;
    }
    world.send_to(topic("news"), 1).await;
    world.spread(NOW).await;
    let waiting = ids(&world.pending(device(1), 10).await);
    world.dispatcher.acknowledge(device(1), &waiting, NOW).await.unwrap();
    world.dispatcher.tidy(NOW).await.unwrap();
    world.kill(Quotas::OFF, Limits::default(), NOW).await;
    assert_eq!(world.pending(device(1), 10).await.len(), 0);
    assert_eq!(world.pending(device(2), 10).await.len(), 1);
}

#[tokio::test]
async fn a_device_cannot_acknowledge_for_another() {
    let world = World::new().await;
    for n in 1..=2 {
        world.register(device(n), n as u16).await;
        world.join(n as u16, "news").await;
    }
    world.send_to(topic("news"), 1).await;
    world.spread(NOW).await;
    let of_two = ids(&world.pending(device(2), 10).await);
    world.dispatcher.acknowledge(device(1), &of_two, NOW).await.unwrap();
    assert_eq!(world.pending(device(2), 10).await.len(), 1);
}

#[tokio::test]
async fn a_small_send_does_not_wait_for_a_large_one_and_yet_does_not_overtake_it() {
    let world = World::new().await;
    let last = 300;
    world.register_in(device(1), last, 1).await;
    world.register_in(device(2), 0, 2).await;
    for bucket in 0..=last {
        world.join_in(bucket, 1, "all").await;
    }
    world.join_in(last, 1, "few").await;
    let large = world.send_to(topic("all"), 1).await;
    let small = world.send_to(topic("few"), 2).await;
    let mut turns = 0;
    while world.pending(device(1), 10).await.is_empty() {
        world.dispatcher.spread(NOW).await.unwrap().unwrap();
        turns += 1;
    }
    assert!(turns < 20, "{turns} turns, while 300 buckets were to be spread to");
    let order: Vec<u64> = world.pending(device(1), 10).await.iter().map(|d| d.id.micros).collect();
    assert_eq!(order, [large.micros, small.micros], "in that bucket the older one comes first");
    assert_eq!(world.dispatcher.fanouts_open_of(PROJECT), 2, "and is not done elsewhere");
    assert_eq!(world.dispatcher.fanouts_open_of(PROJECT), 2);
    assert_eq!(world.dispatcher.fanouts_open_of(ProjectNumber(PROJECT.0 + 1)), 0);
    world.spread(NOW).await;
    assert_eq!(world.pending(device(1), 10).await.len(), 2);
}

#[tokio::test]
async fn a_message_to_one_does_not_overtake_an_older_one_to_many() {
    let world = World::new().await;
    let token = world.register(device(1), 1).await;
    world.join(1, "news").await;
    let line = world.connect(device(1)).await;
    let many = world.send_to(topic("news"), 1).await;
    let one = world.dispatcher.send(PROJECT, to(Target::Token(token), 2), false, NOW).await.unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let order: Vec<u64> = line.taken().iter().map(|id| id.micros).collect();
    assert_eq!(order, [many.micros, one.micros]);
}

#[tokio::test]
async fn a_thousand_at_a_time_and_no_more() {
    let world = World::new().await;
    for n in 0..1_000 {
        world.send_to(topic("nobody"), n).await;
    }
    let refused = world.dispatcher.send(PROJECT, to(topic("nobody"), 0), false, NOW).await;
    assert!(matches!(refused, Err(Rejection::FanOutQuota { limit: 1_000, .. })), "{refused:?}");
    let dry = world.dispatcher.send(PROJECT, to(topic("nobody"), 0), true, NOW).await;
    assert!(dry.is_ok());
    world.spread(NOW).await;
    world.send_to(topic("nobody"), 0).await;
}

#[tokio::test]
async fn now_or_never_is_for_the_connected() {
    let world = World::new().await;
    for n in 1..=2 {
        world.register(device(n), n as u16).await;
        world.join(n as u16, "news").await;
    }
    let line = world.connect(device(1)).await;
    let mut now = to(topic("news"), 1);
    now.android.as_mut().unwrap().ttl = Some(Duration::ZERO);
    world.dispatcher.send(PROJECT, now, false, NOW).await.unwrap();
    world.spread(NOW).await;
    assert_eq!(line.taken().len(), 1);
    assert_eq!(world.pending(device(2), 10).await.len(), 0);
}

#[tokio::test]
async fn what_is_over_is_dropped_everywhere() {
    let world = World::new().await;
    world.register(device(1), 1).await;
    world.join(1, "news").await;
    let mut short = to(topic("news"), 1);
    short.android.as_mut().unwrap().ttl = Some(Duration::from_secs(60));
    // The web's terms are others, and keep the set for longer.
    world.dispatcher.send(PROJECT, short, false, NOW).await.unwrap();
    world.spread(NOW).await;
    assert_eq!(world.pending(device(1), 10).await.len(), 1);
    let later = NOW + Duration::from_secs(61);
    let waiting = world.dispatcher.pending(device(1), 10, &|_| false, later).await.unwrap();
    assert_eq!(waiting.len(), 0);
    world.dispatcher.tidy(later).await.unwrap();
    assert_eq!(world.sets().await, 0);
}

#[tokio::test]
async fn numerous_sets_become_rows_with_the_same_ids() {
    let limits = Limits { live_fanouts: 2, ..Limits::default() };
    let mut world = World::new().await;
    world.kill(Quotas::OFF, limits, NOW).await;
    for n in 1..=3 {
        world.register(device(n), n as u16).await;
        world.join(n as u16, "news").await;
    }
    let mut sent = Vec::new();
    for n in 0..5 {
        sent.push(world.send_to(topic("news"), n).await.micros);
    }
    world.spread(NOW).await;
    let before = ids(&world.pending(device(2), 10).await);
    world.dispatcher.tidy(NOW).await.unwrap();
    assert_eq!((world.sets().await, world.rows(device(2)).await), (2, 3));
    assert_eq!(ids(&world.pending(device(2), 10).await), before);
    assert_eq!(before.iter().map(|id| id.micros).collect::<Vec<_>>(), sent);
    world.dispatcher.acknowledge(device(2), &before, NOW).await.unwrap();
    assert_eq!((world.pending(device(2), 10).await.len(), world.rows(device(2)).await), (0, 0));
    world.kill(Quotas::OFF, limits, NOW).await;
    assert_eq!(ids(&world.pending(device(3), 10).await).len(), 5);
}

#[tokio::test]
async fn sets_beyond_their_memory_become_rows() {
    let mut world = World::new().await;
    world.register(device(1), 1).await;
    world.join(1, "news").await;
    world.connect(device(1)).await;
    world.kill(Quotas::OFF, Limits { live_bytes: 0, ..Limits::default() }, NOW).await;
    world.connect(device(1)).await;
    world.send_to(topic("news"), 1).await;
    world.spread(NOW).await;
    world.dispatcher.tidy(NOW).await.unwrap();
    assert_eq!((world.sets().await, world.rows(device(1)).await), (0, 1));
    assert_eq!(world.pending(device(1), 10).await.len(), 1);
}

#[tokio::test]
async fn a_registration_that_ends_wants_nothing_any_more() {
    let world = World::new().await;
    world.register(device(1), 1).await;
    world.join(1, "news").await;
    let line = world.connect(device(1)).await;
    world.send_to(topic("news"), 1).await;
    world.spread(NOW).await;
    assert_eq!(line.taken().len(), 1);
    world.unregister(1).await;
    world.dispatcher.ended(RegistrationId { project: PROJECT, bucket: 0, slot: 1 }, NOW).await.unwrap();
    assert_eq!(world.pending(device(1), 10).await.len(), 0);
    world.dispatcher.tidy(NOW).await.unwrap();
    assert_eq!(world.sets().await, 0);
}

#[tokio::test]
async fn an_app_that_registers_while_its_device_is_connected_is_pushed_to() {
    let world = World::new().await;
    let line = world.connect(device(1)).await;
    world.register(device(1), 1).await;
    let id = RegistrationId { project: PROJECT, bucket: 0, slot: 1 };
    world.dispatcher.registered(id, device(1), NOW).await.unwrap();
    world.join(1, "news").await;
    world.send_to(topic("news"), 1).await;
    world.spread(NOW).await;
    assert_eq!(line.taken().len(), 1);
    let dynamic: Arc<dyn Carrier> = line.clone();
    world.dispatcher.left(device(1), &dynamic);
    world.send_to(topic("news"), 2).await;
    world.spread(NOW).await;
    assert_eq!(line.taken().len(), 0);
}

#[tokio::test]
async fn a_deleted_project_sends_nothing_more() {
    let world = World::new().await;
    world.register(device(1), 1).await;
    world.join(1, "news").await;
    world.send_to(topic("news"), 1).await;
    world.spread(NOW).await;
    world.send_to(topic("news"), 2).await;
    world.dispatcher.project_deleted(PROJECT, NOW).await.unwrap();
    world.spread(NOW).await;
    assert_eq!(world.dispatcher.fanouts_open_of(PROJECT), 0);
    assert_eq!(world.count(Table::Jobs, jobs::PARTITION).await, 0);
    assert_eq!((world.sets().await, world.pending(device(1), 10).await.len()), (0, 0));
}

#[tokio::test]
async fn a_full_store_makes_a_fan_out_wait() {
    let world = World::new().await;
    world.register(device(1), 1).await;
    world.join(1, "news").await;
    world.send_to(topic("news"), 1).await;
    world.engine.refuse(true);
    assert!(world.dispatcher.spread(NOW).await.unwrap().is_err());
    world.engine.refuse(false);
    world.spread(NOW).await;
    assert_eq!(world.pending(device(1), 10).await.len(), 1);
}

#[tokio::test]
async fn a_message_for_one_package_passes_the_others_by() {
    let world = World::new().await;
    world.register(device(1), 1).await;
    world.join(1, "news").await;
    let mut other = to(topic("news"), 1);
    other.android.as_mut().unwrap().restricted_package_name = Some("com.example.other".into());
    world.dispatcher.send(PROJECT, other, false, NOW).await.unwrap();
    world.spread(NOW).await;
    assert_eq!(world.pending(device(1), 10).await.len(), 0);
    assert_eq!(world.rows(device(1)).await, 0);
}

/// Two buckets, the first of which has been made a set of.
async fn half_spread() -> World {
    let world = World::new().await;
    for (bucket, on) in [(0, device(1)), (1, device(2))] {
        world.register_in(on, bucket, 1).await;
        world.join_in(bucket, 1, "news").await;
    }
    world.send_to(topic("news"), 1).await;
    world.dispatcher.spread(NOW).await.unwrap().unwrap();
    assert_eq!(world.sets().await, 1);
    world
}

/// After a crash the job's row may be there and the set's not: they stand in two partitions.
#[tokio::test]
async fn a_set_that_a_crash_tore_off_its_job_is_made_again() {
    let mut world = half_spread().await;
    let rows = world.store.scan(Table::FanOuts, &registrations::partition(PROJECT, 0), b"", 1, NOW).await;
    let mut batch = Batch::default();
    let id = cresset_store::tables::inbox::id_of(&rows.unwrap().rows[0].sort).unwrap();
    batch.delete(cresset_store::tables::fanouts::key(PROJECT, 0, id));
    world.store.write(batch, NOW).await.unwrap();
    world.kill(Quotas::OFF, Limits::default(), NOW).await;
    world.spread(NOW).await;
    for on in [device(1), device(2)] {
        assert_eq!(world.pending(on, 10).await.len(), 1);
    }
}

#[tokio::test]
async fn a_set_that_everybody_has_is_not_made_again() {
    let mut world = half_spread().await;
    let got = ids(&world.pending(device(1), 10).await);
    world.dispatcher.acknowledge(device(1), &got, NOW).await.unwrap();
    world.dispatcher.tidy(NOW).await.unwrap();
    assert_eq!(world.sets().await, 1, "it says that the bucket is done");
    world.kill(Quotas::OFF, Limits::default(), NOW).await;
    world.spread(NOW).await;
    assert!(world.pending(device(1), 10).await.is_empty());
    assert_eq!(world.pending(device(2), 10).await.len(), 1);
    world.dispatcher.tidy(NOW).await.unwrap();
    assert_eq!(world.sets().await, 0);
}
