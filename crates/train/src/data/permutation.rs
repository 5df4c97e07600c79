//! A random order of `0..count` whose elements are computed one by one, without a list.

use rand::RngExt;

use crate::draws::{Purpose, draws};

const ROUNDS: usize = 4;

/// A permutation of `0..count`: a Feistel network over the next power of four, walked until it stays within.
#[derive(Clone, Debug)]
pub(super) struct Permutation {
    count: u64,
    /// Bits of one half.
    half: u32,
    keys: [u64; ROUNDS],
}

impl Permutation {
    /// The order number `epoch` of a seed and a stage of training.
    pub fn new(count: u64, seed: u64, stage: u64, epoch: u64) -> Self {
        let bits = u64::BITS - count.saturating_sub(1).leading_zeros();
        let mut keys = draws(seed, Purpose::Order, stage, epoch);
        Self { count, half: bits.div_ceil(2).max(1), keys: std::array::from_fn(|_| keys.random()) }
    }

    /// The element at `index`, which must be below the count.
    pub fn at(&self, index: u64) -> u64 {
        debug_assert!(index < self.count, "{index} of {}", self.count);
        let mut element = index;
        loop {
            element = self.mix(element);
            if element < self.count {
                return element;
            }
        }
    }

    /// A permutation of all numbers of `2 half` bits.
    fn mix(&self, number: u64) -> u64 {
        let mask = (1 << self.half) - 1;
        let (mut left, mut right) = (number >> self.half, number & mask);
        for key in self.keys {
            let mixed = (right ^ key).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            (left, right) = (right, left ^ ((mixed ^ (mixed >> 32)) & mask));
        }
        (left << self.half) | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_comes_once_and_epochs_differ() {
        for count in [1, 2, 3, 10, 64, 65, 1000] {
            let order = |epoch| {
                let permutation = Permutation::new(count, 7, 0, epoch);
                (0..count).map(|index| permutation.at(index)).collect::<Vec<_>>()
            };
            let mut sorted = order(0);
            sorted.sort_unstable();
            assert_eq!(sorted, (0..count).collect::<Vec<_>>());
            assert!(count < 10 || order(0) != order(1));
        }
    }

    #[test]
    fn neighbours_are_scattered() {
        let permutation = Permutation::new(4096, 3, 0, 0);
        let near = (0..4095).filter(|&i| permutation.at(i).abs_diff(permutation.at(i + 1)) < 64).count();
        assert!(near < 300, "{near} of 4095 neighbours stay close");
    }
}
