//! A session that is logged in.

use std::collections::VecDeque;
use std::time::Duration;

use cresset_message::{MessageId, Timestamp};
use cresset_wire::mcs::{
    DataMessageStanza, Frame, HeartbeatAck, HeartbeatPing, Incoming, IqStanza, LoginRequest, LoginResponse,
    SELECTIVE_ACK, STREAM_ACK, encode_copy,
};

use super::{Action, Reason, bytes, first_frame, message_ids};

/// Messages written and not acknowledged. Google's limit is unknown (`protocol/mcs.md` §10).
pub const MAX_IN_FLIGHT: usize = 1000;

/// Silence after which we ping: as long as Chromium's own interval (`protocol/mcs.md` §8), so
/// that a client that pings by itself is rarely pinged.
const PING_AFTER: Duration = Duration::from_secs(15 * 60);
/// The shortest interval a client may ask for (`protocol/mcs.md` §8).
const MIN_PING_AFTER: Duration = Duration::from_secs(10);
/// Pings without answer after which a client that used to answer is given up. One may be lost to
/// an application that is slow to write its acks (`clients/device-clients.md` §4.2).
const MAX_MISSED: u8 = 2;

/// Upstream messages after which an idle server acknowledges (`protocol/mcs.md` §9).
const ACK_UPSTREAM_AFTER: u8 = 10;
/// Upstream messages of one connection that are being made durable. More are left unacknowledged, as is
/// all that comes after them: the device sends them again at its next login. Chromium may have 10,240
/// waiting, but sends each once.
const MAX_UPSTREAM: usize = 256;

/// The `jid` Google sends today (`protocol/mcs.md` §4).
const JID: &str = "user@firebase.com/notifications";

/// What to do with a message that is there for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    Write,
    /// It was written on this connection already.
    InFlight,
    Expired,
    /// Too many are unacknowledged.
    NoRoom,
    NotConnected,
}

#[derive(Debug)]
pub(super) struct Live {
    /// Frames we sent, the LoginResponse included.
    sent: u32,
    /// Written messages with the numbers of their frames, in the order of writing.
    in_flight: VecDeque<(u32, MessageId)>,
    /// Something stayed in the inbox for lack of room.
    pub(super) inbox_waits: bool,
    /// Upstream messages since we last told how many frames we have.
    unacked_upstream: u8,
    upstream: Option<Box<Upstream>>,
    heartbeat: Heartbeat,
}

/// What a device has sent that is not durable yet. To tell it how many of its frames we have is to tell
/// it that it may forget them, so that number stops before the first of these.
#[derive(Debug, Default)]
struct Upstream {
    /// The numbers of their frames.
    frames: VecDeque<u32>,
    /// One of them wants to be acknowledged at once.
    immediate: bool,
    /// The first that was not taken.
    lost: Option<u32>,
}

#[derive(Debug)]
struct Heartbeat {
    interval: Duration,
    /// The client relies on hearing from us so often; what it sends itself does not help it.
    asked_for: bool,
    quiet_since: Timestamp,
    /// Pings since the client was last heard.
    missed: u8,
    /// It has answered a ping on this connection. Half of the receivers never do.
    answers: bool,
}

impl Live {
    pub(super) fn log_in(
        request: LoginRequest,
        received: u32,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) -> Self {
        let mut live = Self {
            sent: 1,
            in_flight: VecDeque::new(),
            inbox_waits: false,
            unacked_upstream: 0,
            upstream: None,
            heartbeat: Heartbeat::new(&request, now),
        };
        let response = LoginResponse {
            id: request.id,
            jid: Some(JID.into()),
            // One, always: @aracna/fcm refuses the login without it.
            last_stream_id_received: Some(1),
            server_timestamp: Some(now.as_millis() as i64),
            ..LoginResponse::default()
        };
        actions.push(Action::Write(first_frame(response)));
        // Upstream messages are not kept, so there are none to list; Google sends it even so.
        live.send_iq(SELECTIVE_ACK, received, now, actions);
        live
    }

