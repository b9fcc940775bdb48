use cresset_wire::mcs::{
    Close, DataMessageStanza, Decoder, HeartbeatAck, HeartbeatPing, HeartbeatStat, IqStanza, Role,
    SELECTIVE_ACK, STREAM_ACK, SelectiveAck,
};
use proptest::prelude::*;
use prost::Message as _;

use super::*;

const START: Timestamp = Timestamp::from_secs(1_000_000);

fn id(n: u64) -> MessageId {
    MessageId { micros: START.as_micros() + n, unique: n }
}

fn request() -> LoginRequest {
    LoginRequest {
        id: "chrome-156".into(),
        user: "42".into(),
        auth_token: "7".into(),
        ..LoginRequest::default()
    }
}

fn frame(frame: Frame) -> Event {
    Event::Received(Incoming::Frame(frame))
}

fn login_event(request: LoginRequest) -> Event {
    frame(Frame::LoginRequest(Box::new(request)))
}

fn ping(last: i32) -> Event {
    frame(Frame::HeartbeatPing(HeartbeatPing {
        last_stream_id_received: Some(last),
        ..HeartbeatPing::default()
    }))
}

fn heartbeat_ack() -> Event {
    frame(Frame::HeartbeatAck(HeartbeatAck::default()))
}

fn selective_ack(ids: &[String]) -> Event {
    let ack = SelectiveAck { id: ids.to_vec() };
    frame(Frame::Iq(Box::new(IqStanza::carrying(SELECTIVE_ACK, ack.encode_to_vec()))))
}

fn deliver(n: u64) -> Event {
    Event::Deliver(id(n), Box::default())
}

/// Logs in, and forgets what that wrote.
fn live(request: LoginRequest) -> Session {
    let mut session = Session::new(START);
    let actions = session.on_event(login_event(request), START);
    let device = DeviceId::new(42).unwrap();
    assert_eq!(actions, [Action::Authenticate { device, security_token: 7 }]);
    session.on_event(Event::Authenticated(true), START);
    session
}

/// The frames of the writes among `actions`, each exactly one.
fn written(actions: &[Action], first: bool) -> Vec<Frame> {
    let mut version = first;
    let mut frames = Vec::new();
    for action in actions {
        let Action::Write(bytes) = action else { continue };
        let mut decoder = Decoder::new(Role::Client);
        let mut input = bytes.as_slice();
        if !std::mem::take(&mut version) {
            assert_eq!(decoder.next(&mut [mcs::VERSION].as_slice()), Ok(None));
        }
        let Ok(Some(Incoming::Frame(frame))) = decoder.next(&mut input) else { panic!("{bytes:?}") };
        assert!(input.is_empty(), "one frame to a write");
        frames.push(frame);
    }
    frames
}

#[test]
fn a_login_is_answered_as_google_answers_it() {
    let mut session = Session::new(START);
    let known = vec![format!("{}|{}", id(1), id(2)), "not ours".into(), id(3).to_string()];
    let request = LoginRequest { received_persistent_id: known, ..request() };
    session.on_event(login_event(request), START);
    let actions = session.on_event(Event::Authenticated(true), START);
    let response = LoginResponse {
        id: "chrome-156".into(),
        jid: Some("user@firebase.com/notifications".into()),
        last_stream_id_received: Some(1),
        server_timestamp: Some(1_000_000_000),
        ..LoginResponse::default()
    };
    let iq = IqStanza { last_stream_id_received: Some(1), ..IqStanza::carrying(SELECTIVE_ACK, Vec::new()) };
    let expected = [Frame::LoginResponse(Box::new(response)), Frame::Iq(Box::new(iq))];
    assert_eq!(written(&actions, true), expected);
    assert_eq!(actions[0], Action::Acknowledge(vec![id(1), id(2), id(3)]));
    assert_eq!(actions.last(), Some(&Action::ReadInbox));
    assert_eq!(actions.len(), 4);
}

