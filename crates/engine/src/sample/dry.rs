//! DRY: a penalty on tokens that would go on with a repetition, growing with its length.
//!
//! Let `n(t)` be the length of the longest end of the text that stood before an occurrence of token `t` already. Where `n(t)` is at least
//! `allowed_length`, `multiplier · base^(n(t) - allowed_length)` is taken off the score of `t`. An end that counts does not reach back over a
//! breaker, such as the end of a line, and breakers themselves are not penalised. By p-e-w, 2024 (text-generation-webui, pull request 5677);
//! what breakers do is as in llama.cpp.

use std::collections::HashMap;

use super::breakers::Breakers;

/// How repetitions are held back.
#[derive(Clone, Debug, PartialEq)]
pub struct Dry {
    /// The penalty of a repetition of `allowed_length` tokens; above 0.
    pub multiplier: f32,
    /// What it grows by with every token more; at least 1, default 1.75.
    pub base: f32,
    /// Tokens that may be repeated freely, less one; at least 1, default 2.
    pub allowed_length: usize,
    /// How many of the last tokens are looked at; all if none, the default.
    pub last: Option<usize>,
    /// Texts that repetitions do not reach over; none by default.
    pub breakers: Breakers,
}

impl Default for Dry {
    fn default() -> Self {
        Self { multiplier: 0.8, base: 1.75, allowed_length: 2, last: None, breakers: Breakers::default() }
    }
}

/// No penalty is larger, so that scores stay numbers.
const MOST: f64 = 1e30;

impl Dry {
    /// Takes the penalties off `scores` after the text `tokens`.
    pub(super) fn penalise(&self, tokens: &[u32], scores: &mut [f32]) {
        for (id, length) in self.repetitions(tokens) {
            let Some(score) = scores.get_mut(id as usize) else { continue };
            let more = (length - self.allowed_length).min(i32::MAX as usize) as i32;
            let penalty = f64::from(self.multiplier) * f64::from(self.base).powi(more);
            *score -= penalty.min(MOST) as f32;
        }
    }

    /// The tokens that would go on with a repetition of at least `allowed_length` tokens, and how long it is.
    fn repetitions(&self, tokens: &[u32]) -> HashMap<u32, usize> {
        let mut longest = HashMap::new();
        let window = &tokens[tokens.len() - self.last.unwrap_or(tokens.len()).min(tokens.len())..];
        let common = common_ends(window);
        let longest_common = common.iter().copied().max().unwrap_or(0);
        if longest_common < self.allowed_length {
            return longest;
        }
        let most = self.breakers.since_last(window, longest_common);
        for (back, length) in common.into_iter().enumerate().skip(1) {
            // The last `length` tokens stood `back` tokens earlier, too; this came after them.
            let next = window[window.len() - back];
            let length = length.min(most);
            if length >= self.allowed_length && !self.breakers.breaks(next) {
                let known = longest.entry(next).or_insert(length);
                *known = length.max(*known);
            }
        }
        longest
    }
}

/// For every number `back` of tokens, how many of the last tokens are the same as those that end `back` tokens before the end.
///
/// The Z-algorithm on the text read backwards, linear in its length: Gusfield 1997, section 1.4.
fn common_ends(tokens: &[u32]) -> Vec<usize> {
    let count = tokens.len();
    let at = |back: usize| tokens[count - 1 - back];
    let mut common = vec![0; count];
    // What is between the two is the same as the end of the text.
    let (mut start, mut end) = (0, 0);
    for back in 1..count {
        let mut length = if back < end { common[back - start].min(end - back) } else { 0 };
        while back + length < count && at(length) == at(back + length) {
            length += 1;
        }
        common[back] = length;
        if back + length > end {
            (start, end) = (back, back + length);
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::breakers::TokenTexts;
    use super::*;

    /// The texts of tokens 0 to 5: letters, but for 4, which is a line end, and 5, which is a letter and one.
    fn breakers() -> Breakers {
        let texts = TokenTexts::new(["a", "b", "c", "d", "\n", "e\n"].iter().map(|text| text.as_bytes().to_vec()));
        Breakers::new(vec!["\n".into()], texts.into())
    }

    /// By definition: every earlier place, every length, token by token.
    fn reference(dry: &Dry, tokens: &[u32]) -> HashMap<u32, usize> {
        let first = tokens.len() - dry.last.unwrap_or(usize::MAX).min(tokens.len());
        let tokens = &tokens[first..];
        let breaks = |id: u32| dry.breakers != Breakers::default() && id >= 4;
        let mut longest = HashMap::new();
        for place in 0..tokens.len() {
            let same = |length: &usize| {
                let end = &tokens[tokens.len() - length..];
                end == &tokens[place - length..place] && !end.iter().any(|&id| breaks(id))
            };
            let length = (0..=place).filter(same).max().unwrap();
            if length >= dry.allowed_length && !breaks(tokens[place]) {
                let known = longest.entry(tokens[place]).or_insert(length);
                *known = length.max(*known);
            }
        }
        longest
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn repetitions_are_those_of_the_definition(
            tokens in prop::collection::vec(0u32..6, 0..60),
            allowed_length in 1usize..5,
            last in prop::option::of(0usize..70),
            with_breakers: bool,
        ) {
            let breakers = if with_breakers { breakers() } else { Breakers::default() };
            let dry = Dry { allowed_length, last, breakers, ..Dry::default() };
            prop_assert_eq!(dry.repetitions(&tokens), reference(&dry, &tokens));
        }
    }

    #[test]
    fn penalties_grow_with_the_repetition_and_stay_numbers() {
        let dry = Dry { multiplier: 2.0, base: 3.0, allowed_length: 2, ..Dry::default() };
        let mut scores = [0.0; 4];
        // After 0 1 came 2, after 3 0 1 came 3.
        dry.penalise(&[0, 1, 2, 3, 0, 1, 3, 0, 1], &mut scores);
        assert_eq!(scores, [0.0, 0.0, -2.0, -6.0]);
        let mut scores = [0.0; 2];
        dry.penalise(&[1; 5000], &mut scores);
        assert!(scores[1] < -1e29 && scores[1].is_finite(), "{scores:?}");
        // Tokens that the scores do not have.
        dry.penalise(&[9, 9, 9, 9], &mut scores);
    }
}
