//! Quantisation: numbers to blocks of a type, the way back of [`dequantise`](super::dequantise()).
//!
//! Every weight becomes the nearest number that its block can hold. [`grid`] has the blocks of 32 whose weights lie on one
//! [`Grid`], [`k`] the blocks of 256 whose groups have scales of scales. Methods that choose other codes than the nearest
//! make grids themselves and call [`Grid::store`].

mod grid;
mod k;

use half::{bf16, f16};
use headwise_kernels::parallel;

use super::tensor_type::TensorType;
pub use grid::{BLOCK, Grid, GridForm, GridKind};

/// Why numbers could not be quantised.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantiseError {
    /// A type that is only read.
    #[error("{ty} is read, not written: the types that are written are {}", names(&WRITTEN))]
    NotWritten {
        /// The type.
        ty: TensorType,
    },
    /// A row that is not a whole number of blocks.
    #[error("rows of {row} elements are not a whole number of {ty} blocks of {}", ty.block_size())]
    PartialBlock {
        /// The type.
        ty: TensorType,
        /// The length of a row.
        row: usize,
    },
    /// A number that no block can hold.
    #[error("element {index} is {value}: only finite numbers can be quantised")]
    NotFinite {
        /// Its place.
        index: usize,
        /// The number.
        value: f32,
    },
}

/// The types that numbers can be turned into.
pub const WRITTEN: [TensorType; 11] = [
    TensorType::F32,
    TensorType::F16,
    TensorType::BF16,
    TensorType::Q8_0,
    TensorType::Q6_K,
    TensorType::Q5_K,
    TensorType::Q5_1,
    TensorType::Q5_0,
    TensorType::Q4_K,
    TensorType::Q4_1,
    TensorType::Q4_0,
];

/// The names of `types`, in small letters.
fn names(types: &[TensorType]) -> String {
    types.iter().map(|ty| ty.name().to_lowercase()).collect::<Vec<_>>().join(", ")
}

/// Turns `values`, rows of `row` elements, into elements of type `ty`.
pub fn quantise(ty: TensorType, values: &[f32], row: usize) -> Result<Vec<u8>, QuantiseError> {
    if !WRITTEN.contains(&ty) {
        return Err(QuantiseError::NotWritten { ty });
    }
    if row == 0 || !row.is_multiple_of(ty.block_size()) || !values.len().is_multiple_of(row) {
        return Err(QuantiseError::PartialBlock { ty, row });
    }
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        return Err(QuantiseError::NotFinite { index, value: values[index] });
    }
    let row_bytes = row / ty.block_size() * ty.block_bytes();
    let mut bytes = vec![0; values.len() / row * row_bytes];
    parallel::pieces(&mut bytes, row_bytes, |index, out| quantise_row(ty, &values[index * row..][..row], out));
    Ok(bytes)
}

