//! The way back: rows of a project, given to whoever is attached, until they are acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cresset_delivery::{AppServer, FromDevice, Limits, Line, Quotas, Taken, Upstream, UpstreamError, Why};
use cresset_message::{Message, MessageId, Timestamp};
use cresset_store::Table;
use cresset_store::tables::upstream;

use crate::world::{NOW, PROJECT, World, device, message};

/// Counts how often it was woken.
#[derive(Default)]
struct Counting(AtomicUsize);

impl AppServer for Counting {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn said(n: u32) -> FromDevice {
    FromDevice {
        sender: Some(PROJECT),
        category: "com.example.app".into(),
        message_id: n.to_string(),
        persistent_id: Some(format!("p-{n}")),
        data: vec![("n".into(), n.to_string())],
        ttl_seconds: Some(3_600),
        ..FromDevice::default()
    }
}

fn names(pulled: &[Upstream]) -> Vec<&str> {
    pulled.iter().map(|upstream| upstream.message_id.as_str()).collect()
}

fn ids(pulled: &[Upstream]) -> Vec<MessageId> {
    pulled.iter().map(|upstream| upstream.id).collect()
}

impl World {
    async fn take(&self, messages: &[FromDevice], now: Timestamp) -> Vec<Taken> {
        self.dispatcher.take_upstream(device(7), messages, now).await.unwrap()
    }

    async fn pull(&self, line: Line, room: usize) -> Vec<Upstream> {
        self.dispatcher.pull(line, room, NOW).await.unwrap()
    }

    async fn upstream_rows(&self) -> usize {
        self.count(Table::Upstream, &upstream::partition(PROJECT)).await
    }
}

#[tokio::test]
async fn what_is_taken_waits_in_order_until_it_is_acknowledged() {
    let mut world = World::new().await;
    let token = world.register(device(7), 1).await;
    let messages: Vec<_> = (1..=3).map(said).collect();
    assert_eq!(world.take(&messages, NOW).await, [Taken::Durable; 3]);
    world.kill(Quotas::OFF, Limits::default(), NOW).await;
    let line = world.dispatcher.attach(PROJECT, Arc::new(Counting::default()));
    let pulled = world.pull(line, 2).await;
    assert_eq!(names(&pulled), ["1", "2"]);
    assert_eq!((&pulled[0].registration, pulled[0].ttl_seconds), (&token, 3_600));
    assert_eq!(names(&world.pull(line, 2).await), ["3"]);
    assert!(world.pull(line, 2).await.is_empty(), "each once");
    world.dispatcher.acknowledge_upstream(line, ids(&pulled), NOW).await.unwrap();
    assert_eq!(world.upstream_rows().await, 1);
}

#[tokio::test]
async fn a_message_that_a_device_sends_again_is_there_once() {
    let world = World::new().await;
    world.register(device(7), 1).await;
    assert_eq!(world.take(&[said(1), said(1)], NOW).await, [Taken::Durable, Taken::Duplicate]);
    let nameless = FromDevice { persistent_id: None, ..said(1) };
    assert_eq!(world.take(&[nameless], NOW).await, [Taken::Durable], "it cannot be told from another");
    assert_eq!(world.upstream_rows().await, 2);
}

#[tokio::test]
async fn what_nobody_may_have_is_dropped_with_its_reason() {
    let world = World::new().await;
    world.register(device(7), 1).await;
    let other = world.register(device(8), 2).await;
    let rows = [
        (FromDevice { sender: None, ..said(1) }, Why::NoProject),
        (FromDevice { category: "com.example.other".into(), ..said(2) }, Why::NotRegistered),
        (FromDevice { registration: Some(other), ..said(3) }, Why::NotRegistered),
        (FromDevice { data: vec![("k".into(), "v".repeat(4_096))], ..said(4) }, Why::TooLarge),
        (FromDevice { ttl_seconds: Some(0), ..said(5) }, Why::NotConnected),
    ];
    for (message, why) in rows {
        assert_eq!(world.take(&[message], NOW).await, [Taken::Dropped(why)]);
    }
    assert_eq!(world.upstream_rows().await, 0);
    assert_eq!(world.dispatcher.upstream_snapshot().dropped, [1, 2, 1, 1]);
}

#[tokio::test]
async fn what_cannot_be_made_durable_is_not_taken() {
    let world = World::new().await;
    world.register(device(7), 1).await;
    world.take(&[said(1)], NOW).await;
    world.engine.refuse(true);
    let refused = world.dispatcher.take_upstream(device(7), &[said(1), said(2), said(3)], NOW).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.taken, [Taken::Duplicate]);
    assert!(matches!(refused.error, UpstreamError::Store(_)), "{}", refused.error);
    world.engine.refuse(false);
    // Nothing that was tried in vain holds up the others.
    world.take(&[said(2)], NOW).await;
    let line = world.dispatcher.attach(PROJECT, Arc::new(Counting::default()));
    assert_eq!(names(&world.pull(line, 100).await), ["1", "2"]);
}

