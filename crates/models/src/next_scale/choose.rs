//! Which code a cell takes, from the scores of all.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::spec::NextScaleError;

/// How codes are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Choice {
    /// The likeliest; of equals the first.
    Greedy,
    /// A draw from the likeliest.
    Draw {
        /// So many of the likeliest at most.
        top_k: usize,
        /// As few of the likeliest as have this probability together.
        top_p: f64,
    },
}

impl Choice {
    /// What was published with the model: 50 codes, 95 %.
    pub const DRAW: Self = Self::Draw { top_k: 50, top_p: 0.95 };

    pub(super) fn check(self) -> Result<(), NextScaleError> {
        let wrong = |what: String, right| Err(NextScaleError::Choice { what, right });
        match self {
            Self::Draw { top_k: 0, .. } => wrong("top_k=0".into(), "at least 1"),
            Self::Draw { top_p, .. } if !(top_p > 0.0 && top_p <= 1.0) => {
                wrong(format!("top_p={top_p}"), "above 0 and at most 1")
            }
            _ => Ok(()),
        }
    }

    /// A code by `scores`.
    pub(super) fn code(self, scores: &[f32], random: &mut ChaCha8Rng) -> u32 {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        // Stable: of equals the first comes first.
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let Self::Draw { top_k, top_p } = self else { return order.first().map_or(0, |&code| code as u32) };
        order.truncate(top_k);
        let Some(&most) = order.first() else { return 0 };
        let weight = |code: usize| f64::from(scores[code] - scores[most]).exp();
        let all: f64 = order.iter().map(|&code| weight(code)).sum();
        let (mut mass, mut count) = (0.0, 0);
        while count < order.len() && mass < top_p * all {
            mass += weight(order[count]);
            count += 1;
        }
        let mut left = random.random_range(0.0..1.0) * mass;
        let chosen = order[..count].iter().find(|&&code| {
            left -= weight(code);
            left <= 0.0
        });
        chosen.copied().unwrap_or(most) as u32
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn the_first_of_equals_is_the_likeliest() {
        let mut random = ChaCha8Rng::seed_from_u64(0);
        assert_eq!(Choice::Greedy.code(&[0.0, 2.0, 2.0, 1.0], &mut random), 1);
    }

    #[test]
    fn draws_stay_within_both_limits_and_follow_the_probabilities() {
        let mut random = ChaCha8Rng::seed_from_u64(0);
        let scores = [0.5f32, 0.3, 0.15, 0.05].map(f32::ln);
        let mut counts = |choice: Choice| {
            let mut counts = [0; 4];
            for _ in 0..2000 {
                counts[choice.code(&scores, &mut random) as usize] += 1;
            }
            counts
        };
        let two = counts(Choice::Draw { top_k: 2, top_p: 1.0 });
        assert_eq!(two[2..], [0, 0]);
        assert!((1100..1400).contains(&two[0]), "{two:?}");
        // 0.5 and 0.3 are 0.8 together, so 0.7 needs both and 0.81 the third.
        assert_eq!(counts(Choice::Draw { top_k: 50, top_p: 0.7 })[2..], [0, 0]);
        let three = counts(Choice::Draw { top_k: 50, top_p: 0.81 });
        assert!(three[2] > 200 && three[3] == 0, "{three:?}");
    }

    #[test]
    fn choices_of_nothing_are_refused() {
        assert!(Choice::Draw { top_k: 0, top_p: 0.5 }.check().is_err());
        let refused = Choice::Draw { top_k: 5, top_p: 0.0 }.check().unwrap_err().to_string();
        assert_eq!(refused, "top_p=0: it must be above 0 and at most 1");
        assert_eq!(Choice::DRAW.check(), Ok(()));
    }
}
