//! The world: a clock, a server that lives and dies, phones, senders, and a heap of what is going to
//! happen. One thing happens at a time; after each the server runs until it waits.

mod events;
mod phones;
mod script;
mod server;
mod services;
mod setup;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::{Arc, Mutex, PoisonError};

use cresset_delivery::{Limits, Quotas};
use cresset_message::{DeviceId, MessageId, Rejection, Timestamp};
use cresset_wire::mcs::{Decoder, Frame};
use tokio::sync::Notify;

use crate::Options;
use crate::asking::Failure;
use crate::clock::Clock;
use crate::courier::{Reply, Request};
use crate::dice::Dice;
use crate::engine::Faulty;
use crate::journal::{Journal, Moment};
use crate::life::{Life, Means, Parts};
use crate::line::{House, Line};
use crate::model::{App, Registration, Sent};
use crate::sabotage::Sabotage;
use services::Services;

/// What is going to happen.
enum Event {
    /// The next step of the script.
    Step,
    /// The store commits.
    Commit,
    StoreHeals,
    /// What a crash left undone appears.
    Late,
    /// The server's process starts.
    Boot,
    /// A second after something happened.
    Second,
    /// Bytes reach a phone.
    ToPhone {
        connection: usize,
        bytes: Vec<u8>,
        left: Timestamp,
    },
    /// A frame reaches the server.
    ToServer {
        connection: usize,
        frame: Frame,
    },
    /// The server notices that a socket is dead; a phone does.
    ServerNotices {
        connection: usize,
    },
    PhoneNotices {
        connection: usize,
    },
    /// A phone says what it has.
    Acknowledge {
        connection: usize,
    },
    /// A request reaches a push service.
    AtService(Box<Request>),
    /// Its answer reaches the server.
    Answered(Box<Request>, Reply),
    /// A pause of the courier's is over.
    Resume(Arc<Notify>),
    /// The courier makes a round.
    Round,
}

struct Due {
    at: Moment,
    /// What was planned first happens first.
    turn: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.turn) == (other.at, other.turn)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.turn).cmp(&(other.at, other.turn))
    }
}

/// How a phone tells what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Acks {
    /// By stream id, after so many messages.
    Stream(u32),
    /// By persistent id, each.
    Selective,
    /// By stream id, some time later.
    Later,
    /// Not on this connection.
    No,
}

struct Phone {
    device: Option<DeviceId>,
    security_token: u64,
    acks: Acks,
    /// Whether it lists at login what it has.
    lists: bool,
    /// Received, and not known to be known.
    unknown: Vec<MessageId>,
    connection: Option<usize>,
}

/// A connection as its two ends and the network between them know it.
struct Connection {
    phone: usize,
    line: Arc<Line>,
    decoder: Decoder,
    /// When the phone began it, and in which life of the server.
    begun: Moment,
    life: usize,
    /// Frames in either direction get lost.
    cut: bool,
    /// The phone has given it up.
    over: bool,
    /// The phone reads nothing.
    stalled: bool,
    listed: usize,
    received: u32,
    unacked: u32,
    since_ack: Vec<MessageId>,
    last_down: Moment,
    last_up: Moment,
}

/// What a task of the server's was asked for, and what came of it.
enum Report {
    Opened(Result<Parts, Failure>),
    Sent(usize, Result<MessageId, Rejection>),
    Registered { app: usize, phone: usize, begun: Moment, outcome: Result<String, Failure> },
    Unregistered { app: usize, outcome: Result<(), Failure> },
    Changed { app: usize, registration: usize, topic: usize, change: usize, outcome: Result<(), Failure> },
    Grouped { project: usize, members: Vec<usize>, outcome: Result<String, Failure> },
    Tidied { begun: Moment, done: bool },
}

type Reports = Arc<Mutex<Vec<Report>>>;

struct Group {
    project: usize,
    key: String,
    members: Vec<usize>,
}

/// How this world is.
struct Nature {
    quotas: Quotas,
    limits: Limits,
    member_memory: usize,
    projects: usize,
    topics: usize,
    steps: usize,
    /// The longest pause between two steps.
    longest: Moment,
    /// The longest that a commit and a way through the network take.
    slowest_commit: Moment,
    slowest_way: Moment,
    most_outgoing: usize,
}

