use super::*;

const START: Timestamp = Timestamp::from_secs(1_000_000);
const UAID: Uaid = Uaid { device: 7, secret: 9 };
const HELLO: &str = r#"{"messageType":"hello","use_webpush":true,"uaid":"00000000000000070000000000000009"}"#;
const CHANNEL: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";
const LATER: Timestamp = Timestamp::from_secs(9_000_000);

fn at(seconds: u64) -> Timestamp {
    START + Duration::from_secs(seconds)
}

fn id(n: u64) -> MessageId {
    MessageId { micros: n, unique: n }
}

fn live(known: bool) -> Session {
    let mut session = Session::new(START);
    assert_eq!(session.on_event(Event::Text(HELLO), START), [Action::Greet(Some(UAID))]);
    let actions = session.on_event(Event::Greeted { uaid: UAID, known }, START);
    assert!(matches!(&actions[0], Action::Send(text) if text.contains(&UAID.to_string())));
    assert_eq!(&actions[1..], if known { &[Action::ReadInbox][..] } else { &[] });
    session
}

fn text(session: &mut Session, text: &str, now: Timestamp) -> Vec<Action> {
    session.on_event(Event::Text(text), now)
}

fn ack(ids: &[MessageId]) -> String {
    let update = |id: &MessageId| format!(r#"{{"channelID":"{CHANNEL}","version":"{id}","code":100}}"#);
    let updates: Vec<_> = ids.iter().map(update).collect();
    format!(r#"{{"messageType":"ack","updates":[{}]}}"#, updates.join(","))
}

fn deliver(session: &mut Session, n: u64) {
    assert_eq!(session.offer(id(n), true, LATER, START), Offer::Send);
    put(session, n);
}

/// Of a batch, which is not offered.
fn put(session: &mut Session, n: u64) {
    let sent = session.on_event(Event::Deliver(id(n), n.to_string()), START);
    assert_eq!(sent, [Action::Send(n.to_string())]);
}

#[test]
fn the_first_word_is_hello_and_comes_in_time() {
    let protocol = |fault| Reason::Protocol(fault);
    for (first, expected) in [
        ("{}", protocol(Fault::HelloMissing)),
        (r#"{"messageType":"ack","updates":[]}"#, protocol(Fault::HelloMissing)),
        ("x", protocol(Fault::Unreadable(Unreadable::Json))),
    ] {
        let mut session = Session::new(START);
        assert_eq!(text(&mut session, first, START), [Action::Close(expected)], "{first}");
        assert_eq!(text(&mut session, HELLO, START), [], "nothing follows the end");
    }
    let mut session = Session::new(START);
    assert_eq!(session.deadline(), at(5));
    assert_eq!(session.on_event(Event::TimePassed, at(4)), []);
    assert_eq!(session.on_event(Event::TimePassed, at(5)), [Action::Close(Reason::HelloTimeout)]);
    let mut session = Session::new(START);
    assert_eq!(session.on_event(Event::Binary, START), [Action::Close(protocol(Fault::Binary))]);
}

#[test]
fn a_second_hello_and_what_is_none_of_the_protocol_end_it() {
    for (said, expected) in [
        (HELLO, Fault::SecondHello),
        (r#"{"messageType":"register","channelID":"x"}"#, Fault::Unreadable(Unreadable::Channel)),
        (r#"{"messageType":"what"}"#, Fault::Unreadable(Unreadable::Kind)),
    ] {
        let closed = [Action::Close(Reason::Protocol(expected))];
        assert_eq!(text(&mut live(false), said, START), closed, "{said}");
    }
}

#[test]
fn subscribing_is_answered_whatever_becomes_of_it() {
    let mut session = live(false);
    let register = format!(r#"{{"messageType":"register","channelID":"{CHANNEL}"}}"#);
    let asked = text(&mut session, &register, START);
    let [Action::Register(channel, None)] = &asked[..] else { panic!("{asked:?}") };
    for (endpoint, status) in [(Some("https://a.test/wpush/v2/x".to_owned()), "200"), (None, "500")] {
        let told = session.on_event(Event::Registered(channel.clone(), endpoint), START);
        assert!(matches!(&told[..], [Action::Send(text)] if text.contains(&format!("\"status\":{status}"))));
    }
    let bad = register.replace('}', r#","key":"AAAA"}"#);
    let told = text(&mut session, &bad, START);
    assert!(matches!(&told[..], [Action::Send(text)] if text.contains("\"status\":400")), "{told:?}");
    let gone = format!(r#"{{"messageType":"unregister","channelID":"{CHANNEL}","code":200}}"#);
    assert_eq!(text(&mut session, &gone, START), [Action::Unregister(channel.clone())]);
    for (done, status) in [(true, "200"), (false, "500")] {
        let told = session.on_event(Event::Unregistered(channel.clone(), done), START);
        assert!(matches!(&told[..], [Action::Send(text)] if text.contains(&format!("\"status\":{status}"))));
    }
}

#[test]
fn pings_are_answered_but_not_too_often() {
    let mut session = live(false);
    assert_eq!(text(&mut session, "{}", at(1)), [Action::Send("{}".into())]);
    assert_eq!(text(&mut session, "{}", at(46)), [Action::Send("{}".into())]);
    assert_eq!(text(&mut session, "{}", at(90)), [Action::Close(Reason::ExcessivePing)]);
}

#[test]
fn who_does_not_answer_our_ping_is_gone() {
    let mut session = live(false);
    assert_eq!(session.deadline(), at(300));
    assert_eq!(session.on_event(Event::TimePassed, at(300)), [Action::Ping]);
    assert_eq!(session.on_event(Event::Pong, at(302)), []);
    assert_eq!(session.deadline(), at(602));
    assert_eq!(session.on_event(Event::TimePassed, at(602)), [Action::Ping]);
    assert_eq!(session.on_event(Event::TimePassed, at(605)), []);
    assert_eq!(session.on_event(Event::TimePassed, at(606)), [Action::Close(Reason::PongMissed)]);
    let mut session = live(false);
    session.on_event(Event::Pong, at(10));
    assert_eq!(session.deadline(), at(300), "a pong that nobody asked for says nothing");
}

#[test]
fn what_comes_is_sent_at_once_until_too_much_is_not_acknowledged() {
    let mut session = live(false);
    let all: Vec<_> = (1..=MAX_IN_FLIGHT as u64).map(id).collect();
    (1..=MAX_IN_FLIGHT as u64).for_each(|n| deliver(&mut session, n));
    assert_eq!(session.offer(id(1), true, LATER, START), Offer::InFlight);
    assert_eq!(session.offer(id(1_000), true, START, START), Offer::Expired);
    assert_eq!(session.offer(id(1_000), false, START, START), Offer::Later, "now is never");
    assert_eq!(session.offer(id(1_000), true, LATER, START), Offer::Later);
    let first = text(&mut session, &ack(&all[..1]), START);
    assert_eq!(first, [Action::Acknowledge(all[..1].to_vec())]);
    assert_eq!(session.offer(id(1_001), true, LATER, START), Offer::Later, "it must not overtake");
    let rest = text(&mut session, &ack(&all[1..]), START);
    assert_eq!(rest, [Action::Acknowledge(all[1..].to_vec()), Action::ReadInbox]);
}

#[test]
fn the_next_batch_goes_out_when_all_of_the_last_is_acknowledged() {
    let mut session = live(true);
    put(&mut session, 1);
    put(&mut session, 2);
    assert_eq!(session.on_event(Event::InboxRead { last: false }, START), []);
    assert_eq!(session.offer(id(3), true, LATER, START), Offer::Later, "others come first");
    assert_eq!(session.offer(id(4), false, START, START), Offer::Send, "now or never is now");
    assert_eq!(text(&mut session, &ack(&[id(1)]), START), [Action::Acknowledge(vec![id(1)])]);
    let next = text(&mut session, &ack(&[id(2)]), START);
    assert_eq!(next, [Action::Acknowledge(vec![id(2)]), Action::ReadInbox]);
    put(&mut session, 3);
    assert_eq!(session.on_event(Event::InboxRead { last: true }, START), []);
    assert_eq!(session.offer(id(5), true, LATER, START), Offer::Send, "nothing waits any more");
}

#[test]
fn what_comes_while_the_inbox_is_read_is_looked_for_again() {
    let mut session = live(true);
    assert_eq!(session.offer(id(1), true, LATER, START), Offer::Later);
    assert_eq!(session.on_event(Event::InboxRead { last: true }, START), [Action::ReadInbox]);
    assert_eq!(session.on_event(Event::InboxRead { last: true }, START), []);
    // There was no room to put it by, and nothing else is in flight.
    assert_eq!(session.offer(id(2), true, LATER, START), Offer::Send);
    session.leave();
    assert_eq!(session.on_event(Event::Offered, START), [Action::ReadInbox]);
}

#[test]
fn a_message_is_over_whatever_its_browser_could_do_with_it() {
    let mut session = live(false);
    deliver(&mut session, 1);
    let failed = ack(&[id(1)]).replace("100", "101");
    assert_eq!(text(&mut session, &failed, START), [Action::Failed(1), Action::Acknowledge(vec![id(1)])]);
    let nack = format!(r#"{{"messageType":"nack","version":"{}","code":302}}"#, id(1));
    assert_eq!(text(&mut session, &nack, START), [Action::Failed(1)]);
    let unknown = r#"{"messageType":"ack","updates":[{"channelID":"x","version":"other","code":100}]}"#;
    assert_eq!(text(&mut session, unknown, START), []);
    let broadcast = r#"{"messageType":"broadcast_subscribe","broadcasts":{"a":"b"}}"#;
    assert_eq!(text(&mut session, broadcast, START), []);
}

#[test]
fn batches_are_of_topics_first() {
    let waiting: Vec<u64> = (0..40).collect();
    let topics = batch(waiting.clone(), |n| n % 2 == 0);
    assert_eq!(topics, (0..11).map(|n| 2 * n).collect::<Vec<_>>());
    assert_eq!(batch(waiting.clone(), |_| false), (0..10).collect::<Vec<_>>());
    assert_eq!(batch(vec![1, 2, 3], |n| *n == 2), [2]);
    assert!(batch(Vec::<u64>::new(), |_| true).is_empty());
}

#[test]
fn each_end_has_a_code() {
    for (reason, code) in [
        (Reason::Replaced, 1000),
        (Reason::Shutdown, 1001),
        (Reason::Protocol(Fault::Binary), 1003),
        (Reason::Protocol(Fault::SecondHello), 1011),
        (Reason::ExcessivePing, 1011),
        (Reason::Unavailable, 1011),
    ] {
        assert_eq!(reason.close().0, code, "{reason:?}");
        assert_eq!(live(false).on_event(Event::End(reason), START), [Action::Close(reason)]);
    }
}
