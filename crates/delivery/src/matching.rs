//! Whom of a bucket a condition names: algebra of sets, a bucket at a time.

use std::borrow::Cow;

use cresset_message::{Condition, SlotSet};

/// The slots for which the condition holds. `topic` gives the members of a topic; `everyone` is
/// asked for only when a condition also names those who are in none of its topics.
pub(crate) fn matching<'a>(
    condition: &Condition,
    topic: &impl Fn(&str) -> &'a SlotSet,
    everyone: impl FnOnce() -> &'a SlotSet,
) -> Cow<'a, SlotSet> {
    match value(condition, topic) {
        Value::These(set) => set,
        Value::AllBut(set) => Cow::Owned(everyone().and_not(&set)),
    }
}

/// Whether the answer can need to know who there is at all.
pub(crate) fn needs_everyone(condition: &Condition) -> bool {
    match condition {
        Condition::Topic(_) => false,
        Condition::Not(inner) => !needs_everyone(inner),
        Condition::And(left, right) => needs_everyone(left) && needs_everyone(right),
        Condition::Or(left, right) => needs_everyone(left) || needs_everyone(right),
    }
}

/// A set, or the complement of one, which is made only when nothing else is left.
enum Value<'a> {
    These(Cow<'a, SlotSet>),
    AllBut(Cow<'a, SlotSet>),
}

fn value<'a>(condition: &Condition, topic: &impl Fn(&str) -> &'a SlotSet) -> Value<'a> {
    use Value::{AllBut, These};
    match condition {
        Condition::Topic(name) => These(Cow::Borrowed(topic(name))),
        Condition::Not(inner) => match value(inner, topic) {
            These(set) => AllBut(set),
            AllBut(set) => These(set),
        },
        Condition::And(left, right) => match (value(left, topic), value(right, topic)) {
            (These(a), These(b)) => These(Cow::Owned(a.and(&b))),
            (These(these), AllBut(but)) | (AllBut(but), These(these)) => {
                These(Cow::Owned(these.and_not(&but)))
            }
            (AllBut(a), AllBut(b)) => AllBut(Cow::Owned(a.or(&b))),
        },
        Condition::Or(left, right) => match (value(left, topic), value(right, topic)) {
            (These(a), These(b)) => These(Cow::Owned(a.or(&b))),
            (These(these), AllBut(but)) | (AllBut(but), These(these)) => {
                AllBut(Cow::Owned(but.and_not(&these)))
            }
            (AllBut(a), AllBut(b)) => AllBut(Cow::Owned(a.and(&b))),
        },
    }
}

/// The topics that a condition names, each once.
pub(crate) fn topics(condition: &Condition) -> Vec<&str> {
    fn collect<'a>(condition: &'a Condition, names: &mut Vec<&'a str>) {
        match condition {
            Condition::Topic(name) if names.contains(&&**name) => {}
            Condition::Topic(name) => names.push(name),
            Condition::Not(inner) => collect(inner, names),
            Condition::And(left, right) | Condition::Or(left, right) => {
                collect(left, names);
                collect(right, names);
            }
        }
    }
    let mut names = Vec::new();
    collect(condition, &mut names);
    names
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOPICS: usize = 5;

    /// Any expression over five topics, deeper than a condition may be.
    fn expression() -> impl Strategy<Value = Condition> {
        let topic = (0..TOPICS).prop_map(|n| Condition::Topic(n.to_string().into()));
        topic.prop_recursive(5, 24, 2, |inner| {
            let pair = (inner.clone(), inner.clone());
            prop_oneof![
                inner.prop_map(|c| Condition::Not(Box::new(c))),
                pair.clone().prop_map(|(a, b)| Condition::And(Box::new(a), Box::new(b))),
                pair.prop_map(|(a, b)| Condition::Or(Box::new(a), Box::new(b))),
            ]
        })
    }

    /// Which topics each slot is a member of, as bits; only every other one exists.
    fn memberships() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(0..1u8 << TOPICS, 0..60),
            // Enough for sets to be bitmaps.
            (prop::collection::vec(0..1u8 << TOPICS, 1..40), 4_500..9_000usize)
                .prop_map(|(pattern, count)| pattern.iter().copied().cycle().take(count).collect()),
        ]
    }

    fn agrees(condition: &Condition, members: &[u8]) {
        let slots = || members.iter().enumerate().map(|(slot, topics)| (slot as u16, *topics));
        let sets: Vec<SlotSet> = (0..TOPICS)
            .map(|topic| {
                slots().filter(|(_, topics)| topics >> topic & 1 == 1).map(|(slot, _)| slot).collect()
            })
            .collect();
        let everyone: SlotSet = slots().map(|(slot, _)| slot).collect();
        let topic = |name: &str| &sets[name.parse::<usize>().unwrap()];
        let asked = std::cell::Cell::new(false);
        let found = matching(condition, &topic, || {
            asked.set(true);
            &everyone
        });
        let expected = slots()
            .filter(|(_, topics)| {
                condition.holds(&|name: &str| topics >> name.parse::<usize>().unwrap() & 1 == 1)
            })
            .map(|(slot, _)| slot);
        assert!(found.iter().eq(expected), "{condition:?}");
        assert!(!asked.get() || needs_everyone(condition), "{condition:?}");
    }

    proptest! {
        // Every member is asked for itself, so that this is some 10^5 pairs and far more.
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn sets_say_what_each_member_says(condition in expression(), members in memberships()) {
            agrees(&condition, &members);
        }
    }

    /// 10^5 expressions, each against sets of its own.
    #[test]
    fn a_hundred_thousand_expressions_agree_with_brute_force() {
        let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
        let mut next = move |below: u64| {
            // xorshift64*, so that every run is the same.
            seed ^= seed >> 12;
            seed ^= seed << 25;
            seed ^= seed >> 27;
            (seed.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % below
        };
        fn make(next: &mut impl FnMut(u64) -> u64, depth: u64) -> Condition {
            match next(8) {
                0..=1 if depth > 0 => Condition::Not(Box::new(make(next, depth - 1))),
                2..=4 if depth > 0 => {
                    Condition::And(Box::new(make(next, depth - 1)), Box::new(make(next, depth - 1)))
                }
                5..=7 if depth > 0 => {
                    Condition::Or(Box::new(make(next, depth - 1)), Box::new(make(next, depth - 1)))
                }
                _ => Condition::Topic(next(TOPICS as u64).to_string().into()),
            }
        }
        for _ in 0..100_000 {
            let condition = make(&mut next, 4);
            let members: Vec<u8> = (0..next(40)).map(|_| next(1 << TOPICS) as u8).collect();
            agrees(&condition, &members);
        }
    }
}