/// A run of the world, and all that is known of it in the end.
pub(crate) struct World {
    dice: Dice,
    nature: Nature,
    torn: bool,
    sabotage: Option<Sabotage>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) journal: Arc<Journal>,
    engine: Arc<Faulty>,
    means: Means,
    heap: BinaryHeap<Reverse<Due>>,
    turn: u64,
    life: Option<Life>,
    /// The house, when the server serves.
    house: Option<Arc<House>>,
    reports: Reports,
    phones: Vec<Phone>,
    connections: Vec<Connection>,
    /// Those whose line has not ended.
    open: Vec<usize>,
    pub(crate) apps: Vec<App>,
    web_apps: Vec<String>,
    pub(crate) registrations: Vec<Registration>,
    groups: Vec<Group>,
    pub(crate) sent: Vec<Sent>,
    lives: usize,
    /// When each life of the server ended.
    pub(crate) ends: Vec<Moment>,
    /// When the store could not write, and when again.
    pub(crate) full: Vec<(Moment, Moment)>,
    era: usize,
    steps_left: usize,
    commit_planned: bool,
    second_planned: bool,
    /// The world is being brought to rest.
    calm: bool,
    services: Option<Services>,
    round_planned: bool,
}

impl Drop for World {
    fn drop(&mut self) {
        self.life = None;
        self.house = None;
    }
}

impl World {
    pub(crate) fn run(seed: u64, options: &Options) -> Self {
        let mut world = Self::new(seed, options);
        world.set_up();
        world.live();
        world.come_to_rest();
        world
    }

    fn live(&mut self) {
        self.plan(0, Event::Step);
        while self.steps_left > 0 {
            self.happen();
        }
    }

    /// The next thing happens. `false`: nothing is going to happen any more.
    fn happen(&mut self) -> bool {
        let Some(Reverse(due)) = self.heap.pop() else { return false };
        self.clock.go_to(due.at);
        let (is_second, is_round) = (matches!(due.event, Event::Second), matches!(due.event, Event::Round));
        self.take(due.event);
        self.settle();
        if !is_second && !self.second_planned {
            self.second_planned = true;
            self.plan(crate::clock::SECOND, Event::Second);
        }
        if self.services.is_some() && !is_second && !is_round && !self.round_planned {
            self.round_planned = true;
            self.plan(services::ROUND_EVERY, Event::Round);
        }
        true
    }

    fn plan(&mut self, after: Moment, event: Event) {
        self.plan_at(self.clock.run() + after, event);
    }

    fn plan_at(&mut self, at: Moment, event: Event) {
        self.turn += 1;
        self.heap.push(Reverse(Due { at, turn: self.turn, event }));
    }

    /// Lets the server do all it can do now, and takes what comes of it.
    fn settle(&mut self) {
        loop {
            if let Some(life) = &self.life {
                life.settle();
            }
            let reports = std::mem::take(&mut *self.reports.lock().unwrap_or_else(PoisonError::into_inner));
            let more = !reports.is_empty();
            reports.into_iter().for_each(|report| self.report(report));
            let written = self.drain_lines();
            if !self.drain_courier() && !written && !more {
                break;
            }
        }
        self.note_spread();
        if self.life.as_ref().is_some_and(|life| life.second.is_awaited()) {
            self.need_second();
        }
        if self.engine.has_work() && !self.commit_planned {
            self.commit_planned = true;
            let after = self.dice.span(100, self.nature.slowest_commit);
            self.plan(after, Event::Commit);
        }
    }

    /// Messages of projects that have nothing left to spread have been spread.
    fn note_spread(&mut self) {
        let Some(house) = &self.house else { return };
        let now = self.clock.run();
        let mut open: BTreeMap<usize, usize> = BTreeMap::new();
        for sent in self.sent.iter_mut().rev() {
            if sent.spread.is_some() || sent.id().is_none() {
                continue;
            }
            let number = setup::number(sent.project);
            let open = open.entry(sent.project).or_insert_with(|| house.dispatcher.fanouts_open_of(number));
            if *open == 0 {
                sent.spread = Some(now);
            }
        }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        self.journal.say(self.clock.run(), what);
    }

    /// Connections: when each was begun, and in which life of the server.
    pub(crate) fn connection(&self, number: usize) -> (Moment, usize) {
        let connection = &self.connections[number];
        (connection.begun, connection.life)
    }

    pub(crate) fn quotas(&self) -> Quotas {
        self.nature.quotas
    }

    pub(crate) fn device(&self, phone: usize) -> Option<DeviceId> {
        self.phones[phone].device
    }

    pub(crate) fn kills(&self) -> usize {
        self.ends.len()
    }
}
