//! What became of sends, alone or as parts of a batch, for metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use cresset_message::Rejection;
use cresset_wire::v1::error_code;

/// How many were accepted, and how many rejected by the code that their senders were told.
#[derive(Debug)]
pub struct Sends {
    accepted: AtomicU64,
    /// One entry a code of the catalogue: it does not grow.
    rejected: Mutex<BTreeMap<&'static str, u64>>,
}

/// The counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SendsSnapshot {
    pub accepted: u64,
    pub rejected: Vec<(&'static str, u64)>,
}

impl Default for Sends {
    fn default() -> Self {
        let codes = Rejection::samples();
        let rejected = codes.iter().map(|rejection| (error_code(rejection), 0)).collect();
        Self { accepted: AtomicU64::new(0), rejected: Mutex::new(rejected) }
    }
}

impl Sends {
    pub(crate) fn count<T>(&self, outcome: &Result<T, Rejection>) {
        match outcome {
            Ok(_) => _ = self.accepted.fetch_add(1, Ordering::Relaxed),
            Err(rejection) => *self.rejected().entry(error_code(rejection)).or_default() += 1,
        }
    }

    pub fn snapshot(&self) -> SendsSnapshot {
        SendsSnapshot {
            accepted: self.accepted.load(Ordering::Relaxed),
            rejected: self.rejected().iter().map(|(code, count)| (*code, *count)).collect(),
        }
    }

    fn rejected(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.rejected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How pushes to subscriptions were answered, by names of ours.
#[derive(Debug)]
pub struct Pushes(Mutex<BTreeMap<&'static str, u64>>);

impl Default for Pushes {
    fn default() -> Self {
        Self(Mutex::new(crate::webpush::OUTCOMES.into_iter().map(|name| (name, 0)).collect()))
    }
}

impl Pushes {
    pub(crate) fn count(&self, outcome: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(outcome).or_default() += 1;
    }

    pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(name, count)| (*name, *count)).collect()
    }
}
