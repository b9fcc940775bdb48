//! A device connects while other things happen.

use std::sync::Arc;

use cresset_delivery::{ArrivalError, Limits, Quotas};
use cresset_message::{RegistrationId, Rejection};
use cresset_store::Table;

use crate::fanout::{Line, topic};
use crate::world::{NOW, PROJECT, World, device, ids, message};

/// `cresset-simulate --seed 2204131` of an earlier version: pushes went to nobody.
#[tokio::test]
async fn of_two_connections_that_arrive_at_a_time_the_newer_one_is_pushed_to() {
    let world = World::new().await;
    let phone = device(7);
    world.register(phone, 1).await;
    world.join(1, "news").await;
    let slow = world.engine.stop_at(Table::Carried);
    let dispatcher = world.dispatcher.clone();
    let older = Arc::new(Line::default());
    let line = older.clone();
    let arriving = tokio::spawn(async move { dispatcher.arrived(phone, line, NOW).await });
    slow.reached().await;
    let newer = world.connect(phone).await;
    slow.go();
    assert!(matches!(arriving.await.unwrap(), Err(ArrivalError::Overtaken)));
    world.dispatcher.left(phone, &(older.clone() as Arc<dyn cresset_delivery::Carrier>));
    let id = world.send_to(topic("news"), 1).await;
    world.spread(NOW).await;
    let micros = |line: &Line| line.taken().iter().map(|id| id.micros).collect::<Vec<_>>();
    assert_eq!((micros(&older), micros(&newer)), (vec![], vec![id.micros]));
}

#[tokio::test]
async fn the_older_of_two_connections_is_told_to_end_and_the_newer_has_all_that_comes() {
    let world = World::new().await;
    let phone = device(7);
    let token = world.register(phone, 1).await;
    world.join(1, "news").await;
    let older = world.connect(phone).await;
    let newer = world.connect(phone).await;
    assert_eq!((older.is_replaced(), newer.is_replaced()), (true, false));
    world.send(&token, None).await;
    world.send_to(topic("news"), 1).await;
    world.spread(NOW).await;
    assert_eq!((older.taken().len(), newer.taken().len()), (0, 2));
    // It takes its time to end.
    world.dispatcher.left(phone, &(older.clone() as Arc<dyn cresset_delivery::Carrier>));
    world.send(&token, None).await;
    assert_eq!(newer.taken().len(), 1);
}

/// What its device carries has been read, without it, and nobody is there yet who could be told.
#[tokio::test]
async fn who_registers_while_its_device_arrives_is_pushed_to() {
    let world = World::new().await;
    let phone = device(7);
    world.register(phone, 1).await;
    let looking = world.engine.stop_at(Table::Registrations);
    let (dispatcher, line) = (world.dispatcher.clone(), Arc::new(Line::default()));
    let arrived = line.clone();
    let arriving = tokio::spawn(async move { dispatcher.arrived(phone, arrived, NOW).await });
    looking.reached().await;
    world.register(phone, 2).await;
    let id = RegistrationId { project: PROJECT, bucket: 0, slot: 2 };
    world.dispatcher.registered(id, phone, NOW).await.unwrap();
    looking.go();
    arriving.await.unwrap().unwrap();
    world.join(2, "news").await;
    world.send_to(topic("news"), 1).await;
    world.spread(NOW).await;
    assert_eq!(line.taken().len(), 1);
}

/// The older one has arrived and is still being looked at.
#[tokio::test]
async fn a_connection_that_is_overtaken_at_the_last_moment_says_so() {
    let world = World::new().await;
    let phone = device(7);
    world.register(phone, 1).await;
    world.join(1, "news").await;
    let loading = world.engine.stop_at(Table::FanOuts);
    let (dispatcher, line) = (world.dispatcher.clone(), Arc::new(Line::default()));
    let arriving = tokio::spawn(async move { dispatcher.arrived(phone, line, NOW).await });
    loading.reached().await;
    let confirming = world.engine.stop_at(Table::Registrations);
    loading.go();
    confirming.reached().await;
    let newer = world.connect(phone).await;
    confirming.go();
    assert!(matches!(arriving.await.unwrap(), Err(ArrivalError::Overtaken)));
    world.send_to(topic("news"), 1).await;
    world.spread(NOW).await;
    assert_eq!(newer.taken().len(), 1);
}

