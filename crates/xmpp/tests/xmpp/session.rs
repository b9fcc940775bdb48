//! Sessions, told what comes and asked what they do.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use cresset_delivery::Upstream;
use cresset_message::{MessageId, ProjectNumber, Timestamp};
use cresset_wire::legacy::LegacyError;
use cresset_wire::xmpp::{Element, Incoming, Reader, namespace};
use cresset_xmpp::session::{
    Action, BLANK_AFTER, Chance, Event, IDLE_TIMEOUT, LOGIN_TIMEOUT, Reason, Sent, Session, Verdict,
};
use serde_json::{Value, json};

const START: Timestamp = Timestamp::from_secs(1_000_000);
const HEADER: &str = "<stream:stream to='gcm.googleapis.com' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
const BIND: &str = "<iq type='set' id='a'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>";

/// A session, and the client's end of its line.
pub(crate) struct Play {
    session: Session,
    reader: Reader,
    written: String,
    pub(crate) now: Timestamp,
}

impl Play {
    pub(crate) fn new() -> Self {
        Self {
            session: Session::new(Chance { streams: [1, 2], resource: 3 }, START),
            reader: Reader::new(),
            written: String::new(),
            now: START,
        }
    }

    /// Logged in and bound; a pull is under way, as after every login.
    pub(crate) fn live() -> Self {
        let mut play = Self::new();
        play.says(&format!("{HEADER}{}", auth("7@gcm.googleapis.com", "key")));
        play.happens(Event::Authenticated(Verdict::Known));
        let actions = play.says(&format!("{HEADER}{BIND}"));
        assert_eq!(actions[actions.len() - 2..], [Action::Attach, Action::Pull(100)]);
        play.written.clear();
        play
    }

    /// What comes over the line; what is to be done but writing.
    pub(crate) fn says(&mut self, text: &str) -> Vec<Action> {
        self.reader.push(text.as_bytes());
        let mut actions = Vec::new();
        while self.session.wants_input() {
            match self.reader.take() {
                Ok(Some(incoming)) => actions.extend(self.happens(Event::Received(incoming))),
                Ok(None) => break,
                Err(error) => actions.extend(self.happens(Event::Unreadable(error))),
            }
        }
        actions
    }

    pub(crate) fn sends(&mut self, json: &Value) -> Vec<Action> {
        self.says(&format!("<message><gcm xmlns='google:mobile:data'>{json}</gcm></message>"))
    }

    pub(crate) fn happens(&mut self, event: Event) -> Vec<Action> {
        let mut others = Vec::new();
        for action in self.session.on_event(event, self.now) {
            match action {
                Action::Write(text) => self.written.push_str(&text),
                Action::Restart => self.reader.restart(),
                Action::Count(_) => {}
                other => others.push(other),
            }
        }
        others
    }

    /// What was written since the last time.
    pub(crate) fn written(&mut self) -> String {
        std::mem::take(&mut self.written)
    }

    /// The same, as stanzas.
    pub(crate) fn stanzas(&mut self) -> Vec<Element> {
        let mut reader = Reader::new();
        reader.push(HEADER.as_bytes());
        reader.push(self.written().as_bytes());
        let all = std::iter::from_fn(|| reader.take().unwrap());
        all.filter_map(|incoming| match incoming {
            Incoming::Stanza(stanza) => Some(stanza),
            _ => None,
        })
        .collect()
    }

    /// The JSON of the one stanza that was written.
    pub(crate) fn told(&mut self) -> Value {
        let stanzas = self.stanzas();
        let [stanza] = &stanzas[..] else { panic!("{stanzas:?}") };
        serde_json::from_str(&stanza.children[0].text).unwrap_or_else(|_| panic!("{stanza:?}"))
    }
}

fn auth(user: &str, key: &str) -> String {
    let text = BASE64_STANDARD.encode(format!("\0{user}\0{key}"));
    format!("<auth mechanism='PLAIN' xmlns='{}'>{text}</auth>", namespace::SASL)
}

fn from_device(n: u64) -> Upstream {
    Upstream {
        id: MessageId { micros: n, unique: 0 },
        registration: "tokA".into(),
        category: "com.ex.app".into(),
        message_id: n.to_string(),
        data: Vec::new(),
        ttl_seconds: 60,
        receipt_for: None,
    }
}

