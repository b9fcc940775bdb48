//! Lost, misdirected, out of order, twice without a reason? Decided from what was written down alone.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::AddAssign;

use super::journal::{Arrival, To, Written};

/// What a round showed. The first four are no faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    pub(crate) acknowledged: u64,
    /// Of them to topics.
    pub(crate) to_topics: u64,
    pub(crate) refused: u64,
    /// Came again, and had a reason to.
    pub(crate) again: u64,
    /// Acknowledged, and did not arrive; of a topic, each member counts.
    pub(crate) lost: u64,
    /// At a registration that it was not for, or where nobody is.
    pub(crate) misdirected: u64,
    /// Nobody sent it, or not so.
    pub(crate) altered: u64,
    /// Came again under another id, by which nobody can tell that it is the same.
    pub(crate) renamed: u64,
    /// Came again although it was told to be taken: neither a fault nor a kill was in the way.
    pub(crate) needless: u64,
    /// After one that was sent when this one had been acknowledged already.
    pub(crate) disordered: u64,
}

impl Findings {
    pub(crate) fn faults(&self) -> u64 {
        self.lost + self.misdirected + self.altered + self.renamed + self.needless + self.disordered
    }
}

/// Connections to the Web Push service and to APNs on which an answer may not have got through.
pub(super) type Troubled = (HashSet<u64>, HashSet<u64>);

/// What is known of earlier rounds: those messages may come again too.
#[derive(Default)]
pub(super) struct Checker {
    /// By registration.
    seen: HashMap<usize, Seen>,
    /// Ids that APNs knows deliveries by, and which they are.
    names: HashMap<String, (usize, usize)>,
}

#[derive(Default)]
struct Seen {
    last: HashMap<usize, Last>,
    /// The message that came last, and in which life.
    newest: Option<(usize, usize)>,
    /// When the newest of those that came was sent.
    begun: u64,
}

/// The last time that a message came.
#[derive(Clone, Debug)]
struct Last {
    id: String,
    name: String,
    life: usize,
    connection: u64,
    /// Another came after it in the same life: the server knew by then that it was taken.
    settled: bool,
}

impl Checker {
    pub(super) fn check(&mut self, written: &Written, troubled: &Troubled) -> Findings {
        let mut findings = Findings { refused: written.refused, ..Findings::default() };
        for arrival in &written.arrivals {
            self.arrival(written, arrival, troubled, &mut findings);
        }
        for (number, sent) in written.sent.iter().enumerate().skip(written.first) {
            if sent.accepted.is_none() {
                continue;
            }
            findings.acknowledged += 1;
            findings.to_topics += u64::from(matches!(sent.to, To::Topic(_)));
            let wanted = (0..written.registrations).filter(|registration| sent.to.is_for(*registration));
            let came = |registration: &usize| {
                self.seen.get(registration).is_some_and(|seen| seen.last.contains_key(&number))
            };
            findings.lost += wanted.filter(|registration| !came(registration)).count() as u64;
        }
        findings
    }

    fn arrival(
        &mut self,
        written: &Written,
        arrival: &Arrival,
        troubled: &Troubled,
        findings: &mut Findings,
    ) {
        let known = arrival.number.and_then(|number| Some((number, written.sent.get(number)?)));
        let Some((number, sent)) = known.filter(|_| arrival.intact) else {
            findings.altered += 1;
            return;
        };
        let Some(registration) = arrival.registration.filter(|registration| sent.to.is_for(*registration))
        else {
            findings.misdirected += 1;
            return;
        };
        let named = (registration, number);
        let its_own = !arrival.apple || *self.names.entry(arrival.name.clone()).or_insert(named) == named;
        let as_answered = sent.accepted.as_ref().is_none_or(|(_, id)| match sent.to {
            To::One(_) => *id == arrival.id,
            // The answer has what all of its deliveries have in common.
            To::Topic(_) => arrival.id.strip_prefix("0:").and_then(|rest| rest.strip_prefix(&**id)).is_some(),
        });
        let seen = self.seen.entry(registration).or_default();
        match seen.last.get(&number) {
            Some(last) => {
                let same = last.id == arrival.id && last.name == arrival.name;
                findings.renamed += u64::from(!same || !its_own || !as_answered);
                let has_reason = last.has_reason(arrival, sent.to, troubled);
                findings.again += u64::from(has_reason);
                findings.needless += u64::from(!has_reason);
            }
            None => {
                findings.renamed += u64::from(!its_own || !as_answered);
                let acknowledged = sent.accepted.as_ref().map(|(at, _)| *at);
                findings.disordered += u64::from(acknowledged.is_some_and(|at| at < seen.begun));
                seen.begun = seen.begun.max(sent.begun);
            }
        }
        seen.note(number, arrival);
    }
}

