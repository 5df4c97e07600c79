//! Which slots a query row sees: a range, and the first slots when a window keeps them.

use std::ops::Range;

use super::{AttnSpec, BLOCK};

/// The visible slots `[0, first) ∪ [begin, end)` of one query row, with `first <= begin <= end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Visible {
    pub first: usize,
    pub begin: usize,
    pub end: usize,
}

impl Visible {
    /// What the query at slot index `index` sees of `slots` slots.
    ///
    /// A negative index lies before the first slot. `positions` are the slots' text positions, ascending.
    pub fn new(spec: &AttnSpec, slots: usize, index: isize, positions: Option<&[i32]>) -> Self {
        let bounded = spec.causal || spec.window.is_some();
        let end = if bounded { usize::try_from(index + 1).unwrap_or(0).min(slots) } else { slots };
        let begin = spec.window.map_or(0, |window| match positions {
            None => usize::try_from(index + 1).unwrap_or(0).saturating_sub(window),
            Some(positions) => {
                let last = i64::from(position(positions, index));
                let window = i64::try_from(window).unwrap_or(i64::MAX);
                positions.partition_point(|&position| last - i64::from(position) >= window)
            }
        });
        let begin = begin.min(end);
        let first = spec.sinks_keep.min(end);
        if first >= begin { Self { first: 0, begin: 0, end } } else { Self { first, begin, end } }
    }

    /// The smallest range of columns of `block` that holds every visible one; empty when there is none.
    #[inline(always)]
    pub fn columns(&self, block: usize) -> Range<usize> {
        let start = block * BLOCK;
        let end = self.end.saturating_sub(start).min(BLOCK);
        let begin = self.begin.saturating_sub(start).min(BLOCK);
        let first = self.first.saturating_sub(start).min(BLOCK);
        match (first > 0, begin < end) {
            (true, true) => 0..end,
            (true, false) => 0..first,
            (false, true) => begin..end,
            (false, false) => 0..0,
        }
    }

    /// Whether every column of `block` is visible.
    #[inline(always)]
    pub fn covers(&self, block: usize) -> bool {
        let start = block * BLOCK;
        self.first >= start + BLOCK || (self.begin <= start && self.end >= start + BLOCK)
    }

    /// How many slots are visible.
    pub fn count(self) -> usize {
        self.first + self.end - self.begin
    }

    /// How many slots of `block` are visible.
    pub fn count_in(self, block: usize) -> usize {
        let column = |slot: usize| slot.saturating_sub(block * BLOCK).min(BLOCK);
        column(self.first) + column(self.end) - column(self.begin)
    }

    /// The hull of both.
    pub fn union(self, other: Self) -> Self {
        Self { first: self.first.max(other.first), begin: self.begin.min(other.begin), end: self.end.max(other.end) }
    }

    /// Whether `block` holds a visible slot.
    #[inline(always)]
    pub fn touches(&self, block: usize) -> bool {
        !self.columns(block).is_empty()
    }
}

/// The text position of the query at slot `index`.
pub(super) fn position(positions: &[i32], index: isize) -> i32 {
    let index = usize::try_from(index).unwrap_or(0).min(positions.len().saturating_sub(1));
    positions.get(index).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(causal: bool, window: Option<usize>, sinks_keep: usize) -> AttnSpec {
        AttnSpec { causal, window, sinks_keep, ..AttnSpec::full(16) }
    }

    /// The definition, slot by slot.
    fn sees(spec: &AttnSpec, index: isize, slot: usize, positions: Option<&[i32]>) -> bool {
        let at = |index: isize| positions.map_or(index as i64, |positions| i64::from(position(positions, index)));
        let distance = at(index) - at(slot as isize);
        let ordered = slot as isize <= index;
        match spec.window {
            None => !spec.causal || ordered,
            Some(window) => ordered && (distance < window as i64 || slot < spec.sinks_keep),
        }
    }

    #[test]
    fn equals_the_definition() {
        let gaps: Vec<i32> = (0..150).map(|slot| slot * 2 + slot / 7).collect();
        for positions in [None, Some(&gaps[..])] {
            for (causal, window, sinks) in [
                (false, None, 0),
                (true, None, 3),
                (true, Some(9), 0),
                (true, Some(40), 5),
                (false, Some(70), 66),
                (true, Some(0), 2),
            ] {
                let spec = spec(causal, window, sinks);
                for index in -3..150 {
                    let visible = Visible::new(&spec, 150, index, positions);
                    for block in 0..3 {
                        let columns: Vec<usize> = (0..BLOCK)
                            .filter(|column| {
                                block * BLOCK + column < 150 && sees(&spec, index, block * BLOCK + column, positions)
                            })
                            .collect();
                        let hull = visible.columns(block);
                        assert_eq!(visible.count_in(block), columns.len(), "{spec:?} {index} {block}");
                        assert_eq!(visible.touches(block), !columns.is_empty(), "{spec:?} {index} {block}");
                        assert_eq!(visible.covers(block), columns.len() == BLOCK, "{spec:?} {index} {block}");
                        if let (Some(&first), Some(&last)) = (columns.first(), columns.last()) {
                            assert_eq!(hull, first..last + 1, "{spec:?} {index} {block}");
                        }
                        let listed = (0..BLOCK).map(|column| block * BLOCK + column);
                        let listed =
                            listed.filter(|slot| *slot < visible.first || (visible.begin..visible.end).contains(slot));
                        assert_eq!(
                            listed.map(|slot| slot - block * BLOCK).collect::<Vec<_>>(),
                            columns,
                            "{spec:?} {index} {block}"
                        );
                    }
                }
            }
        }
    }
}
