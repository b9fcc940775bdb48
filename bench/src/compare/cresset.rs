//! Cresset: devices on MCS that acknowledge as Chromium does, and a v1 send to their topic. Every
//! message is durable for who is away, and what is acknowledged is noted.

use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;
use cresset_device_client::Credentials;
use cresset_e2e::{Device, Outcome, World};
use cresset_wire::mcs::{
    self, Decoder, Frame, HeartbeatAck, Incoming, IqStanza, LoginRequest, Role, STREAM_ACK,
};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};

use super::crowd::{Heard, Listener, Protocol};
use super::peer::{Line, PAYLOAD, Peer, Publisher};
use crate::{Subject, http1, topics};

/// Chromium acknowledges after so many messages (`protocol/mcs.md` §7).
const ACK_AFTER: u32 = 10;

/// Check-ins and registrations at a time, and sends to tokens.
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
        let devices = stream::iter(0..most).map(|_| world.device()).buffer_unordered(TOGETHER);
        let devices: Vec<Device> = devices.try_collect().await?;
        if !direct {
            let tokens: Vec<&str> = devices.iter().map(|device| device.token.as_str()).collect();
            for count in counts {
                topics::subscribe(world, &topic(*count), &tokens[..*count]).await?;
            }
        }
        let tls = world.trust.client(&[])?;
        let listener = Listener { address: world.running.mcs, name: "mtalk.google.com", tls };
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

struct Subscriber {
    device: Credentials,
    version_seen: bool,
    /// Frames of the server's.
    frames: i32,
    unacknowledged: u32,
}

impl Subscriber {
    fn new(device: Credentials) -> Self {
        Self { device, version_seen: false, frames: 0, unacknowledged: 0 }
    }

    /// Frames are not decoded, but where they say something that matters.
    fn take(&mut self, frame: &[u8], say: &mut Vec<u8>) -> Outcome<Heard> {
        self.frames += 1;
        match frame[0] {
            8 if frame.len() > PAYLOAD => {
                self.acknowledge_some(say);
                Ok(Heard::Message)
            }
            3 => check_login(frame).map(|()| Heard::Subscribed),
            0 => {
                let last_stream_id_received = Some(self.frames);
                let ack = HeartbeatAck { last_stream_id_received, ..HeartbeatAck::default() };
                mcs::encode(&Frame::HeartbeatAck(ack), say);
                Ok(Heard::Other)
            }
            1 | 7 => Ok(Heard::Other),
            other => Err(format!("Cresset sent a frame {other} of {} bytes", frame.len()).into()),
        }
    }

    fn acknowledge_some(&mut self, say: &mut Vec<u8>) {
        self.unacknowledged += 1;
        if self.unacknowledged == ACK_AFTER {
            self.unacknowledged = 0;
            let mut iq = IqStanza::carrying(STREAM_ACK, Vec::new());
            iq.last_stream_id_received = Some(self.frames);
            mcs::encode(&Frame::Iq(Box::new(iq)), say);
        }
    }
}

impl Protocol for Subscriber {
    fn hello(&mut self, say: &mut Vec<u8>) {
        say.push(mcs::VERSION);
        mcs::encode(&Frame::LoginRequest(Box::new(login(self.device))), say);
    }

    fn next(&mut self, heard: &[u8], say: &mut Vec<u8>) -> Outcome<Option<(usize, Heard)>> {
        if !self.version_seen {
            self.version_seen = !heard.is_empty();
            return Ok(self.version_seen.then_some((1, Heard::Other)));
        }
        let Some(end) = extent(heard)? else { return Ok(None) };
        let Some(frame) = heard.get(..end) else { return Ok(None) };
        Ok(Some((end, self.take(frame, say)?)))
    }
}