fn ack(to: &str, id: &str) -> Value {
    json!({ "to": to, "message_id": id, "message_type": "ack" })
}

fn numbers(actions: &[Action]) -> Vec<u64> {
    let number = |action: &Action| match action {
        Action::Send(number, _) => Some(*number),
        _ => None,
    };
    actions.iter().filter_map(number).collect()
}

#[test]
fn a_login_goes_as_the_guide_shows_it() {
    let mut play = Play::new();
    assert!(play.says(HEADER).is_empty());
    let opened = play.written();
    assert!(
        opened.starts_with("<stream:stream from=\"gcm.googleapis.com\" id=\"0000000000000001\""),
        "{opened}"
    );
    assert!(opened.ends_with("<mechanism>PLAIN</mechanism></mechanisms></stream:features>"), "{opened}");
    let asked = play.says(&auth("7", "key"));
    assert_eq!(asked, [Action::Authenticate { sender: ProjectNumber(7), key: "key".into() }]);
    play.happens(Event::Authenticated(Verdict::Known));
    assert_eq!(play.written(), "<success xmlns=\"urn:ietf:params:xml:ns:xmpp-sasl\"/>");
    play.says(&format!("<?xml version='1.0'?>{HEADER}"));
    assert!(play.written().contains("id=\"0000000000000002\""));
    let bind = BIND.replace("bind'/>", "bind'><resource>phone &amp; co</resource></bind>");
    play.says(&format!("<presence/>{bind}"));
    // Presence before bind is nobody's.
    assert!(play.written().contains("not-authorized"));

    let mut play = Play::live();
    play.says("<presence/><iq type='set' id='b'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>");
    assert_eq!(play.written(), "<iq id=\"b\" type=\"result\"/>");
    play.says("<iq type='get' to='x' id='c2s1'><ping xmlns='urn:xmpp:ping'/></iq><iq type='result' id='z'/>");
    assert_eq!(play.written(), "<iq id=\"c2s1\" type=\"result\"/>");
    play.says("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>");
    assert!(play.written().contains("<error type=\"cancel\"><service-unavailable"));
    play.says(BIND);
    assert!(play.written().contains("<jid>7@gcm.googleapis.com/0000000000000003</jid>"), "the same again");
}

#[test]
fn a_login_may_be_tried_again_unless_the_key_is_wrong() {
    let failed = |play: &mut Play, condition: &str| {
        let written = play.written();
        assert!(written.contains(&format!("<{condition}/></failure>")), "{written}");
    };
    let mut play = Play::new();
    play.says(&format!("{HEADER}<auth mechanism='X-OAUTH2' xmlns='{}'>x</auth>", namespace::SASL));
    failed(&mut play, "invalid-mechanism");
    play.says(&format!("<auth mechanism='PLAIN' xmlns='{}'/>", namespace::SASL));
    assert!(play.written().contains("<challenge"));
    play.says(&format!("<abort xmlns='{}'/>", namespace::SASL));
    failed(&mut play, "aborted");
    assert_eq!(play.says(&auth("7", "key")).len(), 1);
    assert_eq!(play.happens(Event::Authenticated(Verdict::Unknown)), [Action::Close(Reason::LoginRefused)]);
    assert!(play.written().ends_with("<not-authorized/></failure></stream:stream>"));

    let mut play = Play::new();
    play.says(HEADER);
    let broken = format!("<auth mechanism='PLAIN' xmlns='{}'>%%</auth>", namespace::SASL);
    let actions = play.says(&broken.repeat(3));
    assert_eq!(actions, [Action::Close(Reason::LoginRefused)]);
    failed(&mut play, "incorrect-encoding");

    let mut play = Play::new();
    play.says(&format!("{HEADER}{}", auth("7", "key")));
    assert_eq!(play.happens(Event::Authenticated(Verdict::TooMany)), [Action::Close(Reason::TooMany)]);
    assert!(play.written().ends_with(
        "<resource-constraint xmlns=\"urn:ietf:params:xml:ns:xmpp-streams\"/></stream:error></stream:stream>"
    ));
}

#[test]
fn what_is_sent_before_the_login_ends_the_stream() {
    for stanza in ["<message/>", BIND] {
        let mut play = Play::new();
        assert_eq!(
            play.says(&format!("{HEADER}{stanza}")),
            [Action::Close(Reason::LoginRefused)],
            "{stanza}"
        );
        assert!(play.written().contains("<not-authorized xmlns"), "{stanza}");
    }
    // Even where no stream was opened there is one to say it in.
    let mut play = Play::new();
    assert_eq!(play.says("hello"), [Action::Close(Reason::Unreadable)]);
    assert!(play.written().starts_with("<stream:stream from="));
}

