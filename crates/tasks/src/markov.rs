//! Markov sources: text whose best possible loss is known.
//!
//! The next token depends on the last `order` ones: `P(x_t | x_{t-n}, …, x_{t-1})` is a row of a table that a seed draws
//! from a symmetric Dirichlet distribution. No model has a lower expected loss than the entropy rate
//! `H = Σ_c π(c) Σ_x -P(x | c) ln P(x | c)`, `π` the stationary distribution of the contexts `c`, and a model reaches
//! it by learning the table. Shannon 1948.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::random::seeded;
use crate::task::{TaskError, within};

/// Name in errors.
const NAME: &str = "markov";
/// Probabilities are integers out of this many, so that the same tokens come out on every machine.
const ONE: u64 = 1 << 32;
/// Most probabilities that a table has, 32 MiB of them.
const MAX_TABLE: usize = 1 << 22;
/// Tokens before the first that is kept: by then the start is forgotten.
const WARM_UP: usize = 1000;

/// A drawn source. Tokens are `0..alphabet`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkovSource {
    alphabet: usize,
    order: usize,
    /// `[contexts, alphabet]`: rows sum to [`ONE`]. The last token of a context counts least.
    table: Vec<u64>,
}

impl MarkovSource {
    /// The source of a seed: `alphabet` tokens, each depending on the `order` before it.
    ///
    /// `concentration` is the parameter of the Dirichlet distribution: 1 draws all rows with equal density, a larger one
    /// favours rows near uniform, with an entropy near `ln alphabet`.
    pub fn new(alphabet: usize, order: usize, concentration: usize, seed: u64) -> Result<Self, TaskError> {
        within(NAME, "alphabet", alphabet, 2, MAX_TABLE.isqrt())?;
        within(NAME, "order", order, 1, MAX_TABLE.ilog(alphabet) as usize - 1)?;
        within(NAME, "concentration", concentration, 1, 64)?;
        let contexts = alphabet.pow(order as u32);
        let mut rng = seeded(seed);
        let table = (0..contexts).flat_map(|_| dirichlet(alphabet, concentration, &mut rng)).collect();
        Ok(Self { alphabet, order, table })
    }

    /// `length` tokens of the source in its stationary state; the same seed gives the same tokens.
    pub fn sequence(&self, length: usize, seed: u64) -> Result<Vec<u32>, TaskError> {
        within(NAME, "length", length, 1, crate::MAX_LENGTH)?;
        let mut rng = seeded(seed);
        let mut context = rng.random_range(0..self.contexts());
        let mut tokens = Vec::with_capacity(length);
        for step in 0..WARM_UP + length {
            let token = pick(self.row(context), &mut rng);
            context = self.follow(context, token);
            if step >= WARM_UP {
                tokens.push(token as u32);
            }
        }
        Ok(tokens)
    }

    /// The true probabilities of the next token, the best possible prediction; `None` if `before` is shorter than the
    /// order or holds a token that is not in the alphabet.
    pub fn next_probabilities(&self, before: &[u32]) -> Option<Vec<f64>> {
        let last = before.get(before.len().checked_sub(self.order)?..)?;
        let context = last.iter().try_fold(0, |context, &token| {
            let token = token as usize;
            (token < self.alphabet).then(|| context * self.alphabet + token)
        })?;
        Some(self.row(context).iter().map(|&weight| weight as f64 / ONE as f64).collect())
    }

    /// Expected loss of the best possible prediction, in nats per token.
    pub fn entropy_rate(&self) -> f64 {
        let share = self.stationary();
        let rows = share.iter().enumerate().map(|(context, share)| share * entropy(self.row(context)));
        rows.sum()
    }

    /// The share of time that the source spends in each context.
    ///
    /// All probabilities are positive (up to the rounding to 2^-32), so that repeated steps approach it geometrically.
    fn stationary(&self) -> Vec<f64> {
        let contexts = self.contexts();
        let mut share = vec![1.0 / contexts as f64; contexts];
        for _ in 0..10_000 {
            let mut next = vec![0.0; contexts];
            for (context, share) in share.iter().enumerate() {
                for (token, &weight) in self.row(context).iter().enumerate() {
                    next[self.follow(context, token)] += share * (weight as f64 / ONE as f64);
                }
            }
            let change: f64 = share.iter().zip(&next).map(|(old, new)| (old - new).abs()).sum();
            share = next;
            if change < 1e-13 {
                break;
            }
        }
        share
    }

    fn contexts(&self) -> usize {
        self.table.len() / self.alphabet
    }

    fn row(&self, context: usize) -> &[u64] {
        &self.table[context * self.alphabet..][..self.alphabet]
    }

    /// The context after `token`.
    fn follow(&self, context: usize, token: usize) -> usize {
        (context * self.alphabet + token) % self.contexts()
    }
}

/// A draw from the Dirichlet distribution with all parameters equal to `concentration`, scaled to [`ONE`].
///
/// The gaps between sorted uniform numbers are Dirichlet with parameter 1, and sums of `m` gaps with parameter `m`:
/// integers suffice, where gamma variates would need a logarithm that differs between machines.
fn dirichlet(alphabet: usize, concentration: usize, rng: &mut ChaCha8Rng) -> Vec<u64> {
    let mut cuts: Vec<u64> = (1..alphabet * concentration).map(|_| rng.random_range(0..=ONE)).collect();
    cuts.sort_unstable();
    cuts.push(ONE);
    let mut start = 0;
    let ends = cuts.into_iter().skip(concentration - 1).step_by(concentration);
    ends.map(|end| end - std::mem::replace(&mut start, end)).collect()
}

