use std::time::Duration;

use cresset_delivery::Handoff;
use cresset_device::session::MAX_IN_FLIGHT;
use cresset_device_client::{Acks, ConnectOptions};

use crate::house::{House, assert_silent, eventually, next, texts};

#[tokio::test]
async fn the_inbox_comes_first_and_pushes_follow_in_order() {
    let house = House::start().await;
    *house.store.slowness.lock().unwrap() = Duration::from_millis(50);
    for n in 0..3 {
        assert_eq!(house.send(1, &n.to_string()), Handoff::Offline);
    }
    let mut device = house.connect(1).await;
    // The inbox is still being read: what is pushed now must not overtake it.
    for n in 3..200 {
        house.send(1, &n.to_string());
    }
    let expected: Vec<_> = (0..200).map(|n| n.to_string()).collect();
    assert_eq!(texts(&mut device, 200).await, expected);
    assert_silent(&mut device).await;
}

#[tokio::test]
async fn each_way_of_acknowledging_empties_the_inbox() {
    let house = House::start().await;
    let mut device = house.connect(1).await;
    let mut received = Vec::new();
    for text in ["a", "b", "c"] {
        assert_ne!(house.send(1, text), Handoff::Offline);
        received.push(next(&mut device).await.unwrap());
    }
    assert_eq!(house.stored(), 3);
    device.acknowledge(&received[1]).await.unwrap();
    eventually(|| house.stored() == 2).await;
    let known = ConnectOptions {
        received: vec![format!("{}|x", received[0].persistent_id())],
        ..ConnectOptions::default()
    };
    let mut device = house.connect_with(1, known).await.unwrap();
    assert_eq!(next(&mut device).await.unwrap(), {
        let mut again = received[2].clone();
        again.stanza.last_stream_id_received = Some(1);
        again
    });
    device.acknowledge_stream().await.unwrap();
    eventually(|| house.stored() == 0).await;
    eventually(|| house.listener.snapshot().acknowledged == 3).await;
}

#[tokio::test]
async fn a_message_is_written_once_to_a_connection() {
    let house = House::start().await;
    let mut device = house.connect(1).await;
    let delivery = house.store(1, "once");
    assert_ne!(house.push(&delivery), Handoff::Offline);
    assert_eq!(texts(&mut device, 1).await, ["once"]);
    assert_eq!(house.push(&delivery), Handoff::Accepted);
    assert_silent(&mut device).await;
}

#[tokio::test]
async fn now_or_never_messages_go_to_the_connected_only() {
    let house = House::start().await;
    assert_eq!(house.push(&house.message(1, "never", Duration::ZERO)), Handoff::Offline);
    let mut device = house.connect(1).await;
    assert_eq!(house.push(&house.message(1, "now", Duration::ZERO)), Handoff::Accepted);
    assert_eq!(texts(&mut device, 1).await, ["now"]);
}

#[tokio::test]
async fn what_has_expired_is_not_written() {
    let house = House::start().await;
    let mut device = house.connect(1).await;
    let late = house.message(1, "late", Duration::from_nanos(1_000));
    assert_eq!(house.push(&late), Handoff::Busy);
    assert_silent(&mut device).await;
}

#[tokio::test]
async fn a_full_window_goes_on_after_acknowledgements() {
    let house = House::start().await;
    let total = MAX_IN_FLIGHT + 500;
    let mut device = house.connect(1).await;
    for n in 0..total {
        house.send(1, &n.to_string());
    }
    let expected: Vec<_> = (0..total).map(|n| n.to_string()).collect();
    assert_eq!(texts(&mut device, MAX_IN_FLIGHT).await, expected[..MAX_IN_FLIGHT]);
    assert_eq!(house.send(1, "one more"), Handoff::Busy);
    assert_silent(&mut device).await;
    device.acknowledge_stream().await.unwrap();
    assert_eq!(texts(&mut device, 500).await, expected[MAX_IN_FLIGHT..]);
    assert_eq!(texts(&mut device, 1).await, ["one more"]);
    device.acknowledge_stream().await.unwrap();
    eventually(|| house.stored() == 0).await;
}

#[tokio::test]
async fn an_automatic_client_leaves_nothing_behind() {
    let house = House::start().await;
    let options = ConnectOptions { acks: Acks::Automatic, ..ConnectOptions::default() };
    let mut device = house.connect_with(1, options).await.unwrap();
    for n in 0..50 {
        house.send(1, &n.to_string());
    }
    texts(&mut device, 50).await;
    assert_silent(&mut device).await;
    eventually(|| house.stored() == 0).await;
}

#[tokio::test]
async fn what_a_device_says_as_it_leaves_is_heard() {
    let house = House::start().await;
    // Often the last words and the end come in one read.
    for n in 0..50 {
        let mut device = house.connect(1).await;
        house.send(1, &n.to_string());
        let message = next(&mut device).await.unwrap();
        device.acknowledge(&message).await.unwrap();
        device.close().await.unwrap();
        eventually(|| house.stored() == 0).await;
    }
}
