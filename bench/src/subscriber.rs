//! A device on MCS that acknowledges as Chromium does, for a crowd.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use cresset_device_client::Credentials;
use cresset_e2e::Outcome;
use cresset_wire::mcs::{
    self, Decoder, Frame, HeartbeatAck, HeartbeatPing, Incoming, IqStanza, LoginRequest, Role, STREAM_ACK,
};

use crate::compare::PAYLOAD;
use crate::crowd::{Heard, Prompt, Protocol};
use crate::figures::Latencies;

/// Chromium acknowledges after so many messages (`protocol/mcs.md` §7).
const ACK_AFTER: u32 = 10;

/// Before the time in a message's content, which has so many digits.
const STAMP: &[u8] = b"sent at=";
const DIGITS: usize = 16;

/// The time of this process, which messages carry from their sender to their device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn micros(self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(crate) fn at(self, time: Instant) -> u64 {
        u64::try_from(time.saturating_duration_since(self.0).as_micros()).unwrap_or(u64::MAX)
    }
}

/// The content of a message that is sent at a time; with its key it has [`PAYLOAD`] bytes.
pub(crate) fn stamped(micros: u64) -> String {
    let stamp = String::from_utf8_lossy(STAMP);
    format!("{:x<width$}", format!("{stamp}{micros:0DIGITS$}"), width = PAYLOAD - 1)
}

/// What the messages of some devices took.
#[derive(Debug)]
pub(crate) struct Arrivals {
    clock: Clock,
    /// From request to device, of those whose device was connected.
    pub(crate) times: Latencies,
    /// Sent before their device logged in, or before it logged in again.
    pub(crate) waited: usize,
}

impl Arrivals {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, times: Latencies::default(), waited: 0 }
    }

    /// What there is, leaving nothing.
    pub(crate) fn take(&mut self) -> Self {
        let clock = self.clock;
        std::mem::replace(self, Self::new(clock))
    }

    fn note(&mut self, frame: &[u8], since: u64) {
        let Some(sent) = sent(frame) else { return };
        if sent < since {
            self.waited += 1;
        } else {
            self.times.add(Duration::from_micros(self.clock.micros().saturating_sub(sent)));
        }
    }
}

fn sent(frame: &[u8]) -> Option<u64> {
    let at = frame.windows(STAMP.len()).position(|some| some == STAMP)? + STAMP.len();
    std::str::from_utf8(frame.get(at..at + DIGITS)?).ok()?.parse().ok()
}

pub(crate) struct Subscriber {
    device: Credentials,
    version_seen: bool,
    /// Frames of the server's.
    frames: i32,
    unacknowledged: u32,
    arrivals: Option<Rc<RefCell<Arrivals>>>,
    /// When it logged in, for its arrivals.
    since: u64,
}

impl Subscriber {
    pub(crate) fn new(device: Credentials) -> Self {
        Self { device, version_seen: false, frames: 0, unacknowledged: 0, arrivals: None, since: 0 }
    }

    /// One whose messages are noted.
    pub(crate) fn noting(device: Credentials, arrivals: &Rc<RefCell<Arrivals>>) -> Self {
        Self { arrivals: Some(arrivals.clone()), ..Self::new(device) }
    }

    /// Frames are not decoded, but where they say something that matters.
    fn take(&mut self, frame: &[u8], say: &mut Vec<u8>) -> Outcome<Heard> {
        self.frames += 1;
        match frame[0] {
            8 if frame.len() > PAYLOAD => {
                if let Some(arrivals) = &self.arrivals {
                    arrivals.borrow_mut().note(frame, self.since);
                }
                self.unacknowledged += 1;
                if self.unacknowledged == ACK_AFTER {
                    self.acknowledge(say);
                }
                Ok(Heard::Message)
            }
            3 => {
                check_login(frame)?;
                self.since = self.arrivals.as_ref().map_or(0, |arrivals| arrivals.borrow().clock.micros());
                Ok(Heard::Subscribed)
            }
            0 => {
                let last_stream_id_received = Some(self.frames);
                let ack = HeartbeatAck { last_stream_id_received, ..HeartbeatAck::default() };
                mcs::encode(&Frame::HeartbeatAck(ack), say);
                Ok(Heard::Other)
            }
            1 => Ok(Heard::Alive),
            7 => Ok(Heard::Other),
            other => Err(format!("Cresset sent a frame {other} of {} bytes", frame.len()).into()),
        }
    }

    /// Everything up to here.
    fn acknowledge(&mut self, say: &mut Vec<u8>) {
        self.unacknowledged = 0;
        let mut iq = IqStanza::carrying(STREAM_ACK, Vec::new());
        iq.last_stream_id_received = Some(self.frames);
        mcs::encode(&Frame::Iq(Box::new(iq)), say);
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

    fn prompted(&mut self, prompt: Prompt, say: &mut Vec<u8>) {
        match prompt {
            Prompt::Heartbeat => {
                let last_stream_id_received = Some(self.frames);
                let ping = HeartbeatPing { last_stream_id_received, ..HeartbeatPing::default() };
                mcs::encode(&Frame::HeartbeatPing(ping), say);
            }
            Prompt::Acknowledge if self.unacknowledged > 0 => self.acknowledge(say),
            Prompt::Acknowledge => {}
        }
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
    use cresset_wire::mcs::{AppData, DataMessageStanza, LoginResponse};

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
    fn a_message_is_as_old_as_it_says_and_one_from_before_the_login_has_waited() {
        let clock = Clock::start();
        let mut arrivals = Arrivals::new(clock);
        let text = stamped(clock.micros());
        assert_eq!(text.len(), PAYLOAD - 1);
        arrivals.note(text.as_bytes(), 0);
        assert_eq!((arrivals.times.count(), arrivals.waited), (1, 0));
        arrivals.note(text.as_bytes(), u64::MAX);
        arrivals.note(b"to a topic, without a time", 0);
        assert_eq!((arrivals.times.count(), arrivals.waited), (1, 1));
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