/// One row; its length and the type have been checked.
fn quantise_row(ty: TensorType, values: &[f32], out: &mut [u8]) {
    let blocks = values.chunks_exact(ty.block_size()).zip(out.chunks_exact_mut(ty.block_bytes()));
    match ty {
        TensorType::F32 => blocks.for_each(|(value, out)| out.copy_from_slice(&value[0].to_le_bytes())),
        TensorType::F16 => blocks.for_each(|(value, out)| out.copy_from_slice(&f16::from_f32(value[0]).to_le_bytes())),
        TensorType::BF16 => {
            blocks.for_each(|(value, out)| out.copy_from_slice(&bf16::from_f32(value[0]).to_le_bytes()))
        }
        TensorType::Q4_K => blocks.for_each(|(block, out)| k::q4_k(block, out)),
        TensorType::Q5_K => blocks.for_each(|(block, out)| k::q5_k(block, out)),
        TensorType::Q6_K => blocks.for_each(|(block, out)| k::q6_k(block, out)),
        _ => blocks.for_each(|(block, out)| {
            let grid = Grid::of(GridForm::stored_in(ty), block);
            grid.store(ty, &std::array::from_fn(|i| grid.code(block[i])), out);
        }),
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::gguf::dequantise;

    /// Numbers with outliers, as weights have them.
    fn weights(count: usize, seed: u64) -> Vec<f32> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let uniform = |random: &mut ChaCha8Rng| random.random_range(-1.0f32..1.0);
        (0..count).map(|_| uniform(&mut random) * uniform(&mut random).powi(3) * 0.3).collect()
    }

    fn round_trip(ty: TensorType, values: &[f32], row: usize) -> Vec<f32> {
        let bytes = quantise(ty, values, row).unwrap();
        let mut out = vec![f32::NAN; values.len()];
        dequantise(ty, &bytes, &mut out).unwrap();
        out
    }

    fn relative_error(ty: TensorType) -> f32 {
        let values = weights(8 * 512, 3);
        let found = round_trip(ty, &values, 512);
        let square = |values: &mut dyn Iterator<Item = f32>| values.map(|value| value * value).sum::<f32>();
        (square(&mut found.iter().zip(&values).map(|(a, b)| a - b)) / square(&mut values.iter().copied())).sqrt()
    }

    #[test]
    fn more_bits_are_nearer() {
        use TensorType::*;
        let limits =
            [(F32, 0.0), (F16, 3e-4), (BF16, 3e-3), (Q8_0, 8e-3), (Q6_K, 2.5e-2), (Q5_K, 5.5e-2), (Q4_K, 0.11)];
        for (ty, limit) in limits {
            assert!(relative_error(ty) <= limit, "{ty}: {}", relative_error(ty));
        }
        for (better, worse) in [(Q8_0, Q5_0), (Q8_0, Q6_K), (Q6_K, Q5_K), (Q5_K, Q4_K), (Q5_0, Q4_0), (Q5_1, Q4_1)] {
            assert!(relative_error(better) < relative_error(worse), "{better} and {worse}");
        }
    }

    #[test]
    fn what_is_on_the_grid_stays() {
        for ty in WRITTEN {
            let once = round_trip(ty, &weights(512, 1), 256);
            let bytes = quantise(ty, &vec![0.0; 512], 256).unwrap();
            let mut zeros = vec![f32::NAN; 512];
            dequantise(ty, &bytes, &mut zeros).unwrap();
            assert!(zeros.iter().all(|&zero| zero == 0.0), "{ty}");
            // Scales of scales are not found again exactly.
            if ty.block_size() <= BLOCK {
                let twice = round_trip(ty, &once, 256);
                let most = once.iter().zip(&twice).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(most <= 3e-4, "{ty}: {most}");
            }
        }
    }

    #[test]
    fn every_weight_is_at_most_half_a_step_away() {
        let values = weights(64 * 32, 5);
        for ty in [TensorType::Q4_1, TensorType::Q5_1, TensorType::Q8_0] {
            let found = round_trip(ty, &values, 32);
            for (block, found) in values.chunks(32).zip(found.chunks(32)) {
                let step = Grid::of(GridForm::stored_in(ty), block).step();
                for (value, found) in block.iter().zip(found) {
                    // A scale in half precision may end short of the outermost weight.
                    assert!((value - found).abs() <= step * 0.5 + value.abs() * 2e-3, "{ty}: {value} became {found}");
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_quantised_is_an_error() {
        let error = |ty, values: &[f32], row| quantise(ty, values, row).unwrap_err().to_string();
        assert!(error(TensorType::Q2_K, &[0.0; 256], 256).contains("q4_k"));
        assert!(error(TensorType::Q4_K, &[0.0; 64], 64).contains("blocks of 256"));
        assert!(error(TensorType::Q8_0, &[0.0; 33], 33).contains("33"));
        let mut values = [0.0; 32];
        values[7] = f32::NAN;
        assert!(error(TensorType::Q8_0, &values, 32).contains("element 7 is NaN"));
    }

    #[test]
    fn threads_change_nothing() {
        let values = weights(64 * 256, 9);
        let alone = |threads| {
            let pool = rayon_pool(threads);
            pool.install(|| quantise(TensorType::Q4_K, &values, 256).unwrap())
        };
        assert_eq!(alone(1), alone(3));
    }

    fn rayon_pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }
}
