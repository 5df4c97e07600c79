//! Scores of tokens averaged over their neighbours, so that what stands together stays together.

/// The average of every value over `width` neighbours, itself in their middle, with zeros beyond the ends. An even width
/// reaches one further back than forward.
pub(crate) fn average(values: &[f32], width: usize) -> Vec<f32> {
    let around = |at: usize| at.saturating_sub(width / 2)..(at + width.div_ceil(2)).min(values.len());
    (0..values.len()).map(|at| values[around(at)].iter().sum::<f32>() / width as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_averaged_with_zeros_beyond_the_ends() {
        assert_eq!(average(&[3.0, 0.0, 6.0, 9.0], 3), [1.0, 3.0, 5.0, 5.0]);
        assert_eq!(average(&[3.0, 0.0, 6.0], 3), [1.0, 3.0, 2.0]);
        assert_eq!(average(&[4.0, 0.0, 0.0, 8.0], 2), [2.0, 2.0, 0.0, 4.0]);
        assert_eq!(average(&[3.0], 1), [3.0]);
        assert!(average(&[], 5).is_empty());
    }
}
