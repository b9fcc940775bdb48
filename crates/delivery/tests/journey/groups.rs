//! Device groups: who gets what is sent to one, and how long a group lives.

use std::collections::HashSet;
use std::time::Duration;

use cresset_delivery::{GroupChange, GroupError, Quotas};
use cresset_message::{AndroidConfig, DeviceQuota, MessageId, ProjectNumber, Rejection};
use cresset_store::{Batch, Table, tables};
use cresset_wire::token::open_group_key;

use crate::fanout::topic;
use crate::world::{NOW, PROJECT, World, device, ids, key, message};

const OTHER: ProjectNumber = ProjectNumber(4_321);

impl World {
    async fn group(&self, name: &str, tokens: &[&str]) -> Result<String, GroupError> {
        self.dispatcher.create_group(PROJECT, name, tokens, NOW).await
    }

    async fn try_send(&self, to: &str, validate_only: bool) -> Result<MessageId, Rejection> {
        self.dispatcher.send(PROJECT, message(to, None), validate_only, NOW).await
    }

    /// Rows of a table, whatever their partition.
    async fn group_rows(&self, table: Table) -> usize {
        self.store.sweep(table, b"", 1_000, NOW).await.unwrap().examined
    }
}

fn change<'a>(notification_key: &'a str, registration_ids: &'a [&'a str]) -> GroupChange<'a> {
    GroupChange { notification_key, name: None, registration_ids }
}

#[tokio::test]
async fn each_member_gets_it_once_under_an_id_of_its_own() {
    let world = World::new().await;
    let pushed = world.connect_all([7, 8]).await;
    let (phone, tablet) = (device(7), device(8));
    // Two apps on one device, and one on another.
    let a = world.register(phone, 1).await;
    let b = world.register(phone, 2).await;
    let c = world.register(tablet, 3).await;
    let group = world.group("user-42", &[&a, &b, &c]).await.unwrap();
    let answered = world.try_send(&group, false).await.unwrap();
    let on_phone = world.pending(phone, 10).await;
    let slots: Vec<u16> = on_phone.iter().map(|d| d.recipient.registration.slot).collect();
    assert_eq!(slots, [1, 2]);
    let found = [ids(&on_phone), ids(&world.pending(tablet, 10).await)].concat();
    assert_eq!(found.iter().collect::<HashSet<_>>().len(), 3, "{found:?}");
    assert!(found.contains(&answered));
    assert_eq!(pushed.seen(), found, "and what is pushed has the same ids");
}

#[tokio::test]
async fn all_members_have_it_durably_before_the_sender_is_answered() {
    let world = World::new().await;
    let pushed = world.connect_all([7, 8]).await;
    let (a, b) = (world.register(device(7), 1).await, world.register(device(8), 2).await);
    let group = world.group("user-42", &[&a, &b]).await.unwrap();
    world.engine.writes.forget_permits(usize::MAX);
    let send = world.try_send(&group, false);
    assert!(tokio::time::timeout(Duration::from_millis(10), send).await.is_err());
    assert!(pushed.seen().is_empty());
    // One write is all it takes, and it goes on though the sender has left.
    world.engine.writes.add_permits(1);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!((world.rows(device(7)).await, world.rows(device(8)).await), (1, 1));
    assert_eq!(pushed.seen().len(), 2);
}

#[tokio::test]
async fn a_member_that_is_gone_leaves_and_is_no_error() {
    let world = World::new().await;
    let (a, b) = (world.register(device(7), 1).await, world.register(device(8), 2).await);
    let group = world.group("user-42", &[&a, &b]).await.unwrap();
    world.unregister(2).await;
    world.try_send(&group, false).await.unwrap();
    assert_eq!((world.rows(device(7)).await, world.rows(device(8)).await), (1, 0));
    // Were it still a member, it would get the next one.
    world.register(device(8), 2).await;
    world.try_send(&group, false).await.unwrap();
    assert_eq!((world.rows(device(7)).await, world.rows(device(8)).await), (2, 0));
}

