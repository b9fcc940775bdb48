use std::collections::{BTreeMap, BTreeSet};

use cresset_message::ProjectNumber;
use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { visits: 9, of_lane: 4, in_lane: 2 };

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + millis)
}

fn lane(name: u8) -> Lane {
    Lane::Web(format!("https://push{name}.example").into())
}

fn place(number: u16) -> DeviceId {
    DeviceId::outside(number.into())
}

fn id(number: u16) -> RegistrationId {
    RegistrationId { project: ProjectNumber(7), bucket: 0, slot: number }
}

fn enter(books: &Books, number: u16, name: u8) -> Entered {
    books.enter(place(number), id(number), lane(name), false)
}

fn begun(books: &Books, name: u8, millis: u64) -> Vec<u16> {
    let begin = || books.begin(&lane(name), at(millis)).map(|(_, id)| id.slot);
    std::iter::from_fn(begin).collect()
}

fn second(_: u32) -> Duration {
    Duration::from_secs(1)
}

#[test]
fn a_lane_runs_as_many_as_it_may_in_their_order() {
    let books = Books::new(LIMITS);
    assert_eq!([1, 2, 3].map(|number| enter(&books, number, 0)), [Entered::Queued; 3]);
    assert_eq!(enter(&books, 2, 0), Entered::There);
    assert_eq!(begun(&books, 0, 0), [1, 2]);
    books.fresh(place(1));
    assert!(books.is_done(place(1), &lane(0)));
    assert_eq!(begun(&books, 0, 0), [3]);
}

#[test]
fn what_comes_while_a_queue_is_read_is_not_missed() {
    let books = Books::new(LIMITS);
    enter(&books, 1, 0);
    begun(&books, 0, 0);
    books.fresh(place(1));
    assert_eq!(enter(&books, 1, 0), Entered::There);
    assert!(!books.is_done(place(1), &lane(0)));
    books.fresh(place(1));
    assert!(books.is_done(place(1), &lane(0)));
    // Nothing of the visit before is left that could end this one.
    assert_eq!(enter(&books, 1, 0), Entered::Queued);
    assert_eq!(begun(&books, 0, 0), [1]);
    assert_eq!(books.count(), Count { visits: 1, in_flight: 1, paused: 0, aside: 0 });
}

#[test]
fn after_a_failure_one_is_sent_ahead_until_the_service_answers() {
    let books = Books::new(LIMITS);
    for number in 1..=3 {
        enter(&books, number, 0);
    }
    assert_eq!(begun(&books, 0, 0), [1, 2]);
    // They fail together, and count once.
    for number in [1, 2] {
        books.pause_lane(&lane(0), at(0), second);
        books.leave(place(number), &lane(0), Leave::Until(at(1_500)));
    }
    assert_eq!(begun(&books, 0, 999), [0; 0]);
    assert_eq!((books.next_due(), books.due(at(1_000))), (Some(at(1_000)), vec![lane(0)]));
    assert_eq!(begun(&books, 0, 1_000), [3]);
    assert_eq!(books.due(at(1_500)), [lane(0)]);
    assert_eq!(begun(&books, 0, 1_500), [0; 0]);
    assert!(books.is_well(&lane(0)));
    assert!(!books.is_well(&lane(0)));
    assert_eq!(begun(&books, 0, 1_500), [1]);
}

#[test]
fn who_is_reached_elsewhere_does_not_wait_for_the_service_before() {
    let books = Books::new(LIMITS);
    enter(&books, 1, 0);
    begun(&books, 0, 0);
    books.pause_lane(&lane(0), at(0), second);
    books.leave(place(1), &lane(0), Leave::Until(at(600_000)));
    assert_eq!(enter(&books, 1, 1), Entered::Queued);
    assert_eq!(begun(&books, 1, 0), [1]);
    // The lane that nobody is in is forgotten, with its pause.
    assert_eq!(books.count(), Count { visits: 1, in_flight: 1, paused: 0, aside: 0 });
    assert_eq!(books.next_due(), None);
    // And one that finds out while it runs.
    books.leave(place(1), &lane(1), Leave::For(lane(2)));
    assert_eq!(begun(&books, 2, 0), [1]);
}

