//! Who is being visited, in which lane, and who has to wait. Plain state under one lock; nothing waits
//! while it is held.

mod aside;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cresset_message::{DeviceId, RegistrationId, Timestamp};
use tokio::sync::Notify;

use self::aside::Aside;
use super::Limits;
use super::counters::Service;
use super::{LONGEST_ASKED, LONGEST_PAUSE};

/// One push service, as far as it stands or falls together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Lane {
    /// By the origin of its endpoints.
    Web(std::sync::Arc<str>),
    /// Of an app, in one environment: another may have another credential.
    Apns { project: u64, bundle_id: std::sync::Arc<str>, sandbox: bool },
}

impl Lane {
    pub(super) fn service(&self) -> Service {
        match self {
            Self::Web(_) => Service::WebPush,
            Self::Apns { .. } => Service::Apns,
        }
    }
}

/// What became of entering a visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entered {
    Queued,
    /// It is known, and will see what has come.
    There,
    /// Its lane has no place for it now; it is remembered, and has its turn.
    Aside,
    /// Nor is there room to remember it.
    Full,
}

/// How a visit leaves its place in a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// The rest has to wait.
    Until(Timestamp),
    /// Others of the lane have their turn before the rest.
    Again,
    /// It is reached elsewhere now.
    For(Lane),
    /// Nothing more is to be brought.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its place in the queue of its lane.
    Queued(u64),
    Running,
    Waiting(Timestamp),
}

struct Visit {
    registration: RegistrationId,
    lane: Lane,
    stage: Stage,
    /// Something came since its queue was last read.
    news: bool,
    failures: u32,
}

#[derive(Default)]
struct InLane {
    queue: BTreeMap<u64, DeviceId>,
    /// All of it, also those that run or wait.
    visits: usize,
    running: usize,
    /// Nothing goes out before; and how often that was said in a row.
    paused: Option<Timestamp>,
    failures: u32,
}

impl InLane {
    fn is_idle(&self) -> bool {
        self.visits == 0 && self.running == 0
    }

    /// How many visits it may have: where nothing gets through, a few are enough to see when it does.
    fn most(&self, limits: &Limits) -> usize {
        if self.failures > 0 { PROBES.min(limits.of_lane) } else { limits.of_lane }
    }
}

/// Visits that a lane keeps while its service is not well.
const PROBES: usize = 64;

#[derive(Default)]
struct State {
    visits: HashMap<DeviceId, Visit>,
    lanes: BTreeMap<Lane, InLane>,
    /// Whose pause ends when.
    waiting: BTreeSet<(Timestamp, DeviceId)>,
    paused: BTreeSet<(Timestamp, Lane)>,
    aside: Aside,
    queued: u64,
    closed: bool,
}

impl State {
    fn insert(&mut self, destination: DeviceId, mut visit: Visit) {
        self.queued += 1;
        visit.stage = Stage::Queued(self.queued);
        let in_lane = self.lanes.entry(visit.lane.clone()).or_default();
        in_lane.visits += 1;
        in_lane.queue.insert(self.queued, destination);
        self.visits.insert(destination, visit);
    }

    fn remove(&mut self, destination: DeviceId) -> Option<Visit> {
        let visit = self.visits.remove(&destination)?;
        if let Stage::Waiting(until) = visit.stage {
            self.waiting.remove(&(until, destination));
        }
        if let Some(in_lane) = self.lanes.get_mut(&visit.lane) {
            in_lane.visits = in_lane.visits.saturating_sub(1);
            if let Stage::Queued(place) = visit.stage {
                in_lane.queue.remove(&place);
            }
        }
        self.forget_idle(&visit.lane);
        Some(visit)
    }

    /// To the end of the queue of a lane, wherever it was.
    fn queue(&mut self, destination: DeviceId, lane: Lane) {
        let Some(mut visit) = self.remove(destination) else { return };
        if visit.lane != lane {
            // What one service has refused says nothing of another.
            visit.failures = 0;
        }
        visit.lane = lane;
        self.insert(destination, visit);
    }

    /// The same in the lane where it is.
    fn requeue(&mut self, destination: DeviceId, lane: &Lane) {
        let (Some(visit), Some(in_lane)) = (self.visits.get_mut(&destination), self.lanes.get_mut(lane))
        else {
            return;
        };
        self.queued += 1;
        if let Stage::Waiting(until) = std::mem::replace(&mut visit.stage, Stage::Queued(self.queued)) {
            self.waiting.remove(&(until, destination));
        }
        in_lane.queue.insert(self.queued, destination);
    }

    fn stop_running(&mut self, lane: &Lane) {
        if let Some(in_lane) = self.lanes.get_mut(lane) {
            in_lane.running = in_lane.running.saturating_sub(1);
        }
        self.forget_idle(lane);
    }

    fn forget_idle(&mut self, lane: &Lane) {
        if self.lanes.get(lane).is_some_and(InLane::is_idle)
            && let Some(InLane { paused: Some(until), .. }) = self.lanes.remove(lane)
        {
            self.paused.remove(&(until, lane.clone()));
        }
    }

