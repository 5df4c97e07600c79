//! Dropout: each value becomes 0 with probability `p` and is otherwise divided by `1 - p`, so that its expectation stays.
//! Srivastava et al. 2014, Journal of Machine Learning Research 15.
//!
//! Which values stay follows from the seed and their index alone, by the counter-based generator Threefry-2x32 with 13 rounds
//! (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): no mask is stored, threads do not matter, and the
//! gradient is the same function of the upstream gradient.

use crate::parallel;
use crate::profile::{self, Work};
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Values that share the counters of one vector: a counter gives two words.
const BLOCK: usize = 2 * LANES;
/// Values worth handing to a thread, whole blocks.
const PART: usize = 1 << 14;

/// `y = x / (1 - p)` where a value stays and 0 where it is dropped, which happens with probability `p`.
///
/// A value of the same index stays for the same `p` and `seed`; with a larger `p` no more values stay.
///
/// # Panics
/// If `p` is not in `0..1`, or `y` has another length than `x`.
pub fn dropout(x: &[f32], p: f64, seed: u64, y: &mut [f32]) {
    assert!((0.0..1.0).contains(&p), "a probability of {p} is not in 0..1");
    assert_eq!(x.len(), y.len(), "y is as long as x");
    let _span = profile::span("dropout").work(|| Work::bytes(2 * size_of_val(x)));
    parallel::pieces(y, PART, |piece, y| {
        let first = piece * PART;
        dispatch(Dropout { x: &x[first..][..y.len()], first, p, seed, y });
    });
}

/// A part of the values, the first of which has index `first`, a multiple of [`BLOCK`].
struct Dropout<'a> {
    x: &'a [f32],
    first: usize,
    p: f64,
    seed: u64,
    y: &'a mut [f32],
}

impl Kernel for Dropout<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, first, p, seed, y } = self;
        // 24 bits of a word are an exact float.
        let threshold = s.splat((p * f64::from(1u32 << 24)) as f32);
        let scale = s.splat((1.0 / (1.0 - p)) as f32);
        let lanes = s.from_i32_array(std::array::from_fn(|lane| lane as i32));
        let key = [seed as i32, (seed >> 32) as i32];
        for at in (0..x.len()).step_by(BLOCK) {
            let counter = ((first + at) / 2) as u64;
            let counters = [s.add_i32(lanes, s.splat_i32(counter as i32)), s.splat_i32((counter >> 32) as i32)];
            for (half, word) in threefry(s, counters, key).into_iter().enumerate() {
                let at = at + half * LANES;
                if at < x.len() {
                    let kept = s.mul(s.read(x, at, 0.0), scale);
                    let uniform = s.to_float(s.shift_right(word, 8));
                    s.write(y, at, s.select_less(uniform, threshold, s.zero(), kept));
                }
            }
        }
    }
}

/// Rounds of Threefry: the fewest with which the authors found no fault.
const ROUNDS: usize = 13;
/// By how much the second word is rotated in each round, over and over.
const ROTATIONS: [i32; 8] = [13, 15, 26, 6, 17, 29, 16, 24];
/// The constant in the third word of the key.
const PARITY: i32 = 0x1BD1_1BDA;

/// Two random words for each lane from a counter of two words.
#[inline(always)]
fn threefry<S: Simd>(s: S, counter: [S::I; 2], key: [i32; 2]) -> [S::I; 2] {
    let key = [key[0], key[1], key[0] ^ key[1] ^ PARITY];
    let [mut a, mut b] = [s.add_i32(counter[0], s.splat_i32(key[0])), s.add_i32(counter[1], s.splat_i32(key[1]))];
    for round in 0..ROUNDS {
        a = s.add_i32(a, b);
        b = s.xor(s.rotate_left(b, ROTATIONS[round % 8]), a);
        if round % 4 == 3 {
            let turn = round / 4 + 1;
            a = s.add_i32(a, s.splat_i32(key[turn % 3]));
            b = s.add_i32(b, s.splat_i32(key[(turn + 1) % 3].wrapping_add(turn as i32)));
        }
    }
    [a, b]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finite_differences::random;
    use crate::simd::{Level, Scalar, dispatch_at};

    #[test]
    fn threefry_gives_the_published_words() {
        let cases: [([u32; 2], [u32; 2], [u32; 2]); 3] = [
            ([0, 0], [0, 0], [0x9d1c_5ec6, 0x8bd5_0731]),
            ([u32::MAX; 2], [u32::MAX; 2], [0xfd36_d048, 0x2d17_272c]),
            ([0x243f_6a88, 0x85a3_08d3], [0x1319_8a2e, 0x0370_7344], [0xba3e_4725, 0xf27d_669e]),
        ];
        for (counter, key, expected) in cases {
            let words = threefry(Scalar, counter.map(|word| [word as i32; LANES]), key.map(|word| word as i32));
            assert_eq!(words.map(|word| word[5] as u32), expected);
        }
    }

    #[test]
    fn the_share_that_stays_is_binomial_and_scaled() {
        let count = 200_000;
        let x = vec![1.0f32; count];
        for p in [0.0, 0.1, 0.5, 0.9, 0.999] {
            let mut y = vec![0.0; count];
            dropout(&x, p, 7, &mut y);
            let kept = y.iter().filter(|&&y| y != 0.0).count() as f64;
            assert!(y.iter().all(|&y| y == 0.0 || y == (1.0 / (1.0 - p)) as f32));
            // Five standard deviations.
            let bound = 5.0 * (count as f64 * p * (1.0 - p)).sqrt();
            assert!((kept - count as f64 * (1.0 - p)).abs() <= bound, "{kept} of {count} stay at {p}");
        }
    }

    #[test]
    fn neighbours_and_seeds_are_independent() {
        let count = 100_000;
        let mask = |seed| {
            let mut y = vec![0.0; count];
            dropout(&vec![1.0; count], 0.5, seed, &mut y);
            y.into_iter().map(|y| f64::from(y) - 1.0).collect::<Vec<_>>()
        };
        // Means of products of independent signs.
        let bound = 5.0 / (count as f64).sqrt();
        let first = mask(1);
        for distance in [1, 15, 16, 17, 32, 256] {
            let product: f64 = first.iter().zip(&first[distance..]).map(|(a, b)| a * b).sum();
            assert!((product / count as f64).abs() < bound, "{distance} apart: {product}");
        }
        for other in [2, 3, 1 << 32, 1 << 63] {
            let product: f64 = first.iter().zip(mask(other)).map(|(a, b)| a * b).sum();
            assert!((product / count as f64).abs() < bound, "seed {other}: {product}");
        }
    }

    #[test]
    fn a_value_stays_whatever_surrounds_it() {
        let x = random(70_003, -1.0, 1.0, 1);
        let run = |count: usize, threads| {
            let mut y = vec![9.0; count];
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| dropout(&x[..count], 0.3, 11, &mut y));
            y
        };
        let all = run(x.len(), 1);
        assert_eq!(all, run(x.len(), 3));
        for count in [0, 1, 15, 16, 17, 31, 33, 20_000] {
            assert_eq!(run(count, 2), all[..count]);
        }
        for level in Level::available() {
            let mut y = vec![9.0; 1000];
            dispatch_at(level, Dropout { x: &x[32..1032], first: 32, p: 0.3, seed: 11, y: &mut y });
            assert_eq!(y, all[32..1032], "{level:?}");
        }
    }
}
