//! A browser's whole session, by a script: a byte says what happens, those after it with what.

use std::time::Duration;

use cresset_device::mozilla::session::{Action, BATCH, Event, MAX_IN_FLIGHT, Offer, Reason, Session};
use cresset_message::{MessageId, Timestamp};
use cresset_wire::mozilla::Uaid;

const START: Timestamp = Timestamp::from_secs(1_000_000);

/// Whatever a browser sends and whenever: each frame is a JSON object, nothing follows the end, it is looked
/// up once who it is, what waits is read for as long as there is something, and in flight is only what was
/// sent and not acknowledged.
pub(crate) fn mozilla_session(script: &[u8]) {
    let mut play = Play {
        session: Session::new(START),
        now: START,
        sent: Vec::new(),
        waiting: 0,
        next: 0,
        greeted: false,
        closed: false,
    };
    let mut script = script;
    while let Some((&what, rest)) = script.split_first() {
        script = play.step(what, rest);
    }
    if play.session.is_live() && !play.closed {
        play.all_waiting_comes();
    }
}

struct Play {
    session: Session,
    now: Timestamp,
    sent: Vec<MessageId>,
    /// Messages in the inbox.
    waiting: usize,
    next: u64,
    greeted: bool,
    closed: bool,
}

impl Play {
    fn step<'a>(&mut self, what: u8, rest: &'a [u8]) -> &'a [u8] {
        match what {
            // A frame up to the end of its line.
            b't' => {
                let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
                let text = String::from_utf8_lossy(&rest[..end]).replace("$ID", &self.last_id());
                self.happens(Event::Text(&text));
                return rest.get(end + 1..).unwrap_or_default();
            }
            b'b' => self.happens(Event::Binary),
            b'p' => self.happens(Event::Pong),
            b'w' => self.now = self.now + Duration::from_secs(u64::from(rest.first().copied().unwrap_or(0))),
            b'T' => self.happens(Event::TimePassed),
            b'd' => self.push(true),
            b'n' => self.push(false),
            b'a' => self.acknowledge_all(),
            b'e' => self.happens(Event::End(Reason::Shutdown)),
            _ => {}
        }
        rest
    }

    fn last_id(&self) -> String {
        self.sent.last().map(ToString::to_string).unwrap_or_default()
    }

    fn push(&mut self, stored: bool) {
        self.next += 1;
        let id = MessageId { micros: self.next, unique: 1 };
        let expires = self.now + Duration::from_secs(60);
        match self.session.offer(id, stored, expires, self.now) {
            Offer::Send => self.deliver(id),
            Offer::Later | Offer::NotConnected if stored => self.waiting += 1,
            Offer::Expired | Offer::InFlight => panic!("it is new"),
            Offer::Later | Offer::NotConnected => {}
        }
        self.happens(Event::Offered);
    }

    fn deliver(&mut self, id: MessageId) {
        self.sent.push(id);
        self.happens(Event::Deliver(id, "{}".into()));
        assert!(self.closed || self.session.has(id));
    }

    fn acknowledge_all(&mut self) {
        let update = |id: &MessageId| format!("{{\"version\":\"{id}\"}}");
        let updates: Vec<_> = self.sent.iter().map(update).collect();
        let text = format!("{{\"messageType\":\"ack\",\"updates\":[{}]}}", updates.join(","));
        self.happens(Event::Text(&text));
    }

    fn all_waiting_comes(&mut self) {
        // What was put by before it was greeted is read only if it was known.
        for _ in 0..self.waiting + 2 {
            self.acknowledge_all();
        }
        assert!(self.closed || self.waiting == 0, "{} wait for ever", self.waiting);
    }

    fn happens(&mut self, event: Event<'_>) {
        let actions = self.session.on_event(event, self.now);
        assert!(!self.closed || actions.is_empty(), "something follows the end");
        for action in actions {
            match action {
                Action::Greet(uaid) => {
                    assert!(!std::mem::replace(&mut self.greeted, true), "asked twice");
                    let uaid = uaid.unwrap_or(Uaid { device: 1, secret: 2 });
                    self.happens(Event::Greeted { uaid, known: true });
                }
                Action::Send(text) => assert!(text.starts_with('{')),
                Action::Register(channel, _) => {
                    self.happens(Event::Registered(channel, Some("https://a.test/".into())));
                }
                Action::Unregister(channel) => self.happens(Event::Unregistered(channel, true)),
                Action::Acknowledge(ids) => self.sent.retain(|id| !ids.contains(id)),
                Action::ReadInbox => self.read_inbox(),
                Action::Close(_) => self.closed = true,
                Action::Ping | Action::Failed(_) => {}
            }
        }
        assert!(self.sent.len() <= MAX_IN_FLIGHT + BATCH, "{} are in flight", self.sent.len());
    }

    fn read_inbox(&mut self) {
        let some = self.waiting.min(BATCH);
        self.waiting -= some;
        for _ in 0..some {
            self.next += 1;
            self.deliver(MessageId { micros: self.next, unique: 2 });
        }
        self.happens(Event::InboxRead { last: self.waiting == 0 });
    }
}
