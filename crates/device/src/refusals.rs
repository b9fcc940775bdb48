//! What is refused is told in the log, but rarely.

use cresset_admission::RareLog;
use cresset_message::Timestamp;

use crate::session::Reason;

/// The lines of a device listener.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    pub(crate) tls: RareLog,
    unreadable: RareLog,
    login_refused: RareLog,
    login_missing: RareLog,
    gave_way: RareLog,
    /// What the store would not do.
    pub(crate) store: RareLog,
}

impl Refusals {
    /// A connection ended; most reasons are none to worry an operator with.
    pub(crate) fn ended(&self, reason: Reason, now: Timestamp) {
        let (log, text) = match reason {
            Reason::Unreadable => (&self.unreadable, "a connection was no TLS or no MCS"),
            Reason::LoginRefused => (&self.login_refused, "a device that is not known wanted to log in"),
            Reason::LoginMissing | Reason::LoginTimeout => {
                (&self.login_missing, "a connection did not log in")
            }
            Reason::GaveWay => {
                (&self.gave_way, "a connection that took long to log in gave way to those that wait")
            }
            _ => return,
        };
        log.warn(now, || text.to_owned());
    }
}
