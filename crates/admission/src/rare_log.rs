//! What is refused is told in the log, but rarely: an attack must not fill it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cresset_message::Timestamp;

/// One line a kind of refusal in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Log lines of one kind: at most one a minute, which says how many it stands for.
#[derive(Debug, Default)]
pub struct RareLog {
    next_micros: AtomicU64,
    untold: AtomicU64,
}

impl RareLog {
    pub fn warn(&self, now: Timestamp, text: impl FnOnce() -> String) {
        if let Some(others) = self.due(now) {
            tracing::warn!(others, "{}", text());
        }
    }

    /// If a line is due, for how many others it stands.
    fn due(&self, now: Timestamp) -> Option<u64> {
        let next = self.next_micros.load(Ordering::Relaxed);
        let later = (now + LOG_INTERVAL).as_micros();
        let due = now.as_micros() >= next
            && self.next_micros.compare_exchange(next, later, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if due {
            return Some(self.untold.swap(0, Ordering::Relaxed));
        }
        self.untold.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_minute_and_the_others_are_counted() {
        let log = RareLog::default();
        let lines = |seconds: std::ops::Range<u64>| {
            seconds.filter_map(|at| log.due(Timestamp::from_secs(at))).collect::<Vec<_>>()
        };
        assert_eq!(lines(1_000..1_060), [0]);
        assert_eq!(lines(1_060..1_100), [59]);
        assert_eq!(lines(1_200..1_201), [39]);
    }
}
