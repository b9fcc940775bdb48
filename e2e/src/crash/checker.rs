//! Lost, doubled, misdirected, altered, out of order? Decided from the journal alone.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::AddAssign;

use crate::journal::{Arrival, Sent, Written};

/// What a round showed. The first five are no faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    pub(crate) acknowledged: u64,
    /// The answer was cut off by the kill: the message may arrive, or not.
    pub(crate) unanswered: u64,
    /// Those of them that arrived.
    pub(crate) unanswered_arrived: u64,
    pub(crate) refused: u64,
    /// Came again, under the same persistent id.
    pub(crate) again: u64,
    /// Acknowledged, and arrived nowhere.
    pub(crate) lost: u64,
    /// At another device than the one it was sent to.
    pub(crate) misdirected: u64,
    /// Nobody sent it, or not so.
    pub(crate) altered: u64,
    /// Came a second time under another persistent id, by which no client can tell that it has it.
    pub(crate) doubled: u64,
    /// Under another persistent id than the answer said, or under another message's.
    pub(crate) renamed: u64,
    /// After one that was sent when this one had been acknowledged already.
    pub(crate) disordered: u64,
    /// Acknowledged registrations that were denied later.
    pub(crate) forgotten: u64,
}

impl Findings {
    pub(crate) fn faults(&self) -> u64 {
        self.lost
            + self.doubled
            + self.misdirected
            + self.altered
            + self.renamed
            + self.disordered
            + self.forgotten
    }
}

pub(crate) fn check(written: &Written) -> Findings {
    let mut findings =
        Findings { forgotten: written.forgotten, refused: written.refused, ..Findings::default() };
    let mut names = Names::default();
    let mut arrived = HashSet::new();
    for (device, arrivals) in written.arrivals.iter().enumerate() {
        for arrival in arrivals {
            check_arrival(written, device, arrival, &mut names, &mut findings);
            if let Some(number) = arrival.number
                && !arrived.insert(number)
            {
                findings.again += 1;
            }
        }
        findings.disordered += disordered(written, arrivals);
    }
    for (number, sent) in written.sent.iter().enumerate().skip(written.first) {
        let came = arrived.contains(&number);
        match &sent.accepted {
            Some(_) => {
                findings.acknowledged += 1;
                findings.lost += u64::from(!came);
            }
            None => {
                findings.unanswered += 1;
                findings.unanswered_arrived += u64::from(came);
            }
        }
    }
    findings.unanswered = findings.unanswered.saturating_sub(findings.refused);
    findings
}

/// Which message goes by which persistent id, and the other way round.
#[derive(Default)]
struct Names<'a> {
    messages: HashMap<&'a str, usize>,
    ids: HashMap<usize, &'a str>,
}

fn check_arrival<'a>(
    written: &'a Written,
    device: usize,
    arrival: &'a Arrival,
    names: &mut Names<'a>,
    findings: &mut Findings,
) {
    let known = arrival.number.and_then(|number| Some((number, written.sent.get(number)?)));
    let Some((number, sent)) = known.filter(|_| arrival.intact) else {
        findings.altered += 1;
        return;
    };
    if sent.device != device {
        findings.misdirected += 1;
    }
    let id = arrival.persistent_id.as_str();
    let as_answered = sent.accepted.as_ref().is_none_or(|(_, answered)| answered == id);
    let its_own = *names.messages.entry(id).or_insert(number) == number;
    if *names.ids.entry(number).or_insert(id) != id {
        findings.doubled += 1;
    } else if id.is_empty() || !as_answered || !its_own {
        findings.renamed += 1;
    }
}

/// First arrivals of the round, from the last to the first: none of those that came later may have
/// been acknowledged before this one was sent.
fn disordered(written: &Written, arrivals: &[Arrival]) -> u64 {
    let mut seen = HashSet::new();
    let firsts: Vec<&Sent> = arrivals
        .iter()
        .filter_map(|arrival| arrival.number)
        .filter(|number| *number >= written.first && seen.insert(*number))
        .filter_map(|number| written.sent.get(number))
        .collect();
    let mut earliest = u64::MAX;
    let mut count = 0;
    for sent in firsts.iter().rev() {
        count += u64::from(earliest < sent.begun);
        if let Some((at, _)) = sent.accepted {
            earliest = earliest.min(at);
        }
    }
    count
}

