//! What a receiver takes from the machine: the time, chance, and waiting. Tests bring their own.

use std::pin::Pin;
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use tokio::time::Instant;

/// A clock, dice, and a way to wait.
pub trait Surroundings: Send + Sync {
    /// The time of day, by which a token is shown again after a week.
    fn now(&self) -> SystemTime;

    /// Time since some moment that stays the same; never goes back.
    fn elapsed(&self) -> Duration;

    /// A number from 0 to 1, another one each time.
    fn chance(&self) -> f64;

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The machine's own.
pub(crate) struct Machine {
    started: Instant,
    random: SystemRandom,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), random: SystemRandom::new() }
    }
}

impl Surroundings for Machine {
    #[expect(clippy::disallowed_methods, reason = "an SDK reads the clock, here and nowhere else")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn chance(&self) -> f64 {
        let mut bytes = [0; 4];
        // Without dice all devices come back alike, which is no reason not to come.
        let _ = self.random.fill(&mut bytes);
        f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX)
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(duration))
    }
}
