//! Which connection takes which request: a plain value, fed with what happens to the connections of one
//! origin, or of one identity at APNs.

use std::collections::VecDeque;
use std::time::Duration;

use cresset_message::Timestamp;

pub(crate) type Ticket = u64;
pub(crate) type LaneId = u64;

/// The bounds of a pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// Connections that take many requests at a time (HTTP/2).
    pub(crate) shared: usize,
    /// Connections that take one (HTTP/1.1).
    pub(crate) exclusive: usize,
    /// Requests that wait for a connection; one more is refused.
    pub(crate) waiting: usize,
    /// Requests at a time on one connection, whatever it allows.
    pub(crate) streams: usize,
    /// Another connection is opened when all of them have been full for so long.
    pub(crate) patience: Duration,
    /// One request at a time until the first success, as APNs wants it.
    pub(crate) warm_up: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Wanted(Ticket),
    /// Nobody waits for it any more.
    Abandoned(Ticket),
    Opened {
        lane: LaneId,
        streams: usize,
        exclusive: bool,
    },
    DialFailed,
    /// The peer allows so many requests at a time from now on.
    Limit {
        lane: LaneId,
        streams: usize,
    },
    /// A request came to its end.
    Finished {
        lane: LaneId,
        success: bool,
    },
    /// It takes no new requests; those that are on their way may still be answered.
    Closing(LaneId),
    /// A moment that [`Lanes::deadline`] asked for.
    Tick,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Dial,
    Start(Ticket, LaneId),
    Refuse(Ticket, Refusal),
    /// Nothing is on its way over it any more, and nothing will be.
    Forget(LaneId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// As many wait as may.
    Full,
    /// No connection could be made.
    Unreachable,
}

/// Between two dials when connections end before anything has succeeded on them; doubled each time, up to
/// 64 times. Apple takes it for abuse to open and close connections rapidly (`protocol/apns.md` §1.1).
const HOLD_BACK: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct Lane {
    id: LaneId,
    limit: usize,
    in_flight: usize,
    exclusive: bool,
    warm: bool,
    /// Something has succeeded on it.
    useful: bool,
    closing: bool,
}

#[derive(Debug)]
pub(crate) struct Lanes {
    policy: Policy,
    lanes: Vec<Lane>,
    waiting: VecDeque<Ticket>,
    dialling: bool,
    /// Since when requests wait although there are connections.
    full_since: Option<Timestamp>,
    last_dial: Timestamp,
    /// Connections in a row that ended before anything had succeeded on them.
    barren: u32,
}

