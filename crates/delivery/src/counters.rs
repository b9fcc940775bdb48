//! What is in memory of messages for many, for metrics.

use crate::Dispatcher;

/// As it is at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
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
        Snapshot {
            fanouts: self.fanouts.open_jobs() as u64,
            buckets: buckets.len() as u64,
            sets: buckets.iter().map(|bucket| bucket.live_count() as u64).sum(),
            set_bytes: self.fanouts.buckets.weigh() as u64,
            member_sets: member_sets as u64,
            member_bytes: member_bytes as u64,
        }
    }
}
