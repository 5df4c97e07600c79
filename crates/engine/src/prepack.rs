//! Prepacking: prompts of different lengths are read in shared forwards, without padding.
//!
//! The prompts of a forward stand one after the other; positions start anew at each, and each sees itself only. So the work is that of
//! the tokens there are, `Σ lᵢ`, not that of the longest prompt for every one, `B · max lᵢ`. Prompts are read in the same pieces as
//! alone and every row of a forward is what it would be alone, so keys, values and scores are the same bit for bit. How many tokens
//! share a forward bounds its memory; pieces are put into forwards by *best fit, longest first*.
//! Zhao et al. 2024, arXiv:2404.09529.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::forward::PROMPT_CHUNK;
use crate::{Chunk, Engine, EngineError, Logits, Sequence, Wanted};

/// A prompt and the empty text that it is read into.
#[derive(Debug)]
pub struct Prompt<'a> {
    /// The text it continues.
    pub sequence: &'a mut Sequence,
    /// Its tokens.
    pub ids: &'a [u32],
}

/// Tokens that share a forward: enough that matrix products are as fast as they get, and few enough that what a layer says stays in the
/// processor's cache.
const CAPACITY: usize = PROMPT_CHUNK;

impl Engine {
    /// Reads all `prompts`, each to its end; returns the scores after the last token of each.
    ///
    /// `progress` is told how many tokens of all prompts together have been read. On an error nothing has changed.
    pub fn prefill_all(
        &self,
        prompts: &mut [Prompt<'_>],
        mut progress: impl FnMut(usize),
    ) -> Result<Vec<Logits>, EngineError> {
        for Prompt { sequence, ids } in &*prompts {
            self.check_text(sequence.tokens(), ids)?;
        }
        let mut texts: Vec<Cow<'_, [u32]>> = Vec::new();
        for Prompt { sequence, ids } in &mut *prompts {
            let chosen = sequence.choose_tokens(self, ids)?;
            texts.push(chosen.map_or(Cow::Borrowed(*ids), Cow::Owned));
        }
        let mut logits = vec![Logits::default(); prompts.len()];
        let mut read = 0;
        for ((Prompt { sequence, .. }, ids), logits) in prompts.iter_mut().zip(&mut texts).zip(&mut logits) {
            // What deeper layers leave out of a prompt is its own matter.
            if let (0, Some(stages)) = (sequence.tokens(), sequence.policy.clone().stages()) {
                *logits = self.prefill_in_stages(sequence, ids, stages, |_| {})?;
                read += ids.len();
                *ids = Cow::Borrowed(&[]);
                progress(read);
            }
        }
        let longest = texts.iter().map(|ids| ids.len()).max().unwrap_or(0);
        for start in (0..longest).step_by(PROMPT_CHUNK) {
            let piece = |ids: &[u32]| start.min(ids.len())..ids.len().min(start + PROMPT_CHUNK);
            let lengths: Vec<usize> = texts.iter().map(|ids| piece(ids).len()).collect();
            for bin in best_fit(&lengths, CAPACITY) {
                let members = prompts.iter_mut().zip(&texts).enumerate().filter(|(index, _)| bin.contains(index));
                let mut chunks: Vec<Chunk<'_>> = members
                    .map(|(_, (Prompt { sequence, .. }, ids))| {
                        let piece = piece(ids);
                        let prompt_ends = piece.end == ids.len();
                        let wanted = if prompt_ends { Wanted::Last } else { Wanted::Nothing };
                        Chunk { sequence, ids: &ids[piece], prompt_ends, wanted }
                    })
                    .collect();
                read += chunks.iter().map(|chunk| chunk.ids.len()).sum::<usize>();
                let scores = self.forward(&mut chunks)?;
                bin.iter().zip(scores).for_each(|(&index, scores)| logits[index] = scores);
                progress(read);
            }
        }
        Ok(logits)
    }
}

/// Which of the items of these lengths share a bin of `capacity`, ascending; empty items are in none, longer ones have a bin alone.
///
/// Items go, longest first, into the fullest bin that has room. At most 11/9 of the fewest possible bins, and one more.
pub fn best_fit(lengths: &[usize], capacity: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).filter(|&item| lengths[item] > 0).collect();
    order.sort_by_key(|&item| std::cmp::Reverse(lengths[item]));
    let mut bins: Vec<Vec<usize>> = Vec::new();
    // Room left in every bin, smallest first.
    let mut room: BTreeSet<(usize, usize)> = BTreeSet::new();
    for item in order {
        let length = lengths[item];
        let fullest = room.range((length, 0)..).next().copied();
        let (left, bin) = fullest.unwrap_or((capacity.max(length), bins.len()));
        room.remove(&(left, bin));
        room.insert((left - length, bin));
        if bin == bins.len() {
            bins.push(Vec::new());
        }
        bins[bin].push(item);
    }
    bins.iter_mut().for_each(|bin| bin.sort_unstable());
    bins
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The fewest bins that hold `lengths`, by trying everything.
    fn fewest(lengths: &[usize], capacity: usize) -> usize {
        fn place(lengths: &[usize], bins: &mut Vec<usize>, capacity: usize, best: &mut usize) {
            let Some((&first, rest)) = lengths.split_first() else {
                *best = bins.len().min(*best);
                return;
            };
            if bins.len() >= *best {
                return;
            }
            for bin in 0..bins.len() {
                if bins[bin] + first <= capacity {
                    bins[bin] += first;
                    place(rest, bins, capacity, best);
                    bins[bin] -= first;
                }
            }
            bins.push(first);
            place(rest, bins, capacity, best);
            bins.pop();
        }
        let mut best = usize::MAX;
        place(lengths, &mut Vec::new(), capacity, &mut best);
        best
    }

    proptest! {
        #[test]
        fn every_item_is_in_one_bin_and_bins_are_few(lengths in prop::collection::vec(1..20usize, 1..9)) {
            let bins = best_fit(&lengths, 20);
            let mut items: Vec<usize> = bins.concat();
            items.sort_unstable();
            prop_assert_eq!(items, (0..lengths.len()).collect::<Vec<_>>());
            let fill = |bin: &Vec<usize>| bin.iter().map(|&item| lengths[item]).sum::<usize>();
            prop_assert!(bins.iter().all(|bin| fill(bin) <= 20));
            prop_assert!(9 * bins.len() <= 11 * fewest(&lengths, 20) + 9);
        }
    }

    #[test]
    fn empty_items_are_left_out_and_long_ones_are_alone() {
        assert_eq!(best_fit(&[0, 30, 4, 0, 5], 10), [vec![1], vec![2, 4]]);
        assert!(best_fit(&[], 10).is_empty());
    }
}
