//! What was received: by the right one, in time, under its own id, once, in order.

use std::collections::{BTreeMap, BTreeSet};

use cresset_message::{MessageId, Rejection};

use super::{Broken, Checker};
use crate::journal::{Brought, Moment, Receipt};
use crate::model::{Answer, Kind, Known, Move, Sent, To};

impl Checker<'_> {
    pub(super) fn check_what_was_received(&mut self) {
        for at in 0..self.receipts.len() {
            let receipt = self.receipts[at].clone();
            match receipt.brought {
                Brought::Message(number) => self.check_message(&receipt, number),
                Brought::Deleted(total) => self.check_notice(&receipt, total),
            }
        }
    }

    fn check_message(&mut self, receipt: &Receipt, number: usize) {
        let world = self.world;
        let (Some(app), Some(sent)) = (receipt.app, world.sent.get(number)) else {
            let what = format!("message {number} for no app there is, on phone {}", receipt.phone);
            return self.broke(Broken::Astray, Some(number), receipt.app, what);
        };
        let possible = self.registrations_of(app).any(|(at, _)| self.is_for(sent, at) != Known::No);
        // It may be registered and not know it.
        let possible = possible || sent.is_set() && world.apps[app].trying.is_some();
        if !possible || !world.apps[app].phones.contains(&receipt.phone) {
            let what = format!("message {number} for app {app} on phone {}", receipt.phone);
            return self.broke(Broken::Astray, Some(number), Some(app), what);
        }
        let terms = sent.terms(world.apps[app].kind);
        let expires = receipt.id.micros.saturating_add(terms.ttl.as_micros() as u64);
        if !terms.ttl.is_zero() && receipt.left.as_micros() >= expires {
            let what =
                format!("message {number} for app {app}, {} µs late", receipt.left.as_micros() - expires);
            self.broke(Broken::Late, Some(number), Some(app), what);
        }
        let (begun, life) = world.connection(receipt.connection);
        // It waits for what is older and for many.
        let until = sent.spread.unwrap_or(Moment::MAX);
        if terms.ttl.is_zero() && (life != sent.life || begun > until) {
            let what = format!("message {number} for app {app} by connection {}", receipt.connection);
            self.broke(Broken::Kept, Some(number), Some(app), what);
        }
        let is_its_own = match (&sent.answer, &sent.to) {
            (Answer::Accepted(id), To::Registration(_)) => receipt.id == *id,
            (Answer::Accepted(id), To::Group(..)) => receipt.id.micros >= id.micros,
            (Answer::Accepted(id), _) => receipt.id.micros == id.micros,
            _ => true,
        };
        if !is_its_own {
            let what = format!("message {number} for app {app} came as {}", receipt.id);
            self.broke(Broken::OtherId, Some(number), Some(app), what);
        }
    }

    fn check_notice(&mut self, receipt: &Receipt, total: u32) {
        let world = self.world;
        let Some(app) = receipt.app.filter(|app| world.apps[*app].phones.contains(&receipt.phone)) else {
            return self.broke(
                Broken::Astray,
                None,
                receipt.app,
                format!("a notice on phone {}", receipt.phone),
            );
        };
        let is_plain = |sent: &&Sent| {
            sent.android.key.is_none()
                && self.registrations_of(app).any(|(at, _)| self.is_for(sent, at) != Known::No)
        };
        let most = world.sent.iter().filter(is_plain).count();
        let limit = world.quotas().stored.filter(|_| world.apps[app].kind == Kind::Android);
        if limit.is_none_or(|limit| total <= limit)
            || total as usize > most * (world.kills() + world.full.len() + 1)
        {
            let what = format!("app {app} is told of {total} of {most} messages; the limit is {limit:?}");
            self.broke(Broken::FalseNotice, None, Some(app), what);
        }
    }

    /// A delivery has one id, an id one delivery.
    pub(super) fn check_ids(&mut self) {
        let mut ids: BTreeMap<(usize, usize), BTreeSet<MessageId>> = BTreeMap::new();
        let mut owners: BTreeMap<(usize, MessageId), BTreeSet<(usize, usize)>> = BTreeMap::new();
        for receipt in &self.receipts {
            let (Some(app), Brought::Message(number)) = (receipt.app, receipt.brought) else { continue };
            ids.entry((app, number)).or_default().insert(receipt.id);
            owners.entry((receipt.phone, receipt.id)).or_default().insert((app, number));
        }
        for ((app, number), ids) in ids {
            let Some(sent) = self.world.sent.get(number) else { continue };
            let of = self.registrations_of(app).filter(|(at, _)| self.is_for(sent, *at) != Known::No);
            if ids.len() > of.count().max(1) {
                let what = format!("message {number} for app {app} came as {ids:?}");
                self.broke(Broken::OtherId, Some(number), Some(app), what);
            }
        }
        for ((phone, id), owners) in owners {
            if owners.len() > 1 {
                let (app, number) = *owners.first().expect("there are two");
                let what = format!("on phone {phone} {id} is {owners:?}");
                self.broke(Broken::OtherId, Some(number), Some(app), what);
            }
        }
    }

    /// Connection by connection: nothing twice, nothing that was acknowledged, everything in order.
    pub(super) fn check_connections(&mut self) {
        let mut by_connection: BTreeMap<usize, Vec<Receipt>> = BTreeMap::new();
        for receipt in &self.receipts {
            by_connection.entry(receipt.connection).or_default().push(receipt.clone());
        }
        for receipts in by_connection.into_values() {
            let mut seen = BTreeSet::new();
            let fresh: Vec<Receipt> = receipts
                .into_iter()
                .filter(|receipt| {
                    let again = !seen.insert(receipt.id);
                    // It may have left the server before the first move and come after it.
                    let begun = self.message_of(receipt).map_or(receipt.at, |(_, sent)| sent.begun);
                    let came_back = receipt.app.is_some_and(|app| self.moves(app, begun, receipt.at) > 1);
                    if again && !came_back {
                        let what = format!("{} twice on connection {}", receipt.id, receipt.connection);
                        let number = self.message_of(receipt).map(|(number, _)| number);
                        self.broke(Broken::Doubled, number, receipt.app, what);
                    }
                    !again
                })
                .collect();
            fresh.iter().for_each(|receipt| self.check_acknowledged(receipt));
            self.check_order(&fresh);
        }
    }

    fn check_acknowledged(&mut self, receipt: &Receipt) {
        let Some(device) = self.world.device(receipt.phone) else { return };
        let (begun, life) = self.world.connection(receipt.connection);
        let is_row = self.is_row(receipt);
        let first = self.receipts.iter().find(|known| known.id == receipt.id).map_or(0, |known| known.at);
        let moved = receipt.app.is_some_and(|app| self.has_moved(app, first, receipt.at));
        if moved || self.was_over(receipt) || self.was_spread_again(receipt) {
            return;
        }
        let settled = self
            .taken
            .get(&(device.get(), receipt.id))
            .into_iter()
            .flatten()
            .find(|taken| taken.at < begun && (is_row || taken.life == life || taken.saved.is_some()));
        if let Some(taken) = settled {
            let what = format!(
                "{} on connection {}, and acknowledged {} µs before that began",
                receipt.id,
                receipt.connection,
                begun - taken.at
            );
            let number = self.message_of(receipt).map(|(number, _)| number);
            self.broke(Broken::Again, number, receipt.app, what);
        }
    }

    /// A crash came while it was being spread: an acknowledgement may come before the set that it is of is
    /// made again.
    fn was_spread_again(&self, receipt: &Receipt) -> bool {
        self.message_of(receipt).is_some_and(|(_, sent)| {
            let until = sent.spread.unwrap_or(Moment::MAX);
            sent.is_set() && self.world.ends.iter().any(|end| (sent.begun..=until).contains(end))
        })
    }

    /// Its time had come and gone, before somebody set the clock back: nobody keeps an acknowledgement of
    /// what is over.
    fn was_over(&self, receipt: &Receipt) -> bool {
        let (Some(app), Some((_, sent))) = (receipt.app, self.message_of(receipt)) else { return false };
        self.time_had_come(app, sent, receipt.id, receipt.at)
    }

    pub(super) fn time_had_come(&self, app: usize, sent: &Sent, id: MessageId, at: Moment) -> bool {
        let ttl = sent.terms(self.world.apps[app].kind).ttl;
        let expires = id.micros.saturating_add(ttl.as_micros() as u64);
        self.world.clock.latest_between(sent.begun, at) >= expires
    }

    /// Who was answered before another was asked comes first.
    fn check_order(&mut self, receipts: &[Receipt]) {
        let mut last: BTreeMap<(usize, bool), (Moment, usize, usize)> = BTreeMap::new();
        for receipt in receipts {
            let (Some(app), Brought::Message(number)) = (receipt.app, receipt.brought) else { continue };
            let world = self.world;
            let Some(sent) = world.sent.get(number) else { continue };
            let terms = sent.terms(world.apps[app].kind);
            if terms.ttl.is_zero() {
                continue;
            }
            let key = (app, terms.high);
            if let Some((begun, other, era)) = last.get(&key)
                && sent.id().is_some()
                && sent.answered < *begun
                && *era == sent.era
                && !self.has_moved(app, sent.begun, receipt.at)
                && !self.was_over(receipt)
                && !self.was_full(sent.begun, receipt.at)
            {
                let what = format!(
                    "message {number} for app {app} came after message {other} on connection {}",
                    receipt.connection
                );
                self.broke(Broken::OutOfOrder, Some(number), Some(app), what);
            }
            let entry = last.entry(key).or_insert((sent.begun, number, sent.era));
            if sent.begun >= entry.0 {
                *entry = (sent.begun, number, sent.era);
            }
        }
    }

    /// What is older and for many could not be made rows of.
    pub(super) fn was_full(&self, from: Moment, to: Moment) -> bool {
        self.world.full.iter().any(|(begun, ended)| *begun <= to && *ended >= from)
    }

    pub(super) fn has_moved(&self, app: usize, from: Moment, to: Moment) -> bool {
        self.moves(app, from, to) > 0
    }

    /// How often it may have moved.
    fn moves(&self, app: usize, from: Moment, to: Moment) -> usize {
        let between = |moved: &&Move| moved.begun <= to && moved.done.is_none_or(|done| done >= from);
        self.registrations_of(app).map(|(_, known)| known.moved.iter().filter(between).count()).sum()
    }

    /// Nobody is refused who lives, and nothing breaks inside.
    pub(super) fn check_answers(&mut self) {
        let unregistered = format!("{:?}", Rejection::Unregistered);
        let internal = format!("{:?}", Rejection::Internal);
        for (number, sent) in self.world.sent.iter().enumerate() {
            let wrong = match (&sent.answer, &sent.to) {
                (Answer::Refused(why), To::Registration(at)) if *why == unregistered => {
                    let registration = &self.world.registrations[*at];
                    registration.lived(sent.begun, sent.answered) == Known::Yes
                }
                (Answer::Unknown(why), _) => *why == internal,
                _ => false,
            };
            if wrong {
                let what = format!("message {number}: {:?}", sent.answer);
                self.broke(Broken::WronglyRefused, Some(number), None, what);
            }
        }
    }
}
