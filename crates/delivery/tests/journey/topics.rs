//! App instances join and leave topics, and sets in memory say what the rows say.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cresset_delivery::{MAX_TOPICS, MembershipError, Quotas, Replaced};
use cresset_message::{Fid, Platform, ProjectNumber, RegistrationId, Rejection, Timestamp, Topic};
use cresset_store::tables::fids::{self, FidRecord};
use cresset_store::tables::members::{self, TopicKey};
use cresset_store::tables::{counters, registrations};
use cresset_store::{Batch, Engine, Page, Partitions, Pending, Row, RowKey, Store, Swept, Table};

use crate::world::{NOW, PROJECT, World, device, dispatcher};

fn topic(name: &str) -> Topic {
    name.parse().unwrap()
}

fn id(bucket: u32, slot: u16) -> RegistrationId {
    RegistrationId { project: PROJECT, bucket, slot }
}

async fn write(store: &Store, fill: impl FnOnce(&mut Batch)) {
    let mut batch = Batch::default();
    fill(&mut batch);
    assert!(store.write(batch, NOW).await.unwrap());
}

/// Registrations of the project reach up to here.
async fn reserve(store: &Store, next: u64) {
    write(store, |batch| {
        batch.put(counters::next_registration(PROJECT), counters::to_bytes(next), None);
    })
    .await;
}

/// App instances in the first slots of the first bucket.
async fn with_tokens(world: &World, count: u16) -> Vec<String> {
    reserve(&world.store, 256).await;
    let mut tokens = Vec::new();
    for slot in 0..count {
        tokens.push(world.register(device(7), slot).await);
    }
    tokens
}

/// As identity does it: what is read, then what came meanwhile; then it is told.
async fn end(world: &World, id: RegistrationId) {
    for _ in 0..2 {
        let partition = members::topics_partition(id);
        let page = world.store.scan(Table::MemberTopics, &partition, b"", MAX_TOPICS * 2, NOW).await.unwrap();
        write(&world.store, |batch| {
            batch.delete(registrations::key(id));
            batch.delete(members::key(id, TopicKey::of_platform(Platform::Android)));
            for row in &page.rows {
                members::leave(batch, id, &members::topic_of(&row.sort).unwrap());
            }
        })
        .await;
    }
    world.dispatcher.ended(id, NOW).await.unwrap();
}

async fn rows_of(store: &Store, bucket: u32, topic: &Topic) -> BTreeSet<u16> {
    let partition = members::partition(PROJECT, bucket, TopicKey::of(topic.as_str()));
    let page = store.scan(Table::TopicMembers, &partition, b"", 1 << 16, NOW).await.unwrap();
    page.rows.iter().map(|row| members::slot_of(&row.sort).unwrap()).collect()
}

async fn slots_of(world: &World, topic: &Topic) -> BTreeSet<u16> {
    let page = world.dispatcher.members_of(PROJECT, topic, None, 1_000, NOW).await.unwrap();
    page.members.iter().map(|member| member.registration.slot).collect()
}

async fn counts(world: &World) -> Vec<(String, u64)> {
    let page = world.dispatcher.topics_of_project(PROJECT, None, 1_000, NOW).await.unwrap();
    assert_eq!(page.next, None);
    page.topics.iter().map(|(topic, count)| (topic.to_string(), *count)).collect()
}

