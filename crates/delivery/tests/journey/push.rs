//! Web Push: what an application server encrypted waits for a browser like any message.

use std::sync::Arc;
use std::time::Duration;

use cresset_delivery::{Content, Endpoint, Push, Pushed, Quotas};
use cresset_message::{
    DeviceId, Layout, Priority, ProjectNumber, RawPush, Recipient, RegistrationId, Rejection, Timestamp,
};
use cresset_store::Batch;
use cresset_store::tables::registrations::{self, DeviceTransport, RegistrationRecord};
use cresset_wire::token::registration_token;

use crate::world::{NOW, World, device, ids, key};

fn id(slot: u16) -> RegistrationId {
    RegistrationId { project: ProjectNumber::SYSTEM, bucket: 0, slot }
}

fn push(body: &[u8]) -> Push {
    let ttl = Duration::from_secs(60);
    Push { content: RawPush::Aes128gcm(body.to_vec()), ttl, priority: Priority::Normal, topic: None }
}

fn of_topic(body: &[u8], topic: &str) -> Push {
    Push { topic: Some(topic.into()), ..push(body) }
}

impl World {
    async fn subscribe(&self, on: DeviceId, slot: u16) -> Arc<Recipient> {
        let record = RegistrationRecord {
            prefix: "fGw0qy4TGgk".into(),
            platform: 3,
            device: Some(DeviceTransport {
                device: on.get(),
                app: "org.chromium.linux".into(),
                subtype: "wp:https://a.test/#1".into(),
                sender: "BDOU".into(),
                ..DeviceTransport::default()
            }),
            ..RegistrationRecord::default()
        };
        let mut batch = Batch::default();
        batch.put(registrations::key(id(slot)), record.to_bytes(), None);
        assert!(self.store.write(batch, NOW).await.unwrap());
        match self.endpoint(id(slot)).await {
            Endpoint::Subscription(recipient) => recipient,
            other => panic!("{other:?}"),
        }
    }

    async fn endpoint(&self, of: RegistrationId) -> Endpoint {
        self.dispatcher.endpoint(&registration_token(&key(), "fGw0qy4TGgk", of), NOW).await.unwrap()
    }

    async fn push(&self, to: &Arc<Recipient>, push: Push) -> Pushed {
        self.dispatcher.push(to.clone(), None, push, NOW).await.unwrap()
    }

    async fn bodies(&self, on: DeviceId, now: Timestamp) -> Vec<Vec<u8>> {
        let found = self.dispatcher.pending(on, 1_000, &|_| false, now).await.unwrap();
        let body = |content: &Content| match content {
            Content::Push(push) => push.body().to_vec(),
            other => panic!("{other:?}"),
        };
        found.iter().map(|delivery| body(&delivery.content)).collect()
    }
}

#[tokio::test]
async fn every_coding_waits_unchanged_until_it_is_acknowledged_or_expires() {
    let world = World::new().await;
    let browser = world.subscribe(device(7), 1).await;
    let aesgcm =
        RawPush::Aesgcm { body: vec![3], encryption: "salt=AA==".into(), crypto_key: "dh=BB==".into() };
    let mut sent = Vec::new();
    for content in [RawPush::Empty, RawPush::Aes128gcm(vec![1, 2]), aesgcm.clone()] {
        sent.push((world.push(&browser, Push { content: content.clone(), ..push(b"") }).await.id, content));
    }
    let found = world.pending(device(7), 10).await;
    assert_eq!(ids(&found), sent.iter().map(|(id, _)| *id).collect::<Vec<_>>());
    for (delivery, (_, content)) in found.iter().zip(&sent) {
        assert!(matches!(&delivery.content, Content::Push(push) if **push == *content), "{delivery:?}");
        assert!(matches!(delivery.recipient.layout, Layout::WebPush { .. }));
    }
    world.dispatcher.acknowledge(device(7), &[sent[0].0], NOW).await.unwrap();
    assert_eq!(world.bodies(device(7), NOW).await, [vec![1, 2], vec![3]]);
    assert!(world.bodies(device(7), NOW + Duration::from_secs(61)).await.is_empty());
}

