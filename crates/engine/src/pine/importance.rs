//! Where the segments of a set stand for a head, by how much attention they would get if nothing had a position.

/// The starts of segments of these `lengths` that end at `end`, the most important one last; equals by their index, the first one last.
fn starts(importance: &[f64], lengths: &[usize], end: i32) -> Vec<i32> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by(|&a, &b| importance[b].total_cmp(&importance[a]).then(a.cmp(&b)));
    let (mut starts, mut end) = (vec![0; lengths.len()], end);
    for segment in order {
        end -= lengths[segment] as i32;
        starts[segment] = end;
    }
    starts
}

/// Where segments of these `lengths` start for every row and head, `[segments][lines]`, if they end at `end`. Lines are rows and heads,
/// `lse` `[segments, lines]` the log-sum-exp of their scores without positions.
pub(super) fn of_lines(lse: &[f32], lengths: &[usize], end: i32) -> Vec<Vec<i32>> {
    let lines = lse.len() / lengths.len();
    let mut found = vec![vec![0; lines]; lengths.len()];
    let mut importance = vec![0.0; lengths.len()];
    for line in 0..lines {
        // The weight of a segment is e^lse over what is the same for all of them.
        for (segment, (importance, length)) in importance.iter_mut().zip(lengths).enumerate() {
            *importance = f64::from(lse[segment * lines + line]) - (*length as f64).ln();
        }
        for (found, start) in found.iter_mut().zip(starts(&importance, lengths, end)) {
            found[line] = start;
        }
    }
    found
}

/// The same for rows that stay together, `[segments][heads]`, by the sum of their weights; `pieces` are `lse` of some of the rows each.
pub(super) fn of_heads(
    pieces: impl Iterator<Item = Vec<f32>>,
    heads: usize,
    lengths: &[usize],
    end: i32,
) -> Vec<Vec<i32>> {
    let mut sums = vec![vec![0.0; lengths.len()]; heads];
    for lse in pieces {
        let lines = lse.len() / lengths.len();
        for line in 0..lines {
            let of_segment = |segment: usize| f64::from(lse[segment * lines + line]);
            let most = (0..lengths.len()).map(of_segment).fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = (0..lengths.len()).map(|segment| (of_segment(segment) - most).exp()).sum();
            for (segment, sum) in sums[line % heads].iter_mut().enumerate() {
                *sum += (of_segment(segment) - most).exp() / total;
            }
        }
    }
    let mut found = vec![vec![0; heads]; lengths.len()];
    for (head, mut importance) in sums.into_iter().enumerate() {
        importance.iter_mut().zip(lengths).for_each(|(importance, &length)| *importance /= length as f64);
        for (found, start) in found.iter_mut().zip(starts(&importance, lengths, end)) {
            found[head] = start;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_important_segment_is_nearest_to_the_end_and_equals_go_by_index() {
        assert_eq!(starts(&[0.1, 0.7, 0.2], &[5, 3, 4], 20), [8, 17, 13]);
        assert_eq!(starts(&[0.5, 0.5, 0.9], &[5, 3, 4], 20), [11, 8, 16]);
    }

    #[test]
    fn weights_count_per_token() {
        // Two lines, two segments: the second has twice the weight and four times the tokens.
        let lse = [0.0, 1.0, std::f32::consts::LN_2, 1.0 + std::f32::consts::LN_2];
        assert_eq!(of_lines(&lse, &[3, 12], 15), [[12, 12], [0, 0]]);
        assert_eq!(of_lines(&lse, &[12, 12], 24), [[0, 0], [12, 12]]);
    }

    #[test]
    fn the_rows_of_a_segment_decide_together() {
        // Two rows of one head: the first leans to segment 1, the second much more to segment 0.
        let lse = [0.0, 3.0, 0.5, 0.0];
        let found = |heads| of_heads(std::iter::once(lse.to_vec()), heads, &[4, 4], 8);
        assert_eq!(found(1), [[4], [0]]);
        assert_eq!(found(2), [[0, 4], [4, 0]], "two heads of one row each");
    }
}
