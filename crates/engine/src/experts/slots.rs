//! Slots of a byte capacity: what is resident, what is on its way, and what may not leave.

use std::collections::BTreeMap;

use super::Expert;

/// What leaves first: the lowest.
pub(super) type Rank = (usize, u64);

/// The rank of what never has to leave for another.
pub(super) const LAST: Rank = (usize::MAX, u64::MAX);

/// What is known of an expert in a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resident {
    /// When it was used last, or came; larger is later.
    pub touched: u64,
    /// Whether it has been used since it came.
    pub used: bool,
}

#[derive(Debug)]
struct Entry<T> {
    /// None while it is on its way.
    held: Option<T>,
    bytes: usize,
    pins: usize,
    about: Resident,
}

/// Slots of a byte capacity.
#[derive(Debug)]
pub(super) struct Slots<T> {
    capacity: usize,
    used: usize,
    peak: usize,
    clock: u64,
    /// Experts in slots, by layer.
    counts: Vec<usize>,
    entries: BTreeMap<Expert, Entry<T>>,
}

impl<T: Clone> Slots<T> {
    /// Empty slots for experts of `layers` mixtures.
    pub fn new(capacity: usize, layers: usize) -> Self {
        Self { capacity, used: 0, peak: 0, clock: 0, counts: vec![0; layers], entries: BTreeMap::new() }
    }

    /// Bytes in use, of experts on their way too.
    pub fn bytes(&self) -> usize {
        self.used
    }

    /// The most bytes that have been in use.
    pub fn peak(&self) -> usize {
        self.peak
    }

    /// Whether `expert` has a slot, even if it is still on its way.
    pub fn has(&self, expert: Expert) -> bool {
        self.entries.contains_key(&expert)
    }

    /// Whether `expert` can be used.
    pub fn is_ready(&self, expert: Expert) -> bool {
        self.entries.get(&expert).is_some_and(|entry| entry.held.is_some())
    }

    /// Makes room for `expert` of `bytes` bytes and keeps it for it: of what is ready and not pinned, the lowest ranks leave, none of
    /// `below` or above. `rank` is told how many slots each layer has. The experts that left, or none if there is no room; then all stay.
    pub fn reserve(
        &mut self,
        expert: Expert,
        bytes: usize,
        below: Rank,
        rank: impl Fn(Expert, Resident, &[usize]) -> Rank,
    ) -> Option<usize> {
        if self.has(expert) || bytes > self.capacity {
            return None;
        }
        let mut missing = (self.used + bytes).saturating_sub(self.capacity);
        let mut leaving = Vec::new();
        let mut counts = self.counts.clone();
        while missing > 0 {
            let may_leave =
                |(at, entry): &(&Expert, &Entry<T>)| entry.pins == 0 && entry.held.is_some() && !leaving.contains(*at);
            let ranked = self.entries.iter().filter(may_leave).map(|(&at, entry)| (rank(at, entry.about, &counts), at));
            let (_, at) = ranked.min().filter(|(rank, _)| *rank < below)?;
            missing = missing.saturating_sub(self.entries[&at].bytes);
            counts[at.layer] -= 1;
            leaving.push(at);
        }
        leaving.iter().for_each(|&at| self.remove(at));
        self.clock += 1;
        let about = Resident { touched: self.clock, used: false };
        self.entries.insert(expert, Entry { held: None, bytes, pins: 0, about });
        self.counts[expert.layer] += 1;
        self.used += bytes;
        self.peak = self.peak.max(self.used);
        Some(leaving.len())
    }

    /// `expert`, which has a slot, has come; so many wait for it.
    pub fn fill(&mut self, expert: Expert, held: T, waiting: usize) {
        if let Some(entry) = self.entries.get_mut(&expert) {
            entry.held = Some(held);
            entry.pins += waiting;
            entry.about.used |= waiting > 0;
        }
    }

    /// What `expert` is, if it can be used.
    pub fn get(&self, expert: Expert) -> Option<T> {
        self.entries.get(&expert)?.held.clone()
    }

