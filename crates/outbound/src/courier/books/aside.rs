//! Whom a lane has no place for: a bit each, in sets by bucket, which have their turn in a circle.

use std::collections::BTreeMap;

use cresset_message::{ProjectNumber, RegistrationId, SlotSet};

use super::Lane;

/// Sets, of at most 8 KiB each (`message/src/slots.rs`). Who finds no place here either is found by a round.
const MAX_SETS: usize = 1_024;

type Place = (u64, u32);

#[derive(Default)]
pub(super) struct Aside {
    lanes: BTreeMap<Lane, Circle>,
    sets: usize,
}

#[derive(Default)]
struct Circle {
    sets: BTreeMap<Place, SlotSet>,
    /// Who has the next turn, or whoever follows.
    next: (Place, u16),
}

impl Aside {
    pub(super) fn is_empty(&self, lane: &Lane) -> bool {
        !self.lanes.contains_key(lane)
    }

    /// Whether there was room.
    pub(super) fn put(&mut self, lane: &Lane, id: RegistrationId) -> bool {
        let place = (id.project.0, id.bucket);
        let known = self.lanes.get(lane).is_some_and(|circle| circle.sets.contains_key(&place));
        if !known && self.sets >= MAX_SETS {
            return false;
        }
        self.sets += usize::from(!known);
        let circle = self.lanes.entry(lane.clone()).or_default();
        circle.sets.entry(place).or_default().insert(id.slot);
        true
    }

    /// The lanes that have somebody here.
    pub(super) fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.keys()
    }

    /// Whoever has the next turn in a lane.
    pub(super) fn take(&mut self, lane: &Lane) -> Option<RegistrationId> {
        let circle = self.lanes.get_mut(lane)?;
        let (place, slot) = circle.following()?;
        circle.next =
            slot.checked_add(1).map_or(((place.0, place.1.saturating_add(1)), 0), |next| (place, next));
        if let Some(set) = circle.sets.get_mut(&place) {
            set.remove(slot);
            if set.is_empty() {
                circle.sets.remove(&place);
                self.sets -= 1;
            }
        }
        if circle.sets.is_empty() {
            self.lanes.remove(lane);
        }
        Some(RegistrationId { project: ProjectNumber(place.0), bucket: place.1, slot })
    }

    pub(super) fn len(&self) -> usize {
        self.lanes.values().flat_map(|circle| circle.sets.values()).map(SlotSet::len).sum()
    }
}

impl Circle {
    fn following(&self) -> Option<(Place, u16)> {
        let (place, slot) = self.next;
        let here = self.sets.get(&place).and_then(|set| set.from(slot).next()).map(|slot| (place, slot));
        let first = |(place, set): (&Place, &SlotSet)| set.iter().next().map(|slot| (*place, slot));
        let after = |(other, _): &(&Place, &SlotSet)| **other > place;
        here.or_else(|| self.sets.range(place..).filter(after).find_map(first))
            .or_else(|| self.sets.iter().find_map(first))
    }
}
