//! A set of registrations of one bucket: exactly one container of 65,536 slots. What is small is a
//! sorted list, what is large a bitmap, whichever takes fewer bytes.

/// Slots of a bucket.
pub const SLOTS: usize = 1 << 16;

const WORDS: usize = SLOTS / 64;

/// The longest list: as many bytes as a bitmap.
const MAX_LIST: usize = SLOTS / 16;

/// Below this many a bitmap becomes a list again: well below [`MAX_LIST`], so that one slot that
/// comes and goes does not rebuild the set each time.
const LIST_AGAIN: usize = MAX_LIST / 2;

/// A set of slots.
#[derive(Clone)]
pub struct SlotSet(Form);

#[derive(Clone)]
enum Form {
    /// Sorted, without duplicates.
    List(Vec<u16>),
    Bitmap {
        words: Box<[u64; WORDS]>,
        count: u32,
    },
}

impl Default for SlotSet {
    fn default() -> Self {
        Self(Form::List(Vec::new()))
    }
}

impl SlotSet {
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::List(list) => list.len(),
            Form::Bitmap { count, .. } => *count as usize,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn contains(&self, slot: u16) -> bool {
        match &self.0 {
            Form::List(list) => list.binary_search(&slot).is_ok(),
            Form::Bitmap { words, .. } => words[word_of(slot)] & bit_of(slot) != 0,
        }
    }

    /// Whether it was not there.
    pub fn insert(&mut self, slot: u16) -> bool {
        match &mut self.0 {
            Form::List(list) => {
                // Members mostly come in order.
                let at = match list.last() {
                    Some(last) if *last < slot => list.len(),
                    _ => match list.binary_search(&slot) {
                        Ok(_) => return false,
                        Err(at) => at,
                    },
                };
                if list.len() == MAX_LIST {
                    self.0 = bitmap(list);
                    return self.insert(slot);
                }
                list.insert(at, slot);
                true
            }
            Form::Bitmap { words, count } => {
                let word = &mut words[word_of(slot)];
                let new = *word & bit_of(slot) == 0;
                *word |= bit_of(slot);
                *count += u32::from(new);
                new
            }
        }
    }

    /// Whether it was there.
    pub fn remove(&mut self, slot: u16) -> bool {
        match &mut self.0 {
            Form::List(list) => match list.binary_search(&slot) {
                Ok(at) => {
                    list.remove(at);
                    true
                }
                Err(_) => false,
            },
            Form::Bitmap { words, count } => {
                let word = &mut words[word_of(slot)];
                let there = *word & bit_of(slot) != 0;
                *word &= !bit_of(slot);
                *count -= u32::from(there);
                if there && (*count as usize) < LIST_AGAIN {
                    self.0 = Form::List(self.iter().collect());
                }
                there
            }
        }
    }

