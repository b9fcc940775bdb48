//! What the listener has seen, for metrics.

use cresset_admission::{Counter, Seen};

use crate::session::Reason;

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) logins: Counter,
    pub(crate) logouts: Counter,
    pub(crate) written: Counter,
    pub(crate) acknowledged: Counter,
    pub(crate) undeliverable: Counter,
    pub(crate) resumed: Counter,
    pub(crate) upstream: Counter,
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

    pub(crate) fn snapshot(&self, gate: Seen) -> Snapshot {
        // What ended is read first: a difference must not fall below zero.
        let logouts = self.logouts.get();
        Snapshot {
            connections: gate.connections,
            devices: self.logins.get().saturating_sub(logouts),
            accepted: gate.accepted,
            newcomers: gate.newcomers,
            logins: self.logins.get(),
            resumed: self.resumed.get(),
            upstream: self.upstream.get(),
            written: self.written.get(),
            acknowledged: self.acknowledged.get(),
            undeliverable: self.undeliverable.get(),
            over_capacity: gate.over_capacity,
            over_address: gate.over_address,
            over_address_logins: gate.over_address_logins,
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