impl Seen {
    fn note(&mut self, number: usize, arrival: &Arrival) {
        if let Some((newest, life)) = self.newest.replace((number, arrival.life))
            && newest != number
            && life == arrival.life
            && let Some(last) = self.last.get_mut(&newest)
        {
            last.settled = true;
        }
        let Arrival { id, name, life, connection, .. } = arrival.clone();
        self.last.insert(number, Last { id, name, life, connection, settled: false });
    }
}

impl Last {
    /// One after the other goes to a registration, and the next only when what became of the one before
    /// is stored. Of those for many that is kept in memory for a while (`delivery/src/age.rs`): they may all
    /// come again after a kill.
    fn has_reason(&self, again: &Arrival, to: To, troubled: &Troubled) -> bool {
        let killed = again.life > self.life;
        let troubled = if again.apple { &troubled.1 } else { &troubled.0 };
        let in_flight = !self.settled && (killed || troubled.contains(&self.connection));
        in_flight || killed && matches!(to, To::Topic(_))
    }
}

impl AddAssign for Findings {
    fn add_assign(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.to_topics += other.to_topics;
        self.refused += other.refused;
        self.again += other.again;
        self.lost += other.lost;
        self.misdirected += other.misdirected;
        self.altered += other.altered;
        self.renamed += other.renamed;
        self.needless += other.needless;
        self.disordered += other.disordered;
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, to_topics, refused, again, lost, .. } = self;
        let Self { misdirected, altered, renamed, needless, disordered, .. } = self;
        write!(
            f,
            "{acknowledged} acknowledged ({to_topics} to topics), {refused} refused, {again} came again; {lost} lost, {misdirected} misdirected, {altered} altered, {renamed} renamed, {needless} again without a reason, {disordered} out of order"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::journal::Sent;

    fn sent(to: To, begun: u64, accepted: u64) -> Sent {
        Sent { to, begun, accepted: Some((accepted, format!("id-{begun}"))) }
    }

    /// Registration, number, connection, life.
    fn came(registration: usize, number: usize, connection: u64, life: usize) -> Arrival {
        Arrival {
            registration: Some(registration),
            number: Some(number),
            intact: true,
            id: format!("{}id-{}", if number == 2 { "0:" } else { "" }, 10 * number),
            name: format!("{registration}-{number}"),
            apple: true,
            connection,
            life,
        }
    }

    /// Two to the first registration, and one to a topic that it is in.
    fn found(arrivals: Vec<Arrival>) -> Findings {
        let sent = vec![sent(To::One(0), 0, 5), sent(To::One(0), 10, 15), sent(To::Topic(1), 20, 25)];
        let written = Written { sent, first: 0, arrivals, registrations: 1, refused: 0 };
        Checker::default().check(&written, &(HashSet::new(), HashSet::from([7])))
    }

    fn well() -> Vec<Arrival> {
        vec![came(0, 0, 1, 0), came(0, 1, 1, 0), came(0, 2, 1, 0)]
    }

    #[test]
    fn each_fault_is_seen_as_what_it_is() {
        let all = Findings { acknowledged: 3, to_topics: 1, ..Findings::default() };
        assert_eq!(found(well()), all);
        assert_eq!(found(well()[..1].to_vec()), Findings { lost: 2, ..all });
        let with = |more: Arrival| found([well(), vec![more]].concat());
        assert_eq!(with(came(0, 9, 1, 0)), Findings { altered: 1, ..all });
        assert_eq!(with(Arrival { intact: false, ..came(0, 2, 1, 0) }), Findings { altered: 1, ..all });
        assert_eq!(with(came(1, 0, 1, 0)), Findings { misdirected: 1, ..all });
        assert_eq!(
            with(Arrival { registration: None, ..came(0, 0, 1, 0) }),
            Findings { misdirected: 1, ..all }
        );
        // Again: after a kill what was in flight, and whatever was for many; in the same life, nothing.
        assert_eq!(with(came(0, 2, 2, 1)), Findings { again: 1, ..all });
        assert_eq!(with(came(0, 2, 2, 0)), Findings { needless: 1, ..all });
        assert_eq!(with(came(0, 1, 2, 1)), Findings { needless: 1, ..all });
        let other = Arrival { name: "other".into(), ..came(0, 2, 2, 1) };
        assert_eq!(with(other), Findings { again: 1, renamed: 1, ..all });
        // A connection that a fault has hit.
        let troubled = vec![came(0, 0, 1, 0), came(0, 1, 7, 0), came(0, 1, 8, 0), came(0, 2, 8, 0)];
        assert_eq!(found(troubled), Findings { again: 1, ..all });
        let swapped = vec![came(0, 1, 1, 0), came(0, 0, 1, 0), came(0, 2, 1, 0)];
        assert_eq!(found(swapped), Findings { disordered: 1, ..all });
        let renamed = Arrival { id: "id-1".into(), ..came(0, 0, 1, 0) };
        assert_eq!(found(vec![renamed, came(0, 1, 1, 0), came(0, 2, 1, 0)]), Findings { renamed: 1, ..all });
    }
}
