use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

const POLICY: Policy = Policy {
    shared: 2,
    exclusive: 4,
    waiting: 5,
    streams: 100,
    patience: Duration::from_millis(100),
    warm_up: false,
};

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(1_000 + millis)
}

fn opened(lane: LaneId, streams: usize) -> Event {
    Event::Opened { lane, streams, exclusive: false }
}

#[test]
fn the_first_request_dials_and_others_wait_for_it() {
    let mut lanes = Lanes::new(POLICY);
    assert_eq!(lanes.on_event(Event::Wanted(1), at(0)), [Action::Dial]);
    assert_eq!(lanes.on_event(Event::Wanted(2), at(0)), []);
    let both = [Action::Start(1, 7), Action::Start(2, 7)];
    assert_eq!(lanes.on_event(opened(7, 10), at(0)), both);
    assert_eq!(lanes.load(), (1, 2, 0));
}

#[test]
fn the_peers_limit_holds_and_may_change() {
    let mut lanes = Lanes::new(POLICY);
    for ticket in 1..=3 {
        lanes.on_event(Event::Wanted(ticket), at(0));
    }
    assert_eq!(lanes.on_event(opened(7, 1), at(0)), [Action::Start(1, 7)]);
    let more = [Action::Start(2, 7), Action::Start(3, 7)];
    assert_eq!(lanes.on_event(Event::Limit { lane: 7, streams: 1_000 }, at(0)), more);
    // Three are on their way, one may be: nothing starts before two have ended.
    lanes.on_event(Event::Limit { lane: 7, streams: 1 }, at(0));
    lanes.on_event(Event::Wanted(4), at(0));
    let finished = Event::Finished { lane: 7, success: true };
    assert_eq!(lanes.on_event(finished, at(1)), []);
    assert_eq!(lanes.on_event(finished, at(1)), []);
    assert_eq!(lanes.on_event(finished, at(1)), [Action::Start(4, 7)]);
}

#[test]
fn a_cold_connection_takes_one_request_until_the_first_success() {
    let mut lanes = Lanes::new(Policy { warm_up: true, ..POLICY });
    for ticket in 1..=4 {
        lanes.on_event(Event::Wanted(ticket), at(0));
    }
    assert_eq!(lanes.on_event(opened(7, 1_000), at(0)), [Action::Start(1, 7)]);
    let failed = Event::Finished { lane: 7, success: false };
    assert_eq!(lanes.on_event(failed, at(1)), [Action::Start(2, 7)]);
    let succeeded = Event::Finished { lane: 7, success: true };
    assert_eq!(lanes.on_event(succeeded, at(2)), [Action::Start(3, 7), Action::Start(4, 7)]);
}

#[test]
fn connections_that_stay_full_get_another_beside_them() {
    let mut lanes = Lanes::new(POLICY);
    lanes.on_event(Event::Wanted(1), at(0));
    lanes.on_event(opened(7, 1), at(0));
    assert_eq!(lanes.on_event(Event::Wanted(2), at(10)), []);
    assert_eq!(lanes.deadline(), Some(at(110)));
    assert_eq!(lanes.on_event(Event::Tick, at(109)), []);
    assert_eq!(lanes.on_event(Event::Tick, at(110)), [Action::Dial]);
    assert_eq!(lanes.deadline(), None);
    assert_eq!(lanes.on_event(opened(8, 1), at(120)), [Action::Start(2, 8)]);
    // Two are the most.
    lanes.on_event(Event::Wanted(3), at(130));
    assert_eq!((lanes.on_event(Event::Tick, at(900)), lanes.deadline()), (vec![], None));
}

#[test]
fn where_a_connection_takes_one_request_more_are_opened_at_once() {
    let mut lanes = Lanes::new(POLICY);
    lanes.on_event(Event::Wanted(1), at(0));
    lanes.on_event(Event::Opened { lane: 7, streams: 1, exclusive: true }, at(0));
    assert_eq!(lanes.on_event(Event::Wanted(2), at(0)), [Action::Dial]);
}

#[test]
fn when_nothing_can_be_reached_all_who_wait_are_told() {
    let mut lanes = Lanes::new(POLICY);
    lanes.on_event(Event::Wanted(1), at(0));
    lanes.on_event(Event::Wanted(2), at(0));
    let told = [1, 2].map(|ticket| Action::Refuse(ticket, Refusal::Unreachable));
    assert_eq!(lanes.on_event(Event::DialFailed, at(0)), told);
    assert_eq!(lanes.on_event(Event::Wanted(3), at(0)), [Action::Dial]);
}

#[test]
fn one_more_than_may_wait_is_refused_at_once() {
    let mut lanes = Lanes::new(POLICY);
    for ticket in 0..5 {
        lanes.on_event(Event::Wanted(ticket), at(0));
    }
    assert_eq!(lanes.on_event(Event::Wanted(9), at(0)), [Action::Refuse(9, Refusal::Full)]);
    lanes.on_event(Event::Abandoned(0), at(0));
    assert_eq!(lanes.on_event(Event::Wanted(10), at(0)), []);
}

