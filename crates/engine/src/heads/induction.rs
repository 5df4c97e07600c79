//! Induction and echo scores: what a head does on random tokens that are repeated.

use super::{HeadScore, entropy};
use crate::probe::Looking;

/// The scores of every head of a layer over a text that repeats `segment` tokens after a first one.
pub(super) fn of_layer(looking: &Looking<'_>, segment: usize, tokens: usize) -> Vec<HeadScore> {
    let entropies = entropy::of_layer(looking, tokens);
    let score = |head| {
        let [induction, echo] = scores(segment, tokens, |row, column| looking.weight(head, row, column));
        let kv_head = head / looking.shape.group();
        HeadScore {
            layer: looking.layer,
            head,
            kv_head,
            window: looking.window,
            induction,
            echo,
            entropy: entropies[head],
        }
    };
    (0..looking.shape.heads).map(score).collect()
}

/// The induction and the echo score of a head whose row `i` gives column `j` the weight `weight(i, j)`, over a text of one
/// first token and a whole number of segments.
fn scores(segment: usize, tokens: usize, weight: impl Fn(usize, usize) -> f64) -> [f64; 2] {
    let (mut induction, mut echo) = (0.0, 0.0);
    for row in segment..tokens - 1 {
        for earlier in (row % segment..row).step_by(segment) {
            // One further, because the first token is not counted.
            echo += weight(row + 1, earlier + 1);
            induction += weight(row + 1, earlier + 2);
        }
    }
    let rows = (tokens - 1 - segment).max(1) as f64;
    [induction / rows, echo / rows]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_head_looks_at_is_what_it_scores() {
        // `x a b c a b c a b c`: each of six rows has met its token once or twice.
        let one = |from: isize| move |row: usize, column: usize| f64::from(row as isize - from == column as isize);
        assert_eq!(scores(3, 10, one(3)), [0.0, 1.0], "the same token, one segment back");
        assert_eq!(scores(3, 10, one(2)), [1.0, 0.0], "the token after it");
        assert_eq!(scores(3, 10, one(1)), [0.0, 0.0], "the previous token");
        assert_eq!(scores(3, 10, one(6)), [0.0, 0.5], "two segments back, where there are two");
        assert_eq!(scores(3, 10, |_, column| f64::from(column == 0)), [0.0, 0.0], "the first token does not count");
        let even = |row: usize, _| 1.0 / (row + 1) as f64;
        let expected = (4..7).map(|row| 1.0 / (row + 1) as f64).sum::<f64>() / 6.0
            + (7..10).map(|row| 2.0 / (row + 1) as f64).sum::<f64>() / 6.0;
        assert!(scores(3, 10, even).iter().all(|score| (score - expected).abs() < 1e-12));
    }
}
