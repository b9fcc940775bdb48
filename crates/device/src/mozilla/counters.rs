//! What became of browsers and their messages, for metrics.

use cresset_admission::Counter;

use super::session::Reason;

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) accepted: Counter,
    pub(crate) ended: Counter,
    pub(crate) greeted: Counter,
    pub(crate) left: Counter,
    pub(crate) new: Counter,
    pub(crate) written: Counter,
    pub(crate) acknowledged: Counter,
    pub(crate) failed: Counter,
    pub(crate) undeliverable: Counter,
    pub(crate) over_capacity: Counter,
    pub(crate) over_address: Counter,
    pub(crate) silent: Counter,
    pub(crate) protocol: Counter,
    pub(crate) pinged_too_often: Counter,
    pub(crate) vanished: Counter,
    pub(crate) replaced: Counter,
}

/// The counters at one moment. All but the first two only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Open now, whether or not they have said who they are.
    pub connections: u64,
    /// Browsers connected now.
    pub browsers: u64,
    pub accepted: u64,
    /// Those who were given a new identity.
    pub new: u64,
    /// Messages written to browsers.
    pub written: u64,
    /// Messages that browsers need not be sent again.
    pub acknowledged: u64,
    /// Messages that browsers said they could not decrypt, deliver or handle.
    pub failed: u64,
    /// Messages that have no form for a browser.
    pub undeliverable: u64,
    /// Refused for being too many, in all or of one address.
    pub over_capacity: u64,
    pub over_address: u64,
    /// Did not say who they are in time.
    pub silent: u64,
    /// Sent what is none of the protocol.
    pub protocol: u64,
    pub pinged_too_often: u64,
    /// Did not answer a ping, or read nothing.
    pub vanished: u64,
    pub replaced: u64,
}

impl Counters {
    pub(crate) fn ended(&self, reason: Reason) {
        self.ended.add(1);
        match reason {
            Reason::HelloTimeout => self.silent.add(1),
            Reason::Protocol(_) => self.protocol.add(1),
            Reason::ExcessivePing => self.pinged_too_often.add(1),
            Reason::PongMissed | Reason::Stalled => self.vanished.add(1),
            Reason::Replaced => self.replaced.add(1),
            Reason::PeerClosed | Reason::Unavailable | Reason::Shutdown => {}
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        // What ended is read first: a difference must not fall below zero.
        let (ended, left) = (self.ended.get(), self.left.get());
        Snapshot {
            connections: self.accepted.get().saturating_sub(ended),
            browsers: self.greeted.get().saturating_sub(left),
            accepted: self.accepted.get(),
            new: self.new.get(),
            written: self.written.get(),
            acknowledged: self.acknowledged.get(),
            failed: self.failed.get(),
            undeliverable: self.undeliverable.get(),
            over_capacity: self.over_capacity.get(),
            over_address: self.over_address.get(),
            silent: self.silent.get(),
            protocol: self.protocol.get(),
            pinged_too_often: self.pinged_too_often.get(),
            vanished: self.vanished.get(),
            replaced: self.replaced.get(),
        }
    }
}
