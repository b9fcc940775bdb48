//! Cresset: devices on MCS that acknowledge as Chromium does, and a v1 send to their topic. Every
//! message is durable for who is away, and what is acknowledged is noted.

use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;
use cresset_e2e::{Device, Outcome, World};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};

use super::peer::{Line, PAYLOAD, Peer, Publisher};
use crate::crowd::{Listener, Protocol};
use crate::devices;
use crate::subscriber::Subscriber;
use crate::{Subject, http1, topics};

/// Sends to tokens at a time.
const TOGETHER: usize = 64;

pub(crate) struct Cresset {
    subject: Subject,
    devices: Vec<Device>,
    listener: Listener,
    /// Publishes by a send to each token instead of one to their topic.
    direct: bool,
}

impl Cresset {
    /// With a crowd for each count, the first devices being in all of them.
    pub(crate) async fn start(subject: Subject, counts: &[usize], direct: bool) -> Outcome<Self> {
        let most = counts.iter().copied().max().unwrap_or(0);
        let world = &subject.world;
        let devices = devices::register(world, most).await?;
        if !direct {
            let tokens: Vec<&str> = devices.iter().map(|device| device.token.as_str()).collect();
            for count in counts {
                topics::subscribe(world, &topic(*count), &tokens[..*count]).await?;
            }
        }
        let listener = devices::listener(world)?;
        Ok(Self { subject, devices, listener, direct })
    }
}

fn topic(count: usize) -> String {
    format!("crowd-{count}")
}

impl Peer for Cresset {
    fn title(&self) -> String {
        format!("Cresset ({})", if self.direct { "a send to each token" } else { "a send to a topic" })
    }

    fn pid(&self) -> u32 {
        self.subject.binary.pid()
    }

    fn listener(&self) -> Listener {
        self.listener.clone()
    }

    fn subscribers(&self, count: usize) -> Vec<Box<dyn Protocol>> {
        let subscriber = |device: &Device| Box::new(Subscriber::new(device.credentials)) as Box<dyn Protocol>;
        self.devices[..count].iter().map(subscriber).collect()
    }

    fn publisher(&self, count: usize) -> Outcome<Box<dyn Publisher>> {
        let world = &self.subject.world;
        if self.direct {
            let bodies = self.devices[..count].iter().map(|device| body("token", &device.token)).collect();
            return Ok(Box::new(ToTokens::start(world.clone(), bodies)?));
        }
        let listener = Listener {
            address: world.running.https,
            name: "fcm.googleapis.com",
            tls: world.trust.client(&[b"http/1.1"])?,
        };
        let request = http1::request(world, &body("topic", &topic(count)));
        Ok(Box::new(ToTopic { line: Line::connect(&listener)?, request }))
    }
}

/// A send of the payload, at the priority that asks for no acknowledgement at once.
fn body(kind: &str, target: &str) -> Bytes {
    let mut message =
        json!({ "data": { "k": "x".repeat(PAYLOAD - 1) }, "android": { "priority": "normal" } });
    message[kind] = Value::from(target);
    json!({ "message": message }).to_string().into()
}

struct ToTopic {
    line: Line,
    request: Bytes,
}

impl Publisher for ToTopic {
    fn publish(&mut self) -> Outcome<()> {
        self.line.say(&self.request)
    }

    fn confirm(&mut self) -> Outcome<()> {
        let answer = self.line.answer(http1::is_whole)?;
        if answer.starts_with(b"HTTP/1.1 200 ") {
            return Ok(());
        }
        Err(format!("a send was answered {}", String::from_utf8_lossy(answer)).into())
    }
}

/// Sends to each token, on a thread of its own.
struct ToTokens {
    go: Sender<()>,
    done: Receiver<Outcome<()>>,
}

impl ToTokens {
    fn start(world: World, bodies: Vec<Bytes>) -> Outcome<Self> {
        let (go, told) = channel();
        let (tell, done) = channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || runtime.block_on(send_when_told(&world, &bodies, &told, &tell)));
        Ok(Self { go, done })
    }
}

impl Publisher for ToTokens {
    fn publish(&mut self) -> Outcome<()> {
        Ok(self.go.send(())?)
    }

    fn confirm(&mut self) -> Outcome<()> {
        self.done.recv()?
    }
}

/// Until nobody tells any more, or nobody listens.
async fn send_when_told(world: &World, bodies: &[Bytes], told: &Receiver<()>, tell: &Sender<Outcome<()>>) {
    while told.recv().is_ok() {
        if tell.send(send_to_each(world, bodies).await).is_err() {
            return;
        }
    }
}

async fn send_to_each(world: &World, bodies: &[Bytes]) -> Outcome<()> {
    let http = world.sender().await?;
    let authorization = world.authorization();
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let request = http.request(&world.send_path(), &headers)?;
    let send = |body: &Bytes| http.send(request.clone(), body.clone());
    let mut answers = stream::iter(bodies.iter().map(send)).buffer_unordered(TOGETHER);
    while let Some(answer) = answers.try_next().await? {
        if !answer.status.is_success() {
            return Err(format!("a send was answered {}: {}", answer.status, answer.text()).into());
        }
    }
    Ok(())
}