#[test]
fn a_refused_login_says_so_and_closes() {
    let refused = |user: &str, authenticate: bool| {
        let mut session = Session::new(START);
        let mut actions =
            session.on_event(login_event(LoginRequest { user: user.into(), ..request() }), START);
        if authenticate {
            assert!(matches!(actions.pop(), Some(Action::Authenticate { .. })));
            actions = session.on_event(Event::Authenticated(false), START);
        }
        let frames = written(&actions, true);
        assert!(matches!(&frames[..], [Frame::LoginResponse(r)] if r.error.as_ref().unwrap().code == 401));
        assert_eq!(actions.last(), Some(&Action::Close(Reason::LoginRefused)));
        assert!(session.on_event(ping(0), START).is_empty());
    };
    refused("42", true);
    for nobody in ["", "x", "0", "-5"] {
        refused(nobody, false);
    }
}

#[test]
fn whoever_does_not_log_in_is_closed() {
    let mut session = Session::new(START);
    assert_eq!(session.on_event(ping(0), START), [Action::Close(Reason::LoginMissing)]);

    let mut session = Session::new(START);
    assert_eq!(session.deadline(), Some(START + LOGIN_TIMEOUT));
    assert!(session.on_event(Event::TimePassed, START).is_empty());
    let late = session.on_event(Event::TimePassed, START + LOGIN_TIMEOUT);
    assert_eq!(late, [Action::Close(Reason::LoginTimeout)]);
    assert_eq!(session.deadline(), None);
}

/// `protocol/mcs.md` §6: the third server frame is acknowledged by a value of 3 or more.
#[test]
fn stream_ids_acknowledge_frames_up_to_them() {
    let mut session = live(request());
    for n in 1..=3 {
        let frames = written(&session.on_event(deliver(n), START), false);
        assert!(matches!(&frames[..], [Frame::Data(d)] if d.last_stream_id_received == Some(1)));
    }
    let acks = |actions: Vec<Action>| {
        actions.into_iter().find_map(|a| if let Action::Acknowledge(ids) = a { Some(ids) } else { None })
    };
    assert_eq!(acks(session.on_event(ping(2), START)), None);
    assert_eq!(acks(session.on_event(ping(4), START)), Some(vec![id(1), id(2)]));
    // A value above our counter is a lie.
    assert_eq!(acks(session.on_event(ping(100), START)), None);
    assert!(session.is_in_flight(id(3)));
    assert_eq!(acks(session.on_event(ping(5), START)), Some(vec![id(3)]));
}

#[test]
fn a_selective_ack_names_messages_of_any_connection() {
    let mut session = live(request());
    session.on_event(deliver(1), START);
    let ids = [format!("{}|{}", id(1), id(9)), "0:1".into()];
    let actions = session.on_event(selective_ack(&ids), START);
    assert_eq!(actions, [Action::Acknowledge(vec![id(1), id(9)])]);
    assert_eq!(session.room(), MAX_IN_FLIGHT);
}

#[test]
fn pings_are_answered_at_once_and_once() {
    let mut session = live(request());
    let frames = written(&session.on_event(ping(0), START), false);
    let ack = HeartbeatAck { last_stream_id_received: Some(2), ..HeartbeatAck::default() };
    assert_eq!(frames, [Frame::HeartbeatAck(ack)]);
}

#[test]
fn silence_is_pinged_without_status() {
    let asked = |interval_ms| LoginRequest {
        heartbeat_stat: Some(HeartbeatStat { ip: String::new(), timeout: true, interval_ms }),
        ..request()
    };
    let table = [
        (request(), 900),
        (asked(300_000), 300),
        (asked(5), 10),
        (asked(0), 900),
        (asked(-1), 900),
        (asked(i32::MAX), 900),
    ];
    for (request, seconds) in table {
        let mut session = live(request);
        let due = START + Duration::from_secs(seconds);
        assert_eq!(session.deadline(), Some(due));
        let frames = written(&session.on_event(Event::TimePassed, due), false);
        let ping = HeartbeatPing { last_stream_id_received: Some(1), ..HeartbeatPing::default() };
        assert_eq!(frames, [Frame::HeartbeatPing(ping)]);
        assert_eq!(session.deadline(), Some(due + Duration::from_secs(seconds)));
    }
}

