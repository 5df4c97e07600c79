//! How well a layer picks, as GemFilter has it pick: what its last queries find together.
//!
//! The text repeats random tokens. A few rows up to some row ask for the tokens that followed theirs before. With the queries of these
//! rows the layer picks a sixteenth of the tokens so far, beside those that [`GemFilter`] always reads; what counts is the share of the
//! tokens asked for that are among them, as a mean over sixteen such rows in the last repetition.

use std::ops::Range;

use crate::cache::GemFilter;
use crate::probe::Looking;

/// Of so many tokens one is picked.
const PICKED: usize = 16;

/// How many rows end what asks.
const ENDS: usize = 16;

/// The share of the tokens asked for that a layer finds in a text that repeats `segment` tokens after a first one; none if it does not see
/// the whole text.
pub(super) fn of_layer(looking: &Looking<'_>, segment: usize, tokens: usize) -> Option<f64> {
    if looking.window.is_some() || looking.shape.heads == 0 {
        return None;
    }
    let method = GemFilter::default();
    let ends = (0..ENDS.min(segment)).map(|end| tokens - 1 - end * segment / ENDS);
    let shares: Vec<f64> = ends
        .map(|end| {
            let rows = (end + 1).saturating_sub(method.rows).max(1)..end + 1;
            let budget = method.first + method.last + (end + 1).div_ceil(PICKED);
            let picked = method.pick(&looking.products(rows.clone()), budget);
            found(rows, segment, |token| picked.binary_search(&token).is_ok())
        })
        .collect();
    Some(shares.iter().sum::<f64>() / shares.len().max(1) as f64)
}

/// Of the tokens that followed those of `rows` in earlier repetitions, the share that is `picked`.
fn found(rows: Range<usize>, segment: usize, picked: impl Fn(usize) -> bool) -> f64 {
    let earlier =
        |row: usize| (1..).map_while(move |times| row.checked_sub(times * segment)).filter(|&token| token > 0);
    let asked: Vec<usize> = rows.flat_map(earlier).map(|token| token + 1).collect();
    asked.iter().filter(|&&token| picked(token)).count() as f64 / asked.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_followed_in_earlier_repetitions() {
        // `x a b c d a b c d a b c d`: rows 11 and 12 are the last `c d`; `d a` followed them twice.
        let asked = |token: usize| found(11..13, 4, |picked| picked == token);
        for token in 0..13 {
            let expected = if [4, 5, 8, 9].contains(&token) { 0.25 } else { 0.0 };
            assert_eq!(asked(token), expected, "token {token}");
        }
        assert_eq!(found(11..13, 4, |_| true), 1.0);
        assert_eq!(found(1..2, 4, |_| true), 0.0, "nothing came before");
    }
}