#[tokio::test]
async fn with_its_last_member_a_group_ends_and_its_name_is_free() {
    let world = World::new().await;
    let (a, b) = (world.register(device(7), 1).await, world.register(device(8), 2).await);
    let gone = world.group("user-42", &[&a]).await.unwrap();
    world.unregister(1).await;
    assert_eq!(world.try_send(&gone, true).await, Err(Rejection::Unregistered));
    assert_eq!(world.group_rows(Table::Groups).await, 1, "a dry run only says so");
    assert_eq!(world.try_send(&gone, false).await, Err(Rejection::Unregistered));
    assert_eq!((world.group_rows(Table::Groups).await, world.group_rows(Table::GroupNames).await), (0, 0));

    let emptied = world.group("user-42", &[&b]).await.unwrap();
    assert_ne!(emptied, gone);
    world.dispatcher.remove_from_group(PROJECT, change(&emptied, &[&b]), NOW).await.unwrap();
    assert_eq!(world.try_send(&emptied, false).await, Err(Rejection::Unregistered));
    assert_eq!((world.group_rows(Table::Groups).await, world.group_rows(Table::GroupNames).await), (0, 0));
    let add = world.dispatcher.add_to_group(PROJECT, change(&emptied, &[&b]), NOW).await;
    assert_eq!(add, Err(GroupError::NotFound), "a dead key stays dead");
}

#[tokio::test]
async fn a_group_whose_members_went_by_themselves_is_found_no_more() {
    let world = World::new().await;
    let (a, b) = (world.register(device(7), 1).await, world.register(device(8), 2).await);
    let group = world.group("user-42", &[&a]).await.unwrap();
    assert_eq!(world.dispatcher.group_by_name(PROJECT, "user-42", NOW).await, Ok(group));
    world.unregister(1).await;
    let by_name = world.dispatcher.group_by_name(PROJECT, "user-42", NOW).await;
    assert_eq!(by_name, Err(GroupError::NotFound));

    let group = world.group("user-43", &[&b]).await.unwrap();
    world.unregister(2).await;
    let c = world.register(device(9), 3).await;
    let add = world.dispatcher.add_to_group(PROJECT, change(&group, &[&c]), NOW).await;
    assert_eq!(add, Err(GroupError::NotFound));
    assert!(world.group("user-43", &[&c]).await.is_ok());
}

#[tokio::test]
async fn a_crash_between_a_groups_end_and_its_names_leaves_the_name_free() {
    let world = World::new().await;
    let a = world.register(device(7), 1).await;
    let first = world.group("user-42", &[&a]).await.unwrap();
    let mut batch = Batch::default();
    batch.delete(tables::groups::key(open_group_key(&key(), &first).unwrap()));
    world.store.write(batch, NOW).await.unwrap();
    let by_name = world.dispatcher.group_by_name(PROJECT, "user-42", NOW).await;
    assert_eq!(by_name, Err(GroupError::NotFound));
    let second = world.group("user-42", &[&a]).await.unwrap();
    assert_eq!(world.dispatcher.group_by_name(PROJECT, "user-42", NOW).await, Ok(second));
}

#[tokio::test]
async fn of_those_who_create_one_name_at_a_time_one_wins() {
    let world = World::new().await;
    let a = world.register(device(7), 1).await;
    let held = world.engine.writes.forget_permits(usize::MAX);
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (dispatcher, a) = (world.dispatcher.clone(), a.clone());
            tokio::spawn(async move { dispatcher.create_group(PROJECT, "user-42", &[&a], NOW).await })
        })
        .collect();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    // All of them have seen that the name is free.
    world.engine.writes.add_permits(held);
    let mut made = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(key) => made.push(key),
            Err(e) => assert_eq!(e, GroupError::Exists),
        }
    }
    assert_eq!(made.len(), 1);
    assert_eq!(world.dispatcher.group_by_name(PROJECT, "user-42", NOW).await.as_ref(), Ok(&made[0]));
    assert_eq!(world.group_rows(Table::Groups).await, 1, "the others leave nothing behind");
}

#[tokio::test]
async fn changes_at_a_time_are_all_made() {
    let world = World::new().await;
    let first = world.register(device(7), 0).await;
    let group = world.group("user-42", &[&first]).await.unwrap();
    let mut tokens = Vec::new();
    for slot in 1..5 {
        tokens.push(world.register(device(7), slot).await);
    }
    let held = world.engine.writes.forget_permits(usize::MAX);
    let tasks: Vec<_> = tokens
        .into_iter()
        .map(|token| {
            let (dispatcher, group) = (world.dispatcher.clone(), group.clone());
            tokio::spawn(async move {
                dispatcher.add_to_group(PROJECT, change(&group, &[&token]), NOW).await.map(drop)
            })
        })
        .collect();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    world.engine.writes.add_permits(held);
    for task in tasks {
        assert_eq!(task.await.unwrap(), Ok(()));
    }
    world.try_send(&group, false).await.unwrap();
    assert_eq!(world.rows(device(7)).await, 5);
}

