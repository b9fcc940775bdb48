//! What the app server was given and has not acknowledged.

use std::collections::VecDeque;
use std::time::Duration;

use cresset_delivery::{Upstream, WINDOW};
use cresset_message::{MessageId, Timestamp};
use cresset_wire::xmpp::{self, RECEIPT_FROM, RECEIPT_PREFIX};

/// What is not acknowledged for so long is given once more (Google's time is not known; "minutes",
/// `protocol/xmpp.md` §5).
pub(super) const RESEND_AFTER: Duration = Duration::from_secs(5 * 60);

#[derive(Debug, Default)]
pub(super) struct Given {
    /// In the order in which they were last given.
    given: VecDeque<One>,
    pub(super) pulling: bool,
    /// There was more while it was being pulled.
    pub(super) woken: bool,
}

#[derive(Debug)]
struct One {
    id: MessageId,
    /// Who is acknowledged to.
    from: String,
    message_id: String,
    is_receipt: bool,
    at: Timestamp,
}

impl Given {
    pub(super) fn room(&self) -> usize {
        WINDOW.saturating_sub(self.given.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    pub(super) fn ids(&self) -> Vec<MessageId> {
        self.given.iter().map(|one| one.id).collect()
    }

    pub(super) fn next_resend(&self) -> Option<Timestamp> {
        self.given.front().map(|one| one.at + RESEND_AFTER)
    }

    pub(super) fn add(&mut self, upstream: &Upstream, now: Timestamp) {
        let is_receipt = upstream.receipt_for.is_some();
        self.given.push_back(One {
            id: upstream.id,
            from: if is_receipt { RECEIPT_FROM.to_owned() } else { upstream.registration.clone() },
            message_id: upstream.message_id.clone(),
            is_receipt,
            at: now,
        });
    }

    /// The app server has it, if it is one of these. google/go-gcm leaves the prefix of a receipt's id
    /// out (`protocol/xmpp.md` §6).
    pub(super) fn acknowledged(&mut self, to: &str, message_id: &str) -> Option<MessageId> {
        let is_it = |one: &One| {
            let id = match one.is_receipt {
                true => message_id.strip_prefix(RECEIPT_PREFIX).unwrap_or(message_id),
                false => message_id,
            };
            one.from == to && one.message_id == id
        };
        let place = self.given.iter().position(is_it)?;
        self.given.remove(place).map(|one| one.id)
    }

    /// Those that were given too long ago; their time begins anew.
    pub(super) fn overdue(&mut self, now: Timestamp) -> Vec<MessageId> {
        let mut overdue = Vec::new();
        while self.given.front().is_some_and(|one| one.at + RESEND_AFTER <= now)
            && let Some(one) = self.given.pop_front()
        {
            overdue.push(one.id);
            self.given.push_back(One { at: now, ..one });
        }
        overdue
    }

    pub(super) fn has(&self, id: MessageId) -> bool {
        self.given.iter().any(|one| one.id == id)
    }

    /// It is no more.
    pub(super) fn forget(&mut self, id: MessageId) {
        self.given.retain(|one| one.id != id);
    }
}

/// As it is written to the app server of this sender.
pub(super) fn stanza(sender: u64, upstream: &Upstream) -> String {
    let json = match upstream.receipt_for {
        Some(sent) => xmpp::receipt(xmpp::Receipt {
            category: &upstream.category,
            message_id: &upstream.message_id,
            registration: &upstream.registration,
            sent_millis: sent.as_millis(),
        }),
        None => xmpp::upstream(xmpp::Upstream {
            from: &upstream.registration,
            category: &upstream.category,
            message_id: &upstream.message_id,
            data: &upstream.data,
            ttl_seconds: upstream.ttl_seconds,
        }),
    };
    xmpp::to_app_server(sender, &json)
}
