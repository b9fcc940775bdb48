//! What the listener has seen, for metrics.

use cresset_admission::{Counter, Seen};

use crate::session::{Counted, Reason};

/// The codes of nacks, in the order of [`Snapshot::nacks`] (`protocol/xmpp.md` §4).
pub const NACKS: [&str; 13] = [
    "INVALID_JSON",
    "BAD_REGISTRATION",
    "SENDER_ID_MISMATCH",
    "DEVICE_UNREGISTERED",
    "BAD_ACK",
    "SERVICE_UNAVAILABLE",
    "INTERNAL_SERVER_ERROR",
    "DEVICE_MESSAGE_RATE_EXCEEDED",
    "TOPICS_MESSAGE_RATE_EXCEEDED",
    "CONNECTION_DRAINING",
    "INVALID_APNS_CREDENTIAL",
    "AUTHENTICATION_FAILED",
    "QUOTA_EXCEEDED",
];

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) logins: Counter,
    pub(crate) logouts: Counter,
    pub(crate) received: Counter,
    acks: Counter,
    nacks: [Counter; NACKS.len()],
    stanza_errors: Counter,
    gave_way: Counter,
    unreadable: Counter,
    logins_refused: Counter,
    logins_missing: Counter,
    too_many: Counter,
    idle: Counter,
    stalled: Counter,
    drained: Counter,
}

/// The counters at one moment. All but the first three only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Sockets open now, logged in or not.
    pub connections: u64,
    /// App servers logged in now.
    pub app_servers: u64,
    /// Sockets open now whose app server has not logged in yet.
    pub newcomers: u64,
    pub accepted: u64,
    pub logins: u64,
    /// Messages that were given on to be delivered.
    pub received: u64,
    pub acks: u64,
    /// By code, in the order of [`NACKS`].
    pub nacks: [u64; NACKS.len()],
    pub stanza_errors: u64,
    /// Connections refused for being too many.
    pub over_capacity: u64,
    /// Connections refused because their address has too many.
    pub over_address: u64,
    /// Connections refused because their address has too many that have not logged in.
    pub over_address_logins: u64,
    /// Connections that took long to log in, closed because others waited.
    pub gave_way: u64,
    pub unreadable: u64,
    pub logins_refused: u64,
    /// Connections that did not log in in time.
    pub logins_missing: u64,
    /// Connections refused because their sender has too many.
    pub too_many: u64,
    /// Connections closed because their app server said nothing for long.
    pub idle: u64,
    /// Connections closed because their app server read nothing.
    pub stalled: u64,
    pub drained: u64,
}

impl Counters {
    pub(crate) fn count(&self, what: Counted) {
        match what {
            Counted::Ack => self.acks.add(1),
            Counted::StanzaError => self.stanza_errors.add(1),
            Counted::Nack(code) => {
                if let Some(place) = NACKS.iter().position(|known| *known == code) {
                    self.nacks[place].add(1);
                }
            }
        }
    }

    pub(crate) fn ended(&self, reason: Reason) {
        match reason {
            Reason::Unreadable => self.unreadable.add(1),
            Reason::LoginRefused => self.logins_refused.add(1),
            Reason::LoginTimeout => self.logins_missing.add(1),
            Reason::GaveWay => self.gave_way.add(1),
            Reason::TooMany => self.too_many.add(1),
            Reason::Idle => self.idle.add(1),
            Reason::Stalled => self.stalled.add(1),
            Reason::Drained => self.drained.add(1),
            Reason::Ended | Reason::PeerClosed | Reason::Shutdown => {}
        }
    }

    pub(crate) fn snapshot(&self, gate: Seen) -> Snapshot {
        // What ended is read first: a difference must not fall below zero.
        let logouts = self.logouts.get();
        Snapshot {
            connections: gate.connections,
            app_servers: self.logins.get().saturating_sub(logouts),
            newcomers: gate.newcomers,
            accepted: gate.accepted,
            logins: self.logins.get(),
            received: self.received.get(),
            acks: self.acks.get(),
            nacks: std::array::from_fn(|place| self.nacks[place].get()),
            stanza_errors: self.stanza_errors.get(),
            over_capacity: gate.over_capacity,
            over_address: gate.over_address,
            over_address_logins: gate.over_address_logins,
            gave_way: self.gave_way.get(),
            unreadable: self.unreadable.get(),
            logins_refused: self.logins_refused.get(),
            logins_missing: self.logins_missing.get(),
            too_many: self.too_many.get(),
            idle: self.idle.get(),
            stalled: self.stalled.get(),
            drained: self.drained.get(),
        }
    }
}
