//! One device's side of MCS after TLS: login, stream ids, acknowledgements, heartbeats
//! (`protocol/mcs.md` §5 to §9). A plain value: events in, actions out; sockets, stores and
//! clocks are the connection's.

mod live;
#[cfg(test)]
mod tests;

use std::time::Duration;

use cresset_message::{DeviceId, MessageId, Timestamp};
use cresset_wire::mcs::{self, Frame, Incoming, LoginRequest, LoginResponse};

use live::Live;
pub use live::{MAX_IN_FLIGHT, Offer};

/// How long a connection may take from its first byte to its login (`protocol/mcs.md` §2).
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);

/// The code of a refused login. Google's are unknown; every client only looks whether there is an
/// error (`protocol/mcs.md` §4).
const LOGIN_REFUSED: i32 = 401;

/// Everything that can happen to a session.
#[derive(Clone, Debug)]
pub enum Event {
    Received(Incoming),
    /// The answer to [`Action::Authenticate`].
    Authenticated(bool),
    /// A message that [`Session::offer`] wants, in the form of this device.
    Deliver(MessageId, Box<mcs::DataMessageStanza>),
    /// So many of the first messages of [`Action::Upstream`] need not be sent again by the device.
    UpstreamTaken(usize),
    /// [`Session::deadline`] has come.
    TimePassed,
    Shutdown,
}

/// What the connection is to do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Authenticate {
        device: DeviceId,
        security_token: u64,
    },
    /// Write these bytes as one TLS record: one frame, for @aracna/fcm takes whatever one read
    /// returns for one message (`protocol/mcs.md` §2).
    Write(Vec<u8>),
    /// The device has these.
    Acknowledge(Vec<MessageId>),
    /// The device has sent this for an app server. Make it durable, in order, and say so.
    Upstream(Box<mcs::DataMessageStanza>),
    /// There is room again, or the device is new: deliver what its inbox holds.
    ReadInbox,
    /// Nothing is written any more; the socket is to be closed.
    Close(Reason),
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The device said so, or its socket did.
    PeerClosed,
    LoginTimeout,
    /// It took long to log in, and others waited for its place.
    GaveWay,
    LoginRefused,
    /// The first frame was no login.
    LoginMissing,
    /// Bytes that are no TLS, no frame or no message.
    Unreadable,
    /// It used to answer pings, and does no more.
    HeartbeatMissed,
    /// It does not read what is written to it.
    Stalled,
    /// The same device has logged in anew.
    Replaced,
    Shutdown,
    /// The store could not tell who this is.
    Unavailable,
}

/// The protocol state of one connection.
#[derive(Debug)]
pub struct Session {
    phase: Phase,
    /// Frames of the device so far, its login included.
    received: u32,
}

#[derive(Debug)]
enum Phase {
    AwaitingLogin { until: Timestamp },
    Authenticating { until: Timestamp, request: Box<LoginRequest> },
    Live(Box<Live>),
    Closed,
}

impl Session {
    pub fn new(now: Timestamp) -> Self {
        Self { phase: Phase::AwaitingLogin { until: now + LOGIN_TIMEOUT }, received: 0 }
    }

