//! The checker: it knows the accept log, the device log and the rules (`lib.rs` has them in words), and
//! says what broke which.

mod lost;
mod outside;
mod received;
mod story;

use std::collections::BTreeMap;
use std::fmt;

use cresset_message::MessageId;

use crate::journal::{Brought, Moment, Receipt, Taken};
use crate::model::{Known, Registration, Sent, To};
use crate::world::World;

pub(crate) use story::story;

/// Rules, by how they are broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Broken {
    /// Accepted, not received, and no rule says why.
    Lost,
    /// Twice on one connection.
    Doubled,
    /// Again after an acknowledgement that the server took for good.
    Again,
    OutOfOrder,
    /// One delivery with two ids, or one id for two deliveries.
    OtherId,
    /// After its time.
    Late,
    /// Now or never, and it came later.
    Kept,
    /// Received by whom it was not sent to, or although it was refused.
    Astray,
    /// A notice of messages that were not dropped.
    FalseNotice,
    /// Refused for a reason that was none.
    WronglyRefused,
    /// Accepted for many, and never spread.
    NotSpread,
    /// Asked for although its push service has said that it is gone.
    Disturbed,
}

impl Broken {
    pub const ALL: [Self; 12] = [
        Self::Lost,
        Self::Doubled,
        Self::Again,
        Self::OutOfOrder,
        Self::OtherId,
        Self::Late,
        Self::Kept,
        Self::Astray,
        Self::FalseNotice,
        Self::WronglyRefused,
        Self::NotSpread,
        Self::Disturbed,
    ];
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Again => "again after an acknowledgement",
            Self::OutOfOrder => "out of order",
            Self::OtherId => "with another id",
            Self::Late => "late",
            Self::Kept => "kept though now or never",
            Self::Astray => "astray",
            Self::FalseNotice => "false notices",
            Self::WronglyRefused => "wrongly refused",
            Self::NotSpread => "never spread",
            Self::Disturbed => "asked for though gone",
        })
    }
}

/// One thing that should not have been.
#[derive(Clone, Debug)]
pub struct Violation {
    pub broken: Broken,
    /// What it was, in a line.
    pub what: String,
    pub(crate) message: Option<usize>,
    pub(crate) app: Option<usize>,
}

/// Everything there is to know, ready to be asked.
struct Checker<'a> {
    world: &'a World,
    receipts: Vec<Receipt>,
    taken: BTreeMap<(u64, MessageId), Vec<Taken>>,
    violations: Vec<Violation>,
}

pub(crate) fn check(world: &World) -> Vec<Violation> {
    let mut taken: BTreeMap<_, Vec<Taken>> = BTreeMap::new();
    for one in world.journal.takens() {
        taken.entry((one.device.get(), one.id)).or_default().push(one);
    }
    let mut checker = Checker { world, receipts: world.journal.receipts(), taken, violations: Vec::new() };
    checker.check_what_was_received();
    checker.check_ids();
    checker.check_connections();
    checker.check_outside();
    checker.check_answers();
    checker.check_what_was_not_received();
    checker.violations
}

impl Checker<'_> {
    fn broke(&mut self, broken: Broken, message: Option<usize>, app: Option<usize>, what: String) {
        self.violations.push(Violation { broken, what, message, app });
    }

    fn registrations_of(&self, app: usize) -> impl Iterator<Item = (usize, &Registration)> {
        self.world.registrations.iter().enumerate().filter(move |(_, known)| known.app == app)
    }

    /// Whether a message was for a registration.
    fn is_for(&self, sent: &Sent, at: usize) -> Known {
        let registration = &self.world.registrations[at];
        let same_project = self.world.apps[registration.app].project == sent.project;
        let until = self.spread_until(sent);
        match &sent.to {
            _ if !same_project || !sent.may_be_there() => Known::No,
            To::Registration(to) => Known::from(*to == at).and(lived_then(registration, sent)),
            To::Group(members) => Known::from(members.contains(&at)).and(lived_then(registration, sent)),
            To::Topic(topic) => registration.was_in(*topic, sent.begun, until),
            To::Condition(condition) => {
                let is_in = |topic| registration.was_in(topic, sent.begun, until);
                condition.holds(&is_in).and(registration.lived(sent.begun, until))
            }
        }
    }

    /// Until when its members may have been looked at. A job whose time is over is not seen any more; if the
    /// clock is set back, it is.
    fn spread_until(&self, sent: &Sent) -> Moment {
        let ttl = sent.android.ttl.max(sent.web.ttl).as_micros() as u64;
        let is_over =
            |id: MessageId| self.world.clock.latest_since(sent.begun) >= id.micros.saturating_add(ttl);
        match sent.spread {
            Some(spread) if ttl == 0 || !sent.id().is_some_and(is_over) => spread,
            _ => Moment::MAX,
        }
    }

    fn message_of(&self, receipt: &Receipt) -> Option<(usize, &Sent)> {
        match receipt.brought {
            Brought::Message(number) => self.world.sent.get(number).map(|sent| (number, sent)),
            Brought::Deleted(_) => None,
        }
    }

    /// Whether its delivery is a row of its own rather than a place in a set.
    fn is_row(&self, receipt: &Receipt) -> bool {
        self.message_of(receipt).is_none_or(|(_, sent)| !sent.is_set())
    }
}

fn lived_then(registration: &Registration, sent: &Sent) -> Known {
    registration.lived(sent.begun, sent.answered)
}