/// `cresset-simulate --seed 3137164`.
#[tokio::test]
async fn who_unregisters_while_its_device_arrives_is_unregistered() {
    let world = World::new().await;
    let phone = device(7);
    let token = world.register(phone, 1).await;
    let loading = world.engine.stop_at(Table::FanOuts);
    let dispatcher = world.dispatcher.clone();
    let arriving =
        tokio::spawn(async move { dispatcher.arrived(phone, Arc::new(Line::default()), NOW).await });
    loading.reached().await;
    // Nobody is told who knows of it yet.
    world.unregister(1).await;
    let confirming = world.engine.stop_at(Table::Registrations);
    loading.go();
    confirming.reached().await;
    let refused = world.dispatcher.send(PROJECT, message(&token, None), false, NOW).await;
    assert!(matches!(refused, Err(Rejection::Unregistered)), "{refused:?}");
    confirming.go();
    arriving.await.unwrap().unwrap();
}

/// Messages come faster than an inbox is read: what was read is in order nevertheless, and nothing is missed.
#[tokio::test]
async fn an_inbox_that_is_read_slowly_is_read_in_order() {
    let world = World::new().await;
    let phone = device(7);
    let token = world.register(phone, 1).await;
    world.join(1, "news").await;
    world.send(&token, None).await;
    let mut slow = world.engine.stop_at_scan(Table::Inbox);
    let dispatcher = world.dispatcher.clone();
    let mut reading =
        tokio::spawn(async move { dispatcher.pending(phone, 64, &|_| false, NOW).await.unwrap() });
    let found = loop {
        tokio::select! {
            found = &mut reading => break ids(&found.unwrap()),
            () = slow.reached() => {
                // Its set has been looked at, its rows have not. (Whether one still waits is asked of its row.)
                world.send_to(topic("news"), 1).await;
                world.send(&token, None).await;
                let next = world.engine.stop_at_scan(Table::Inbox);
                std::mem::replace(&mut slow, next).go();
            }
        }
    };
    world.engine.stop_nowhere();
    let rest = world.dispatcher.pending(phone, 64, &|id| found.contains(&id), NOW).await.unwrap();
    let all = [found, ids(&rest)].concat();
    assert!(all.is_sorted(), "{all:?}");
    assert!(rest.len() > 1 && all.len() % 2 == 1, "{all:?}");
}

/// `cresset-simulate --seed 2100961` of an earlier version: a set came, and became rows where the look had been.
#[tokio::test]
async fn an_inbox_that_is_read_slowly_has_what_became_rows_meanwhile() {
    let mut world = World::new().await;
    world.kill(Quotas::OFF, Limits { live_fanouts: 0, ..Limits::default() }, NOW).await;
    let phone = device(7);
    let token = world.register(phone, 1).await;
    world.join(1, "news").await;
    let older = world.send_to(topic("news"), 1).await;
    let newer = world.send(&token, None).await;
    let dispatcher = world.dispatcher.clone();
    let carrying = world.engine.stop_at(Table::Carried);
    let reading = tokio::spawn(async move { dispatcher.pending(phone, 64, &|_| false, NOW).await.unwrap() });
    carrying.reached().await;
    let slow = world.engine.stop_at(Table::Inbox);
    carrying.go();
    slow.reached().await;
    let whom = world.engine.stop_at(Table::Registrations);
    slow.go();
    // Its rows have been read, and not yet whom they are for.
    whom.reached().await;
    world.spread(NOW).await;
    world.dispatcher.tidy(NOW).await.unwrap();
    assert_eq!(world.rows(phone).await, 2);
    whom.go();
    let found: Vec<u64> = reading.await.unwrap().iter().map(|delivery| delivery.id.micros).collect();
    assert_eq!(found, [older.micros, newer.micros]);
}