#[test]
fn answers_come_in_any_order_and_name_their_message() {
    let mut play = Play::live();
    let mut sent = Vec::new();
    for id in ["a", "b", "c"] {
        sent.extend(numbers(&play.sends(&json!({ "to": "tokA", "message_id": id }))));
    }
    play.happens(Event::Answered(sent[2], Ok(Sent::One { canonical: Some("tokB".into()) })));
    let expected =
        json!({ "message_type": "ack", "from": "tokA", "message_id": "c", "registration_id": "tokB" });
    assert_eq!(play.told(), expected);
    play.happens(Event::Answered(sent[0], Err(LegacyError::NotRegistered)));
    assert_eq!(play.told()["error"], "DEVICE_UNREGISTERED");
    play.happens(Event::Answered(sent[1], Ok(Sent::Group { success: 2, failed: Vec::new() })));
    let expected =
        json!({ "from": "tokA", "message_type": "ack", "success": 2, "failure": 0, "message_id": "b" });
    assert_eq!(play.told(), expected);
}

#[test]
fn a_hundred_are_delivered_at_once_and_nobody_is_sent_away_for_more() {
    let mut play = Play::live();
    let mut under_way = Vec::new();
    for n in 0..1_200 {
        under_way.extend(numbers(&play.sends(&json!({ "to": "tokA", "message_id": n.to_string() }))));
    }
    assert_eq!(under_way.len(), 100);
    // Beyond a thousand nothing is read.
    let mut answered = 0;
    while let Some(number) = under_way.pop() {
        let mut next = numbers(&play.happens(Event::Answered(number, Ok(Sent::One { canonical: None }))));
        next.extend(numbers(&play.says("")));
        under_way.extend(next);
        answered += 1;
        assert!(under_way.len() <= 100);
    }
    assert_eq!((answered, play.stanzas().len()), (1_200, 1_200));
}

#[test]
fn an_ack_counts_for_what_was_given_on_this_connection() {
    let mut play = Play::live();
    let receipt = Upstream { receipt_for: Some(START), message_id: "m-1".into(), ..from_device(3) };
    let actions = play.happens(Event::Pulled(vec![from_device(1), from_device(2), receipt]));
    assert_eq!(actions, [Action::Pull(97)]);
    assert_eq!(play.stanzas().len(), 3);
    play.happens(Event::Pulled(Vec::new()));
    let acknowledged = |n| Action::Acknowledge(MessageId { micros: n, unique: 0 });
    assert_eq!(play.sends(&ack("tokA", "2")), [acknowledged(2), Action::Pull(98)]);
    assert_eq!(play.sends(&ack("gcm.googleapis.com", "dr2:m-1")), [acknowledged(3)]);
    assert_eq!(play.written(), "");
    for (to, id) in [("tokA", "2"), ("tokB", "1"), ("tokA", "9")] {
        assert!(play.sends(&ack(to, id)).is_empty());
        let written = play.written();
        assert!(
            written.contains("code=\"406\"") && written.contains("type=\"error\" to=\"7@gcm"),
            "{written}"
        );
    }
    assert!(play.sends(&json!({ "message_id": "1", "message_type": "ack" })).is_empty());
    assert_eq!(play.told()["error"], "BAD_ACK");
    assert!(play.sends(&json!({ "to": "tokA", "message_type": "ack" })).is_empty());
    assert!(play.written().contains("code=\"400\""));
}

#[test]
fn no_more_than_a_hundred_are_given_and_minutes_later_again() {
    let mut play = Play::live();
    let actions = play.happens(Event::Pulled((1..=100).map(from_device).collect()));
    assert!(actions.is_empty(), "{actions:?}");
    assert_eq!(play.happens(Event::Woken), [Action::Pass]);
    play.written();
    play.now = START + Duration::from_secs(299);
    assert!(!play.happens(Event::TimePassed).iter().any(|action| matches!(action, Action::Again(_))));
    play.now = START + Duration::from_secs(300);
    let again = play.happens(Event::TimePassed);
    let [Action::Again(ids)] = &again[..] else { panic!("{again:?}") };
    assert_eq!(ids.len(), 100);
    play.written();
    // One is no more, one was acknowledged meanwhile.
    play.sends(&ack("tokA", "2"));
    play.happens(Event::Pulled(Vec::new()));
    let found = (2..=100).map(from_device).collect();
    assert_eq!(play.happens(Event::Again(ids.clone(), found)), [Action::Pull(2)]);
    assert_eq!(play.stanzas().len(), 98);
}

