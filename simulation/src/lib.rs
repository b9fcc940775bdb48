//! Many virtual days of delivery, seeded, with a checker.
//!
//! A seed is a world: some projects, phones with apps and browsers, topics, quotas, a disk, a network and a
//! clock on the wall. In it runs what is real: `cresset_delivery::Dispatcher`, `cresset_identity::Identity`,
//! the store's memory engine and the device listener's MCS session, in a runtime of one thread that
//! waits for nothing but the simulation. Around it everything goes wrong: senders of all kinds of messages;
//! phones that vanish, acknowledge in every way, late, never, or what they never got; apps that move,
//! unregister and come back; sockets that are dead and do not say so, or full; commits that take their
//! time, a disk that is full for a while, slow reads; a clock that is set back and forth by up to two days; and
//! a process that is killed between any two operations of the store and started on what was durable
//! (`engine.rs`: what was on its way is there or not).
//!
//! In the end nothing goes wrong any more, everybody fetches what is theirs, and the checker asks. It knows
//! what senders were answered, what devices got, and which acknowledgements the server took.
//!
//! # Rules
//!
//! - **Lost.** What was accepted for a registration is received by its app, unless: its time came (by the
//!   server's clock, at any moment since); it was now or never; a newer one of its collapse key may have
//!   taken its place, or as many newer keys as may wait came after it; the app unregistered, or tried to; the
//!   app was told by `deleted_messages` of as many as are missing; or (groups) quotas let a member go
//!   without. A member of a set counts if it certainly was one from before the message was sent until its
//!   project was first seen with nothing left to spread.
//! - **Twice on a connection**: never, unless its registration moved to another device and back in between.
//! - **Again after an acknowledgement**, on a connection begun after the server took it: never, unless a crash
//!   came before the sets were saved (`tidy`, once a second); a crash came while the message was being
//!   spread; its time had come and the clock was set back; or its registration moved to another device in
//!   between. An acknowledgement by a device that never had the message is none.
//! - **Order.** Of one app and priority, on one connection: who was accepted before another was sent comes
//!   first, unless the store could not write in between (then what is for many waits, and the others do
//!   not wait for it), it was now or never, the registration moved in between, its time had come and the
//!   clock was set back, or the server was started with the clock set back by a day or more in between, when
//!   ids begin anew (`cresset_delivery`, `ids.rs`).
//! - **Ids.** A delivery always has the id that its sender was told (of a set: the same moment), and no other
//!   delivery on that device has it.
//! - **Late**: nothing leaves the server after its time. **Now or never**: only in the life of the server that
//!   accepted it, to who was connected before it was spread.
//! - **Astray**: nobody gets what may not be for them, or was refused for good. What was answered 503, or not at
//!   all, may come or not. A notice tells of more than the limit, and, without a crash and with room on the disk, of no more than were sent.
//! - **Push services** (`Options::outside`). Some apps are reached by a push service that takes, takes and loses its
//!   answer, says later, is away for minutes, or knows a subscription no more. The same rules, and: in the order
//!   of first arrivals, whatever the priority; again only around a kill, a lost answer or a store that could not
//!   write; and of whom the server was told that it is gone nothing more is asked for.
//! - **Refused**: no living registration is unknown, and nothing is `INTERNAL`.
//!
//! # What is not real
//!
//! - What stands in the listener between socket and session (`connection.rs`, `connection/link.rs`) is written
//!   a second time in `line.rs`: it is bound to sockets and TLS there.
//! - Payloads of web apps are not sealed: that draws from the machine's own chance.
//! - Rows of a batch that a crash tore apart stand together again before the server starts, as the embedded
//!   engine has it. With `--torn` the rest comes later, which the seam allows to other engines.
//! - The courier (`courier.rs`) is one of the simulation's, with the steps of `cresset_outbound`'s and without its
//!   lanes and bounds, which have tests of their own there.
//! - Spreading has three tasks instead of sixteen, and reading one thread.
//!
//! # Why a seed repeats
//!
//! Nothing below reads a clock or chance of its own; tasks of the runtime run in the order in which they are
//! woken; where maps of `delivery` are walked, and the order shows, they are ordered. A test runs seeds twice and
//! compares their logs.

mod asking;
mod checker;
mod clock;
mod courier;
mod dice;
mod engine;
mod journal;
mod life;
mod line;
mod model;
mod sabotage;
mod world;

pub use checker::{Broken, Violation};
pub use sabotage::Sabotage;

use std::collections::BTreeMap;

use model::Answer;
use world::World;

/// How a seed is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Keep a log of all that happens.
    pub log: bool,
    /// What a crash tore apart is not put together before the server starts again, but later.
    pub torn: bool,
    /// Some apps are behind push services.
    pub outside: bool,
    /// Do this wrong.
    pub sabotage: Option<Sabotage>,
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub violations: Vec<Violation>,
    /// The story of the first one.
    pub story: Option<String>,
    pub log: Vec<String>,
    pub figures: Figures,
}

/// How much happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub seeds: u64,
    pub micros: u64,
    pub messages: u64,
    pub accepted: u64,
    pub deliveries: u64,
    pub kills: u64,
    pub broken: BTreeMap<Broken, u64>,
}

impl Figures {
    pub fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.micros += other.micros;
        self.messages += other.messages;
        self.accepted += other.accepted;
        self.deliveries += other.deliveries;
        self.kills += other.kills;
        for (broken, count) in &other.broken {
            *self.broken.entry(*broken).or_default() += count;
        }
    }
}

/// Runs the world of a seed and checks what came of it. The same seed gives the same outcome.
pub fn run(seed: u64, options: &Options) -> Outcome {
    let world = World::run(seed, options);
    let violations = checker::check(&world);
    let story = violations.first().map(|violation| checker::story(&world, violation));
    let mut broken = BTreeMap::new();
    violations.iter().for_each(|violation| *broken.entry(violation.broken).or_default() += 1);
    let figures = Figures {
        seeds: 1,
        micros: world.clock.run(),
        messages: world.sent.len() as u64,
        accepted: world.sent.iter().filter(|sent| matches!(sent.answer, Answer::Accepted(_))).count() as u64,
        deliveries: world.journal.receipts().len() as u64,
        kills: world.kills() as u64,
        broken,
    };
    Outcome { violations, story, log: world.journal.take_lines(), figures }
}
