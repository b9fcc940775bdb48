//! What a login costs while many fan-outs are live in its bucket: the sets are looked at, one by one.
//!
//! `cargo run --release -p cresset-delivery --example login`

use std::sync::Arc;
use std::time::Instant;

use cresset_delivery::{Carrier, Delivery, Dispatcher, Handoff};
use cresset_message::{
    DeviceId, FcmOptions, Message, Platform, ProjectNumber, RegistrationId, Target, Timestamp,
};
use cresset_store::memory::MemoryEngine;
use cresset_store::tables::members::{self, TopicKey};
use cresset_store::tables::registrations::{self, DeviceTransport, RegistrationRecord};
use cresset_store::tables::{carried, counters};
use cresset_store::{Batch, Store};
use cresset_wire::token::TokenKey;

const PROJECT: ProjectNumber = ProjectNumber(1_234);
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const FAN_OUTS: usize = 10_000;
/// One set that is a bitmap, and one that is a list.
const MEMBERS: [u16; 2] = [5_000, 500];
const LOGINS: usize = 201;
/// In no topic: it is looked for in every set, and found in none.
const STRANGER: u16 = 60_000;

struct Line;

impl Carrier for Line {
    fn push(&self, _: &Delivery) -> Handoff {
        Handoff::Offline
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let store: Store = Arc::new(MemoryEngine::new());
    let mut batch = Batch::default();
    register(&mut batch, STRANGER);
    batch.put(counters::next_registration(PROJECT), counters::to_bytes(1 << 16), None);
    store.write(batch, NOW).await.expect("memory takes it");
    for members in MEMBERS {
        let topic = format!("of-{members}").parse().expect("a topic");
        for start in (0..members).step_by(1_000) {
            let mut batch = Batch::default();
            (start..members.min(start + 1_000))
                .for_each(|n| members::join(&mut batch, id(n * 10), &topic, NOW));
            store.write(batch, NOW).await.expect("memory takes it");
        }
    }
    for members in MEMBERS {
        let random: cresset_delivery::Random = Arc::new(|bytes: &mut [u8]| bytes.fill(7));
        let dispatcher =
            Dispatcher::open(store.clone(), TokenKey::new(&[3; 32]), random, NOW).await.expect("it opens");
        let dispatcher = dispatcher.with_quotas(cresset_delivery::Quotas::FCM);
        let alone = median_login(&dispatcher).await;
        for n in 0..FAN_OUTS {
            let message = message(&format!("of-{members}"), n);
            dispatcher.send(PROJECT, message, false, NOW).await.expect("it is accepted");
            while let Some(turn) = dispatcher.spread(NOW).await {
                turn.expect("it is spread");
            }
        }
        let among = median_login(&dispatcher).await;
        dispatcher.project_deleted(PROJECT, NOW).await.expect("it is forgotten");
        println!(
            "a login with {FAN_OUTS} live fan-outs of {members} members in its bucket: {among:.2} ms; \
             without: {alone:.3} ms"
        );
    }
}

/// Arrival, limits and the first look at what waits, as a connection does it.
async fn median_login(dispatcher: &Dispatcher) -> f64 {
    let device = device(STRANGER);
    let mut took = Vec::new();
    for _ in 0..LOGINS {
        let line: Arc<dyn Carrier> = Arc::new(Line);
        let begun = Instant::now();
        dispatcher.arrived(device, line.clone(), NOW).await.expect("it arrives");
        dispatcher.settle(device, NOW).await.expect("it settles");
        let waiting = dispatcher.pending(device, 64, &|_| false, NOW).await.expect("it is looked at");
        took.push(begun.elapsed());
        assert!(waiting.is_empty(), "a stranger has no mail");
        dispatcher.left(device, &line);
    }
    took.sort();
    took[LOGINS / 2].as_secs_f64() * 1e3
}

fn id(slot: u16) -> RegistrationId {
    RegistrationId { project: PROJECT, bucket: 0, slot }
}

fn device(slot: u16) -> DeviceId {
    DeviceId::new(u64::from(slot) + 1).expect("not zero")
}

fn register(batch: &mut Batch, slot: u16) {
    let transport = DeviceTransport {
        device: device(slot).get(),
        app: "com.example.app".into(),
        sender: PROJECT.to_string(),
        ..DeviceTransport::default()
    };
    let record = RegistrationRecord {
        prefix: "fGw0qy4TGgk".into(),
        platform: 1,
        device: Some(transport),
        ..RegistrationRecord::default()
    };
    batch.put(registrations::key(id(slot)), record.to_bytes(), None);
    batch.put(members::key(id(slot), TopicKey::of_platform(Platform::Android)), "", None);
    batch.put(carried::key(device(slot), id(slot)), "", None);
}

fn message(topic: &str, n: usize) -> Message {
    Message {
        target: Target::Topic(topic.into()),
        data: vec![("n".into(), n.to_string())],
        notification: None,
        android: None,
        webpush: None,
        apns: None,
        fcm_options: FcmOptions::default(),
        receipt_id: None,
    }
}
