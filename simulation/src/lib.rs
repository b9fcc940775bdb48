//! Many virtual days of delivery, seeded, with a checker.

mod asking;
mod checker;
mod clock;
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
