//! Connections that have not logged in yet. There are so many and no more; when all of those places
//! are taken and somebody waits, whoever has had one longest without logging in gives way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cresset_message::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::addresses::Place;

/// How soon to look again when nobody can be asked to give way, or one has been.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// A connection as it is seen here.
pub trait Waiting {
    /// Whether its login waits for us, and not for its peer.
    fn is_served(&self) -> bool;
}

pub(crate) struct Newcomers<C> {
    permits: Arc<Semaphore>,
    patience: Duration,
    known: Mutex<Known<C>>,
}

/// By the order in which they came. As many as there are permits, at most.
struct Known<C> {
    came: u64,
    connections: BTreeMap<u64, (Timestamp, Arc<C>)>,
}

impl<C: Waiting> Newcomers<C> {
    /// So many, who have `patience` each while others wait.
    pub(crate) fn new(most: usize, patience: Duration) -> Self {
        let known = Known { came: 0, connections: BTreeMap::new() };
        Self { permits: Arc::new(Semaphore::new(most)), patience, known: Mutex::new(known) }
    }

    /// Waits for room for one more, and makes some if nobody else does: `send_away` ends a connection.
    pub(crate) async fn room(
        &self,
        clock: &(dyn Fn() -> Timestamp + Send + Sync),
        send_away: impl Fn(&C),
    ) -> OwnedSemaphorePermit {
        loop {
            if let Ok(permit) = self.permits.clone().try_acquire_owned() {
                return permit;
            }
            let pause = self.make_room(clock(), &send_away);
            if let Ok(Ok(permit)) = timeout(pause, self.permits.clone().acquire_owned()).await {
                return permit;
            }
        }
    }

    /// Sends away whoever has taken longest, if that is too long. Says when to look again.
    fn make_room(&self, now: Timestamp, send_away: &impl Fn(&C)) -> Duration {
        let mut known = self.known();
        // Those that wait for us are not to blame: in a storm of logins they are the next to be in.
        let waiting = |(_, (_, connection)): &(&u64, &(Timestamp, Arc<C>))| !connection.is_served();
        let Some((number, (since, _))) = known.connections.iter().find(waiting) else { return LOOK_AGAIN };
        let (number, due) = (*number, *since + self.patience);
        if now < due {
            return due.since(now).clamp(SHORTEST_PAUSE, LOOK_AGAIN);
        }
        let oldest = known.connections.remove(&number);
        drop(known);
        if let Some((_, connection)) = oldest {
            send_away(&connection);
        }
        LOOK_AGAIN
    }

    pub(crate) fn add(
        self: &Arc<Self>,
        connection: &Arc<C>,
        permit: OwnedSemaphorePermit,
        place: Place,
        now: Timestamp,
    ) -> Newcomer<C> {
        let mut known = self.known();
        known.came += 1;
        let number = known.came;
        known.connections.insert(number, (now, connection.clone()));
        Newcomer { number, newcomers: self.clone(), _permit: permit, _place: place }
    }

    pub(crate) fn count(&self) -> usize {
        self.known().connections.len()
    }

    fn known(&self) -> MutexGuard<'_, Known<C>> {
        // Nothing panics between two changes of it.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place among them; given back when it has logged in.
pub struct Newcomer<C: Waiting> {
    number: u64,
    newcomers: Arc<Newcomers<C>>,
    _permit: OwnedSemaphorePermit,
    _place: Place,
}

impl<C: Waiting> Drop for Newcomer<C> {
    fn drop(&mut self) {
        self.newcomers.known().connections.remove(&self.number);
    }
}