impl AddAssign for Findings {
    fn add_assign(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.unanswered += other.unanswered;
        self.unanswered_arrived += other.unanswered_arrived;
        self.refused += other.refused;
        self.again += other.again;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.misdirected += other.misdirected;
        self.altered += other.altered;
        self.renamed += other.renamed;
        self.disordered += other.disordered;
        self.forgotten += other.forgotten;
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} acknowledged, {} unanswered ({} arrived), {} refused, {} came again; {} lost, {} doubled, {} misdirected, {} altered, {} renamed, {} out of order, {} registrations forgotten",
            self.acknowledged,
            self.unanswered,
            self.unanswered_arrived,
            self.refused,
            self.again,
            self.lost,
            self.doubled,
            self.misdirected,
            self.altered,
            self.renamed,
            self.disordered,
            self.forgotten
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three messages to device 0, one after another, and one to device 1 without an answer.
    fn sent() -> Vec<Sent> {
        let accepted =
            |n: u64| Sent { device: 0, begun: 2 * n, accepted: Some((2 * n + 1, format!("id{n}"))) };
        vec![accepted(0), accepted(1), accepted(2), Sent { device: 1, begun: 6, accepted: None }]
    }

    fn arrival(number: usize) -> Arrival {
        Arrival { number: Some(number), persistent_id: format!("id{number}"), intact: true }
    }

    fn found(arrivals: Vec<Vec<Arrival>>) -> Findings {
        check(&Written { sent: sent(), first: 0, arrivals, forgotten: 0, refused: 0 })
    }

    fn all() -> Vec<Arrival> {
        (0..3).map(arrival).collect()
    }

    #[test]
    fn what_should_happen_is_no_fault() {
        let fine = found(vec![all(), Vec::new()]);
        assert_eq!((fine.acknowledged, fine.unanswered, fine.faults()), (3, 1, 0));
        let more = found(vec![[all(), vec![arrival(1)]].concat(), vec![arrival(3)]]);
        assert_eq!((more.again, more.unanswered_arrived, more.faults()), (1, 1, 0));
    }

    #[test]
    fn a_loss_is_seen() {
        for missing in 0..3 {
            let mut arrivals = all();
            arrivals.remove(missing);
            let found = found(vec![arrivals]);
            assert_eq!((found.lost, found.faults()), (1, 1));
        }
        assert_eq!(found(Vec::new()).lost, 3);
    }

    #[test]
    fn a_message_at_another_device_is_seen() {
        assert_eq!(found(vec![all(), vec![arrival(1)]]).misdirected, 1);
        assert_eq!(found(vec![all(), vec![arrival(3), arrival(3)]]).misdirected, 0);
    }

    #[test]
    fn another_order_is_seen_but_only_the_first_time_counts() {
        let orders = [([0, 2, 1], 1), ([2, 0, 1], 1), ([2, 1, 0], 2)];
        for (order, faults) in orders {
            let found = found(vec![order.into_iter().map(arrival).collect()]);
            assert_eq!((found.disordered, found.faults()), (faults, faults), "{order:?}");
        }
        assert_eq!(found(vec![[all(), all()].concat()]).faults(), 0);
    }

    #[test]
    fn messages_sent_at_the_same_time_have_no_order() {
        let mut sent = sent();
        sent[1].begun = sent[0].begun;
        let arrivals = vec![[1, 0, 2].map(arrival).to_vec()];
        assert_eq!(check(&Written { sent, first: 0, arrivals, forgotten: 0, refused: 0 }).faults(), 0);
    }

    #[test]
    fn another_id_is_seen() {
        let renamed = |number, id: &str| Arrival { persistent_id: id.into(), ..arrival(number) };
        assert_eq!(found(vec![[vec![renamed(0, "other")], all()[1..].to_vec()].concat()]).renamed, 1);
        assert_eq!(found(vec![all(), vec![renamed(3, "id1")]]).renamed, 1, "a client drops it");
        assert_eq!(found(vec![all(), vec![renamed(3, "")]]).renamed, 1);
    }

    #[test]
    fn a_second_id_is_seen_even_where_there_was_no_answer() {
        let renamed = |number, id: &str| Arrival { persistent_id: id.into(), ..arrival(number) };
        for number in [1, 3] {
            let device = usize::from(number == 3);
            let mut arrivals = vec![all(), Vec::new()];
            arrivals[device].extend([arrival(number), renamed(number, "second")]);
            let found = found(arrivals);
            assert_eq!((found.doubled, found.faults()), (1, 1), "{number}");
        }
    }

    #[test]
    fn what_nobody_sent_is_seen() {
        let strange = Arrival { number: None, ..arrival(0) };
        let torn = Arrival { intact: false, ..arrival(1) };
        assert_eq!(found(vec![[all(), vec![strange, torn, arrival(99)]].concat()]).altered, 3);
    }
}