#[tokio::test]
async fn each_app_instance_hears_what_became_of_it() {
    let world = World::new().await;
    let tokens = with_tokens(&world, 3).await;
    world.unregister(2).await;
    let fid: Fid = "cAAAAAAAAAAAAAAAAAAAAA".parse().unwrap();
    let stray: Fid = "dAAAAAAAAAAAAAAAAAAAAA".parse().unwrap();
    write(&world.store, |batch| {
        let record = FidRecord {
            project: PROJECT.0,
            app_id: String::new(),
            created_millis: 0,
            registration: Some(id(0, 1).into()),
        };
        batch.put(fids::key(&fid), record.to_bytes(), None);
    })
    .await;
    let forged = format!("fGw0qy4TGgk:APA91b{}", "x".repeat(134));
    let asked = [
        &*tokens[0],
        "token1",
        &tokens[2],
        &forged,
        fid.as_str(),
        stray.as_str(),
        &tokens[0],
        &tokens[1],
        "",
    ];
    let asked: Vec<String> = asked.iter().map(|&token| token.to_owned()).collect();
    let news = topic("news");
    let malformed = Err(MembershipError::InvalidArgument);
    let unknown = Err(MembershipError::NotFound);
    let expected = [Ok(()), malformed, unknown, unknown, Ok(()), unknown, Ok(()), Ok(()), malformed].to_vec();
    for _ in 0..2 {
        assert_eq!(world.dispatcher.subscribe(PROJECT, &news, &asked, NOW).await, Ok(expected.clone()));
        assert_eq!(slots_of(&world, &news).await, [0, 1].into());
    }
    let other = ProjectNumber(99);
    let denied = Err(MembershipError::PermissionDenied);
    assert_eq!(
        world.dispatcher.subscribe(other, &news, &tokens[..2], NOW).await,
        Ok(vec![denied, denied]),
        "whose they are shows, whatever became of them"
    );
    assert_eq!(counts(&world).await, [("news".to_owned(), 2)]);
    for _ in 0..2 {
        assert_eq!(world.dispatcher.unsubscribe(PROJECT, &news, &asked, NOW).await, Ok(expected.clone()));
        assert_eq!(slots_of(&world, &news).await, [].into());
    }
    assert_eq!(rows_of(&world.store, 0, &news).await, [].into());
    assert_eq!(counts(&world).await, [], "nobody is in it");
    assert_eq!(world.dispatcher.subscribe(PROJECT, &news, &[], NOW).await, Ok(vec![]));
    assert_eq!(MembershipError::TooManyTopics.as_str(), "TOO_MANY_TOPICS");
}

#[tokio::test]
async fn it_keeps_the_moment_it_was_first_subscribed() {
    let world = World::new().await;
    let tokens = with_tokens(&world, 1).await;
    let (news, me) = (topic("news"), id(0, 0));
    let later = NOW + Duration::from_secs(60);
    assert_eq!(world.dispatcher.subscribe_one(me, &news, NOW).await, Ok(false));
    assert_eq!(world.dispatcher.subscribe_one(me, &news, later).await, Ok(true));
    assert_eq!(world.dispatcher.subscribe(PROJECT, &news, &tokens, later).await, Ok(vec![Ok(())]));
    assert_eq!(world.dispatcher.subscription(me, &news, NOW).await, Ok(Some(NOW)));
    assert_eq!(world.dispatcher.topics_of(me, NOW).await, Ok(vec![(news.clone(), NOW)]));
    assert_eq!(world.dispatcher.unsubscribe_one(me, &news, NOW).await, Ok(true));
    assert_eq!(world.dispatcher.unsubscribe_one(me, &news, NOW).await, Ok(false));
    assert_eq!(world.dispatcher.subscription(me, &news, NOW).await, Ok(None));
    assert_eq!(world.dispatcher.subscribe_one(id(0, 9), &news, NOW).await, Err(Rejection::Unregistered));
    assert_eq!(rows_of(&world.store, 0, &news).await, [].into());
    assert_eq!(world.dispatcher.topics_of(id(0, 9), NOW).await, Ok(vec![]));
}

#[tokio::test]
async fn an_app_instance_has_at_most_2000_topics() {
    let world = World::new().await;
    let tokens = with_tokens(&world, 2).await;
    let many: Vec<Topic> = (0..=MAX_TOPICS).map(|n| topic(&format!("t{n}"))).collect();
    let me = id(0, 0);
    let limit = Rejection::TooManyTopics { limit: MAX_TOPICS };
    assert_eq!(world.dispatcher.replace_topics(me, &many, NOW).await, Err(limit.clone()));
    let replaced = world.dispatcher.replace_topics(me, &many[..MAX_TOPICS], NOW).await;
    assert_eq!(replaced, Ok(Replaced { added: 2_000, removed: 0 }));
    let one_more = &many[MAX_TOPICS];
    assert_eq!(
        world.dispatcher.subscribe(PROJECT, one_more, &tokens, NOW).await,
        Ok(vec![Err(MembershipError::TooManyTopics), Ok(())])
    );
    assert_eq!(world.dispatcher.subscribe_one(me, one_more, NOW).await, Err(limit));
    assert_eq!(world.dispatcher.subscribe_one(me, &many[5], NOW).await, Ok(true), "that it has");
    assert_eq!(world.dispatcher.unsubscribe_one(me, &many[5], NOW).await, Ok(true));
    assert_eq!(world.dispatcher.subscribe_one(me, one_more, NOW).await, Ok(false));
    let replaced = world.dispatcher.replace_topics(me, &many[..3], NOW).await;
    assert_eq!(replaced, Ok(Replaced { added: 0, removed: 1_997 }));
    let other: Vec<Topic> = (0..MAX_TOPICS).map(|n| topic(&format!("other{n}"))).collect();
    world.dispatcher.replace_topics(me, &many[..MAX_TOPICS], NOW).await.unwrap();
    let replaced = world.dispatcher.replace_topics(me, &other, NOW).await;
    assert_eq!(replaced, Ok(Replaced { added: 2_000, removed: 2_000 }), "in one step");
    assert_eq!(world.dispatcher.topics_of(me, NOW).await.unwrap().len(), MAX_TOPICS);
    assert_eq!(slots_of(&world, &other[1_999]).await, [0].into());
    assert_eq!(slots_of(&world, &many[0]).await, [].into());
}

