//! What the courier has done, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use super::books::Count;
use crate::{Blame, Outcome};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    WebPush,
    Apns,
}

/// How an attempt can end, as metrics name it.
pub const TOLD: [&str; 7] = [
    "accepted",
    "gone",
    "request_refused",
    "credential_refused",
    "registration_refused",
    "malformed",
    "try_later",
];

#[derive(Default)]
pub(super) struct Counters {
    webpush: [AtomicU64; TOLD.len()],
    apns: [AtomicU64; TOLD.len()],
}

/// The counters, and what is being done now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// In the order of [`TOLD`].
    pub webpush: [u64; TOLD.len()],
    pub apns: [u64; TOLD.len()],
    /// Registrations that are visited, or wait to be tried again.
    pub visits: usize,
    pub in_flight: usize,
    /// Push services to which nothing goes for a while.
    pub paused: usize,
    /// Registrations for which there was no place: they have their turn.
    pub aside: usize,
}

impl Counters {
    pub(super) fn count(&self, service: Service, outcome: &Outcome) {
        let at = match outcome {
            Outcome::Accepted { .. } => 0,
            Outcome::Gone { .. } => 1,
            Outcome::Rejected { blame: Blame::Request, .. } => 2,
            Outcome::Rejected { blame: Blame::Credential, .. } => 3,
            Outcome::Rejected { blame: Blame::Token, .. } => 4,
            Outcome::Rejected { blame: Blame::Us, .. } => 5,
            Outcome::Later { .. } => 6,
        };
        let counters = match service {
            Service::WebPush => &self.webpush,
            Service::Apns => &self.apns,
        };
        counters[at].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self, count: Count) -> Snapshot {
        let Count { visits, in_flight, paused, aside } = count;
        let read = |counters: &[AtomicU64; TOLD.len()]| {
            std::array::from_fn(|at| counters[at].load(Ordering::Relaxed))
        };
        Snapshot { webpush: read(&self.webpush), apns: read(&self.apns), visits, in_flight, paused, aside }
    }
}
