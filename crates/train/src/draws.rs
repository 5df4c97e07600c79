//! Random numbers that depend on nothing but what they are for, so that a step can be repeated and a run resumed.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The generator for one purpose.
pub type Draws = ChaCha8Rng;

/// What random numbers are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Documents of training.
    Document = 1,
    /// What an objective hides.
    Corruption = 2,
    /// The order of a text's windows.
    Order = 3,
    /// Documents of evaluation.
    Evaluation = 4,
    /// Where the weights begin that learn from a layer that goes.
    Fusion = 5,
    /// Parts of a supernet.
    Subnet = 6,
}

/// The numbers for `purpose` at `step`, of sequence `index` of that step.
pub fn draws(seed: u64, purpose: Purpose, step: u64, index: u64) -> Draws {
    let mut key = [0; 32];
    for (bytes, word) in key.chunks_exact_mut(8).zip([seed, purpose as u64, step, index]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    Draws::from_seed(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    #[test]
    fn every_part_of_the_key_counts() {
        let first = |seed, purpose, step, index| draws(seed, purpose, step, index).random::<u64>();
        let base = first(1, Purpose::Document, 1, 1);
        assert_eq!(base, first(1, Purpose::Document, 1, 1));
        let others = [
            first(2, Purpose::Document, 1, 1),
            first(1, Purpose::Corruption, 1, 1),
            first(1, Purpose::Document, 2, 1),
            first(1, Purpose::Document, 1, 2),
        ];
        assert!(others.iter().all(|&other| other != base));
    }
}
