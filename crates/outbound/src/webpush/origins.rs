//! One pool for each origin, and a bound on how many.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cresset_message::Timestamp;

use crate::pool::Pool;

/// An origin that is in use.
pub(super) struct Origin {
    pub(super) pool: Pool,
    throttled: Mutex<VecDeque<(u64, Timestamp)>>,
}

/// How many subscriptions of an origin must be throttled within [`WINDOW`] for it to be the origin that is.
const SEVERAL: usize = 3;
const WINDOW: Duration = Duration::from_secs(60);

impl Origin {
    pub(super) fn new(pool: Pool) -> Self {
        Self { pool, throttled: Mutex::default() }
    }

    /// This subscription was throttled; whether the whole origin seems to be (§1.6).
    pub(super) fn throttles(&self, subscription: u64, now: Timestamp) -> bool {
        let mut throttled = self.throttled.lock().unwrap_or_else(PoisonError::into_inner);
        throttled.retain(|(other, when)| *other != subscription && now.since(*when) < WINDOW);
        throttled.truncate(SEVERAL - 1);
        throttled.push_front((subscription, now));
        throttled.len() >= SEVERAL
    }
}

pub(super) struct Origins {
    most: usize,
    /// The last use of each stands with it.
    origins: Mutex<HashMap<String, (Arc<Origin>, Timestamp)>>,
}

impl Origins {
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.max(1), origins: Mutex::default() }
    }

    /// The origin of this name. `None`: as many are in use as may be.
    pub(super) fn get(&self, name: &str, now: Timestamp, make: impl FnOnce() -> Pool) -> Option<Arc<Origin>> {
        let mut origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((origin, used)) = origins.get_mut(name) {
            *used = now;
            return Some(Arc::clone(origin));
        }
        if origins.len() >= self.most {
            // Nobody holds it, and nothing is on its way.
            let unused = origins
                .iter()
                .filter(|(_, (origin, _))| Arc::strong_count(origin) == 1 && origin.pool.is_idle());
            let oldest = unused.min_by_key(|(_, (_, used))| *used).map(|(name, _)| name.clone())?;
            origins.remove(&oldest);
        }
        let origin = Arc::new(Origin::new(make()));
        origins.insert(name.to_owned(), (Arc::clone(&origin), now));
        Some(origin)
    }

    /// (origins, connections, requests on their way, requests that wait)
    pub(super) fn load(&self) -> (usize, usize, usize, usize) {
        let origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        origins.values().fold((0, 0, 0, 0), |sum, (origin, _)| {
            let (connections, flying, waiting) = origin.pool.load();
            (sum.0 + 1, sum.1 + connections, sum.2 + flying, sum.3 + waiting)
        })
    }
}
