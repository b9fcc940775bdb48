//! Which devices are connected, and by which connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cresset_message::DeviceId;

/// Locks, so that fan-out threads rarely meet. A power of two.
const SHARDS: usize = 64;

pub(crate) struct Registry<C> {
    shards: [Mutex<HashMap<DeviceId, Arc<C>>>; SHARDS],
}

impl<C> Registry<C> {
    pub(crate) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()) }
    }

    pub(crate) fn get(&self, device: DeviceId) -> Option<Arc<C>> {
        self.shard(device).get(&device).cloned()
    }

    /// Makes `connection` the one of its device; gives the one it was before.
    pub(crate) fn insert(&self, device: DeviceId, connection: Arc<C>) -> Option<Arc<C>> {
        self.shard(device).insert(device, connection)
    }

    /// Forgets `connection`, unless a newer one has taken its place.
    pub(crate) fn remove(&self, device: DeviceId, connection: &Arc<C>) {
        let mut shard = self.shard(device);
        if shard.get(&device).is_some_and(|known| Arc::ptr_eq(known, connection)) {
            shard.remove(&device);
        }
    }

    fn shard(&self, device: DeviceId) -> MutexGuard<'_, HashMap<DeviceId, Arc<C>>> {
        // Device ids are random, so their low bits spread.
        let shard = &self.shards[device.get() as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