impl Lanes {
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            policy,
            lanes: Vec::new(),
            waiting: VecDeque::new(),
            dialling: false,
            full_since: None,
            last_dial: Timestamp::default(),
            barren: 0,
        }
    }

    pub(crate) fn on_event(&mut self, event: Event, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Wanted(ticket) => self.wanted(ticket, &mut actions),
            Event::Abandoned(ticket) => self.waiting.retain(|waiting| *waiting != ticket),
            Event::Opened { lane, streams, exclusive } => self.opened(lane, streams, exclusive),
            Event::DialFailed => self.dial_failed(&mut actions),
            Event::Limit { lane, streams } => self.with(lane, |lane| lane.limit = streams),
            Event::Finished { lane, success } => self.finished(lane, success),
            Event::Closing(lane) => self.closing(lane),
            Event::Tick => {}
        }
        self.start(&mut actions);
        self.forget(&mut actions);
        self.grow(now, &mut actions);
        actions
    }

    /// When to come back with [`Event::Tick`].
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        if self.dialling || self.waiting.is_empty() || self.open() >= self.most() {
            return None;
        }
        let held_back = self.last_dial + self.held_back();
        let impatient = self.full_since.map(|since| since + self.policy.patience);
        if self.open() == 0 { Some(held_back) } else { impatient.map(|moment| moment.max(held_back)) }
    }

    /// Nothing is on its way, and nothing waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.dialling && self.lanes.iter().all(|lane| lane.in_flight == 0)
    }

    /// (connections that take requests, requests on their way, requests that wait)
    pub(crate) fn load(&self) -> (usize, usize, usize) {
        (self.open(), self.lanes.iter().map(|lane| lane.in_flight).sum(), self.waiting.len())
    }

    fn with(&mut self, id: LaneId, change: impl FnOnce(&mut Lane)) {
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.id == id) {
            change(lane);
        }
    }

    fn wanted(&mut self, ticket: Ticket, actions: &mut Vec<Action>) {
        if self.waiting.len() >= self.policy.waiting {
            actions.push(Action::Refuse(ticket, Refusal::Full));
        } else {
            self.waiting.push_back(ticket);
        }
    }

    fn opened(&mut self, id: LaneId, limit: usize, exclusive: bool) {
        self.dialling = false;
        // Patience begins anew: the new connection is to show first what it takes.
        self.full_since = None;
        let warm = !self.policy.warm_up;
        self.lanes.push(Lane { id, limit, in_flight: 0, exclusive, warm, useful: false, closing: false });
    }

    fn finished(&mut self, id: LaneId, success: bool) {
        if success {
            self.barren = 0;
        }
        self.with(id, |lane| {
            lane.in_flight = lane.in_flight.saturating_sub(1);
            lane.warm |= success;
            lane.useful |= success;
        });
    }

    fn closing(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.id == id && !lane.closing) else { return };
        lane.closing = true;
        self.barren = if lane.useful { 0 } else { self.barren.saturating_add(1) };
    }

    /// The first that ends so may have been bad luck.
    fn held_back(&self) -> Duration {
        match self.barren {
            0 | 1 => Duration::ZERO,
            many => HOLD_BACK * (1 << (many - 2).min(6)),
        }
    }

    /// Those who wait can go on waiting only if there is a connection to wait for.
    fn dial_failed(&mut self, actions: &mut Vec<Action>) {
        self.dialling = false;
        self.full_since = None;
        if self.open() == 0 {
            let refused = self.waiting.drain(..).map(|ticket| Action::Refuse(ticket, Refusal::Unreachable));
            actions.extend(refused);
        }
    }

    fn start(&mut self, actions: &mut Vec<Action>) {
        while !self.waiting.is_empty() {
            let policy = self.policy;
            let free = self.lanes.iter_mut().filter(|lane| lane.has_room(&policy));
            let Some(lane) = free.min_by_key(|lane| lane.in_flight) else { return };
            lane.in_flight += 1;
            let ticket = self.waiting.pop_front().expect("somebody waits");
            actions.push(Action::Start(ticket, lane.id));
        }
    }

    fn forget(&mut self, actions: &mut Vec<Action>) {
        let gone = |lane: &Lane| lane.closing && lane.in_flight == 0;
        actions.extend(self.lanes.iter().filter(|lane| gone(lane)).map(|lane| Action::Forget(lane.id)));
        self.lanes.retain(|lane| !gone(lane));
    }

    fn grow(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        if self.waiting.is_empty() {
            self.full_since = None;
            return;
        }
        let since = *self.full_since.get_or_insert(now);
        let (open, most) = (self.open(), self.most());
        let impatient = open == 0
            || self.lanes.iter().any(|lane| lane.exclusive)
            || now.since(since) >= self.policy.patience;
        let may_dial = now >= self.last_dial + self.held_back();
        if !self.dialling && open < most && impatient && may_dial {
            self.dialling = true;
            self.last_dial = now;
            actions.push(Action::Dial);
        }
    }

    fn open(&self) -> usize {
        self.lanes.iter().filter(|lane| !lane.closing).count()
    }

    fn most(&self) -> usize {
        let exclusive = self.lanes.iter().any(|lane| lane.exclusive && !lane.closing);
        if exclusive { self.policy.exclusive } else { self.policy.shared }
    }
}

impl Lane {
    fn has_room(&self, policy: &Policy) -> bool {
        let limit = if self.warm { self.limit.min(policy.streams) } else { self.limit.min(1) };
        !self.closing && self.in_flight < limit
    }
}

#[cfg(test)]
#[path = "lanes/tests.rs"]
mod tests;