    /// Whether a lane has a place for one more.
    fn has_place(&self, lane: &Lane, limits: &Limits) -> bool {
        let (visits, most) = match self.lanes.get(lane) {
            Some(in_lane) => (in_lane.visits, in_lane.most(limits)),
            None => (0, limits.of_lane),
        };
        visits < most && self.visits.len() < limits.visits
    }
}

pub(super) struct Books {
    limits: Limits,
    state: Mutex<State>,
    changed: Notify,
    /// Nothing runs any more.
    quiet: Notify,
}

impl Books {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, state: Mutex::default(), changed: Notify::new(), quiet: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self) -> Count {
        let state = self.state();
        let in_flight = state.lanes.values().map(|lane| lane.running).sum();
        let (visits, paused, aside) = (state.visits.len(), state.paused.len(), state.aside.len());
        Count { visits, in_flight, paused, aside }
    }

    /// Whether half of the room or more is free, not counting those who wait to be tried again.
    pub(super) fn has_room(&self) -> bool {
        let state = self.state();
        (state.visits.len() - state.waiting.len()) * 2 <= self.limits.visits
    }

    /// `has_turn`: it stood aside, and [`Self::next_aside`] gave it.
    pub(super) fn enter(
        &self,
        destination: DeviceId,
        registration: RegistrationId,
        lane: Lane,
        has_turn: bool,
    ) -> Entered {
        let mut state = self.state();
        if let Some(visit) = state.visits.get_mut(&destination) {
            visit.news = true;
            // One that runs finds out by itself.
            if visit.lane == lane || visit.stage == Stage::Running {
                return Entered::There;
            }
            state.queue(destination, lane);
            return Entered::Queued;
        }
        if state.closed {
            return Entered::Full;
        }
        let may = has_turn || state.aside.is_empty(&lane);
        if !may || !state.has_place(&lane, &self.limits) {
            return if state.aside.put(&lane, registration) { Entered::Aside } else { Entered::Full };
        }
        let visit = Visit { registration, lane, stage: Stage::Queued(0), news: true, failures: 0 };
        state.insert(destination, visit);
        Entered::Queued
    }

    /// Somebody who stood aside, and whose lane has places again: half of them, so that they are filled
    /// many at a time.
    pub(super) fn next_aside(&self) -> Option<RegistrationId> {
        let mut state = self.state();
        let with_places = |lane: &&Lane| {
            let in_lane = state.lanes.get(*lane);
            state.has_place(lane, &self.limits)
                && in_lane.is_none_or(|in_lane| in_lane.visits * 2 <= in_lane.most(&self.limits))
        };
        let lane = state.aside.lanes().find(with_places)?.clone();
        state.aside.take(&lane)
    }

    /// The next visit of a lane, if one may begin.
    pub(super) fn begin(&self, lane: &Lane, now: Timestamp) -> Option<(DeviceId, RegistrationId)> {
        let mut guard = self.state();
        let state = &mut *guard;
        if state.closed {
            return None;
        }
        let in_lane = state.lanes.get_mut(lane)?;
        // After a failure one is sent ahead, to see.
        let most = if in_lane.failures > 0 { 1 } else { self.limits.in_lane };
        if in_lane.paused.is_some_and(|until| now < until) || in_lane.running >= most {
            return None;
        }
        let (_, destination) = in_lane.queue.pop_first()?;
        let visit = state.visits.get_mut(&destination)?;
        visit.stage = Stage::Running;
        in_lane.running += 1;
        Some((destination, visit.registration))
    }

    /// Its queue is about to be read.
    pub(super) fn fresh(&self, destination: DeviceId) {
        if let Some(visit) = self.state().visits.get_mut(&destination) {
            visit.news = false;
        }
    }

    /// Its queue was empty. If nothing has come since, the visit is over and has left its place: what comes
    /// from now on is another.
    pub(super) fn is_done(&self, destination: DeviceId, lane: &Lane) -> bool {
        let mut state = self.state();
        if state.visits.get(&destination).is_some_and(|visit| visit.news) {
            return false;
        }
        drop(state.remove(destination));
        state.stop_running(lane);
        self.tell_if_quiet(&state);
        true
    }

    /// A visit that runs leaves its place in the lane.
    pub(super) fn leave(&self, destination: DeviceId, lane: &Lane, how: Leave) {
        let mut state = self.state();
        let waits = matches!(how, Leave::Until(_));
        match how {
            Leave::Until(until) if !state.closed => self.wait(&mut state, destination, until),
            Leave::Again if !state.closed => state.requeue(destination, lane),
            Leave::For(other) if !state.closed => state.queue(destination, other),
            _ => drop(state.remove(destination)),
        }
        state.stop_running(lane);
        self.tell_if_quiet(&state);
        drop(state);
        if waits {
            self.changed.notify_one();
        }
    }

    fn wait(&self, state: &mut State, destination: DeviceId, until: Timestamp) {
        let Some(visit) = state.visits.get_mut(&destination) else { return };
        let crowded = state.lanes.get(&visit.lane).is_some_and(|lane| lane.visits > lane.most(&self.limits));
        if crowded && state.aside.put(&visit.lane, visit.registration) {
            return drop(state.remove(destination));
        }
        visit.stage = Stage::Waiting(until);
        state.waiting.insert((until, destination));
    }

    /// Whether others of its lane wait for a place.
    pub(super) fn others_wait(&self, lane: &Lane) -> bool {
        self.state().lanes.get(lane).is_some_and(|lane| !lane.queue.is_empty())
    }

    /// One more failure in a row; says how many.
    pub(super) fn failed(&self, destination: DeviceId) -> u32 {
        let mut state = self.state();
        state.visits.get_mut(&destination).map_or(1, |visit| {
            visit.failures = visit.failures.saturating_add(1);
            visit.failures
        })
    }

    /// The registration is served.
    pub(super) fn went_well(&self, destination: DeviceId) {
        if let Some(visit) = self.state().visits.get_mut(&destination) {
            visit.failures = 0;
        }
    }

    /// The service answers. Says whether it did not before, and more of its lane may begin now.
    pub(super) fn is_well(&self, lane: &Lane) -> bool {
        let mut state = self.state();
        let failures = state.lanes.get_mut(lane).map(|in_lane| std::mem::take(&mut in_lane.failures));
        failures.is_some_and(|failures| failures > 0)
    }

    /// The service itself is not well: nothing goes there for a time that depends on how often that was.
    pub(super) fn pause_lane(&self, lane: &Lane, now: Timestamp, pause: impl Fn(u32) -> Duration) {
        let mut state = self.state();
        let Some(in_lane) = state.lanes.get_mut(lane) else { return };
        // Those that were on their way together fail together, and count once.
        if in_lane.paused.is_some_and(|until| now < until) {
            in_lane.failures = in_lane.failures.max(1);
            return;
        }
        in_lane.failures = in_lane.failures.saturating_add(1);
        let until = now + pause(in_lane.failures);
        let before = in_lane.paused.replace(until);
        if let Some(before) = before {
            state.paused.remove(&(before, lane.clone()));
        }
        state.paused.insert((until, lane.clone()));
        drop(state);
        self.changed.notify_one();
    }

    /// Visits and lanes whose pause is over go on; gives the lanes to be served.
    pub(super) fn due(&self, now: Timestamp) -> Vec<Lane> {
        let mut state = self.state();
        let mut lanes = BTreeSet::new();
        while let Some(lane) = take_due(&mut state.paused, now) {
            if let Some(in_lane) = state.lanes.get_mut(&lane) {
                in_lane.paused = None;
                lanes.insert(lane);
            }
        }
        while let Some(destination) = take_due(&mut state.waiting, now) {
            let Some(lane) = state.visits.get(&destination).map(|visit| visit.lane.clone()) else { continue };
            // Its lane, if it is idle but for this one, keeps what is known of its service.
            state.requeue(destination, &lane);
            lanes.insert(lane);
        }
        lanes.into_iter().collect()
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let state = self.state();
        let lane = state.paused.first().map(|(until, _)| *until);
        let visit = state.waiting.first().map(|(until, _)| *until);
        lane.into_iter().chain(visit).min()
    }

    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// A place in a lane for one attempt without a visit.
    pub(super) fn try_once(&self, lane: &Lane, now: Timestamp) -> bool {
        let mut state = self.state();
        if state.closed {
            return false;
        }
        let in_lane = state.lanes.entry(lane.clone()).or_default();
        let free = in_lane.running < self.limits.in_lane
            && in_lane.failures == 0
            && in_lane.paused.is_none_or(|until| until <= now);
        in_lane.running += usize::from(free);
        state.forget_idle(lane);
        free
    }

    pub(super) fn once_over(&self, lane: &Lane) {
        let mut state = self.state();
        state.stop_running(lane);
        self.tell_if_quiet(&state);
    }

    /// Nothing begins any more.
    pub(super) fn close(&self) {
        self.state().closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Waits until nothing runs; what is closed stays so.
    pub(super) async fn quiet(&self) {
        while self.count().in_flight > 0 {
            self.quiet.notified().await;
        }
    }

    fn tell_if_quiet(&self, state: &State) {
        if state.closed && state.lanes.values().all(|lane| lane.running == 0) {
            self.quiet.notify_one();
        }
    }
}

/// What there is, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) visits: usize,
    /// Those of them on their way, and attempts without a visit.
    pub(super) in_flight: usize,
    /// Lanes that nothing goes out of.
    pub(super) paused: usize,
    /// Registrations that stand aside.
    pub(super) aside: usize,
}

/// Takes what is due: its moment has come, or is so far off that the clock must have been set back.
fn take_due<T: Ord>(waiting: &mut BTreeSet<(Timestamp, T)>, now: Timestamp) -> Option<T> {
    let far = now + LONGEST_ASKED + LONGEST_PAUSE;
    let taken = if waiting.first().is_some_and(|(until, _)| *until <= now) {
        waiting.pop_first()
    } else if waiting.last().is_some_and(|(until, _)| *until > far) {
        waiting.pop_last()
    } else {
        None
    };
    taken.map(|(_, what)| what)
}

#[cfg(test)]
mod tests;