#[test]
fn only_who_used_to_answer_pings_is_missed() {
    let miss = |session: &mut Session| {
        let due = session.deadline().unwrap();
        session.on_event(Event::TimePassed, due)
    };
    let mut silent = live(request());
    for _ in 0..300 {
        assert_eq!(written(&miss(&mut silent), false).len(), 1);
    }
    let mut answering = live(request());
    miss(&mut answering);
    answering.on_event(heartbeat_ack(), START);
    assert_eq!(written(&miss(&mut answering), false).len(), 1);
    assert_eq!(written(&miss(&mut answering), false).len(), 1);
    assert_eq!(miss(&mut answering), [Action::Close(Reason::HeartbeatMissed)]);
}

/// A message for an app server.
fn upstream(immediate_ack: Option<bool>) -> Event {
    frame(Frame::Data(Box::new(DataMessageStanza { immediate_ack, ..DataMessageStanza::default() })))
}

fn is_given(actions: &[Action]) -> bool {
    matches!(actions, [Action::Upstream(_)])
}

fn stream_ack(count: i32) -> Frame {
    Frame::Iq(Box::new(IqStanza {
        last_stream_id_received: Some(count),
        ..IqStanza::carrying(STREAM_ACK, Vec::new())
    }))
}

#[test]
fn upstream_messages_are_acknowledged_in_tens() {
    let mut session = live(request());
    for _ in 0..9 {
        assert!(is_given(&session.on_event(upstream(None), START)));
        assert!(session.on_event(Event::UpstreamTaken(1), START).is_empty());
    }
    assert!(is_given(&session.on_event(upstream(None), START)));
    let taken = session.on_event(Event::UpstreamTaken(1), START);
    assert_eq!(written(&taken, false), [stream_ack(11)]);
    assert!(is_given(&session.on_event(upstream(Some(true)), START)));
    let taken = session.on_event(Event::UpstreamTaken(1), START);
    assert_eq!(written(&taken, false), [stream_ack(12)]);
}

#[test]
fn a_device_may_not_forget_what_is_not_durable() {
    let had = |actions: &[Action]| written(actions, false)[0].last_stream_id_received();
    let mut session = live(request());
    let ping = || frame(Frame::HeartbeatPing(HeartbeatPing::default()));
    // Frames 2 and 3; 4 is the ping.
    session.on_event(upstream(None), START);
    session.on_event(upstream(None), START);
    assert_eq!(had(&session.on_event(ping(), START)), 1);
    session.on_event(Event::UpstreamTaken(1), START);
    assert_eq!(had(&session.on_event(ping(), START)), 2);
    session.on_event(Event::UpstreamTaken(1), START);
    assert_eq!(had(&session.on_event(ping(), START)), 6);
}

#[test]
fn more_upstream_than_is_taken_at_a_time_comes_again_at_the_next_login() {
    let mut session = live(request());
    let given = (0..300).filter(|_| is_given(&session.on_event(upstream(None), START))).count();
    assert_eq!(given, 256);
    session.on_event(Event::UpstreamTaken(256), START);
    let pong = session.on_event(frame(Frame::HeartbeatPing(HeartbeatPing::default())), START);
    // The login, and those that were taken; nothing after the first that was not.
    assert_eq!(written(&pong, false)[0].last_stream_id_received(), 257);
    assert!(session.on_event(upstream(None), START).is_empty());
}

#[test]
fn a_full_window_waits_for_acknowledgements() {
    let mut session = live(request());
    let later = START + Duration::from_secs(1);
    for n in 0..MAX_IN_FLIGHT as u64 {
        assert_eq!(session.offer(id(n), later, START), Offer::Write);
        session.on_event(deliver(n), START);
    }
    assert_eq!(session.offer(id(0), later, START), Offer::InFlight);
    assert_eq!(session.offer(id(5_000), later, START), Offer::NoRoom);
    assert_eq!(session.offer(id(5_000), START, START), Offer::Expired);
    session.read_inbox_after_acks();
    let actions = session.on_event(ping(3), START);
    assert_eq!(actions[1..], [Action::Acknowledge(vec![id(0)]), Action::ReadInbox]);
    assert_eq!(session.offer(id(5_000), later, START), Offer::Write);
}