    /// The slots in order.
    pub fn iter(&self) -> Slots<'_> {
        self.from(0)
    }

    /// The slots from `start` on, in order.
    pub fn from(&self, start: u16) -> Slots<'_> {
        match &self.0 {
            Form::List(list) => Slots(Walk::List(list[list.partition_point(|slot| *slot < start)..].iter())),
            Form::Bitmap { words, .. } => {
                let word = word_of(start);
                let current = words[word] & (u64::MAX << (start % 64));
                Slots(Walk::Bitmap { words, word, current })
            }
        }
    }

    pub fn and(&self, other: &Self) -> Self {
        match (&self.0, &other.0) {
            (Form::Bitmap { words: a, .. }, Form::Bitmap { words: b, .. }) => combined(a, b, |a, b| a & b),
            (Form::List(list), _) => Self(Form::List(kept(list, |slot| other.contains(slot)))),
            (_, Form::List(list)) => Self(Form::List(kept(list, |slot| self.contains(slot)))),
        }
    }

    /// What is in this one and not in `other`.
    pub fn and_not(&self, other: &Self) -> Self {
        match (&self.0, &other.0) {
            (Form::Bitmap { words: a, .. }, Form::Bitmap { words: b, .. }) => combined(a, b, |a, b| a & !b),
            (Form::List(list), _) => Self(Form::List(kept(list, |slot| !other.contains(slot)))),
            (Form::Bitmap { .. }, Form::List(list)) => {
                let mut rest = self.clone();
                list.iter().for_each(|slot| {
                    rest.remove(*slot);
                });
                rest
            }
        }
    }

    pub fn or(&self, other: &Self) -> Self {
        match (&self.0, &other.0) {
            (Form::Bitmap { words: a, .. }, Form::Bitmap { words: b, .. }) => combined(a, b, |a, b| a | b),
            (Form::List(a), Form::List(b)) => merged(a, b),
            (Form::List(list), _) => other.with(list),
            (_, Form::List(list)) => self.with(list),
        }
    }

    fn with(&self, list: &[u16]) -> Self {
        let mut all = self.clone();
        list.iter().for_each(|slot| {
            all.insert(*slot);
        });
        all
    }

    /// Bytes it occupies, about.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + match &self.0 {
                Form::List(list) => list.capacity() * 2,
                Form::Bitmap { .. } => SLOTS / 8,
            }
    }

    /// Gives back what it has reserved and does not need.
    pub fn shrink(&mut self) {
        if let Form::List(list) = &mut self.0 {
            list.shrink_to_fit();
        }
    }

    /// As it is stored: a byte that tells the form, then the slots in little-endian order.
    pub fn to_bytes(&self) -> Vec<u8> {
        match &self.0 {
            Form::List(list) => {
                let mut bytes = Vec::with_capacity(1 + list.len() * 2);
                bytes.push(LIST);
                list.iter().for_each(|slot| bytes.extend_from_slice(&slot.to_le_bytes()));
                bytes
            }
            Form::Bitmap { words, .. } => {
                let mut bytes = Vec::with_capacity(1 + SLOTS / 8);
                bytes.push(BITMAP);
                words.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
                bytes
            }
        }
    }

    /// `None`: those bytes are no set.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (form, body) = bytes.split_first()?;
        match *form {
            LIST if body.len().is_multiple_of(2) && body.len() <= MAX_LIST * 2 => {
                let list: Vec<u16> = body.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
                list.is_sorted_by(|a, b| a < b).then_some(Self(Form::List(list)))
            }
            BITMAP if body.len() == SLOTS / 8 => {
                let mut words = Box::new([0; WORDS]);
                for (word, bytes) in words.iter_mut().zip(body.chunks_exact(8)) {
                    *word = u64::from_le_bytes(bytes.try_into().ok()?);
                }
                Some(Self(counted(words)))
            }
            _ => None,
        }
    }
}

const LIST: u8 = 1;
const BITMAP: u8 = 2;

impl FromIterator<u16> for SlotSet {
    fn from_iter<I: IntoIterator<Item = u16>>(slots: I) -> Self {
        let mut set = Self::default();
        slots.into_iter().for_each(|slot| {
            set.insert(slot);
        });
        set
    }
}

/// The same slots, whatever the form.
impl PartialEq for SlotSet {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for SlotSet {}

impl std::fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Walks a set in order.
pub struct Slots<'a>(Walk<'a>);

enum Walk<'a> {
    List(std::slice::Iter<'a, u16>),
    Bitmap { words: &'a [u64; WORDS], word: usize, current: u64 },
}

impl Iterator for Slots<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        match &mut self.0 {
            Walk::List(list) => list.next().copied(),
            Walk::Bitmap { words, word, current } => {
                while *current == 0 {
                    *word += 1;
                    *current = *words.get(*word)?;
                }
                let bit = current.trailing_zeros() as usize;
                *current &= *current - 1;
                Some((*word * 64 + bit) as u16)
            }
        }
    }
}

fn word_of(slot: u16) -> usize {
    usize::from(slot) / 64
}

fn bit_of(slot: u16) -> u64 {
    1 << (slot % 64)
}

fn kept(list: &[u16], keep: impl Fn(u16) -> bool) -> Vec<u16> {
    list.iter().copied().filter(|slot| keep(*slot)).collect()
}

