//! What the listener has seen, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::session::Reason;

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) accepted: Counter,
    pub(crate) ended: Counter,
    pub(crate) logins: Counter,
    pub(crate) logouts: Counter,
    pub(crate) written: Counter,
    pub(crate) acknowledged: Counter,
    pub(crate) undeliverable: Counter,
    pub(crate) resumed: Counter,
    pub(crate) upstream: Counter,
    pub(crate) over_capacity: Counter,
    pub(crate) over_address: Counter,
    pub(crate) over_address_logins: Counter,
    pub(crate) gave_way: Counter,
    pub(crate) unreadable: Counter,
    pub(crate) logins_refused: Counter,
    pub(crate) logins_missing: Counter,
    pub(crate) replaced: Counter,
    pub(crate) stalled: Counter,
    pub(crate) heartbeats_missed: Counter,
}

/// The counters at one moment. All but the first three only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Sockets open now, logged in or not.
    pub connections: u64,
    /// Devices connected now.
    pub devices: u64,
    /// Sockets open now whose device has not logged in yet.
    pub newcomers: u64,
    pub accepted: u64,
    pub logins: u64,
    /// Logins over a TLS session that was taken up again.
    pub resumed: u64,
    /// Messages written to devices.
    pub written: u64,
    /// Messages devices said they have.
    pub acknowledged: u64,
    /// Messages of devices that they were told to be taken.
    pub upstream: u64,
    /// Messages that could not be given the form their device reads.
    pub undeliverable: u64,
    /// Connections refused for being too many.
    pub over_capacity: u64,
    /// Connections refused because their address has too many.
    pub over_address: u64,
    /// Connections refused because their address has too many that have not logged in.
    pub over_address_logins: u64,
    /// Connections that took long to log in, closed because others waited.
    pub gave_way: u64,
    /// Connections closed because of bytes that are no TLS or no MCS.
    pub unreadable: u64,
    pub logins_refused: u64,
    /// Connections that did not log in, or not in time.
    pub logins_missing: u64,
    /// Connections closed because their device logged in anew.
    pub replaced: u64,
    /// Connections closed because their device read nothing.
    pub stalled: u64,
    pub heartbeats_missed: u64,
}

impl Counters {
    pub(crate) fn ended(&self, reason: Reason) {
        self.ended.add(1);
        match reason {
            Reason::Unreadable => self.unreadable.add(1),
            Reason::LoginRefused => self.logins_refused.add(1),
            Reason::LoginMissing | Reason::LoginTimeout => self.logins_missing.add(1),
            Reason::GaveWay => self.gave_way.add(1),
            Reason::Replaced => self.replaced.add(1),
            Reason::Stalled => self.stalled.add(1),
            Reason::HeartbeatMissed => self.heartbeats_missed.add(1),
            Reason::PeerClosed | Reason::Shutdown | Reason::Unavailable => {}
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        // What ended is read first: a difference must not fall below zero.
        let (ended, logouts) = (self.ended.get(), self.logouts.get());
        Snapshot {
            connections: self.accepted.get().saturating_sub(ended),
            devices: self.logins.get().saturating_sub(logouts),
            accepted: self.accepted.get(),
            // The listener knows.
            newcomers: 0,
            logins: self.logins.get(),
            resumed: self.resumed.get(),
            upstream: self.upstream.get(),
            written: self.written.get(),
            acknowledged: self.acknowledged.get(),
            undeliverable: self.undeliverable.get(),
            over_capacity: self.over_capacity.get(),
            over_address: self.over_address.get(),
            over_address_logins: self.over_address_logins.get(),
            gave_way: self.gave_way.get(),
            unreadable: self.unreadable.get(),
            logins_refused: self.logins_refused.get(),
            logins_missing: self.logins_missing.get(),
            replaced: self.replaced.get(),
            stalled: self.stalled.get(),
            heartbeats_missed: self.heartbeats_missed.get(),
        }
    }
}
