//! How long to wait before the next try.

use std::time::Duration;

/// After the first failure. Chromium waits 30 s; an app of its own has nobody to be polite to but
/// its server, which is spared by the doubling.
pub(super) const FIRST: Duration = Duration::from_secs(1);
/// As Chromium's.
pub(super) const LONGEST: Duration = Duration::from_secs(600);

/// Doubles from try to try. Half of each wait is by chance: all devices of a server that was
/// restarted would otherwise come back in step.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    /// The wait before the next try; `chance` is from 0 to 1.
    pub(super) fn wait(&mut self, chance: f64) -> Duration {
        let wait = self.next.mul_f64(0.5 + chance.clamp(0.0, 1.0));
        self.next = (self.next * 2).min(LONGEST);
        wait
    }

    pub(super) fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_ten_minutes_and_begin_anew() {
        let mut backoff = Backoff::new();
        let waits: Vec<u64> = (0..12).map(|_| backoff.wait(0.5).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
        assert_eq!([backoff.wait(0.0), backoff.wait(1.0)], [LONGEST / 2, LONGEST * 3 / 2]);
        backoff.reset();
        assert_eq!(backoff.wait(0.5), FIRST);
    }
}
