//! What goes over push services of others: called out, fetched, told of.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cresset_delivery::{Carrier, Courier, Delivery, Dropped, End, Handoff, Round, Stage};
use cresset_message::{DeviceId, Platform, ProjectNumber, Recipient, RegistrationId, Rejection, SlotSet};
use cresset_store::Batch;
use cresset_store::tables::members::{self, TopicKey};
use cresset_store::tables::registrations::{self, AppleTransport, RegistrationRecord};
use cresset_store::tables::{carried, counters};
use cresset_wire::token::registration_token;

use crate::fanout::topic;
use crate::world::{NOW, PROJECT, World, device, ids, key, message};

/// Keeps what it is told.
#[derive(Default)]
struct Ear {
    pushed: Mutex<Vec<Delivery>>,
    called: Mutex<Vec<(u32, Vec<u16>)>>,
    refuses: Mutex<bool>,
}

impl Carrier for Ear {
    fn push(&self, delivery: &Delivery) -> Handoff {
        self.pushed.lock().unwrap().push(delivery.clone());
        Handoff::Accepted
    }
}

impl Courier for Ear {
    fn refusal(&self, _: &Recipient) -> Option<Rejection> {
        (*self.refuses.lock().unwrap()).then_some(Rejection::Internal)
    }

    fn call(&self, project: ProjectNumber, bucket: u32, slots: SlotSet) {
        assert_eq!(project, PROJECT);
        self.called.lock().unwrap().push((bucket, slots.iter().collect()));
    }
}

fn place(slot: u16) -> DeviceId {
    DeviceId::outside(slot.into())
}

/// An app on an Apple device, in a slot.
async fn apple(world: &World, slot: u16) -> String {
    let id = RegistrationId { project: PROJECT, bucket: 0, slot };
    let record = RegistrationRecord {
        prefix: "fGw0qy4TGgk".into(),
        platform: 2,
        apple: Some(AppleTransport {
            device: place(slot).get(),
            token: "ab".repeat(32),
            bundle_id: "com.example.app".into(),
            ..AppleTransport::default()
        }),
        ..RegistrationRecord::default()
    };
    let mut batch = Batch::default();
    batch.put(registrations::key(id), record.to_bytes(), None);
    batch.put(members::key(id, TopicKey::of_platform(Platform::Ios)), "", None);
    batch.put(members::key(id, TopicKey::outside()), "", None);
    batch.put(carried::key(place(slot), id), "", None);
    batch.put(counters::next_registration(PROJECT), counters::to_bytes(1 << 16), None);
    assert!(world.store.write(batch, NOW).await.unwrap());
    registration_token(&key(), &record.prefix, id)
}

async fn with_ear() -> (World, Arc<Ear>) {
    let (world, ear) = (World::new().await, Arc::<Ear>::default());
    world.dispatcher.set_courier(ear.clone());
    (world, ear)
}

async fn rounds(world: &World) -> (Vec<DeviceId>, Vec<(u32, Vec<u16>)>) {
    let (mut destinations, mut slots, mut next) = (Vec::new(), Vec::new(), Some(Round::default()));
    while let Some(round) = next {
        let found = world.dispatcher.round(round, NOW).await.unwrap();
        destinations.extend(found.destinations);
        slots.extend(found.slots.into_iter().map(|(_, bucket, slots)| (bucket, slots.iter().collect())));
        next = found.next;
    }
    (destinations, slots)
}

#[tokio::test]
async fn a_message_for_one_is_stored_then_pushed_and_waits_until_it_is_told_of() {
    let (world, ear) = with_ear().await;
    let token = apple(&world, 7).await;
    let id = world.send(&token, None).await;
    assert_eq!(ear.pushed.lock().unwrap().iter().map(|d| d.id).collect::<Vec<_>>(), [id]);
    assert_eq!(ids(&world.pending(place(7), 10).await), [id]);
    assert_eq!(rounds(&world).await, (vec![place(7)], vec![]));
    world.dispatcher.acknowledge(place(7), &[id], NOW).await.unwrap();
    assert_eq!(rounds(&world).await, (vec![], vec![]));
    let told = world.trace(id).await;
    assert_eq!(told.deliveries[0].stage, Stage::Ended(End::Acknowledged));
}

#[tokio::test]
async fn a_message_for_many_calls_those_out_whom_push_services_carry() {
    let (world, ear) = with_ear().await;
    for slot in [2, 5] {
        apple(&world, slot).await;
        world.join(slot, "news").await;
    }
    world.register(device(3), 3).await;
    world.join(3, "news").await;
    world.send_to(topic("news"), 1).await;
    world.spread(NOW).await;
    assert_eq!(*ear.called.lock().unwrap(), [(0, vec![2, 5])]);
    assert_eq!(rounds(&world).await, (vec![], vec![(0, vec![2, 5])]));
    let waiting = world.pending(place(2), 10).await;
    assert_eq!(waiting.len(), 1);
    let told = "400 PayloadTooLarge";
    world.dispatcher.refused(place(2), waiting[0].id, Dropped::Refused, told, NOW).await.unwrap();
    assert_eq!(rounds(&world).await, (vec![], vec![(0, vec![5])]));
    assert_eq!(world.pending(place(2), 10).await.len(), 0);
}

#[tokio::test]
async fn what_a_push_service_said_is_in_the_trace() {
    let (world, _) = with_ear().await;
    let token = apple(&world, 1).await;
    let id = world.send(&token, None).await;
    let told = "403 InvalidProviderToken";
    world.dispatcher.refused(place(1), id, Dropped::CredentialRefused, told, NOW).await.unwrap();
    let story = &world.trace(id).await.deliveries[0];
    assert_eq!(story.stage, Stage::Ended(End::Dropped(Dropped::CredentialRefused)));
    assert_eq!(story.told.as_deref(), Some(told));
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_at_once() {
    let (world, ear) = with_ear().await;
    let token = apple(&world, 1).await;
    *ear.refuses.lock().unwrap() = true;
    let refused = world.dispatcher.send(PROJECT, message(&token, None), false, NOW).await;
    assert_eq!(refused, Err(Rejection::Internal));
    assert_eq!(rounds(&world).await, (vec![], vec![]));
}

#[tokio::test]
async fn now_or_never_is_tried_once_and_not_stored() {
    let (world, ear) = with_ear().await;
    let token = apple(&world, 1).await;
    let mut fleeting = message(&token, None);
    fleeting.apns = Some(cresset_message::ApnsConfig {
        headers: vec![("apns-expiration".into(), "0".into())],
        ..Default::default()
    });
    world.dispatcher.send(PROJECT, fleeting, false, NOW).await.unwrap();
    assert_eq!(ear.pushed.lock().unwrap()[0].ttl, Duration::ZERO);
    assert_eq!(rounds(&world).await, (vec![], vec![]));
}