/// An index with probability proportional to its weight; weights sum to [`ONE`].
fn pick(weights: &[u64], rng: &mut ChaCha8Rng) -> usize {
    let mut rest = rng.random_range(0..ONE);
    let found = weights.iter().position(|&weight| match rest.checked_sub(weight) {
        Some(less) => {
            rest = less;
            false
        }
        None => true,
    });
    found.expect("weights sum to ONE")
}

/// Entropy of a row in nats.
fn entropy(weights: &[u64]) -> f64 {
    let shares = weights.iter().filter(|&&weight| weight > 0).map(|&weight| weight as f64 / ONE as f64);
    shares.map(|share| -share * share.ln()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean loss of predicting `tokens` from the true probabilities of `source`.
    fn loss(source: &MarkovSource, tokens: &[u32]) -> f64 {
        let positions = source.order..tokens.len();
        let count = positions.len() as f64;
        let losses = positions.map(|t| -source.next_probabilities(&tokens[..t]).unwrap()[tokens[t] as usize].ln());
        losses.sum::<f64>() / count
    }

    /// What 100 means for a task whose answers are probabilities: the solver is at the floor, and nothing else is.
    #[test]
    fn the_true_probabilities_lose_the_entropy_rate_and_others_lose_more() {
        for (alphabet, order) in [(2, 1), (2, 8), (8, 1), (8, 2), (27, 2)] {
            let source = MarkovSource::new(alphabet, order, 1, 7).unwrap();
            let tokens = source.sequence(100_000, 1).unwrap();
            let floor = source.entropy_rate();
            let case = format!("alphabet {alphabet}, order {order}, floor {floor}");
            assert!(0.1 < floor && floor < (alphabet as f64).ln(), "{case}");
            // The standard error is about a nat over the root of 100,000.
            let own = loss(&source, &tokens);
            assert!((own - floor).abs() < 0.01, "{case}: {own}");
            let other = loss(&MarkovSource::new(alphabet, order, 1, 8).unwrap(), &tokens);
            assert!(other > floor + 0.05, "{case}: {other}");
        }
    }

    /// Two tokens, order 1, chances p and q of a change: `π = (q, p) / (p + q)`.
    #[test]
    fn two_states_have_the_entropy_of_the_closed_form() {
        let [p, q] = [ONE / 8, ONE / 2];
        let source = MarkovSource { alphabet: 2, order: 1, table: vec![ONE - p, p, q, ONE - q] };
        let binary = |p: f64| -p * p.ln() - (1.0 - p) * (1.0 - p).ln();
        let expected = 0.8 * binary(0.125) + 0.2 * binary(0.5);
        assert!((source.entropy_rate() - expected).abs() < 1e-12);
        assert_eq!(source.next_probabilities(&[1, 0]), Some(vec![0.875, 0.125]));
        assert_eq!(source.next_probabilities(&[2]), None);
        assert_eq!(source.next_probabilities(&[]), None);
    }

    /// The mean entropy of a Dirichlet(m, …, m) row over k tokens is `ψ(km + 1) - ψ(m + 1)`, here as harmonic numbers.
    #[test]
    fn rows_have_the_entropy_of_their_dirichlet_distribution() {
        let harmonic = |n: usize| (1..=n).map(|i| 1.0 / i as f64).sum::<f64>();
        for concentration in [1, 3] {
            let mut rng = seeded(5);
            let rows: Vec<Vec<u64>> = (0..4000).map(|_| dirichlet(8, concentration, &mut rng)).collect();
            assert!(rows.iter().all(|row| row.len() == 8 && row.iter().sum::<u64>() == ONE));
            let mean = rows.iter().map(|row| entropy(row)).sum::<f64>() / 4000.0;
            let expected = harmonic(8 * concentration) - harmonic(concentration);
            assert!((mean - expected).abs() < 0.02, "{concentration}: {mean}, {expected}");
        }
    }

    #[test]
    fn seeds_decide_source_and_sequence() {
        let source = |seed| MarkovSource::new(4, 2, 1, seed).unwrap();
        assert_eq!(source(1), source(1));
        assert_ne!(source(1), source(2));
        let tokens = |seed| source(1).sequence(64, seed).unwrap();
        assert_eq!(tokens(3), tokens(3));
        assert_ne!(tokens(3), tokens(4));
        // Does not change from version to version or from machine to machine.
        assert_eq!(tokens(3)[..12], [3, 2, 0, 3, 0, 0, 3, 2, 0, 2, 3, 0]);
    }

    #[test]
    fn impossible_parameters_are_named() {
        let error = |alphabet, order, concentration| {
            MarkovSource::new(alphabet, order, concentration, 0).unwrap_err().to_string()
        };
        assert!(error(1, 1, 1).contains("alphabet = 1"));
        assert!(error(128, 3, 1).contains("order = 3, but it must be in 1..=2"));
        assert!(error(2, 1, 0).contains("concentration = 0"));
        assert!(MarkovSource::new(2, 1, 1, 0).unwrap().sequence(0, 0).is_err());
    }
}
