//! One merge: what waits in sets and what waits in rows is given as if each delivery had a row of its
//! own. The model is a world in which a message to a topic is sent to each of its members.

use std::collections::BTreeMap;
use std::time::Duration;

use cresset_delivery::{Bucket, Delivery, Limits, Quotas};
use cresset_message::{AndroidConfig, DeviceId, Message, MessageId, Target, Timestamp};
use proptest::prelude::*;

use crate::fanout::{text, to, topic};
use crate::world::{NOW, PROJECT, World, device};

const APPS: u16 = 6;
const TOPICS: [(&str, &[u16]); 3] = [("all", &[0, 1, 2, 3, 4, 5]), ("some", &[1, 2, 5]), ("one", &[3])];

#[derive(Clone, Debug)]
enum Step {
    ToTopic {
        topic: usize,
        key: Option<u8>,
        ttl: u64,
    },
    ToApp {
        app: u16,
        key: Option<u8>,
        ttl: u64,
    },
    /// A device reads some of what waits for it, and acknowledges some of that.
    Read {
        device: u64,
        acknowledge: usize,
    },
    /// It logs in: limits are applied.
    Login {
        device: u64,
    },
    Wait {
        seconds: u64,
    },
    Tidy,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || prop::option::of(0..6u8);
    let ttl = || prop_oneof![Just(2_419_200u64), 30..200u64];
    prop_oneof![
        4 => (0..TOPICS.len(), key(), ttl()).prop_map(|(topic, key, ttl)| Step::ToTopic { topic, key, ttl }),
        3 => (0..APPS, key(), ttl()).prop_map(|(app, key, ttl)| Step::ToApp { app, key, ttl }),
        2 => (1..4u64, 0..6usize).prop_map(|(device, acknowledge)| Step::Read { device, acknowledge }),
        2 => (1..4u64).prop_map(|device| Step::Login { device }),
        1 => (1..100u64).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Tidy),
        1 => Just(Step::Restart),
    ]
}

/// Two apps a device.
fn device_of(app: u16) -> DeviceId {
    device(u64::from(app) / 2 + 1)
}

fn worded(target: Target, n: usize, key: Option<u8>, ttl: u64) -> Message {
    let android = AndroidConfig {
        collapse_key: key.map(|key| key.to_string()),
        ttl: Some(Duration::from_secs(ttl)),
        ..AndroidConfig::default()
    };
    Message { android: Some(android), ..to(target, n) }
}

/// Small limits, so that few messages reach them.
fn quotas() -> Quotas {
    Quotas { stored: Some(5), collapse_keys: Some(2), collapsible: None::<Bucket>, ..Quotas::OFF }
}

fn limits() -> Limits {
    Limits { live_fanouts: 3, ..Limits::default() }
}

struct Pair {
    subject: World,
    model: World,
    tokens: Vec<String>,
    now: Timestamp,
    sent: usize,
}

impl Pair {
    async fn new() -> Self {
        let (mut subject, mut model) = (World::new().await, World::new().await);
        let mut tokens = Vec::new();
        for app in 0..APPS {
            tokens.push(subject.register(device_of(app), app).await);
            model.register(device_of(app), app).await;
            for (name, members) in TOPICS {
                if members.contains(&app) {
                    subject.join(app, name).await;
                }
            }
        }
        for world in [&mut subject, &mut model] {
            world.kill(quotas(), limits(), NOW).await;
        }
        Self { subject, model, tokens, now: NOW, sent: 0 }
    }

    async fn run(&mut self, step: &Step) {
        self.now = self.now + Duration::from_millis(1);
        let now = self.now;
        match *step {
            Step::ToTopic { topic: at, key, ttl } => {
                let (name, members) = TOPICS[at];
                self.sent += 1;
                let message = worded(topic(name), self.sent, key, ttl);
                self.subject.dispatcher.send(PROJECT, message, false, now).await.unwrap();
                self.subject.spread(now).await;
                for app in members {
                    let one =
                        worded(Target::Token(self.tokens[usize::from(*app)].clone()), self.sent, key, ttl);
                    self.model.dispatcher.send(PROJECT, one, false, now).await.unwrap();
                }
            }
            Step::ToApp { app, key, ttl } => {
                self.sent += 1;
                for world in [&self.subject, &self.model] {
                    let target = Target::Token(self.tokens[usize::from(app)].clone());
                    let message = worded(target, self.sent, key, ttl);
                    world.dispatcher.send(PROJECT, message, false, now).await.unwrap();
                }
            }
            Step::Read { device: of, acknowledge } => {
                for world in [&self.subject, &self.model] {
                    // Those of the first app, so that both worlds mean the same ones.
                    let waiting = waiting(world, device(of), now).await;
                    let first = waiting.values().next().cloned().unwrap_or_default();
                    let ids: Vec<MessageId> = first.iter().take(acknowledge).map(|(id, _)| *id).collect();
                    world.dispatcher.acknowledge(device(of), &ids, now).await.unwrap();
                }
            }
            Step::Login { device: of } => {
                for world in [&self.subject, &self.model] {
                    world.dispatcher.settle(device(of), now).await.unwrap();
                }
            }
            Step::Wait { seconds } => self.now = self.now + Duration::from_secs(seconds),
            Step::Tidy => {
                for world in [&self.subject, &self.model] {
                    world.dispatcher.tidy(now).await.unwrap();
                }
            }
            Step::Restart => {
                for world in [&mut self.subject, &mut self.model] {
                    world.dispatcher.tidy(now).await.unwrap();
                    world.kill(quotas(), limits(), now).await;
                }
            }
        }
    }

    async fn agree(&self, steps: &[Step]) {
        for of in 1..4 {
            let texts = async |world| {
                let waiting = waiting(world, device(of), self.now).await;
                let texts = |all: Vec<(MessageId, String)>| all.into_iter().map(|(_, text)| text).collect();
                waiting
                    .into_iter()
                    .map(|(app, all)| (app, texts(all)))
                    .collect::<BTreeMap<u16, Vec<String>>>()
            };
            assert_eq!(texts(&self.subject).await, texts(&self.model).await, "device {of} after {steps:?}");
        }
    }
}

/// What waits for each app of a device, in order.
async fn waiting(world: &World, of: DeviceId, now: Timestamp) -> BTreeMap<u16, Vec<(MessageId, String)>> {
    let mut found: BTreeMap<u16, Vec<(MessageId, String)>> = BTreeMap::new();
    let told = |delivery: &Delivery| match &delivery.content {
        cresset_delivery::Content::Deleted { total } => format!("{total} deleted"),
        cresset_delivery::Content::Message(_) | cresset_delivery::Content::Push(_) => {
            text(delivery).to_owned()
        }
    };
    for delivery in world.dispatcher.pending(of, 1_000, &|_| false, now).await.unwrap() {
        let app = delivery.recipient.registration.slot;
        found.entry(app).or_default().push((delivery.id, told(&delivery)));
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn sets_and_rows_are_as_if_each_had_a_row(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut pair = Pair::new().await;
            for (at, step) in steps.iter().enumerate() {
                pair.run(step).await;
                pair.agree(&steps[..=at]).await;
            }
        });
    }
}
