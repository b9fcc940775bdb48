//! What was not received, although it was accepted: there must be a reason.

use std::collections::{BTreeMap, BTreeSet};

use super::{Broken, Checker};
use crate::clock::MINUTE;
use crate::journal::Brought;
use crate::model::{Kind, Known, Sent, To};

impl Checker<'_> {
    pub(super) fn check_what_was_not_received(&mut self) {
        let mut received = BTreeSet::new();
        for receipt in &self.receipts {
            if let (Some(app), Brought::Message(number)) = (receipt.app, receipt.brought) {
                received.insert((app, number));
            }
        }
        received.extend(self.world.journal.all_carried().iter().map(|carried| (carried.app, carried.number)));
        // Of plain messages, those that a notice may stand for.
        let mut missing: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (number, sent) in self.world.sent.iter().enumerate() {
            let Some(id) = sent.id() else { continue };
            let over = |kind| self.is_over(sent, id.micros, kind);
            if sent.is_set() && sent.spread.is_none() && !(over(Kind::Android) && over(Kind::Web)) {
                self.broke(Broken::NotSpread, Some(number), None, format!("message {number}"));
                continue;
            }
            for (at, registration) in self.world.registrations.iter().enumerate() {
                let kind = self.world.apps[registration.app].kind;
                let must = self.is_for(sent, at) == Known::Yes && self.is_admitted(sent, kind);
                if must
                    && !received.contains(&(registration.app, number))
                    && registration.ending.is_none()
                    && !over(kind)
                    && !self.is_collapsed(number, at)
                {
                    missing.entry(at).or_default().push(number);
                }
            }
        }
        for (at, missing) in missing {
            self.check_missing(at, &missing);
        }
    }

    /// What is missing of one registration, and no reason but a notice is left.
    fn check_missing(&mut self, at: usize, missing: &[usize]) {
        let app = self.world.registrations[at].app;
        let kind = self.world.apps[app].kind;
        let mut notices = BTreeMap::new();
        for receipt in self.receipts.iter().filter(|receipt| receipt.app == Some(app)) {
            if let Brought::Deleted(total) = receipt.brought {
                notices.insert(receipt.id, total as usize);
            }
        }
        let told: usize = notices.values().sum();
        let plain = |number: &&usize| self.world.sent[**number].terms(kind).key.is_none();
        let dropped = missing.iter().filter(plain).count();
        let is_told = |number: &usize| plain(&number) && dropped <= told;
        let lost: Vec<usize> = missing.iter().copied().filter(|number| !is_told(number)).collect();
        for number in lost {
            let what = format!("message {number} for app {app}; it was told of {told} that were dropped");
            self.broke(Broken::Lost, Some(number), Some(app), what);
        }
    }

    /// Its time came before anybody received it, or it was now or never.
    fn is_over(&self, sent: &Sent, accepted: u64, kind: Kind) -> bool {
        let ttl = sent.terms(kind).ttl;
        let expires = accepted.saturating_add(ttl.as_micros() as u64);
        // What the server was doing when the clock was set back still goes by what it showed before, and ids do
        // not go back with it.
        let from = sent.begun.saturating_sub(MINUTE);
        ttl.is_zero() || self.world.clock.latest_since(from) >= expires
    }

    /// A group's members go without, one by one, when they have had too many.
    fn is_admitted(&self, sent: &Sent, kind: Kind) -> bool {
        let quotas = self.world.quotas();
        let unlimited = quotas.device_per_minute.is_none() && quotas.collapsible.is_none();
        !matches!(sent.to, To::Group(..)) || unlimited || kind == Kind::Web
    }

    /// A newer one of its collapse key may have taken its place; or more keys came after than may wait.
    pub(super) fn is_collapsed(&self, number: usize, at: usize) -> bool {
        let kind = self.world.apps[self.world.registrations[at].app].kind;
        let sent = &self.world.sent[number];
        let Some(key) = &sent.terms(kind).key else { return false };
        let mut others = BTreeSet::new();
        for newer in &self.world.sent {
            let terms = newer.terms(kind);
            let Some(other) = &terms.key else { continue };
            if terms.ttl.is_zero() || !is_newer(newer, sent) || self.is_for(newer, at) == Known::No {
                continue;
            }
            if other == key {
                return true;
            }
            others.insert(other);
        }
        let most = self.world.quotas().collapse_keys.filter(|_| kind == Kind::Android);
        most.is_some_and(|most| others.len() >= most as usize)
    }
}

fn is_newer(one: &Sent, other: &Sent) -> bool {
    match (one.id(), other.id()) {
        _ if one.era != other.era => true,
        (Some(one), Some(other)) => one.micros > other.micros,
        _ => one.answered > other.begun,
    }
}
