//! Which messages devices sent lately. A device that has not heard that its message was taken sends it
//! again, usually soon and by another connection (`protocol/mcs.md` §9). What is forgotten here costs a
//! duplicate with the same id, which app servers tell by it.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use cresset_message::DeviceId;

/// Messages remembered, of all devices: some 3 MB.
const MOST: usize = 65_536;

#[derive(Default)]
pub(super) struct Recent {
    known: HashSet<(DeviceId, u64)>,
    order: VecDeque<(DeviceId, u64)>,
}

impl Recent {
    pub(super) fn has(&self, device: DeviceId, persistent_id: &str) -> bool {
        self.known.contains(&entry(device, persistent_id))
    }

    pub(super) fn add(&mut self, device: DeviceId, persistent_id: &str) {
        let entry = entry(device, persistent_id);
        if !self.known.insert(entry) {
            return;
        }
        self.order.push_back(entry);
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

/// A device can make its own ids collide, and no other's.
fn entry(device: DeviceId, persistent_id: &str) -> (DeviceId, u64) {
    let mut hasher = DefaultHasher::new();
    persistent_id.hash(&mut hasher);
    (device, hasher.finish())
}