    pub fn on_event(&mut self, event: Event, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Received(incoming) => self.received(incoming, now, &mut actions),
            Event::Authenticated(true) => self.login(now, &mut actions),
            Event::Authenticated(false) => self.refuse(&mut actions),
            Event::Deliver(id, stanza) => self.deliver(id, stanza, now, &mut actions),
            Event::UpstreamTaken(count) => {
                if let Phase::Live(live) = &mut self.phase {
                    live.upstream_taken(count, self.received, now, &mut actions);
                }
            }
            Event::TimePassed => self.time_passed(now, &mut actions),
            Event::Shutdown => self.shut_down(&mut actions),
        }
        actions
    }

    /// When [`Event::TimePassed`] is due.
    pub fn deadline(&self) -> Option<Timestamp> {
        match &self.phase {
            Phase::AwaitingLogin { until } | Phase::Authenticating { until, .. } => Some(*until),
            Phase::Live(live) => Some(live.next_ping()),
            Phase::Closed => None,
        }
    }

    pub fn is_logged_in(&self) -> bool {
        matches!(self.phase, Phase::Live(_))
    }

    /// Whether a message is to be written now. Asked before the message is given its form, which
    /// may cost an encryption.
    pub fn offer(&self, id: MessageId, expires: Timestamp, now: Timestamp) -> Offer {
        match &self.phase {
            Phase::Live(live) => live.offer(id, expires, now),
            _ => Offer::NotConnected,
        }
    }

    /// Whether a message has been written and not been acknowledged.
    pub fn is_in_flight(&self, id: MessageId) -> bool {
        matches!(&self.phase, Phase::Live(live) if live.is_in_flight(id))
    }

    /// How many messages may be written before acknowledgements must come.
    pub fn room(&self) -> usize {
        match &self.phase {
            Phase::Live(live) => live.room(),
            _ => 0,
        }
    }

    /// Something stayed in the inbox for lack of room: acknowledgements are to be followed by
    /// [`Action::ReadInbox`].
    pub fn read_inbox_after_acks(&mut self) {
        if let Phase::Live(live) = &mut self.phase {
            live.inbox_waits = true;
        }
    }

    /// Writes a message that [`Session::offer`] wants, as a copy of one that is encoded: its frame is
    /// appended to `out`.
    pub fn deliver_copy(&mut self, id: MessageId, template: &[u8], now: Timestamp, out: &mut Vec<u8>) {
        if let Phase::Live(live) = &mut self.phase {
            live.deliver_copy(id, template, self.received, now, out);
        }
    }

    fn received(&mut self, incoming: Incoming, now: Timestamp, actions: &mut Vec<Action>) {
        self.received = self.received.saturating_add(1);
        match (&mut self.phase, incoming) {
            (Phase::Live(live), incoming) => {
                if let Some(reason) = live.received(incoming, self.received, now, actions) {
                    self.close(reason, actions);
                }
            }
            (Phase::AwaitingLogin { until }, Incoming::Frame(Frame::LoginRequest(request))) => {
                let until = *until;
                self.authenticate(request, until, actions);
            }
            (Phase::AwaitingLogin { .. } | Phase::Authenticating { .. }, _) => {
                self.close(Reason::LoginMissing, actions);
            }
            (Phase::Closed, _) => {}
        }
    }

    fn authenticate(&mut self, request: Box<LoginRequest>, until: Timestamp, actions: &mut Vec<Action>) {
        let credentials = credentials(&request);
        self.phase = Phase::Authenticating { until, request };
        match credentials {
            Some((device, security_token)) => actions.push(Action::Authenticate { device, security_token }),
            None => self.refuse(actions),
        }
    }

    fn login(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let Phase::Authenticating { request, .. } = &mut self.phase else { return };
        let request = std::mem::take(request.as_mut());
        let known = message_ids(&request.received_persistent_id);
        if !known.is_empty() {
            actions.push(Action::Acknowledge(known));
        }
        let live = Live::log_in(request, self.received, now, actions);
        self.phase = Phase::Live(Box::new(live));
        actions.push(Action::ReadInbox);
    }

    fn refuse(&mut self, actions: &mut Vec<Action>) {
        if let Phase::Authenticating { request, .. } = &mut self.phase {
            let error = mcs::ErrorInfo {
                code: LOGIN_REFUSED,
                message: Some("unknown device or wrong security token".into()),
                r#type: Some("auth".into()),
                extension: None,
            };
            let id = std::mem::take(&mut request.id);
            let response = LoginResponse { id, error: Some(error), ..LoginResponse::default() };
            actions.push(Action::Write(first_frame(response)));
            self.close(Reason::LoginRefused, actions);
        }
    }

    fn deliver(
        &mut self,
        id: MessageId,
        stanza: Box<mcs::DataMessageStanza>,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        if let Phase::Live(live) = &mut self.phase {
            live.deliver(id, stanza, self.received, now, actions);
        }
    }

    fn time_passed(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        match &mut self.phase {
            Phase::AwaitingLogin { until } | Phase::Authenticating { until, .. } if *until <= now => {
                self.close(Reason::LoginTimeout, actions);
            }
            Phase::Live(live) => {
                if let Some(reason) = live.time_passed(self.received, now, actions) {
                    self.close(reason, actions);
                }
            }
            _ => {}
        }
    }

    fn shut_down(&mut self, actions: &mut Vec<Action>) {
        if let Phase::Live(_) = self.phase {
            actions.push(Action::Write(bytes(&Frame::Close(mcs::Close {}))));
        }
        self.close(Reason::Shutdown, actions);
    }

    fn close(&mut self, reason: Reason, actions: &mut Vec<Action>) {
        if !matches!(self.phase, Phase::Closed) {
            self.phase = Phase::Closed;
            actions.push(Action::Close(reason));
        }
    }
}

/// Who the device says it is. microG prints large numbers as negative.
fn credentials(request: &LoginRequest) -> Option<(DeviceId, u64)> {
    let number = |text: &str| text.parse::<u64>().or_else(|_| text.parse::<i64>().map(|n| n as u64)).ok();
    Some((DeviceId::new(number(&request.user)?)?, number(&request.auth_token)?))
}

/// Persistent ids as devices report them: microG joins several with `|` (`protocol/mcs.md` §7).
/// What is not one of ours is left out.
fn message_ids(reported: &[String]) -> Vec<MessageId> {
    reported.iter().flat_map(|ids| ids.split('|')).filter_map(|id| id.parse().ok()).collect()
}

/// The LoginResponse with the version byte that goes directly before it, in the same write.
fn first_frame(response: LoginResponse) -> Vec<u8> {
    let mut bytes = vec![mcs::VERSION];
    mcs::encode(&Frame::LoginResponse(Box::new(response)), &mut bytes);
    bytes
}

fn bytes(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    mcs::encode(frame, &mut bytes);
    bytes
}
