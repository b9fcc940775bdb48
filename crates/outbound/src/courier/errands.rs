//! Whom the courier has been told of, and has not visited yet: sets of a bucket that were called out, and
//! rounds over all queues, at a start and when something had to be passed by.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cresset_delivery::Round;
use cresset_message::{ProjectNumber, RegistrationId, SlotSet};
use tokio::sync::Notify;

use super::Courier;

/// Sets that wait, of at most 8 KiB each. Beyond it they are found by a round.
const MAX_CALLS: usize = 1_024;

/// A round is made so often in any case: whom a failing store kept from being visited.
const ROUND_EVERY: Duration = Duration::from_secs(300);

/// Between two looks for room.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Call {
    project: ProjectNumber,
    bucket: u32,
    slots: SlotSet,
}

#[derive(Default)]
pub(super) struct Errands {
    calls: Mutex<VecDeque<Call>>,
    /// Somebody was passed by.
    missed: AtomicBool,
    arrived: Notify,
    room: Notify,
}

impl Errands {
    pub(super) fn call(&self, project: ProjectNumber, bucket: u32, slots: SlotSet) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() < MAX_CALLS {
            calls.push_back(Call { project, bucket, slots });
        } else {
            self.missed.store(true, Ordering::Relaxed);
        }
        drop(calls);
        self.arrived.notify_one();
    }

    pub(super) fn missed(&self) {
        self.missed.store(true, Ordering::Relaxed);
        self.arrived.notify_one();
    }

    /// There may be room for another visit.
    pub(super) fn room(&self) {
        self.room.notify_one();
    }

    fn next(&self) -> Option<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl Courier {
    pub(super) async fn errands(&self) {
        let errands = &self.shared.errands;
        let mut round = true;
        loop {
            while let Some(call) = errands.next() {
                self.answer(call).await;
            }
            if round || errands.missed.swap(false, Ordering::Relaxed) {
                round = !self.make_round().await;
                if round {
                    tokio::time::sleep(RETRY).await;
                }
                continue;
            }
            tokio::select! {
                () = errands.arrived.notified() => {}
                () = tokio::time::sleep(ROUND_EVERY) => round = true,
            }
        }
    }

    /// Visits all of a set, as there is room.
    async fn answer(&self, call: Call) {
        for slot in call.slots.iter() {
            let id = RegistrationId { project: call.project, bucket: call.bucket, slot };
            self.wait_for_room().await;
            match self.shared.dispatcher.outside(id, (self.shared.clock)()).await {
                Ok(Some(recipient)) => drop(self.visit(&recipient)),
                Ok(None) => {}
                Err(e) => {
                    tracing::debug!(registration = ?id, "it is visited later: {e}");
                    self.shared.errands.missed.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    /// Looks for all who have something waiting. Says whether it was finished.
    async fn make_round(&self) -> bool {
        let (mut next, dispatcher) = (Some(Round::default()), &self.shared.dispatcher);
        while let Some(round) = next {
            let found = match dispatcher.round(round, (self.shared.clock)()).await {
                Ok(found) => found,
                Err(e) => {
                    tracing::debug!("a round over what waits is made later: {e}");
                    return false;
                }
            };
            for destination in found.destinations {
                self.wait_for_room().await;
                let recipient = dispatcher.outside_by(destination, (self.shared.clock)()).await;
                if let Ok(Some(recipient)) = recipient {
                    self.visit(&recipient);
                }
            }
            for (project, bucket, slots) in found.slots {
                self.answer(Call { project, bucket, slots }).await;
            }
            next = found.next;
        }
        true
    }

    async fn wait_for_room(&self) {
        while !self.shared.books.has_room() {
            let _ = tokio::time::timeout(RETRY, self.shared.errands.room.notified()).await;
        }
    }
}
