//! Accepting, durability, and the order of ids.

use std::time::Duration;

use cresset_message::{Message, Timestamp};

use crate::world::{NOW, PROJECT, World, device, dispatcher, message};

#[tokio::test]
async fn what_became_durable_is_pushed_even_if_the_sender_left() {
    let world = World::new().await;
    let pushed = world.connect_all([7]).await;
    let phone = device(7);
    let token = world.register(phone, 1).await;
    let held = world.engine.writes.forget_permits(usize::MAX);
    let send = world.dispatcher.send(PROJECT, message(&token, None), false, NOW);
    assert!(tokio::time::timeout(Duration::from_millis(10), send).await.is_err(), "nothing is durable yet");
    assert!(pushed.seen().is_empty(), "and nothing is pushed");
    world.engine.writes.add_permits(held);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.rows(phone).await, 1);
    assert_eq!(pushed.seen().len(), 1);
}

#[tokio::test]
async fn ids_rise_though_the_clock_steps_back_and_the_server_starts_again() {
    let world = World::new().await;
    let token = world.register(device(7), 1).await;
    let send = async |dispatcher: &cresset_delivery::Dispatcher, now| {
        dispatcher.send(PROJECT, message(&token, None), false, now).await.unwrap()
    };
    let hour = Duration::from_secs(3_600);
    let first = send(&world.dispatcher, NOW + hour).await;
    let second = send(&world.dispatcher, NOW).await;
    let third = send(&world.dispatcher, NOW + Duration::from_millis(900)).await;
    assert!(first < second && second < third);
    let again = dispatcher(&world.store, NOW).await;
    let fourth = send(&again, NOW).await;
    assert!(third < fourth);
    let soon = fourth.micros - (NOW + hour).as_micros();
    assert!(soon < 3_000_000, "ids stay near the clock: {soon} µs ahead");
}

/// `cresset-simulate --seed 6077306` of an earlier version: what says where ids go on was overwritten by what was
/// prepared before the clock leapt.
#[tokio::test]
async fn ids_rise_though_the_clock_leaps_forth_while_others_are_written_and_then_back() {
    let world = World::new().await;
    let token = world.register(device(7), 1).await;
    world.engine.writes.forget_permits(usize::MAX);
    let rest = async || {
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
    };
    // It takes two writes, and of these the second comes after the other message.
    let (sender, tokens) = (world.dispatcher.clone(), vec![token.clone(); 3_000]);
    let large = Message { data: vec![("k".into(), "x".repeat(4_000))], ..message("", None) };
    let many = tokio::spawn(async move { sender.send_many(PROJECT, large, tokens, false, NOW).await });
    rest().await;
    let (sender, later) = (world.dispatcher.clone(), NOW + Duration::from_secs(1_000));
    let leapt = tokio::spawn(async move { sender.send(PROJECT, message(&token, None), false, later).await });
    rest().await;
    world.engine.writes.add_permits(2);
    rest().await;
    world.engine.writes.add_permits(1 << 20);
    assert!(many.await.unwrap().iter().all(Result::is_ok));
    let newest = leapt.await.unwrap().unwrap();
    let token = world.register(device(8), 2).await;
    let again = dispatcher(&world.store, NOW).await;
    let next = again.send(PROJECT, message(&token, None), false, NOW).await.unwrap();
    assert!(next > newest, "{next} after {newest}");
}

#[tokio::test]
async fn a_clock_that_was_years_ahead_once_is_forgotten() {
    let world = World::new().await;
    let token = world.register(device(7), 1).await;
    let year = Duration::from_secs(31_536_000);
    world.dispatcher.send(PROJECT, message(&token, None), false, NOW + year).await.unwrap();
    let again = dispatcher(&world.store, NOW).await;
    let id = again.send(PROJECT, message(&token, None), false, NOW).await.unwrap();
    assert_eq!(Timestamp::from_micros(id.micros), NOW);
}
