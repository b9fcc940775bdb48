//! Who is connected, by which connection, and whose messages it carries.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cresset_message::{DeviceId, Recipient, RegistrationId};

use crate::Carrier;
use crate::buckets::Bucket;

/// Locks, so that threads rarely meet. A power of two.
const SHARDS: usize = 64;

/// A registration of a device, and the bucket it lives in.
#[derive(Clone)]
pub(crate) struct Carried {
    pub(crate) recipient: Arc<Recipient>,
    pub(crate) bucket: Arc<Bucket>,
}

impl Carried {
    pub(crate) fn id(&self) -> RegistrationId {
        self.recipient.registration
    }
}

/// A device that is connected.
pub(crate) struct Present {
    pub(crate) line: Arc<dyn Carrier>,
    pub(crate) carried: Arc<[Carried]>,
    /// When its arrival began, among all.
    turn: u64,
}

/// An arrival that has begun.
pub(crate) struct Arrival {
    turn: u64,
    missed: u64,
}

/// A device is reached by its new line.
pub(crate) struct Arrived {
    /// The line that it was reached by until now.
    pub(crate) before: Option<Arc<dyn Carrier>>,
    /// It may carry more than was known when the arrival began.
    pub(crate) missed: bool,
}

#[derive(Default)]
struct Shard {
    present: HashMap<DeviceId, Arc<Present>>,
    /// Registrations that were made while their device was not here.
    missed: u64,
}

pub(crate) struct Presence {
    turns: AtomicU64,
    shards: [Mutex<Shard>; SHARDS],
}

impl Presence {
    pub(crate) fn new() -> Self {
        Self { turns: AtomicU64::new(0), shards: std::array::from_fn(|_| Mutex::default()) }
    }

    pub(crate) fn get(&self, device: DeviceId) -> Option<Arc<Present>> {
        self.shard(device).present.get(&device).cloned()
    }

    /// A device begins to arrive; what it carries is read next.
    pub(crate) fn begin(&self, device: DeviceId) -> Arrival {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        Arrival { turn, missed: self.shard(device).missed }
    }

    /// A device is reached by this line from now on. `None`: it is by one whose arrival began later; this one
    /// has only taken longer.
    pub(crate) fn arrive(
        &self,
        device: DeviceId,
        arrival: Arrival,
        line: Arc<dyn Carrier>,
        carried: Arc<[Carried]>,
    ) -> Option<Arrived> {
        let mut shard = self.shard(device);
        if shard.present.get(&device).is_some_and(|known| known.turn > arrival.turn) {
            return None;
        }
        // Nobody comes in between: buckets know the line that is known here.
        let present = Present { line, carried, turn: arrival.turn };
        present.connect();
        let before = shard.present.insert(device, Arc::new(present));
        if let Some(before) = &before {
            before.disconnect();
        }
        let before = before.map(|before| before.line.clone());
        Some(Arrived { before, missed: shard.missed != arrival.missed })
    }

    /// Whether a device is here to be told of a registration. One that is about to arrive will know that it
    /// missed one.
    pub(crate) fn is_told(&self, device: DeviceId) -> bool {
        let mut shard = self.shard(device);
        let is_here = shard.present.contains_key(&device);
        shard.missed += u64::from(!is_here);
        is_here
    }

    /// Whether a device is reached by this line.
    pub(crate) fn is_by(&self, device: DeviceId, line: &Arc<dyn Carrier>) -> bool {
        self.get(device).is_some_and(|present| same(&present.line, line))
    }

    /// The line is gone. `None`: the device has another one by now.
    pub(crate) fn leave(&self, device: DeviceId, line: &Arc<dyn Carrier>) -> Option<Arc<Present>> {
        let mut shard = self.shard(device);
        let is_this = shard.present.get(&device).is_some_and(|present| same(&present.line, line));
        is_this.then(|| shard.present.remove(&device)).flatten()
    }

    /// Changes what a device carries, if it is connected; gives its line.
    pub(crate) fn change(
        &self,
        device: DeviceId,
        change: impl FnOnce(&mut Vec<Carried>),
    ) -> Option<Arc<dyn Carrier>> {
        let mut shard = self.shard(device);
        let present = shard.present.get_mut(&device)?;
        let mut carried = present.carried.to_vec();
        change(&mut carried);
        *present =
            Arc::new(Present { line: present.line.clone(), carried: carried.into(), turn: present.turn });
        Some(present.line.clone())
    }

    fn shard(&self, device: DeviceId) -> MutexGuard<'_, Shard> {
        // Device ids are random, so their low bits spread.
        let shard = &self.shards[device.get() as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether two lines are one: by address, for a line has no name.
pub(crate) fn same(a: &Arc<dyn Carrier>, b: &Arc<dyn Carrier>) -> bool {
    std::ptr::addr_eq(Arc::as_ptr(a), Arc::as_ptr(b))
}