#[test]
fn a_service_that_is_gone_leaves_room_for_others() {
    let books = Books::new(LIMITS);
    let entered: Vec<_> = (0..100).map(|number| enter(&books, number, 0)).collect();
    assert_eq!(entered[3..5], [Entered::Queued, Entered::Aside]);
    assert_eq!(enter(&books, 100, 1), Entered::Queued);
    assert_eq!(begun(&books, 1, 0), [100]);
    assert_eq!(books.count().aside, 96);
    assert_eq!(books.next_aside(), None);
    // Everybody has a turn, once.
    let mut seen = BTreeSet::new();
    loop {
        for number in begun(&books, 0, 0) {
            books.fresh(place(number));
            assert!(books.is_done(place(number), &lane(0)));
            assert!(seen.insert(number));
        }
        let Some(next) = books.next_aside() else { break };
        assert_eq!(books.enter(place(next.slot), next, lane(0), true), Entered::Queued);
    }
    assert_eq!(seen.len(), 100);
    assert_eq!(books.count().aside, 0);
}

#[test]
fn those_who_stand_aside_go_before_newcomers() {
    let books = Books::new(LIMITS);
    for number in 0..5 {
        enter(&books, number, 0);
    }
    for number in begun(&books, 0, 0) {
        assert!(!books.is_done(place(number), &lane(0)), "it has news");
        books.leave(place(number), &lane(0), Leave::Over);
    }
    assert_eq!(enter(&books, 9, 0), Entered::Aside);
    assert_eq!(books.next_aside(), Some(id(4)));
    assert_eq!(books.next_aside(), Some(id(9)));
    assert_eq!(books.next_aside(), None);
}

#[test]
fn a_clock_that_is_set_back_keeps_nobody_waiting() {
    let books = Books::new(LIMITS);
    enter(&books, 1, 0);
    begun(&books, 0, 0);
    books.leave(place(1), &lane(0), Leave::Until(at(86_400_000)));
    assert_eq!(books.due(at(0)), [lane(0)]);
    assert_eq!(begun(&books, 0, 0), [1]);
}

#[tokio::test]
async fn closed_books_let_nothing_begin_and_wait_for_what_runs() {
    let books = Books::new(LIMITS);
    enter(&books, 1, 0);
    enter(&books, 2, 0);
    assert_eq!(books.begin(&lane(0), at(0)).map(|(_, id)| id.slot), Some(1));
    assert!(books.try_once(&lane(0), at(0)));
    books.close();
    assert_eq!(begun(&books, 0, 0), [0; 0]);
    assert!(!books.try_once(&lane(0), at(0)));
    assert_eq!(enter(&books, 3, 0), Entered::Full);
    let ends = async {
        books.leave(place(1), &lane(0), Leave::Until(at(1)));
        tokio::task::yield_now().await;
        books.once_over(&lane(0));
    };
    let (mut over, mut ends) = (std::pin::pin!(books.quiet()), std::pin::pin!(ends));
    tokio::select! {
        biased;
        () = &mut over => panic!("two were on their way"),
        () = &mut ends => {}
    }
    over.await;
}

/// What the courier does, and what happens to it. Numbers are registrations; names, lanes.
#[derive(Clone, Debug)]
enum Step {
    /// Something waits for a registration, which is reached by this lane.
    Arrives(u16, u8),
    /// All that waits is read.
    Reads(usize),
    /// Of what was read, one is brought.
    Brings(usize),
    /// All that was read is brought, or nothing was.
    Ends(usize),
    /// One has to wait, and with it, perhaps, its lane.
    Fails(usize, u64, bool),
    GivesWay(usize),
    Once(u8),
    OnceOver(u8),
    Passes(u64),
    TakesAside,
}

fn step() -> impl Strategy<Value = Step> {
    let runner = 0_usize..16;
    prop_oneof![
        6 => (0_u16..24, 0_u8..3).prop_map(|(number, name)| Step::Arrives(number, name)),
        4 => runner.clone().prop_map(Step::Reads),
        8 => runner.clone().prop_map(Step::Brings),
        4 => runner.clone().prop_map(Step::Ends),
        3 => (runner.clone(), 1_u64..3_000, any::<bool>()).prop_map(|(n, ms, all)| Step::Fails(n, ms, all)),
        1 => runner.prop_map(Step::GivesWay),
        1 => (0_u8..3).prop_map(Step::Once),
        1 => (0_u8..3).prop_map(Step::OnceOver),
        3 => (1_u64..2_000).prop_map(Step::Passes),
        2 => Just(Step::TakesAside),
    ]
}

