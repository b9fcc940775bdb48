//! An app server's whole session, by a script: a byte says what happens, those after it with what.

use std::collections::BTreeSet;
use std::time::Duration;

use cresset_delivery::Upstream;
use cresset_message::{MessageId, Timestamp};
use cresset_wire::legacy::LegacyError;
use cresset_wire::xmpp::{Incoming, Reader};
use cresset_xmpp::session::{Action, Chance, Event, Sent, Session, Verdict};

const START: Timestamp = Timestamp::from_secs(1_000_000);

/// Whatever an app server sends and whenever: what is written is a stream that it can read, nothing follows
/// the end, no more is under way than may be, and what it was given is its or somebody else's.
pub(crate) fn xmpp_session(script: &[u8]) {
    let mut play = Play::new();
    let mut script = script;
    while let Some((&what, rest)) = script.split_first() {
        script = play.step(what, rest);
    }
}

struct Play {
    session: Session,
    now: Timestamp,
    reader: Reader,
    app_server: Reader,
    /// Numbers of messages that are being delivered.
    under_way: BTreeSet<u64>,
    pulling: Option<usize>,
    given: u64,
    closed: bool,
}

impl Play {
    fn new() -> Self {
        Self {
            session: Session::new(Chance { streams: [1, 2], resource: 3 }, START),
            now: START,
            reader: Reader::new(),
            app_server: Reader::new(),
            under_way: BTreeSet::new(),
            pulling: None,
            given: 0,
            closed: false,
        }
    }

    /// What is left of the script.
    fn step<'a>(&mut self, what: u8, rest: &'a [u8]) -> &'a [u8] {
        let (&with, after) = rest.split_first().unwrap_or((&0, &[]));
        match what % 8 {
            0..=2 => {
                let (bytes, after) = after.split_at(after.len().min(usize::from(with)));
                self.happens(Event::Heard);
                self.reader.push(bytes);
                self.read();
                return after;
            }
            3 => self.happens(Event::Authenticated(match with % 4 {
                0 => Verdict::Unknown,
                1 => Verdict::TooMany,
                _ => Verdict::Known,
            })),
            4 => self.answer(with),
            5 => self.pulled(with),
            6 => {
                self.now = self.now + Duration::from_secs(u64::from(with) * 10);
                self.happens(Event::TimePassed);
            }
            _ => self.happens(match with % 8 {
                0 => Event::Drain,
                1 => Event::Shutdown,
                2 => Event::GiveWay,
                3 => Event::Again(self.session.unacknowledged(), Vec::new()),
                _ => Event::Woken,
            }),
        }
        self.read();
        after
    }

    fn read(&mut self) {
        while self.session.wants_input() {
            match self.reader.take() {
                Ok(Some(incoming)) => self.happens(Event::Received(incoming)),
                Ok(None) => return,
                Err(error) => self.happens(Event::Unreadable(error)),
            }
        }
    }

    fn answer(&mut self, with: u8) {
        let Some(number) =
            self.under_way.iter().nth(usize::from(with) % self.under_way.len().max(1)).copied()
        else {
            return;
        };
        self.under_way.remove(&number);
        self.happens(Event::Answered(
            number,
            match with % 3 {
                0 => Ok(Sent::One { canonical: with.is_multiple_of(2).then(|| "new".to_owned()) }),
                1 => Ok(Sent::Group { success: 1, failed: vec!["a".to_owned(); usize::from(with % 2)] }),
                _ => Err(LegacyError::NotRegistered),
            },
        ));
    }

    fn pulled(&mut self, with: u8) {
        let Some(room) = self.pulling.take() else { return };
        let pulled: Vec<_> = (0..usize::from(with).min(room)).map(|_| self.one()).collect();
        self.happens(Event::Pulled(pulled));
    }

    fn one(&mut self) -> Upstream {
        self.given += 1;
        Upstream {
            id: MessageId { micros: self.given, unique: 0 },
            registration: "tokA".to_owned(),
            category: "com.ex.app".to_owned(),
            message_id: (self.given % 50).to_string(),
            data: vec![("k".to_owned(), "<&>\"\r".to_owned())],
            ttl_seconds: 60,
            receipt_for: self.given.is_multiple_of(3).then_some(START),
        }
    }

    fn happens(&mut self, event: Event) {
        let actions = self.session.on_event(event, self.now);
        for action in actions {
            assert!(!self.closed, "{action:?} after the end");
            match action {
                Action::Write(text) => self.app_server_reads(&text),
                Action::Restart => {
                    self.reader.restart();
                    self.app_server.restart();
                }
                Action::Send(number, _) => assert!(self.under_way.insert(number)),
                Action::Pull(room) => {
                    assert!(room > 0 && self.pulling.replace(room).is_none());
                }
                Action::Close(_) => self.closed = true,
                Action::Authenticate { .. }
                | Action::Attach
                | Action::Pass
                | Action::Again(_)
                | Action::Acknowledge(_)
                | Action::Count(_) => {}
            }
        }
        assert!(self.under_way.len() <= 100 && self.session.unacknowledged().len() <= 100);
        assert!(!self.closed || (self.session.deadline().is_none() && !self.session.wants_input()));
    }

    fn app_server_reads(&mut self, text: &str) {
        self.app_server.push(text.as_bytes());
        loop {
            match self.app_server.take() {
                Ok(Some(Incoming::Closed)) => self.app_server.restart(),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => panic!("{error}: {text}"),
            }
        }
        assert_eq!(self.app_server.buffered(), 0, "half a stanza: {text}");
    }
}
