//! A device's whole session, by a script: a byte says what happens, those after it with what.

use std::time::Duration;

use cresset_device::session::{Action, Event, Offer, Session};
use cresset_message::{MessageId, Timestamp};
use cresset_wire::mcs::{DataMessageStanza, Decoder, Incoming, Role, VERSION, template};

const START: Timestamp = Timestamp::from_secs(1_000_000);

/// Whatever a device sends and whenever: each write is one frame that devices read, nothing follows
/// the end, a login is asked about once, and only what was written is in flight.
pub(crate) fn mcs_session(script: &[u8]) {
    let mut play = Play::new();
    let mut script = script;
    while let Some((&what, rest)) = script.split_first() {
        script = play.step(what, rest);
        if play.broken {
            return;
        }
    }
}

struct Play {
    session: Session,
    now: Timestamp,
    from_device: Decoder,
    to_device: Decoder,
    delivered: Vec<MessageId>,
    /// Frames of the device so far, and those among them that are being made durable.
    received: u32,
    upstream: Vec<u32>,
    asked: bool,
    closed: bool,
    /// The device sent what ends its connection below the session.
    broken: bool,
}

impl Play {
    fn new() -> Self {
        let mut from_device = Decoder::new(Role::Server);
        let nothing = from_device.next(&mut [VERSION].as_slice());
        assert_eq!(nothing, Ok(None));
        Self {
            session: Session::new(START),
            now: START,
            from_device,
            to_device: Decoder::new(Role::Client),
            delivered: Vec::new(),
            received: 0,
            upstream: Vec::new(),
            asked: false,
            closed: false,
            broken: false,
        }
    }

    /// What is left of the script.
    fn step<'a>(&mut self, what: u8, rest: &'a [u8]) -> &'a [u8] {
        let (&with, after) = rest.split_first().unwrap_or((&0, &[]));
        match what % 8 {
            0..=3 => {
                let (bytes, after) = after.split_at(after.len().min(usize::from(with)));
                self.receive(bytes);
                return after;
            }
            4 => self.happens(Event::Authenticated(with % 8 != 0)),
            5 => self.deliver(with),
            6 => {
                self.now = self.now + Duration::from_secs(60 * u64::from(with));
                self.happens(Event::TimePassed);
            }
            _ if with == 0 => self.happens(Event::Shutdown),
            // As much as the connection was given is made durable, at most.
            _ if with >= 128 => {
                let taken = usize::from(with % 16).min(self.upstream.len());
                self.upstream.drain(..taken);
                self.happens(Event::UpstreamTaken(taken));
            }
            _ => {
                self.session.read_inbox_after_acks();
                self.now = self.session.deadline().map_or(self.now, |at| at.max(self.now));
                self.happens(Event::TimePassed);
            }
        }
        after
    }

    fn receive(&mut self, mut bytes: &[u8]) {
        loop {
            match self.from_device.next(&mut bytes) {
                Ok(Some(incoming)) => self.happens(Event::Received(incoming)),
                Ok(None) => return,
                Err(_) => return self.broken = true,
            }
        }
    }

    /// As its connection does: what the session wants, and no other.
    fn deliver(&mut self, n: u8) {
        let id = MessageId { micros: START.as_micros() + u64::from(n), unique: u64::from(n) };
        let expires = START + Duration::from_secs(3_600 * 24);
        if self.session.offer(id, expires, self.now) != Offer::Write {
            return;
        }
        self.delivered.push(id);
        if n.is_multiple_of(2) {
            return self.happens(Event::Deliver(id, Box::default()));
        }
        let mut written = Vec::new();
        self.session.deliver_copy(id, &template(&DataMessageStanza::default()), self.now, &mut written);
        self.reads(&written);
    }

    fn happens(&mut self, event: Event) {
        self.received += u32::from(matches!(event, Event::Received(_)));
        let actions = self.session.on_event(event, self.now);
        for action in actions {
            assert!(!self.closed, "{action:?} after the end");
            match action {
                Action::Authenticate { .. } => assert!(!std::mem::replace(&mut self.asked, true)),
                Action::Write(bytes) => self.reads(&bytes),
                Action::Close(_) => self.closed = true,
                Action::Acknowledge(ids) => assert!(!ids.is_empty()),
                Action::ReadInbox => {}
                Action::Upstream(_) => self.upstream.push(self.received),
            }
        }
        assert!(!self.closed || (self.session.deadline().is_none() && !self.session.is_logged_in()));
        let in_flight = self.delivered.iter().filter(|id| self.session.is_in_flight(**id)).count();
        assert!(!self.session.is_logged_in() || self.session.room() + in_flight == 1_000);
    }

    /// The device, one frame a write.
    fn reads(&mut self, mut bytes: &[u8]) {
        let read = self.to_device.next(&mut bytes);
        assert!(bytes.is_empty());
        let Ok(Some(Incoming::Frame(frame))) = read else { panic!("{read:?}") };
        // It must not be told that it may forget what is not durable.
        let told = frame.last_stream_id_received();
        assert!(told <= self.received && self.upstream.first().is_none_or(|first| told < *first));
    }
}