#[tokio::test]
async fn another_projects_key_is_no_key() {
    let world = World::new().await;
    let a = world.register(device(7), 1).await;
    let group = world.group("user-42", &[&a]).await.unwrap();
    let sent = world.dispatcher.send(OTHER, message(&group, None), false, NOW).await;
    assert_eq!(sent, Err(Rejection::SenderIdMismatch));
    let add = world.dispatcher.add_to_group(OTHER, change(&group, &[&a]), NOW).await;
    assert_eq!(add, Err(GroupError::NotFound));
    let create = world.dispatcher.create_group(OTHER, "user-42", &[&a], NOW).await;
    assert_eq!(create, Err(GroupError::NoValidIds), "nor are its tokens another's");
}

#[tokio::test]
async fn a_dry_run_checks_everything_and_keeps_nothing() {
    let world = World::new().await;
    let (a, b) = (world.register(device(7), 1).await, world.register(device(8), 2).await);
    let group = world.group("user-42", &[&a, &b]).await.unwrap();
    world.unregister(2).await;
    assert!(world.try_send(&group, true).await.is_ok());
    assert_eq!(world.rows(device(7)).await, 0);
    world.register(device(8), 2).await;
    assert!(world.try_send(&group, false).await.is_ok());
    assert_eq!(world.rows(device(8)).await, 1, "nobody has left by a dry run");
    assert_eq!(
        world.try_send(&format!("APA91b{}", "n".repeat(134)), true).await,
        Err(Rejection::Unregistered)
    );
}

#[tokio::test]
async fn what_one_member_may_not_get_is_refused_before_anything_is_stored() {
    let world = World::new().await;
    let (a, b) = (world.register(device(7), 1).await, world.register(device(8), 2).await);
    let group = world.group("user-42", &[&a, &b]).await.unwrap();
    let mut restricted = message(&group, None);
    restricted.android = Some(AndroidConfig {
        restricted_package_name: Some("com.example.else".into()),
        ..AndroidConfig::default()
    });
    for validate_only in [true, false] {
        let sent = world.dispatcher.send(PROJECT, restricted.clone(), validate_only, NOW).await;
        assert!(matches!(sent, Err(Rejection::InvalidField(_))), "{sent:?}");
    }
    assert_eq!((world.rows(device(7)).await, world.rows(device(8)).await), (0, 0));
}

/// `cresset-simulate --seed 3225645`: it waited behind slow reads, and came to who connected meanwhile.
#[tokio::test]
async fn now_or_never_does_not_wait_for_what_is_older() {
    let world = World::new().await;
    let pushed = world.connect_all([7]).await;
    let token = world.register(device(7), 1).await;
    let group = world.group("user-42", &[&token]).await.unwrap();
    world.join(1, "news").await;
    world.send_to(topic("news"), 1).await;
    let spreading = world.engine.stop_at(Table::TopicMembers);
    let mut fleeting = message(&group, None);
    fleeting.android = Some(AndroidConfig { ttl: Some(Duration::ZERO), ..AndroidConfig::default() });
    let id = world.dispatcher.send(PROJECT, fleeting, false, NOW).await.unwrap();
    assert_eq!(pushed.seen(), [id]);
    spreading.go();
}

#[tokio::test]
async fn now_or_never_is_pushed_to_each_member_and_not_stored() {
    let world = World::new().await;
    let pushed = world.connect_all([7, 8]).await;
    let (a, b) = (world.register(device(7), 1).await, world.register(device(8), 2).await);
    let group = world.group("user-42", &[&a, &b]).await.unwrap();
    let mut fleeting = message(&group, None);
    fleeting.android = Some(AndroidConfig { ttl: Some(Duration::ZERO), ..AndroidConfig::default() });
    world.dispatcher.send(PROJECT, fleeting, false, NOW).await.unwrap();
    assert_eq!(pushed.seen().len(), 2);
    assert_eq!((world.rows(device(7)).await, world.rows(device(8)).await), (0, 0));
}

#[tokio::test]
async fn a_member_over_its_quota_goes_without_and_the_others_do_not() {
    let world = World::with_quotas(Quotas { device_per_minute: Some(2), ..Quotas::OFF }).await;
    let (a, b) = (world.register(device(7), 1).await, world.register(device(8), 2).await);
    let group = world.group("user-42", &[&a, &b]).await.unwrap();
    world.send(&a, None).await;
    world.try_send(&group, false).await.unwrap();
    world.try_send(&group, false).await.unwrap();
    assert_eq!((world.rows(device(7)).await, world.rows(device(8)).await), (2, 2));
    let refused = world.try_send(&group, false).await;
    let quota = DeviceQuota::PerMinute(2);
    assert_eq!(refused, Err(Rejection::DeviceQuota { quota, retry_after: Duration::from_secs(60) }));
}
