//! Chance that a seed repeats.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

/// Numbers that look random, each a hash of the seed and of how many were drawn before. Threads of
/// chance that must not disturb one another are split off.
#[derive(Clone, Debug)]
pub(crate) struct Chance {
    seed: u64,
    drawn: u64,
}

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    pub(crate) fn split(&mut self) -> Self {
        Self::new(self.draw())
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.draw() % bound.max(1) as u64) as usize
    }

    pub(crate) fn between(&mut self, from: Duration, to: Duration) -> Duration {
        from + Duration::from_micros(self.draw() % (to - from).as_micros().max(1) as u64)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.draw() as u8).collect()
    }

    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        let mut hasher = DefaultHasher::new();
        (self.seed, self.drawn).hash(&mut hasher);
        hasher.finish()
    }
}
