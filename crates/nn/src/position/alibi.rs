//! Attention with linear biases: a score falls with the distance of two tokens, at a slope of each head's own.
//!
//! `s_ij = q_i · k_j − m_h (i − j)`, the slopes `m_h` a geometric series from `2^(−8/heads)` to `2^−8`.
//! Press, Smith and Lewis 2022, arXiv:2108.12409.

headwise_spec::method! {
    /// Scores fall with the distance, at a slope of each head's own.
    ///
    /// Press, Smith and Lewis 2022, arXiv:2108.12409.
    pub struct Alibi {}
}

/// The slopes of `heads` heads. Where that is no power of two, those of the next lower power come first, then every
/// second one of twice as many.
pub(crate) fn slopes(heads: usize) -> Vec<f32> {
    let series = |count: usize| (1..=count).map(move |i| (-8.0 * i as f32 / count as f32).exp2());
    let lower = 1 << heads.max(1).ilog2();
    series(lower).chain(series(2 * lower).step_by(2)).take(heads).collect()
}

#[cfg(test)]
mod tests {
    use super::slopes;

    #[test]
    fn slopes_are_a_geometric_series() {
        assert_eq!(slopes(4), [0.25, 0.0625, 0.015625, 0.00390625]);
        assert_eq!(slopes(6)[4..], [0.5, 0.125]);
        assert_eq!(slopes(1), [1.0 / 256.0]);
    }
}