/// The queues that visits read, and what is known of those that run.
#[derive(Default)]
struct Model {
    millis: u64,
    /// What waits in the store, and where it is to go.
    queues: BTreeMap<u16, (u32, u8)>,
    /// Those that run: in which lane, and what they have read and not brought.
    running: BTreeMap<u16, (u8, Option<u32>)>,
    once: BTreeMap<u8, usize>,
    /// Until when nothing may begin.
    paused: BTreeMap<u8, u64>,
    failing: BTreeSet<u8>,
    rounds: bool,
}

impl Model {
    fn runner(&self, index: usize) -> Option<(u16, u8)> {
        let at = index.checked_rem(self.running.len())?;
        self.running.iter().nth(at).map(|(number, (name, _))| (*number, *name))
    }

    fn in_lane(&self, name: u8) -> usize {
        let visits = self.running.values().filter(|(its, _)| *its == name).count();
        visits + self.once.get(&name).copied().unwrap_or_default()
    }

    /// Begins what the books let begin, and holds them to their rules.
    fn serve(&mut self, books: &Books, name: u8) {
        while let Some((destination, id)) = books.begin(&lane(name), at(self.millis)) {
            assert_eq!(destination, place(id.slot));
            assert!(
                self.running.insert(id.slot, (name, None)).is_none(),
                "{} is visited twice at once",
                id.slot
            );
            let most = if self.failing.contains(&name) { 1 } else { LIMITS.in_lane };
            assert!(self.in_lane(name) <= most, "a lane runs more than it may");
            let paused = self.paused.get(&name).is_some_and(|until| self.millis < *until);
            assert!(!paused, "a paused lane lets something out");
        }
    }

    fn step(&mut self, books: &Books, step: &Step) {
        match *step {
            Step::Arrives(number, name) => {
                let queue = self.queues.entry(number).or_insert((0, name));
                *queue = (queue.0 + 1, name);
                self.enter(books, number, false);
            }
            Step::Reads(index) => {
                let Some((number, _)) = self.runner(index) else { return };
                books.fresh(place(number));
                let waits = self.queues.get(&number).map_or(0, |(count, _)| *count);
                self.running.entry(number).and_modify(|runs| runs.1 = Some(waits));
            }
            Step::Ends(index) => {
                let Some((number, name)) = self.runner(index) else { return };
                if self.running[&number].1 == Some(0) && books.is_done(place(number), &lane(name)) {
                    self.left(books, number, name);
                }
            }
            Step::Brings(index) => self.bring(books, index),
            Step::Fails(index, millis, all) => {
                let Some((number, name)) = self.runner(index) else { return };
                if all {
                    let now = self.millis;
                    books.pause_lane(&lane(name), at(now), |_| Duration::from_millis(millis));
                    let until = self.paused.entry(name).or_default();
                    *until = if now < *until { *until } else { now + millis };
                    self.failing.insert(name);
                }
                books.failed(place(number));
                books.leave(place(number), &lane(name), Leave::Until(at(self.millis + millis)));
                self.left(books, number, name);
            }
            Step::GivesWay(index) => {
                let Some((number, name)) = self.runner(index) else { return };
                books.leave(place(number), &lane(name), Leave::Again);
                self.left(books, number, name);
            }
            Step::Once(name) => {
                if books.try_once(&lane(name), at(self.millis)) {
                    assert!(!self.failing.contains(&name));
                    *self.once.entry(name).or_default() += 1;
                    assert!(self.in_lane(name) <= LIMITS.in_lane);
                }
            }
            Step::OnceOver(name) => {
                let Some(count) = self.once.get_mut(&name).filter(|count| **count > 0) else { return };
                *count -= 1;
                books.once_over(&lane(name));
                self.forget(books, name);
                self.serve(books, name);
            }
            Step::Passes(millis) => {
                self.millis += millis;
                for due in books.due(at(self.millis)) {
                    let name = (0..3).find(|name| lane(*name) == due).unwrap();
                    self.serve(books, name);
                }
            }
            Step::TakesAside => {
                while let Some(next) = books.next_aside() {
                    self.enter(books, next.slot, true);
                }
            }
        }
    }