    pub(super) fn next_ping(&self) -> Timestamp {
        self.heartbeat.quiet_since + self.heartbeat.interval
    }

    pub(super) fn offer(&self, id: MessageId, expires: Timestamp, now: Timestamp) -> Offer {
        if expires <= now {
            Offer::Expired
        } else if self.is_in_flight(id) {
            Offer::InFlight
        } else if self.room() == 0 {
            Offer::NoRoom
        } else {
            Offer::Write
        }
    }

    pub(super) fn is_in_flight(&self, id: MessageId) -> bool {
        self.in_flight.iter().any(|(_, in_flight)| *in_flight == id)
    }

    pub(super) fn room(&self) -> usize {
        MAX_IN_FLIGHT - self.in_flight.len()
    }

    /// Takes a frame, the device's `count`-th. Tells why the connection is over, if it is.
    pub(super) fn received(
        &mut self,
        incoming: Incoming,
        count: u32,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) -> Option<Reason> {
        self.heartbeat.heard(now);
        let Incoming::Frame(frame) = incoming else { return None };
        let mut acknowledged = self.acknowledged_up_to(frame.last_stream_id_received());
        match frame {
            Frame::HeartbeatPing(_) => {
                let ack =
                    HeartbeatAck { last_stream_id_received: self.had(count), ..HeartbeatAck::default() };
                self.send(&Frame::HeartbeatAck(ack), now, actions);
            }
            Frame::HeartbeatAck(_) => self.heartbeat.answers = true,
            Frame::Iq(iq) => self.acknowledge(message_ids(&iq.selective_ack()), &mut acknowledged),
            Frame::Data(stanza) => self.upstream(stanza, count, actions),
            Frame::Close(_) => return Some(Reason::PeerClosed),
            // A second login changes nothing; a response is ours to send.
            Frame::LoginRequest(_) | Frame::LoginResponse(_) => {}
        }
        self.report(acknowledged, actions);
        None
    }

    pub(super) fn deliver(
        &mut self,
        id: MessageId,
        mut stanza: Box<DataMessageStanza>,
        received: u32,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        stanza.last_stream_id_received = self.had(received);
        self.send(&Frame::Data(stanza), now, actions);
        self.in_flight.push_back((self.sent, id));
    }

    pub(super) fn deliver_copy(
        &mut self,
        id: MessageId,
        template: &[u8],
        received: u32,
        now: Timestamp,
        out: &mut Vec<u8>,
    ) {
        encode_copy(template, id, self.had(received), out);
        self.count_sent(now);
        self.in_flight.push_back((self.sent, id));
    }

    pub(super) fn time_passed(
        &mut self,
        received: u32,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) -> Option<Reason> {
        if now < self.next_ping() {
            return None;
        }
        if self.heartbeat.answers && self.heartbeat.missed >= MAX_MISSED {
            return Some(Reason::HeartbeatMissed);
        }
        self.heartbeat.missed = self.heartbeat.missed.saturating_add(1);
        // Never a `status`: @eneris throws on one (`protocol/mcs.md` §8).
        let ping = HeartbeatPing { last_stream_id_received: self.had(received), ..HeartbeatPing::default() };
        self.send(&Frame::HeartbeatPing(ping), now, actions);
        None
    }

    /// Messages in frames up to `count` are received. A count above our own is a lie and says
    /// nothing (`protocol/mcs.md` §6).
    fn acknowledged_up_to(&mut self, count: u32) -> Vec<MessageId> {
        if count > self.sent {
            return Vec::new();
        }
        let acknowledged = self.in_flight.partition_point(|(frame, _)| *frame <= count);
        self.in_flight.drain(..acknowledged).map(|(_, id)| id).collect()
    }