fn bitmap(list: &[u16]) -> Form {
    let mut words = Box::new([0; WORDS]);
    list.iter().for_each(|slot| words[word_of(*slot)] |= bit_of(*slot));
    counted(words)
}

fn counted(words: Box<[u64; WORDS]>) -> Form {
    let count = words.iter().map(|word| word.count_ones()).sum();
    Form::Bitmap { words, count }
}

fn combined(a: &[u64; WORDS], b: &[u64; WORDS], join: impl Fn(u64, u64) -> u64) -> SlotSet {
    let mut words = Box::new([0; WORDS]);
    for ((word, a), b) in words.iter_mut().zip(a).zip(b) {
        *word = join(*a, *b);
    }
    let set = SlotSet(counted(words));
    if set.len() < LIST_AGAIN { SlotSet(Form::List(set.iter().collect())) } else { set }
}

fn merged(a: &[u16], b: &[u16]) -> SlotSet {
    let mut list = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.iter().copied().peekable(), b.iter().copied().peekable());
    loop {
        match (a.peek(), b.peek()) {
            (Some(left), Some(right)) if left == right => {
                list.extend(a.next());
                b.next();
            }
            (Some(left), Some(right)) if left < right => list.extend(a.next()),
            (_, Some(_)) => list.extend(b.next()),
            (Some(_), None) => list.extend(a.next()),
            (None, None) => break,
        }
    }
    if list.len() > MAX_LIST { SlotSet(bitmap(&list)) } else { SlotSet(Form::List(list)) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Small and large ones, and those around the change of form.
    fn slots() -> impl Strategy<Value = BTreeSet<u16>> {
        let some = prop::collection::btree_set(any::<u16>(), 0..200);
        let many = (any::<u16>(), 1..40u16, 1_900..5_000u32).prop_map(|(start, step, count)| {
            (0..count).map(|i| start.wrapping_add((i as u16).wrapping_mul(step))).collect()
        });
        prop_oneof![some, many]
    }

    fn set(slots: &BTreeSet<u16>) -> SlotSet {
        slots.iter().copied().collect()
    }

    proptest! {
        #[test]
        fn it_is_a_set(a in slots(), b in slots(), probe: u16) {
            let (x, y) = (set(&a), set(&b));
            prop_assert_eq!(x.len(), a.len());
            prop_assert_eq!(x.contains(probe), a.contains(&probe));
            prop_assert!(x.iter().eq(a.iter().copied()));
            prop_assert!(x.from(probe).eq(a.range(probe..).copied()));
            prop_assert!(x.and(&y).iter().eq(a.intersection(&b).copied()));
            prop_assert!(x.or(&y).iter().eq(a.union(&b).copied()));
            prop_assert!(x.and_not(&y).iter().eq(a.difference(&b).copied()));
            prop_assert_eq!(SlotSet::from_bytes(&x.to_bytes()), Some(x));
        }

        #[test]
        fn it_changes_as_a_set_does(start in slots(), changes in prop::collection::vec((any::<bool>(), any::<u16>()), 0..50), gone in slots()) {
            let (mut model, mut subject) = (start.clone(), set(&start));
            for (add, slot) in changes {
                match add {
                    true => prop_assert_eq!(subject.insert(slot), model.insert(slot)),
                    false => prop_assert_eq!(subject.remove(slot), model.remove(&slot)),
                }
            }
            for slot in gone {
                prop_assert_eq!(subject.remove(slot), model.remove(&slot));
            }
            prop_assert_eq!(&subject, &set(&model));
            prop_assert_eq!(subject.len(), model.len());
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = SlotSet::from_bytes(&bytes);
        }
    }

    #[test]
    fn what_is_stored_is_no_larger_than_a_bitmap() {
        let all: SlotSet = (0..=u16::MAX).collect();
        assert_eq!((all.len(), all.to_bytes().len()), (SLOTS, 1 + SLOTS / 8));
        assert_eq!(all.iter().last(), Some(u16::MAX));
        assert_eq!(SlotSet::default().to_bytes().len(), 1);
    }
}
