//! From the answer back to the tokens it rests on.

use std::collections::BTreeSet;
use std::ops::Range;

/// Most tokens that a step adds.
const WIDTH: usize = 3;
/// Weight that a token needs once the chain is long enough.
const LEAST: f32 = 0.5;
/// Columns of a row that are looked at, if they give anything.
const COLUMNS: usize = 5;
/// The chain is long enough with so many tokens more than the answer has.
const ENOUGH: usize = 5;

/// The chain of the answer at `answer`: places of tokens, ascending, none of the answer's.
///
/// `rows[i]` is the attention of token `first + i` on the tokens up to it. The row of the token before one says what that one was
/// written from. `skipped` says which tokens are never part of a chain: those of the prompt and those that carry no content.
pub fn chain(rows: &[Vec<f32>], first: usize, answer: Range<usize>, skipped: impl Fn(usize) -> bool) -> Vec<usize> {
    // A token is written from the row before it: its source.
    let mut sources: BTreeSet<usize> = answer.clone().filter_map(|token| token.checked_sub(1)).collect();
    let mut newest: Vec<usize> = sources.iter().copied().collect();
    let mut chain = BTreeSet::new();
    while !newest.is_empty() {
        let enough = chain.len() >= ENOUGH + answer.len();
        let mut scores = vec![0.0f32; first + rows.len()];
        for &source in newest.iter().filter(|source| **source >= first) {
            let row = &rows[source - first];
            let usable = |&column: &usize| {
                column != source && column > 0 && !skipped(column) && !sources.contains(&(column - 1))
            };
            let mut given = false;
            for (rank, column) in descending(row).into_iter().enumerate() {
                if rank >= COLUMNS && (given || enough) {
                    break;
                }
                if usable(&column) {
                    scores[column] += row[column];
                    given = true;
                }
            }
        }
        let candidates = descending(&scores).into_iter().filter(|column| !answer.contains(column)).take(WIDTH);
        let mut taken = Vec::new();
        for column in candidates {
            if scores[column] >= LEAST || chain.len() + taken.len() < ENOUGH + answer.len() {
                taken.push(column);
            }
        }
        newest = taken.iter().map(|column| column - 1).collect();
        sources.extend(&newest);
        chain.extend(taken);
    }
    chain.into_iter().collect()
}

/// The columns with a weight, the largest first, the earlier among equals.
fn descending(weights: &[f32]) -> Vec<usize> {
    let mut columns: Vec<usize> = (0..weights.len()).filter(|&column| weights[column] > 0.0).collect();
    columns.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]).then(a.cmp(&b)));
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows from token 4 of a text of 12, all on the first token but for `links`, each a row, a column and a weight.
    fn rows(links: &[(usize, usize, f32)]) -> Vec<Vec<f32>> {
        (4..12)
            .map(|token| {
                let mut row = vec![0.0; token + 1];
                links.iter().filter(|link| link.0 == token).for_each(|link| row[link.1] = link.2);
                row
            })
            .collect()
    }

    #[test]
    fn the_chain_follows_attention_back() {
        // Token 11 is written from row 10, which looks at 8; 8 from row 7, which looks at 5; row 9 is nobody's source.
        let rows = rows(&[(10, 8, 0.9), (7, 5, 0.8), (9, 6, 1.0)]);
        assert_eq!(chain(&rows, 4, 11..12, |token| token < 4), [5, 8]);
        assert_eq!(chain(&rows, 4, 11..12, |token| token < 4 || token == 8), [0; 0], "a word without content ends it");
        assert_eq!(chain(&rows, 4, 10..11, |token| token < 4), [6], "another answer, another chain");
    }

    #[test]
    fn weak_links_count_only_while_the_chain_is_short() {
        // Every row looks weakly at the token two before.
        let links: Vec<(usize, usize, f32)> = (6..12).map(|row| (row, row - 1, 0.1)).collect();
        let found = chain(&rows(&links), 4, 11..12, |token| token < 4);
        assert_eq!(found, [5, 7, 9]);
        let strong: Vec<(usize, usize, f32)> = links.iter().map(|&(row, column, _)| (row, column, 0.9)).collect();
        assert_eq!(chain(&rows(&strong), 4, 11..12, |token| token < 4), found);
    }

    #[test]
    fn a_chain_is_in_the_response_and_before_what_it_explains() {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1u32 << 24) as f32
        };
        for first in [3, 11] {
            let rows: Vec<Vec<f32>> = (first..40).map(|token| (0..=token).map(|_| next()).collect()).collect();
            let answer = 33..36;
            let found = chain(&rows, first, answer.clone(), |token| token < first || token % 7 == 0);
            assert!(!found.is_empty());
            assert!(found.iter().all(|&token| token >= first && token % 7 != 0 && token < answer.start), "{found:?}");
        }
    }
}
