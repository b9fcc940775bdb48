//! Whom the courier has been told of, and has not visited yet: sets of a bucket that were called out, and
//! rounds over all queues, at a start and when something had to be passed by.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cresset_delivery::Round;
use cresset_message::{ProjectNumber, RegistrationId, SlotSet};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Courier;

/// Sets that wait, of at most 8 KiB each. Beyond it they are found by a round.
const MAX_CALLS: usize = 1_024;

/// A round is made so often in any case: whom a failing store kept from being visited.
const ROUND_EVERY: Duration = Duration::from_secs(300);

/// And no more often than that, however many were passed by.
const BETWEEN_ROUNDS: Duration = Duration::from_secs(5);

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
        let mut next_round = Instant::now();
        loop {
            while let Some(call) = errands.next() {
                self.answer(call).await;
            }
            while let Some(id) = self.shared.books.next_aside() {
                self.look_up(id, true).await;
            }
            let missed = errands.missed.load(Ordering::Relaxed);
            if Instant::now() >= next_round {
                errands.missed.store(false, Ordering::Relaxed);
                let pause = match self.make_round().await {
                    true if errands.missed.load(Ordering::Relaxed) => BETWEEN_ROUNDS,
                    true => ROUND_EVERY,
                    false => RETRY,
                };
                next_round = Instant::now() + pause;
                continue;
            }
            if missed {
                next_round = next_round.min(Instant::now() + BETWEEN_ROUNDS);
            }
            tokio::select! {
                () = errands.arrived.notified() => {}
                () = errands.room.notified() => {}
                () = tokio::time::sleep_until(next_round) => {}
            }
        }
    }

    /// Visits all of a set, as there is room.
    async fn answer(&self, call: Call) {
        for slot in call.slots.iter() {
            self.wait_for_room().await;
            self.look_up(RegistrationId { project: call.project, bucket: call.bucket, slot }, false).await;
        }
    }

    async fn look_up(&self, id: RegistrationId, has_turn: bool) {
        match self.shared.dispatcher.outside(id, (self.shared.clock)()).await {
            Ok(Some(recipient)) => {
                self.visit(&recipient, has_turn);
            }
            Ok(None) => {}
            Err(e) => {
                tracing::debug!(registration = ?id, "it is visited later: {e}");
                self.shared.errands.missed.store(true, Ordering::Relaxed);
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
                let now = (self.shared.clock)();
                let seen = match dispatcher.outside_by(destination, now).await {
                    Ok(Some(recipient)) => {
                        self.visit(&recipient, false);
                        Ok(())
                    }
                    // It is no more, or receives elsewhere: whoever reads its queue tells so, or moves it.
                    Ok(None) => dispatcher.pending(destination, 1, &|_| false, now).await.map(drop),
                    Err(e) => Err(e),
                };
                if let Err(e) = seen {
                    tracing::debug!(%destination, "what waits there is looked at later: {e}");
                    self.shared.errands.missed.store(true, Ordering::Relaxed);
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