#[test]
fn what_wakes_while_something_is_pulled_is_not_missed() {
    let mut play = Play::live();
    assert!(play.happens(Event::Woken).is_empty());
    assert_eq!(play.happens(Event::Pulled(Vec::new())), [Action::Pull(100)]);
    assert!(play.happens(Event::Pulled(Vec::new())).is_empty());
}

#[test]
fn draining_lets_what_is_under_way_finish() {
    let mut play = Play::live();
    let sent = numbers(&play.sends(&json!({ "to": "tokA", "message_id": "1" })));
    play.happens(Event::Pulled(vec![from_device(1)]));
    play.written();
    assert!(play.happens(Event::Drain).is_empty());
    assert_eq!(play.told(), json!({ "message_type": "control", "control_type": "CONNECTION_DRAINING" }));
    assert!(play.sends(&json!({ "to": "tokA", "message_id": "2" })).is_empty());
    assert_eq!(play.told()["error"], "CONNECTION_DRAINING");
    assert!(play.happens(Event::Answered(sent[0], Ok(Sent::One { canonical: None }))).is_empty());
    assert_eq!(play.told()["message_type"], "ack");
    let last = play.sends(&ack("tokA", "1"));
    assert_eq!(last.last(), Some(&Action::Close(Reason::Drained)));
    assert_eq!(play.written(), "</stream:stream>");
    assert!(play.happens(Event::Shutdown).is_empty());
}

#[test]
fn who_ends_the_stream_is_answered_first() {
    let mut play = Play::live();
    let sent = numbers(&play.sends(&json!({ "to": "tokA", "message_id": "1" })));
    assert!(play.says("</stream:stream>").is_empty());
    let end = play.happens(Event::Answered(sent[0], Ok(Sent::One { canonical: None })));
    assert_eq!(end, [Action::Close(Reason::Ended)]);
    assert!(
        play.written()
            .ends_with("</gcm></message></stream:stream>".replace("</gcm>", "</data:gcm>").as_str())
    );
    // What was being pulled is somebody else's.
    play.happens(Event::Pulled(vec![from_device(1)]));
    assert_eq!(play.session.unacknowledged().len(), 1);
}

#[test]
fn silence_is_filled_with_blanks_and_ends_in_the_end() {
    let mut play = Play::new();
    play.now = START + LOGIN_TIMEOUT;
    assert_eq!(play.session.deadline(), Some(play.now));
    assert_eq!(play.happens(Event::TimePassed), [Action::Close(Reason::LoginTimeout)]);
    assert!(play.written().contains("connection-timeout"));

    let mut play = Play::live();
    play.now = START + BLANK_AFTER;
    assert_eq!(play.session.deadline(), Some(play.now));
    assert!(play.happens(Event::TimePassed).is_empty());
    assert_eq!(play.written(), " ");
    play.now = START + IDLE_TIMEOUT;
    play.happens(Event::Heard);
    assert!(play.happens(Event::TimePassed).is_empty());
    play.now = play.now + IDLE_TIMEOUT;
    assert_eq!(play.happens(Event::TimePassed), [Action::Close(Reason::Idle)]);
}

#[test]
fn a_receipt_is_asked_for_by_the_messages_own_id() {
    let mut play = Play::live();
    let wants = |actions: &[Action]| match actions {
        [Action::Send(_, downstream)] => downstream.message.receipt_id.clone(),
        other => panic!("{other:?}"),
    };
    let asks = json!({ "to": "tokA", "message_id": "1", "delivery_receipt_requested": true });
    assert_eq!(wants(&play.sends(&asks)), Some("1".to_owned()));
    let topic = json!({ "to": "/topics/t", "message_id": "2", "delivery_receipt_requested": true });
    assert_eq!(wants(&play.sends(&topic)), None, "only for one app instance");
    assert_eq!(wants(&play.sends(&json!({ "to": "tokA", "message_id": "3" }))), None);
}