#[tokio::test]
async fn replacing_says_what_changed() {
    let world = World::new().await;
    with_tokens(&world, 1).await;
    let named = |names: &[&str]| names.iter().map(|name| topic(name)).collect::<Vec<_>>();
    let replace = async |names: &[&str]| {
        let replaced = world.dispatcher.replace_topics(id(0, 0), &named(names), NOW).await.unwrap();
        (replaced.added, replaced.removed)
    };
    assert_eq!(replace(&["a", "b", "b"]).await, (2, 0));
    assert_eq!(replace(&["b", "c"]).await, (1, 1));
    assert_eq!(replace(&["c", "b"]).await, (0, 0));
    assert_eq!(counts(&world).await, [("b".to_owned(), 1), ("c".to_owned(), 1)]);
    assert_eq!(replace(&[]).await, (0, 2));
    assert_eq!(counts(&world).await, []);
}

#[tokio::test]
async fn members_are_counted_and_read_over_all_buckets() {
    let world = World::new().await;
    // Two in the first bucket, one in the third; the second has none.
    with_tokens(&world, 2).await;
    reserve(&world.store, (2 << 16) + 6).await;
    let far = id(2, 5);
    write(&world.store, |batch| {
        let record = registrations::RegistrationRecord {
            prefix: "fGw0qy4TGgk".into(),
            platform: 3,
            ..Default::default()
        };
        batch.put(registrations::key(far), record.to_bytes(), None);
    })
    .await;
    let news = topic("news");
    let members = [id(0, 0), id(0, 1), far];
    for member in members {
        assert_eq!(world.dispatcher.subscribe_one(member, &news, NOW).await, Ok(false));
    }
    assert_eq!(counts(&world).await, [("news".to_owned(), 3)]);
    for size in 1..5 {
        let mut read = Vec::new();
        let mut from = None;
        loop {
            let page = world.dispatcher.members_of(PROJECT, &news, from, size, NOW).await.unwrap();
            assert!(page.members.len() <= size);
            read.extend(page.members);
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        assert_eq!(read.iter().map(|member| member.registration).collect::<Vec<_>>(), members);
        assert_eq!((read[1].platform, read[2].platform), (Platform::Android, Platform::Web));
        for member in read {
            let named = world.dispatcher.registration_named(PROJECT, &member.token, NOW).await;
            assert_eq!(named, Ok(member.registration));
        }
    }
    let none = world.dispatcher.members_of(PROJECT, &topic("none"), None, 10, NOW).await.unwrap();
    assert_eq!((none.members, none.next), (vec![], None));
}

#[tokio::test]
async fn topics_of_a_project_come_in_pages() {
    let world = World::new().await;
    let tokens = with_tokens(&world, 1).await;
    let mut names: Vec<String> =
        (0..10).map(|n| format!("t{n}")).chain(["t".into(), "private/t".into()]).collect();
    for name in &names {
        world.dispatcher.subscribe(PROJECT, &topic(name), &tokens, NOW).await.unwrap();
    }
    world.dispatcher.unsubscribe(PROJECT, &topic("t3"), &tokens, NOW).await.unwrap();
    names.retain(|name| name != "t3");
    names.sort();
    for size in [1, 3, 12, 100] {
        let mut read = Vec::new();
        let mut after: Option<Topic> = None;
        loop {
            let page = world.dispatcher.topics_of_project(PROJECT, after.as_ref(), size, NOW).await.unwrap();
            assert!(page.topics.len() <= size);
            read.extend(page.topics.iter().map(|(topic, _)| topic.to_string()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(read, names);
    }
    let other = world.dispatcher.topics_of_project(ProjectNumber(9), None, 10, NOW).await.unwrap();
    assert_eq!(other.topics, []);
}

#[tokio::test]
async fn a_project_changes_so_many_subscriptions_a_second() {
    let quotas = Quotas { subscriptions_per_second: Some(4), ..Quotas::OFF };
    let world = World::with_quotas(quotas).await;
    let tokens = with_tokens(&world, 3).await;
    let (a, b) = (topic("a"), topic("b"));
    let at = |millis| NOW + Duration::from_millis(millis);
    assert!(world.dispatcher.subscribe(PROJECT, &a, &tokens, at(0)).await.is_ok());
    assert!(world.dispatcher.subscribe(PROJECT, &b, &tokens, at(0)).await.is_ok(), "begun within it");
    let refused = |millis| Rejection::SubscriptionQuota {
        project: PROJECT,
        limit: 4,
        retry_after: Duration::from_millis(millis),
    };
    let call = world.dispatcher.unsubscribe(PROJECT, &a, &tokens, at(0)).await;
    assert_eq!(call, Err(refused(750)));
    assert_eq!(slots_of(&world, &a).await, [0, 1, 2].into(), "nothing was changed");
    assert_eq!(world.dispatcher.subscribe_one(id(0, 0), &a, at(749)).await, Err(refused(1)));
    assert_eq!(world.dispatcher.subscribe_one(id(0, 0), &a, at(750)).await, Ok(true));
    let replaced = world.dispatcher.replace_topics(id(0, 0), &[], at(750)).await;
    assert_eq!(replaced, Err(refused(250)));
}

#[tokio::test]
async fn success_is_durable() {
    let world = World::new().await;
    let tokens = with_tokens(&world, 1).await;
    world.engine.writes.forget_permits(1 << 20);
    let (dispatcher, asked) = (world.dispatcher.clone(), tokens.clone());
    let call = tokio::spawn(async move { dispatcher.subscribe(PROJECT, &topic("a"), &asked, NOW).await });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!call.is_finished());
    // Nobody waits for it any more; it is done all the same, and the set knows.
    assert_eq!(slots_of(&world, &topic("a")).await, [].into());
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    world.engine.writes.add_permits(100);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(rows_of(&world.store, 0, &topic("a")).await, [0].into());
    assert_eq!(slots_of(&world, &topic("a")).await, [0].into());
}

#[tokio::test]
async fn who_ended_has_left() {
    let world = World::new().await;
    let tokens = with_tokens(&world, 3).await;
    for name in ["a", "b"] {
        world.dispatcher.subscribe(PROJECT, &topic(name), &tokens, NOW).await.unwrap();
    }
    assert_eq!(counts(&world).await, [("a".to_owned(), 3), ("b".to_owned(), 3)]);
    end(&world, id(0, 1)).await;
    assert_eq!(counts(&world).await, [("a".to_owned(), 2), ("b".to_owned(), 2)]);
    assert_eq!(slots_of(&world, &topic("a")).await, [0, 2].into());
    let again = world.dispatcher.subscribe(PROJECT, &topic("a"), &tokens[1..2], NOW).await;
    assert_eq!(again, Ok(vec![Err(MembershipError::NotFound)]));
    assert_eq!(world.dispatcher.topics_of(id(0, 1), NOW).await, Ok(vec![]));
}

/// Whatever runs at the same moment, and whatever is forgotten between: what is told of a topic is
/// what its rows say, and who ended is in none.
#[test]
fn sets_say_what_the_rows_say() {
    for seed in 0..200 {
        // None, one or two sets, some, all.
        let memory = [0, 500, 800, 1 << 20][seed as usize % 4];
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(seed, memory));
    }
}

const TOPICS: u64 = 4;
const DEVICES: u64 = 12;

async fn run(seed: u64, memory: usize) {
    let dice = Arc::new(Dice(AtomicU64::new(seed)));
    let world = World::new().await;
    let store: Store = Arc::new(Winding { inner: world.store.clone(), dice: dice.clone() });
    let dispatcher = dispatcher(&store, NOW).await.with_member_memory(memory);
    let world = Arc::new(World { dispatcher: Arc::new(dispatcher), store, engine: world.engine.clone() });
    let tokens = Arc::new(with_tokens(&world, DEVICES as u16).await);
    let ended = Arc::new(Mutex::new(BTreeSet::new()));
    for _ in 0..5 {
        let tasks: Vec<_> = (0..6)
            .map(|_| {
                let (world, tokens, dice, ended) =
                    (world.clone(), tokens.clone(), dice.clone(), ended.clone());
                tokio::spawn(async move {
                    for _ in 0..3 {
                        step(&world, &tokens, &dice, &ended).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let ended = ended.lock().unwrap().clone();
        check(&world, seed, &ended).await;
    }
}

async fn step(world: &World, tokens: &[String], dice: &Dice, ended: &Mutex<BTreeSet<u16>>) {
    let topic = topic(&format!("t{}", dice.roll(TOPICS)));
    let some: Vec<String> = (0..3).map(|_| tokens[dice.roll(DEVICES) as usize].clone()).collect();
    let one = dice.roll(DEVICES) as u16;
    match dice.roll(16) {
        0..5 => drop(world.dispatcher.subscribe(PROJECT, &topic, &some, NOW).await.unwrap()),
        5..9 => drop(world.dispatcher.unsubscribe(PROJECT, &topic, &some, NOW).await.unwrap()),
        9 if ended.lock().unwrap().len() < 6 => {
            end(world, id(0, one)).await;
            ended.lock().unwrap().insert(one);
        }
        10 => {
            // Of one that has ended it is refused.
            let _ = world.dispatcher.replace_topics(id(0, one), &[topic], NOW).await;
        }
        11 => world.dispatcher.project_deleted(PROJECT, NOW).await.unwrap(),
        // The set is loaded, if it is not in memory.
        _ => drop(slots_of(world, &topic).await),
    }
}

async fn check(world: &World, seed: u64, ended: &BTreeSet<u16>) {
    let mut counted = Vec::new();
    for n in 0..TOPICS {
        let topic = topic(&format!("t{n}"));
        let rows = rows_of(&world.store, 0, &topic).await;
        assert_eq!(slots_of(world, &topic).await, rows, "seed {seed}, {topic}");
        assert!(rows.is_disjoint(ended), "seed {seed}, {topic}: {rows:?}, {ended:?}");
        if !rows.is_empty() {
            counted.push((topic.to_string(), rows.len() as u64));
        }
        for slot in 0..DEVICES as u16 {
            let has = world.dispatcher.subscription(id(0, slot), &topic, NOW).await.unwrap();
            assert_eq!(has.is_some(), rows.contains(&slot), "seed {seed}, {topic}, {slot}");
        }
    }
    assert_eq!(counts(world).await, counted, "seed {seed}");
}

/// The same each run.
struct Dice(AtomicU64);

impl Dice {
    fn roll(&self, sides: u64) -> u64 {
        let mut x = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x ^ x >> 31) % sides
    }
}

/// Lets others go first, now and then, before an operation and after it.
struct Winding {
    inner: Store,
    dice: Arc<Dice>,
}

impl Winding {
    async fn wind(&self) {
        for _ in 0..self.dice.roll(4) {
            tokio::task::yield_now().await;
        }
    }
}

impl Engine for Winding {
    fn get<'a>(&'a self, key: &'a RowKey, now: Timestamp) -> Pending<'a, Option<Row>> {
        Box::pin(async move {
            self.wind().await;
            let row = self.inner.get(key, now).await;
            self.wind().await;
            row
        })
    }

    fn scan<'a>(
        &'a self,
        table: Table,
        partition: &'a [u8],
        from: &'a [u8],
        limit: usize,
        now: Timestamp,
    ) -> Pending<'a, Page> {
        Box::pin(async move {
            self.wind().await;
            let page = self.inner.scan(table, partition, from, limit, now).await;
            self.wind().await;
            page
        })
    }

    fn write(&self, batch: Batch, now: Timestamp) -> Pending<'_, bool> {
        Box::pin(async move {
            self.wind().await;
            let written = self.inner.write(batch, now).await;
            self.wind().await;
            written
        })
    }

    fn partitions<'a>(&'a self, table: Table, from: &'a [u8], limit: usize) -> Pending<'a, Partitions> {
        self.inner.partitions(table, from, limit)
    }

    fn sweep<'a>(&'a self, table: Table, from: &'a [u8], limit: usize, now: Timestamp) -> Pending<'a, Swept> {
        self.inner.sweep(table, from, limit, now)
    }

    fn close(&self) -> Pending<'_, ()> {
        self.inner.close()
    }
}
