//! What push services took: for the right one, in time, under its own id, in order; and once, unless a crash,
//! a lost answer, or a store that could not write came in between.

use std::collections::{BTreeMap, BTreeSet};

use cresset_message::MessageId;

use super::{Broken, Checker};
use crate::journal::{Carried, Moment};
use crate::model::{Answer, Known, To};

impl Checker<'_> {
    pub(super) fn check_outside(&mut self) {
        let all = self.world.journal.all_carried();
        let mut by_subscription: BTreeMap<(usize, u64), Vec<&Carried>> = BTreeMap::new();
        for carried in &all {
            self.check_carried(carried);
            by_subscription.entry((carried.app, carried.generation)).or_default().push(carried);
        }
        for ((app, _), carried) in by_subscription {
            self.check_once(app, &carried);
            self.check_first(app, &carried);
        }
        for (app, at) in self.world.journal.all_disturbed() {
            let what = format!("app {app} at {at}");
            self.broke(Broken::Disturbed, None, Some(app), what);
        }
    }

    fn check_carried(&mut self, carried: &Carried) {
        let (app, number) = (carried.app, carried.number);
        let world = self.world;
        let Some(sent) = world.sent.get(number) else {
            let what = format!("message {number} for app {app}, and there is none");
            return self.broke(Broken::Astray, None, Some(app), what);
        };
        let possible = self.registrations_of(app).any(|(at, _)| self.is_for(sent, at) != Known::No);
        // It may be registered and not know it.
        let possible = possible || sent.is_set() && world.apps[app].trying.is_some();
        if !possible {
            let what = format!("message {number} for app {app} by its push service");
            self.broke(Broken::Astray, Some(number), Some(app), what);
        }
        let ttl = sent.terms(world.apps[app].kind).ttl;
        let expires = carried.id.micros.saturating_add(ttl.as_micros() as u64);
        if !ttl.is_zero() && carried.left.as_micros() >= expires {
            let what = format!("message {number} for app {app}, by its push service");
            self.broke(Broken::Late, Some(number), Some(app), what);
        }
        let is_its_own = match (&sent.answer, &sent.to) {
            (Answer::Accepted(id), To::Registration(_)) => carried.id == *id,
            (Answer::Accepted(id), To::Group(..)) => carried.id.micros >= id.micros,
            (Answer::Accepted(id), _) => carried.id.micros == id.micros,
            _ => true,
        };
        if !is_its_own {
            let what = format!("message {number} for app {app} went out as {}", carried.id);
            self.broke(Broken::OtherId, Some(number), Some(app), what);
        }
        if ttl.is_zero() && carried.life != sent.life && !self.was_killed(sent.begun, carried.at) {
            let what = format!("message {number} for app {app} by its push service");
            self.broke(Broken::Kept, Some(number), Some(app), what);
        }
    }

    fn check_once(&mut self, app: usize, all: &[&Carried]) {
        let mut before: BTreeMap<MessageId, &Carried> = BTreeMap::new();
        for carried in all {
            let Some(first) = before.insert(carried.id, carried) else { continue };
            // What a process that has ended had sent may arrive after what the next one sends.
            let from = first.sent.min(carried.sent);
            let excused =
                first.untold || self.was_killed(from, carried.at) || self.was_full(from, carried.at);
            if !excused {
                let what = format!("{} for app {app}, at {} and at {}", carried.id, first.at, carried.at);
                self.broke(Broken::Doubled, Some(carried.number), Some(app), what);
            }
        }
    }

    /// Of one subscription: who was answered before another was asked comes first.
    fn check_first(&mut self, app: usize, all: &[&Carried]) {
        let mut seen = BTreeSet::new();
        let mut last: Option<(Moment, usize, usize)> = None;
        for carried in all.iter().filter(|carried| seen.insert(carried.number)) {
            let Some(sent) = self.world.sent.get(carried.number) else { continue };
            if sent.terms(self.world.apps[app].kind).ttl.is_zero() {
                continue;
            }
            if let Some((begun, other, era)) = last
                && sent.id().is_some()
                && sent.answered < begun
                && era == sent.era
                && !self.was_full(sent.begun, carried.at)
                && !self.time_had_come(app, sent, carried.id, carried.at)
                && !self.has_moved(app, sent.begun, carried.at)
                && !self.was_replaced(app, carried.number, carried.at)
            {
                let what = format!(
                    "message {} for app {app} came after message {other} to its push service",
                    carried.number
                );
                self.broke(Broken::OutOfOrder, Some(carried.number), Some(app), what);
            }
            if last.is_none_or(|(begun, ..)| sent.begun >= begun) {
                last = Some((sent.begun, carried.number, sent.era));
            }
        }
    }

    /// A newer one had taken its place, and a crash came before its set said so: it waits again.
    fn was_replaced(&self, app: usize, number: usize, at: Moment) -> bool {
        let killed = self.was_killed(self.world.sent[number].begun, at);
        killed && self.registrations_of(app).any(|(known, _)| self.is_collapsed(number, known))
    }

    fn was_killed(&self, from: Moment, to: Moment) -> bool {
        self.world.ends.iter().any(|end| (from..=to).contains(end))
    }
}