#[tokio::test]
async fn several_lines_share_and_who_leaves_leaves_it_to_the_others() {
    let world = World::new().await;
    world.register(device(7), 1).await;
    let (a, b) = (Arc::new(Counting::default()), Arc::new(Counting::default()));
    let first = world.dispatcher.attach(PROJECT, a.clone());
    let second = world.dispatcher.attach(PROJECT, b.clone());
    world.take(&(0..30).map(said).collect::<Vec<_>>(), NOW).await;
    let (mine, yours) = (world.pull(first, 100).await, world.pull(second, 100).await);
    assert_eq!((mine.len(), yours.len()), (10, 10), "in portions");
    world.dispatcher.acknowledge_upstream(first, ids(&mine[..5]), NOW).await.unwrap();
    let woken = b.0.load(Ordering::Relaxed);
    world.dispatcher.detach(first, &ids(&mine[5..]));
    assert!(b.0.load(Ordering::Relaxed) > woken, "somebody is told");
    let left = world.pull(second, 100).await;
    assert_eq!(left.len(), 15);
    assert_eq!(ids(&left[..5]), ids(&mine[5..]), "what was given back comes first");
    assert!(world.pull(second, 100).await.is_empty());
    // The last one leaves: whoever comes next gets all that is not acknowledged.
    world.dispatcher.detach(second, &ids(&yours));
    let third = world.dispatcher.attach(PROJECT, a);
    assert_eq!(world.pull(third, 100).await.len(), 25);
}

#[tokio::test]
async fn an_ack_that_cannot_be_stored_brings_the_message_again() {
    let world = World::new().await;
    world.register(device(7), 1).await;
    world.take(&[said(1)], NOW).await;
    let line = world.dispatcher.attach(PROJECT, Arc::new(Counting::default()));
    let pulled = world.pull(line, 100).await;
    world.engine.refuse(true);
    assert!(world.dispatcher.acknowledge_upstream(line, ids(&pulled), NOW).await.is_err());
    world.engine.refuse(false);
    assert_eq!(names(&world.pull(line, 100).await), ["1"]);
}

#[tokio::test]
async fn what_is_over_is_not_given_and_not_given_again() {
    let world = World::new().await;
    world.register(device(7), 1).await;
    world.take(&[said(1), FromDevice { ttl_seconds: Some(7_200), ..said(2) }], NOW).await;
    let line = world.dispatcher.attach(PROJECT, Arc::new(Counting::default()));
    let later = NOW + Duration::from_secs(3_600);
    let pulled = world.dispatcher.pull(line, 100, later).await.unwrap();
    assert_eq!(names(&pulled), ["2"]);
    let over = NOW + Duration::from_secs(7_200);
    assert_eq!(world.dispatcher.again(line, &ids(&pulled), over).await.unwrap(), []);
}

#[tokio::test]
async fn a_receipt_is_in_the_queue_when_the_message_is_gone() {
    let world = World::new().await;
    let token = world.register(device(7), 1).await;
    let wants = Message { receipt_id: Some("m-1".into()), ..message(&token, None) };
    let id = world.dispatcher.send(PROJECT, wants, false, NOW).await.unwrap();
    let plain = world.send(&token, None).await;
    for _ in 0..2 {
        world.dispatcher.acknowledge(device(7), &[id, plain], NOW).await.unwrap();
    }
    assert_eq!(world.rows(device(7)).await, 0);
    let line = world.dispatcher.attach(PROJECT, Arc::new(Counting::default()));
    let pulled = world.pull(line, 100).await;
    let [receipt] = &pulled[..] else { panic!("{pulled:?}") };
    assert_eq!((receipt.message_id.as_str(), &receipt.registration), ("m-1", &token));
    assert_eq!(receipt.receipt_for, Some(Timestamp::from_micros(id.micros)));
    assert_eq!(receipt.category, "com.example.app");
}
