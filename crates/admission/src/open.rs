//! All connections of a listener, for what is to be said to each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

/// How soon to look again whether all have ended.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Every connection, logged in or not, for the day of the shutdown.
pub struct OpenConnections<C>(Mutex<HashMap<usize, Arc<C>>>);

impl<C> Default for OpenConnections<C> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<C> OpenConnections<C> {
    pub fn add(&self, connection: &Arc<C>) {
        self.list().insert(Arc::as_ptr(connection).addr(), connection.clone());
    }

    pub fn remove(&self, connection: &Arc<C>) {
        self.list().remove(&Arc::as_ptr(connection).addr());
    }

    pub fn count(&self) -> usize {
        self.list().len()
    }

    /// Waits until there is none.
    pub async fn all_ended(&self) {
        while self.count() > 0 {
            sleep(LOOK_AGAIN).await;
        }
    }

    pub fn all(&self) -> Vec<Arc<C>> {
        self.list().values().cloned().collect()
    }

    /// Nobody waits for what is done meanwhile.
    pub fn for_each(&self, act: impl Fn(&C)) {
        self.all().iter().for_each(|connection| act(connection));
    }

    fn list(&self) -> MutexGuard<'_, HashMap<usize, Arc<C>>> {
        // Nothing panics between two changes of it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