#[tokio::test]
async fn of_a_topic_the_newest_waits_in_its_own_place() {
    let world = World::new().await;
    let (one, other) = (world.subscribe(device(7), 1).await, world.subscribe(device(7), 2).await);
    world.push(&one, of_topic(b"old", "score")).await;
    world.push(&one, push(b"plain")).await;
    world.push(&other, of_topic(b"other's", "score")).await;
    world.push(&one, of_topic(b"new", "score")).await;
    assert_eq!(world.bodies(device(7), NOW).await, [&b"plain"[..], b"other's", b"new"]);
}

#[tokio::test]
async fn now_or_never_is_not_kept() {
    let world = World::new().await;
    let browser = world.subscribe(device(7), 1).await;
    world.push(&browser, Push { ttl: Duration::ZERO, ..push(b"x") }).await;
    assert_eq!(world.rows(device(7)).await, 0);
}

#[tokio::test]
async fn its_sender_takes_back_what_waits_and_nothing_else() {
    let world = World::new().await;
    let browser = world.subscribe(device(7), 1).await;
    let (back, stays) =
        (world.push(&browser, push(b"back")).await, world.push(&browser, push(b"stays")).await);
    let cancel = async |handle: &str| world.dispatcher.cancel(handle, NOW).await.unwrap();
    assert!(!cancel("").await && !cancel(&stays.id.to_string()).await && !cancel(&stays.handle[1..]).await);
    assert!(cancel(&back.handle).await);
    assert!(cancel(&back.handle).await, "again is success");
    assert_eq!(world.bodies(device(7), NOW).await, [b"stays"]);
}

#[tokio::test]
async fn only_bare_subscriptions_have_an_endpoint() {
    let world = World::new().await;
    world.register(device(7), 1).await;
    let android = RegistrationId { project: crate::world::PROJECT, bucket: 0, slot: 1 };
    assert_eq!(world.endpoint(android).await, Endpoint::Unknown);
    assert_eq!(world.endpoint(id(1)).await, Endpoint::Gone);
    assert_eq!(world.dispatcher.endpoint("not-a-token", NOW).await, Ok(Endpoint::Unknown));
}

#[tokio::test]
async fn of_more_than_may_wait_the_oldest_are_dropped() {
    let world = World::new().await;
    let browser = world.subscribe(device(7), 1).await;
    for n in 0..400u16 {
        world.push(&browser, push(&n.to_be_bytes())).await;
    }
    world.dispatcher.tidy(NOW).await.unwrap();
    let left = world.bodies(device(7), NOW).await;
    let newest: Vec<_> = (250..400u16).map(|n| n.to_be_bytes().to_vec()).collect();
    assert_eq!(left, newest);
}

#[tokio::test]
async fn an_endpoint_and_a_key_have_so_many_a_minute() {
    let quotas = Quotas { device_per_minute: Some(3), project_per_minute: Some(5), ..Quotas::OFF };
    let world = World::with_quotas(quotas).await;
    let (one, other) = (world.subscribe(device(7), 1).await, world.subscribe(device(8), 2).await);
    let server = [4; 65];
    let send = async |to: &Arc<Recipient>| {
        world.dispatcher.push(to.clone(), Some(&server), push(b"x"), NOW).await.map(|_| ())
    };
    for _ in 0..3 {
        send(&one).await.unwrap();
    }
    assert!(matches!(send(&one).await, Err(Rejection::DeviceQuota { .. })));
    send(&other).await.unwrap();
    send(&other).await.unwrap();
    assert!(matches!(send(&other).await, Err(Rejection::ProjectQuota { .. })));
}

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_is_promised() {
    let world = World::new().await;
    let browser = world.subscribe(device(7), 1).await;
    world.engine.refuse(true);
    let refused = world.dispatcher.push(browser, None, push(b"x"), NOW).await;
    assert!(matches!(refused, Err(Rejection::Unavailable { .. })));
}