    /// Notes that `expert` is used now.
    pub fn touch(&mut self, expert: Expert) {
        self.clock += 1;
        if let Some(entry) = self.entries.get_mut(&expert) {
            entry.about = Resident { touched: self.clock, used: true };
        }
    }

    /// Keeps `expert` where it is until it is unpinned as often.
    pub fn pin(&mut self, expert: Expert) {
        if let Some(entry) = self.entries.get_mut(&expert) {
            entry.pins += 1;
        }
    }

    /// Lets `expert` go as far as this pin is concerned.
    pub fn unpin(&mut self, expert: Expert) {
        if let Some(entry) = self.entries.get_mut(&expert) {
            entry.pins = entry.pins.saturating_sub(1);
        }
    }

    /// Lets `expert` go at once, unless it is pinned.
    pub fn drop_unpinned(&mut self, expert: Expert) {
        if self.entries.get(&expert).is_some_and(|entry| entry.pins == 0 && entry.held.is_some()) {
            self.remove(expert);
        }
    }

    fn remove(&mut self, expert: Expert) {
        if let Some(entry) = self.entries.remove(&expert) {
            self.used -= entry.bytes;
            self.counts[expert.layer] -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn expert(index: usize) -> Expert {
        Expert { layer: 0, index }
    }

    fn oldest(_: Expert, about: Resident, _: &[usize]) -> Rank {
        (0, about.touched)
    }

    #[test]
    fn what_is_pinned_or_on_its_way_stays() {
        let mut slots = Slots::new(20, 1);
        assert_eq!(slots.reserve(expert(0), 10, LAST, oldest), Some(0));
        assert_eq!(slots.reserve(expert(1), 10, LAST, oldest), Some(0));
        assert_eq!(slots.reserve(expert(2), 10, LAST, oldest), None, "both are on their way");
        slots.fill(expert(0), "zero", 1);
        assert_eq!(slots.reserve(expert(2), 10, LAST, oldest), None, "one is pinned, one on its way");
        slots.fill(expert(1), "one", 0);
        assert_eq!(slots.reserve(expert(2), 20, LAST, oldest), None, "not enough without the pinned one");
        assert!(slots.is_ready(expert(1)), "nothing leaves in vain");
        slots.unpin(expert(0));
        slots.touch(expert(0));
        assert_eq!(slots.reserve(expert(2), 10, (0, 0), oldest), None, "none is of a lower rank");
        assert_eq!(slots.reserve(expert(2), 10, LAST, oldest), Some(1));
        assert!(slots.is_ready(expert(0)) && !slots.has(expert(1)) && !slots.is_ready(expert(2)));
        assert_eq!(slots.reserve(expert(3), 21, LAST, oldest), None, "larger than all slots");
        assert_eq!((slots.bytes(), slots.peak()), (20, 20));
    }

    proptest! {
        #[test]
        fn the_capacity_is_never_exceeded_and_no_pin_is_broken(
            steps in prop::collection::vec((0usize..8, 0usize..4), 1..120), capacity in 7usize..40,
        ) {
            let mut slots = Slots::new(capacity, 1);
            let mut pinned = std::collections::BTreeMap::<usize, usize>::new();
            for (index, what) in steps {
                let at = expert(index);
                match what {
                    0 => drop(slots.reserve(at, 3 + index, LAST, oldest)),
                    1 if slots.has(at) && !slots.is_ready(at) => slots.fill(at, (), 0),
                    2 if slots.is_ready(at) => {
                        slots.pin(at);
                        *pinned.entry(index).or_default() += 1;
                    }
                    3 if pinned.get(&index).is_some_and(|pins| *pins > 0) => {
                        slots.unpin(at);
                        *pinned.entry(index).or_default() -= 1;
                    }
                    _ => {}
                }
                prop_assert!(slots.bytes() <= capacity && slots.peak() <= capacity);
                prop_assert!(pinned.iter().all(|(&index, &pins)| pins == 0 || slots.is_ready(expert(index))));
            }
        }
    }
}
