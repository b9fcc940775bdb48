//! What has become of deliveries, and what is in memory of messages for many, for metrics.

use crate::{Dispatcher, End};

/// As it is at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Deliveries that were accepted, or spread.
    pub accepted: u64,
    /// Deliveries that have ended, in the order of [`End::ALL`]. Those whose time is over and that nobody asks for are not counted.
    pub ended: [u64; End::ALL.len()],
    /// Fan-outs that are still being spread.
    pub fanouts: u64,
    /// Buckets in memory.
    pub buckets: u64,
    /// Sets of those who still want a message, over all buckets.
    pub sets: u64,
    /// Those sets and their messages, about.
    pub set_bytes: u64,
    /// Sets of topics' members that are kept, and their bytes.
    pub member_sets: u64,
    pub member_bytes: u64,
}

impl Dispatcher {
    /// Counted when it is asked for: some microseconds a bucket.
    pub fn snapshot(&self) -> Snapshot {
        let buckets = self.fanouts.buckets.all();
        let (member_sets, member_bytes) = self.members.kept();
        let (accepted, ended) = self.traces.counted();
        Snapshot {
            accepted,
            ended,
            fanouts: self.fanouts.open_jobs() as u64,
            buckets: buckets.len() as u64,
            sets: buckets.iter().map(|bucket| bucket.live_count() as u64).sum(),
            set_bytes: self.fanouts.buckets.weigh() as u64,
            member_sets: member_sets as u64,
            member_bytes: member_bytes as u64,
        }
    }
}
