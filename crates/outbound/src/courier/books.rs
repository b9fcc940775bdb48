//! Who is being visited, in which lane, and who has to wait. Plain state under one lock; nothing waits
//! while it is held.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cresset_message::{DeviceId, RegistrationId, Timestamp};
use tokio::sync::Notify;

use super::Limits;
use super::counters::Service;

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
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Queued,
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
    queue: VecDeque<DeviceId>,
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
}

#[derive(Default)]
struct State {
    visits: HashMap<DeviceId, Visit>,
    lanes: BTreeMap<Lane, InLane>,
    /// Whose pause ends when.
    waiting: BTreeSet<(Timestamp, DeviceId)>,
    paused: BTreeSet<(Timestamp, Lane)>,
    closed: bool,
}

impl State {
    fn remove(&mut self, destination: DeviceId) {
        let Some(visit) = self.visits.remove(&destination) else { return };
        if let Some(in_lane) = self.lanes.get_mut(&visit.lane) {
            in_lane.visits = in_lane.visits.saturating_sub(1);
        }
    }
}

pub(super) struct Books {
    limits: Limits,
    state: Mutex<State>,
    changed: Notify,
}

impl Books {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, state: Mutex::default(), changed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// (visits, those of them on their way, lanes that are paused).
    pub(super) fn count(&self) -> (usize, usize, usize) {
        let state = self.state();
        let running = state.lanes.values().map(|lane| lane.running).sum();
        (state.visits.len(), running, state.paused.len())
    }

    /// Whether half of the room or more is free.
    pub(super) fn has_room(&self) -> bool {
        self.state().visits.len() * 2 <= self.limits.visits
    }

    pub(super) fn enter(&self, destination: DeviceId, registration: RegistrationId, lane: Lane) -> Entered {
        let mut state = self.state();
        if let Some(visit) = state.visits.get_mut(&destination) {
            visit.news = true;
            return Entered::There;
        }
        if state.closed || state.visits.len() >= self.limits.visits {
            return Entered::Full;
        }
        let stage = Stage::Queued;
        let visit = Visit { registration, lane: lane.clone(), stage, news: true, failures: 0 };
        state.visits.insert(destination, visit);
        let in_lane = state.lanes.entry(lane).or_default();
        in_lane.queue.push_back(destination);
        in_lane.visits += 1;
        Entered::Queued
    }

    /// The next visit of a lane, if one may begin.
    pub(super) fn begin(&self, lane: &Lane, now: Timestamp) -> Option<(DeviceId, RegistrationId)> {
        let mut state = self.state();
        if state.closed {
            return None;
        }
        let in_lane = state.lanes.get_mut(lane)?;
        // After a failure one is sent ahead, to see.
        let most = if in_lane.failures > 0 { 1 } else { self.limits.in_lane };
        if in_lane.paused.is_some_and(|until| now < until) || in_lane.running >= most {
            return None;
        }
        let destination = in_lane.queue.pop_front()?;
        in_lane.running += 1;
        let visit = state.visits.get_mut(&destination)?;
        visit.stage = Stage::Running;
        Some((destination, visit.registration))
    }

    /// Its queue is about to be read.
    pub(super) fn fresh(&self, destination: DeviceId) {
        if let Some(visit) = self.state().visits.get_mut(&destination) {
            visit.news = false;
        }
    }

    /// Its queue was empty. If nothing has come since, the visit is over: what comes from now on is another.
    pub(super) fn is_done(&self, destination: DeviceId) -> bool {
        let mut state = self.state();
        let done = state.visits.get(&destination).is_none_or(|visit| !visit.news);
        if done {
            state.remove(destination);
        }
        done
    }

    /// One more failure in a row; says how many.
    pub(super) fn failed(&self, destination: DeviceId) -> u32 {
        let mut state = self.state();
        state.visits.get_mut(&destination).map_or(1, |visit| {
            visit.failures = visit.failures.saturating_add(1);
            visit.failures
        })
    }

    pub(super) fn went_well(&self, destination: DeviceId, lane: &Lane) {
        let mut state = self.state();
        if let Some(visit) = state.visits.get_mut(&destination) {
            visit.failures = 0;
        }
        if let Some(in_lane) = state.lanes.get_mut(lane) {
            in_lane.failures = 0;
        }
    }

    /// The service itself is not well: nothing goes there for a time that depends on how often that was.
    pub(super) fn pause_lane(&self, lane: &Lane, now: Timestamp, pause: impl Fn(u32) -> Duration) {
        let mut state = self.state();
        let Some(in_lane) = state.lanes.get_mut(lane) else { return };
        // Those that were on their way together fail together, and count once.
        if in_lane.paused.is_some_and(|until| now < until) {
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

    /// A visit is over, or has to wait. Says whether it waits.
    pub(super) fn end(&self, destination: DeviceId, lane: &Lane, pause: Option<Timestamp>) -> bool {
        let mut state = self.state();
        if let Some(in_lane) = state.lanes.get_mut(lane) {
            in_lane.running = in_lane.running.saturating_sub(1);
        }
        let waits = match (pause, state.visits.get_mut(&destination)) {
            (Some(until), Some(visit)) => {
                visit.stage = Stage::Waiting(until);
                state.waiting.insert((until, destination));
                true
            }
            (None, Some(visit)) if visit.stage == Stage::Running && visit.lane == *lane => {
                // It ended early: the process stops.
                state.remove(destination);
                false
            }
            _ => false,
        };
        forget_idle(&mut state, lane);
        drop(state);
        if waits {
            self.changed.notify_one();
        }
        waits
    }

    /// Visits and lanes whose pause is over go on; gives the lanes to be served.
    pub(super) fn due(&self, now: Timestamp) -> Vec<Lane> {
        let mut state = self.state();
        let mut lanes = BTreeSet::new();
        while let Some((until, lane)) = state.paused.first().cloned()
            && until <= now
        {
            state.paused.pop_first();
            if let Some(in_lane) = state.lanes.get_mut(&lane) {
                in_lane.paused = None;
            }
            lanes.insert(lane);
        }
        while let Some((until, destination)) = state.waiting.first().copied()
            && until <= now
        {
            state.waiting.pop_first();
            let Some(visit) = state.visits.get_mut(&destination) else { continue };
            visit.stage = Stage::Queued;
            let lane = visit.lane.clone();
            state.lanes.entry(lane.clone()).or_default().queue.push_back(destination);
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
        free
    }

    pub(super) fn once_over(&self, lane: &Lane) {
        let mut state = self.state();
        if let Some(in_lane) = state.lanes.get_mut(lane) {
            in_lane.running = in_lane.running.saturating_sub(1);
        }
        forget_idle(&mut state, lane);
    }

    /// No visit begins any more.
    pub(super) fn close(&self) {
        self.state().closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }
}

fn forget_idle(state: &mut State, lane: &Lane) {
    if state.lanes.get(lane).is_some_and(InLane::is_idle)
        && let Some(InLane { paused: Some(until), .. }) = state.lanes.remove(lane)
    {
        state.paused.remove(&(until, lane.clone()));
    }
}