#[test]
fn a_connection_that_closes_is_replaced_at_once_and_forgotten_when_it_is_empty() {
    let mut lanes = Lanes::new(POLICY);
    lanes.on_event(Event::Wanted(1), at(0));
    lanes.on_event(opened(7, 1), at(0));
    lanes.on_event(Event::Wanted(2), at(0));
    assert_eq!(lanes.on_event(Event::Closing(7), at(0)), [Action::Dial]);
    let finished = Event::Finished { lane: 7, success: false };
    assert_eq!(lanes.on_event(finished, at(0)), [Action::Forget(7)]);
    assert_eq!(lanes.on_event(opened(8, 1), at(0)), [Action::Start(2, 8)]);
}

#[test]
fn connections_that_end_before_anything_succeeds_are_dialled_ever_more_slowly() {
    let mut lanes = Lanes::new(POLICY);
    let mut dials = Vec::new();
    let mut wanted = lanes.on_event(Event::Wanted(1), at(0));
    for millis in 0..20_000 {
        if wanted.contains(&Action::Dial) {
            dials.push(millis);
            lanes.on_event(opened(millis, 0), at(millis));
            wanted = lanes.on_event(Event::Closing(millis), at(millis));
            continue;
        }
        let due = lanes.deadline().is_some_and(|deadline| deadline <= at(millis));
        wanted = if due { lanes.on_event(Event::Tick, at(millis)) } else { Vec::new() };
    }
    let gaps: Vec<_> = dials.windows(2).map(|pair| (pair[1] - pair[0]) / 100).collect();
    assert_eq!(gaps, [0, 1, 2, 4, 8, 16, 32, 64, 64]);
    // A success makes up for all of it.
    lanes.on_event(Event::Tick, at(30_000));
    lanes.on_event(opened(100_000, 1), at(30_000));
    lanes.on_event(Event::Finished { lane: 100_000, success: true }, at(30_000));
    assert_eq!(lanes.on_event(Event::Closing(100_000), at(30_000)), [Action::Forget(100_000)]);
    assert_eq!(lanes.on_event(Event::Wanted(2), at(30_000)), [Action::Dial]);
}

/// What the shell around it would know.
#[derive(Default)]
struct Shell {
    dialling: bool,
    flying: HashMap<LaneId, usize>,
    limits: HashMap<LaneId, usize>,
    waiting: HashSet<Ticket>,
    next: u64,
}

impl Shell {
    fn event(&mut self, choice: u8, pick: u8) -> Option<Event> {
        self.next += 1;
        let mut lanes: Vec<_> = self.flying.keys().copied().collect();
        lanes.sort_unstable();
        let lane = (!lanes.is_empty()).then(|| lanes[usize::from(pick) % lanes.len()]);
        let event = match choice % 8 {
            0..=2 => {
                self.waiting.insert(self.next);
                Event::Wanted(self.next)
            }
            3 => {
                let mut waiting: Vec<_> = self.waiting.iter().copied().collect();
                waiting.sort_unstable();
                let ticket = *waiting.get(usize::from(pick) % waiting.len().max(1))?;
                self.waiting.remove(&ticket);
                Event::Abandoned(ticket)
            }
            4 if self.dialling => {
                self.dialling = false;
                if pick.is_multiple_of(3) {
                    return Some(Event::DialFailed);
                }
                let streams = usize::from(pick % 4);
                self.flying.insert(self.next, 0);
                self.limits.insert(self.next, streams);
                Event::Opened { lane: self.next, streams, exclusive: pick.is_multiple_of(5) }
            }
            5 => {
                let streams = usize::from(pick % 7);
                self.limits.insert(lane?, streams);
                Event::Limit { lane: lane?, streams }
            }
            6 => {
                let flying = self.flying.get_mut(&lane?)?;
                *flying = flying.checked_sub(1)?;
                Event::Finished { lane: lane?, success: pick.is_multiple_of(2) }
            }
            7 if pick.is_multiple_of(4) => Event::Closing(lane?),
            _ => Event::Tick,
        };
        Some(event)
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Dial => assert!(!std::mem::replace(&mut self.dialling, true), "one dial at a time"),
            Action::Start(ticket, lane) => {
                assert!(self.waiting.remove(&ticket), "started once, and only who waits");
                let flying = self.flying.get_mut(&lane).expect("a connection that is there");
                *flying += 1;
                assert!(*flying <= self.limits[&lane], "never more than the peer allows");
            }
            Action::Refuse(ticket, _) => assert!(self.waiting.remove(&ticket)),
            Action::Forget(lane) => assert_eq!(self.flying.remove(&lane), Some(0)),
        }
    }
}

proptest! {
    /// No limit is broken, nobody is started twice, and nobody waits for nothing.
    #[test]
    fn whatever_happens_nobody_is_forgotten(
        warm_up: bool,
        steps in proptest::collection::vec((any::<u8>(), any::<u8>()), 0..200),
    ) {
        let mut lanes = Lanes::new(Policy { warm_up, ..POLICY });
        let mut shell = Shell::default();
        for (step, (choice, pick)) in steps.into_iter().enumerate() {
            let now = at(step as u64 * 40);
            let Some(event) = shell.event(choice, pick) else { continue };
            lanes.on_event(event, now).into_iter().for_each(|action| shell.act(action));
            prop_assert_eq!(lanes.load().2, shell.waiting.len());
            prop_assert!(shell.waiting.len() <= POLICY.waiting);
            let hopes = shell.dialling || !shell.flying.is_empty() || lanes.deadline().is_some();
            prop_assert!(shell.waiting.is_empty() || hopes);
        }
    }
}