#[test]
fn closing_is_said_once() {
    let mut session = live(request());
    let actions = session.on_event(Event::Shutdown, START);
    assert_eq!(written(&actions, false), [Frame::Close(Close {})]);
    assert_eq!(actions.last(), Some(&Action::Close(Reason::Shutdown)));
    assert!(session.on_event(Event::Shutdown, START).is_empty());

    let mut session = live(request());
    let actions = session.on_event(frame(Frame::Close(Close {})), START);
    assert_eq!(actions, [Action::Close(Reason::PeerClosed)]);
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (-2i32..60).prop_map(ping),
        Just(heartbeat_ack()),
        Just(Event::Received(Incoming::Unknown(13))),
        Just(login_event(request())),
        Just(Event::Authenticated(true)),
        (0u64..40).prop_map(|n| selective_ack(&[id(n).to_string()])),
        (0u64..40).prop_map(deliver),
        Just(frame(Frame::Data(Box::default()))),
        (1usize..4).prop_map(Event::UpstreamTaken),
        Just(Event::TimePassed),
    ]
}

proptest! {
    /// Every sequence keeps to a model that only counts: frames seen by the device, and which
    /// message stood in which.
    #[test]
    fn stream_ids_agree_with_a_model(events in proptest::collection::vec((any_event(), 0u64..2_000), 0..120)) {
        let mut session = live(request());
        let mut now = START;
        let mut received = 1;
        let mut sent = 2u32;
        let mut unacked: Vec<(u32, MessageId)> = Vec::new();
        let mut upstream: Vec<i32> = Vec::new();
        for (mut event, seconds) in events {
            now = now + Duration::from_secs(seconds);
            if let Event::Deliver(id, _) = &event
                && session.offer(*id, now + Duration::from_secs(1), now) != Offer::Write
            {
                prop_assert!(unacked.iter().any(|(_, unacked)| unacked == id));
                continue;
            }
            if let Event::UpstreamTaken(count) = &mut event {
                *count = (*count).min(upstream.len());
                upstream.drain(..*count);
            }
            if let Event::Received(incoming) = &event {
                received += 1;
                if let Incoming::Frame(frame) = incoming {
                    let count = frame.last_stream_id_received();
                    unacked.retain(|(frame, _)| count > sent || *frame > count);
                }
            }
            for action in session.on_event(event.clone(), now) {
                match action {
                    Action::Write(_) => {
                        sent += 1;
                        let frames = written(std::slice::from_ref(&action), false);
                        let had = upstream.first().map_or(received, |first| first - 1);
                        prop_assert_eq!(frames[0].last_stream_id_received(), had as u32);
                        if let Event::Deliver(id, _) = &event {
                            unacked.push((sent, *id));
                        }
                    }
                    Action::Acknowledge(ids) => unacked.retain(|(_, id)| !ids.contains(id)),
                    Action::Upstream(_) => upstream.push(received),
                    Action::Close(reason) => {
                        prop_assert_eq!(reason, Reason::HeartbeatMissed);
                        return Ok(());
                    }
                    other => prop_assert!(false, "{:?}", other),
                }
            }
            prop_assert!(unacked.iter().all(|(_, id)| session.is_in_flight(*id)));
            prop_assert_eq!(session.room(), MAX_IN_FLIGHT - unacked.len());
        }
    }

    /// Whatever bytes come, in whatever pieces: no panic, and nothing is written after a close.
    #[test]
    fn arbitrary_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600), logged_in: bool) {
        let mut session = if logged_in { live(request()) } else { Session::new(START) };
        let mut decoder = Decoder::new(Role::Server);
        let bytes = [&[mcs::VERSION], bytes.as_slice()].concat();
        let mut closed = false;
        for mut piece in bytes.chunks(7) {
            while let Ok(Some(incoming)) = decoder.next(&mut piece) {
                let actions = session.on_event(Event::Received(incoming), START);
                prop_assert!(!closed || actions.is_empty());
                closed |= matches!(actions.last(), Some(Action::Close(_)));
            }
        }
    }
}
