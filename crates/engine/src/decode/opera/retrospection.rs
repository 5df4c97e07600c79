//! When to go back: the largest column has stood at one place for too long.

use std::collections::{BTreeMap, BTreeSet};

/// What has been tried again.
#[derive(Clone, Debug, Default)]
pub struct Retrospection {
    /// Tokens that may not stand at a place of the answer again.
    forbidden: BTreeMap<usize, BTreeSet<u32>>,
    /// How often the answers went back to a place.
    times: BTreeMap<usize, usize>,
}

/// The value that occurs most often in `values`, the least among equals.
pub fn mode(values: impl IntoIterator<Item = usize>) -> Option<usize> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    values.into_iter().for_each(|value| *counts.entry(value).or_default() += 1);
    counts.into_iter().max_by_key(|&(value, count)| (count, std::cmp::Reverse(value))).map(|(value, _)| value)
}

/// Whether the column `at` was the largest more than `repeats` times among the last `window` tokens of every one of `histories`.
pub fn repeats<'a>(mut histories: impl Iterator<Item = &'a [usize]>, at: usize, repeats: usize, window: usize) -> bool {
    histories.all(|history| {
        let recent = &history[history.len().saturating_sub(window)..];
        recent.iter().filter(|&&location| location == at).count() > repeats
    })
}

impl Retrospection {
    /// Whether `token` may stand at `place`.
    pub fn allows(&self, place: usize, token: u32) -> bool {
        self.forbidden.get(&place).is_none_or(|tokens| !tokens.contains(&token))
    }

    /// How many tokens to keep when the column `at` is leant on too much, if the answers may go back there: up to that column, each
    /// place `most` times; then to the token before it, once.
    pub fn place(&mut self, at: usize, most: usize) -> Option<usize> {
        let place = at + 1;
        let tried = |place: usize, times: &BTreeMap<usize, usize>| times.get(&place).copied().unwrap_or(0);
        let place = match () {
            () if tried(place, &self.times) < most => place,
            () if tried(at, &self.times) == 0 => at,
            () => return None,
        };
        *self.times.entry(place).or_default() += 1;
        Some(place)
    }

    /// Forbids `tokens` at `place`.
    pub fn forbid(&mut self, place: usize, tokens: impl IntoIterator<Item = u32>) {
        self.forbidden.entry(place).or_default().extend(tokens);
    }

    /// How often the answers went back.
    pub fn total(&self) -> usize {
        self.times.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_repetition_after_the_allowed_ones_goes_back() {
        let mut history = vec![3, 4];
        for repetition in 1..=4 {
            history.push(12);
            let twice = [&history[..], &history[..]];
            assert_eq!(repeats(twice.into_iter(), 12, 3, 512), repetition > 3);
            assert!(!repeats([&history[..], &[12]].into_iter(), 12, 3, 512), "every history counts");
        }
        assert!(!repeats([&history[..]].into_iter(), 12, 3, 3), "only the window counts");
    }

    #[test]
    fn a_place_is_tried_so_often_then_the_one_before_it_once() {
        let mut tried = Retrospection::default();
        assert_eq!([(); 5].map(|()| tried.place(12, 2)), [Some(13), Some(13), Some(12), None, None]);
        assert_eq!(tried.place(20, 2), Some(21));
        assert_eq!(tried.total(), 4);
    }

    #[test]
    fn forbidden_tokens_are_forbidden_at_their_place() {
        let mut tried = Retrospection::default();
        tried.forbid(13, [5, 6]);
        assert!(!tried.allows(13, 5) && !tried.allows(13, 6));
        assert!(tried.allows(13, 7) && tried.allows(12, 5));
    }

    #[test]
    fn the_most_frequent_value_is_the_mode() {
        assert_eq!(mode([4, 2, 2, 4, 9]), Some(2));
        assert_eq!(mode([9, 9, 1]), Some(9));
        assert_eq!(mode([]), None);
    }
}
