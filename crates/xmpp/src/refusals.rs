//! What is refused is told in the log, but rarely.

use cresset_admission::RareLog;
use cresset_message::Timestamp;

use crate::session::Reason;

#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// What the store would not do.
    pub(crate) store: RareLog,
    unreadable: RareLog,
    login_refused: RareLog,
    login_missing: RareLog,
    too_many: RareLog,
}

impl Refusals {
    /// A connection ended; most reasons are none to worry an operator with.
    pub(crate) fn ended(&self, reason: Reason, now: Timestamp) {
        let (log, text) = match reason {
            Reason::Unreadable => (&self.unreadable, "a connection of an app server was no TLS or no XMPP"),
            Reason::LoginRefused => (
                &self.login_refused,
                "an app server wanted to log in without the server key of its sender id",
            ),
            Reason::LoginTimeout | Reason::GaveWay => {
                (&self.login_missing, "a connection of an app server did not log in")
            }
            Reason::TooMany => (&self.too_many, "a sender wants more connections than it may have"),
            _ => return,
        };
        log.warn(now, || text.to_owned());
    }
}