    /// Adds `ids`, which the device named, to those `acknowledged` already. They may be of an
    /// earlier connection.
    fn acknowledge(&mut self, ids: Vec<MessageId>, acknowledged: &mut Vec<MessageId>) {
        for id in ids {
            if !acknowledged.contains(&id) {
                self.in_flight.retain(|(_, in_flight)| *in_flight != id);
                acknowledged.push(id);
            }
        }
    }

    fn report(&mut self, acknowledged: Vec<MessageId>, actions: &mut Vec<Action>) {
        if acknowledged.is_empty() {
            return;
        }
        if self.in_flight.is_empty() {
            // Silent connections keep no memory for what they once had in flight.
            self.in_flight = VecDeque::new();
        }
        actions.push(Action::Acknowledge(acknowledged));
        if std::mem::take(&mut self.inbox_waits) {
            actions.push(Action::ReadInbox);
        }
    }

    fn upstream(&mut self, stanza: Box<DataMessageStanza>, count: u32, actions: &mut Vec<Action>) {
        let upstream = self.upstream.get_or_insert_default();
        if upstream.lost.is_some() || upstream.frames.len() >= MAX_UPSTREAM {
            upstream.lost.get_or_insert(count);
            return;
        }
        upstream.frames.push_back(count);
        upstream.immediate |= stanza.immediate_ack == Some(true);
        actions.push(Action::Upstream(stanza));
    }

    /// The first so many of [`Action::Upstream`] need not be sent again.
    pub(super) fn upstream_taken(
        &mut self,
        taken: usize,
        received: u32,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        let Some(upstream) = &mut self.upstream else { return };
        upstream.frames.drain(..taken.min(upstream.frames.len()));
        let done = upstream.frames.is_empty();
        let immediate = done && std::mem::take(&mut upstream.immediate);
        if done && upstream.lost.is_none() {
            self.upstream = None;
        }
        self.unacked_upstream = self.unacked_upstream.saturating_add(u8::try_from(taken).unwrap_or(u8::MAX));
        if self.unacked_upstream >= ACK_UPSTREAM_AFTER || immediate {
            self.send_iq(STREAM_ACK, received, now, actions);
        }
    }

    /// How many of the device's frames it may forget, of so many that came.
    fn had(&self, received: u32) -> Option<i32> {
        let first =
            self.upstream.as_ref().and_then(|upstream| upstream.frames.front().copied().or(upstream.lost));
        let count = first.map_or(received, |first| first.saturating_sub(1).min(received));
        Some(i32::try_from(count).unwrap_or(i32::MAX))
    }

    fn send_iq(&mut self, extension: i32, received: u32, now: Timestamp, actions: &mut Vec<Action>) {
        let mut iq = IqStanza::carrying(extension, Vec::new());
        iq.last_stream_id_received = self.had(received);
        self.send(&Frame::Iq(Box::new(iq)), now, actions);
    }

    /// Sends a frame that says how many frames we have, as all of ours after the login do.
    fn send(&mut self, frame: &Frame, now: Timestamp, actions: &mut Vec<Action>) {
        self.count_sent(now);
        actions.push(Action::Write(bytes(frame)));
    }

    fn count_sent(&mut self, now: Timestamp) {
        self.sent = self.sent.saturating_add(1);
        self.unacked_upstream = 0;
        self.heartbeat.quiet_since = now;
    }
}

impl Heartbeat {
    fn new(request: &LoginRequest, now: Timestamp) -> Self {
        let asked = request.heartbeat_stat.as_ref().and_then(|stat| u64::try_from(stat.interval_ms).ok());
        let asked = asked.filter(|millis| *millis > 0).map(Duration::from_millis);
        let interval = asked.map_or(PING_AFTER, |interval| interval.clamp(MIN_PING_AFTER, PING_AFTER));
        Self { interval, asked_for: asked.is_some(), quiet_since: now, missed: 0, answers: false }
    }

    fn heard(&mut self, now: Timestamp) {
        self.missed = 0;
        if !self.asked_for {
            self.quiet_since = now;
        }
    }
}