    fn enter(&mut self, books: &Books, number: u16, has_turn: bool) {
        let Some((_, name)) = self.queues.get(&number).copied() else { return };
        let entered = books.enter(place(number), id(number), lane(name), has_turn);
        // It may have been the last one in another.
        (0..3).for_each(|name| self.forget(books, name));
        match entered {
            Entered::Queued => self.serve(books, name),
            Entered::Full => self.rounds = true,
            Entered::There | Entered::Aside => {}
        }
    }

    fn bring(&mut self, books: &Books, index: usize) {
        let Some((number, name)) = self.runner(index) else { return };
        let Some(read) = self.running[&number].1.filter(|read| *read > 0) else { return };
        let (_, its) = self.queues[&number];
        if its != name {
            books.leave(place(number), &lane(name), Leave::For(lane(its)));
            self.left(books, number, name);
            return self.serve(books, its);
        }
        books.went_well(place(number));
        let queue = self.queues.get_mut(&number).unwrap();
        queue.0 -= 1;
        self.running.insert(number, (name, Some(read - 1)));
        let recovered = self.failing.remove(&name);
        assert_eq!(books.is_well(&lane(name)), recovered);
        if recovered {
            self.serve(books, name);
        }
    }

    fn left(&mut self, books: &Books, number: u16, name: u8) {
        self.running.remove(&number);
        self.forget(books, name);
        self.serve(books, name);
    }

    /// A lane in which there is nobody is forgotten, and what was known of it.
    fn forget(&mut self, books: &Books, name: u8) {
        if !books.state().lanes.contains_key(&lane(name)) {
            self.failing.remove(&name);
            self.paused.remove(&name);
        }
    }
}

fn is_sound(books: &Books) -> bool {
    let state = books.state();
    let running = state.visits.values().filter(|visit| visit.stage == Stage::Running).count();
    let waiting = state.visits.values().filter(|visit| matches!(visit.stage, Stage::Waiting(_))).count();
    let queued: usize = state.lanes.values().map(|in_lane| in_lane.queue.len()).sum();
    let of_lanes: usize = state.lanes.values().map(|in_lane| in_lane.visits).sum();
    state.visits.len() <= LIMITS.visits
        && state.visits.len() == running + waiting + queued
        && of_lanes == state.visits.len()
        && waiting == state.waiting.len()
        && state.lanes.values().all(|in_lane| !in_lane.is_idle())
        && state.paused.iter().all(|(until, lane)| state.lanes[lane].paused == Some(*until))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: the rules hold, and in the end everything is brought.
    #[test]
    fn nobody_is_forgotten_and_nobody_is_visited_twice_at_once(steps in prop::collection::vec(step(), 0..200)) {
        let (books, mut model) = (Books::new(LIMITS), Model::default());
        for step in &steps {
            model.step(&books, step);
            for name in 0..3 {
                model.forget(&books, name);
            }
            prop_assert!(is_sound(&books), "after {step:?}");
        }
        // All goes well from now on; and a round finds whom there was no room for.
        for name in 0..3 {
            for _ in 0..model.once.get(&name).copied().unwrap_or_default() {
                model.step(&books, &Step::OnceOver(name));
            }
        }
        for _ in 0..1_000 {
            if model.queues.values().all(|(count, _)| *count == 0) && books.count() == Count::default() {
                break;
            }
            model.step(&books, &Step::Passes(1_000));
            model.step(&books, &Step::TakesAside);
            if std::mem::take(&mut model.rounds) {
                let all: Vec<u16> = model.queues.keys().copied().collect();
                all.into_iter().for_each(|number| model.enter(&books, number, false));
            }
            for index in 0..model.running.len() {
                model.step(&books, &Step::Reads(index));
                model.step(&books, &Step::Brings(index));
            }
            // From behind: those who end leave the others' places as they are.
            (0..model.running.len()).rev().for_each(|index| model.step(&books, &Step::Ends(index)));
        }
        prop_assert!(model.queues.values().all(|(count, _)| *count == 0), "{:?}", model.queues);
        prop_assert_eq!(books.count(), Count::default());
        prop_assert!(books.state().lanes.is_empty() && books.state().aside.lanes().next().is_none());
    }
}