/// Where the first frame ends: a tag, the size as a varint, so many bytes.
fn extent(heard: &[u8]) -> Outcome<Option<usize>> {
    let mut size = 0;
    for (n, byte) in heard.iter().skip(1).enumerate() {
        if n == 5 {
            return Err("Cresset sent a size of more than five bytes".into());
        }
        size |= usize::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return Ok(Some(n + 2 + size));
        }
    }
    Ok(None)
}

fn check_login(frame: &[u8]) -> Outcome<()> {
    let bytes = [&[mcs::VERSION], frame].concat();
    match Decoder::new(Role::Client).next(&mut bytes.as_slice())? {
        Some(Incoming::Frame(Frame::LoginResponse(response))) if response.error.is_none() => Ok(()),
        other => Err(format!("a login was answered {other:?}").into()),
    }
}

/// As Chromium's, who asks for no heartbeats.
fn login(device: Credentials) -> LoginRequest {
    let Credentials { android_id, security_token } = device;
    LoginRequest {
        id: "chrome-156.0.0.0".into(),
        domain: "mcs.android.com".into(),
        user: android_id.to_string(),
        resource: android_id.to_string(),
        auth_token: security_token.to_string(),
        device_id: Some(format!("android-{android_id:x}")),
        setting: vec![mcs::Setting { name: "new_vc".into(), value: "1".into() }],
        adaptive_heartbeat: Some(false),
        use_rmq2: Some(true),
        auth_service: Some(2),
        network_type: Some(1),
        ..LoginRequest::default()
    }
}

#[cfg(test)]
mod tests {
    use cresset_wire::mcs::{AppData, DataMessageStanza, HeartbeatPing, LoginResponse};

    use super::*;

    fn encoded(frame: &Frame) -> Vec<u8> {
        let mut bytes = Vec::new();
        mcs::encode(frame, &mut bytes);
        bytes
    }

    fn message() -> Vec<u8> {
        let app_data = vec![AppData::new("k", "x".repeat(PAYLOAD - 1))];
        encoded(&Frame::Data(Box::new(DataMessageStanza { app_data, ..DataMessageStanza::default() })))
    }

    #[test]
    fn the_tenth_message_is_acknowledged_with_all_before_it() {
        let mut subscriber = Subscriber::new(Credentials { android_id: 1, security_token: 1 });
        let mut say = Vec::new();
        assert_eq!(subscriber.next(&[mcs::VERSION], &mut say).unwrap(), Some((1, Heard::Other)));
        let login = encoded(&Frame::LoginResponse(Box::default()));
        assert_eq!(subscriber.next(&login, &mut say).unwrap(), Some((login.len(), Heard::Subscribed)));
        let message = message();
        for end in 0..message.len() {
            assert_eq!(subscriber.next(&message[..end], &mut say).unwrap(), None);
        }
        for _ in 0..ACK_AFTER {
            assert!(say.is_empty());
            assert_eq!(subscriber.next(&message, &mut say).unwrap(), Some((message.len(), Heard::Message)));
        }
        let mut said = Decoder::new(Role::Server);
        let bytes = [&[mcs::VERSION], say.as_slice()].concat();
        let Some(Incoming::Frame(frame)) = said.next(&mut bytes.as_slice()).unwrap() else {
            panic!("no frame")
        };
        assert_eq!(frame.last_stream_id_received(), 11);
    }

    #[test]
    fn pings_are_answered_and_refusals_are_errors() {
        let mut subscriber = Subscriber::new(Credentials { android_id: 1, security_token: 1 });
        subscriber.version_seen = true;
        let mut say = Vec::new();
        let ping = encoded(&Frame::HeartbeatPing(HeartbeatPing::default()));
        assert_eq!(subscriber.next(&ping, &mut say).unwrap(), Some((2, Heard::Other)));
        assert_eq!(say[0], 1);
        let error = Some(mcs::ErrorInfo { code: 401, ..mcs::ErrorInfo::default() });
        let refused =
            encoded(&Frame::LoginResponse(Box::new(LoginResponse { error, ..LoginResponse::default() })));
        assert!(subscriber.next(&refused, &mut say).is_err());
    }
}
