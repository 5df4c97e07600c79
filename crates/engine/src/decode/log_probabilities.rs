//! How likely a model finds the tokens of a text: `log p_i = s_i − log Σ_j exp s_j` for scores `s` `[vocabulary]`.
//!
//! They are the model's own, before temperature and cuts.

/// The log-probability of a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogProbability {
    /// The token.
    pub id: u32,
    /// Natural logarithm of its probability.
    pub value: f64,
}

/// The log-probability of a written token, and those of the likeliest ones in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogProbabilities {
    /// The token that was written.
    pub chosen: LogProbability,
    /// The likeliest tokens, the best first; the written one may be among them.
    pub likeliest: Vec<LogProbability>,
}

impl TokenLogProbabilities {
    /// Of the token `id` and the `most` likeliest, for `logits` `[vocabulary]`.
    pub fn new(logits: &[f32], id: u32, most: usize) -> Self {
        let total = log_sum_exp(logits);
        let of = |id: u32| LogProbability { id, value: f64::from(logits[id as usize]) - total };
        Self { chosen: of(id), likeliest: likeliest(logits, most).into_iter().map(of).collect() }
    }
}

/// `log Σ_j exp s_j`.
pub(crate) fn log_sum_exp(logits: &[f32]) -> f64 {
    let most = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    most + logits.iter().map(|&logit| (f64::from(logit) - most).exp()).sum::<f64>().ln()
}

/// The tokens with the `most` largest scores, the largest first, the lower id first among equals.
pub(crate) fn likeliest(logits: &[f32], most: usize) -> Vec<u32> {
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    let better = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    if (1..ids.len()).contains(&most) {
        ids.select_nth_unstable_by(most - 1, better);
    }
    ids.truncate(most);
    ids.sort_unstable_by(better);
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_those_of_the_softmax() {
        let logits: Vec<f32> = [0.5f32, 0.25, 0.125, 0.125].iter().map(|p| p.ln() + 70.0).collect();
        let found = TokenLogProbabilities::new(&logits, 1, 3);
        assert!((found.chosen.value.exp() - 0.25).abs() < 1e-5);
        assert_eq!(found.likeliest.iter().map(|token| token.id).collect::<Vec<_>>(), [0, 1, 2]);
        let sum: f64 = TokenLogProbabilities::new(&logits, 0, 9).likeliest.iter().map(|token| token.value.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-12, "{sum}");
        assert!(TokenLogProbabilities::new(&logits, 0, 0).likeliest.is_empty());
    }

    #[test]
    fn scores_beyond_the_range_of_exp_stay_finite() {
        assert_eq!(log_sum_exp(&[1000.0, -1000.0]), 1000.0);
        assert_eq!(log_sum_exp(&[-1000.0, f32::NEG_INFINITY]), -1000.0);
    }
}
