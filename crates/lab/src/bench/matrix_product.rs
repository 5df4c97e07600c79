//! Products of activations with quantised matrices.

use headwise_kernels::matrix::{Format, PackedMatrix};

use super::attention::numbers;
use super::plan::Run;
use super::{BenchError, BenchRow, Times};

/// Formats with their names, and inputs and bytes of a block.
const FORMATS: [(Format, &str, usize, usize); 11] = [
    (Format::Q4_0, "q4_0", 32, 18),
    (Format::Q4_1, "q4_1", 32, 20),
    (Format::Q5_0, "q5_0", 32, 22),
    (Format::Q5_1, "q5_1", 32, 24),
    (Format::Q8_0, "q8_0", 32, 34),
    (Format::Q3K, "q3_k", 256, 110),
    (Format::Q4K, "q4_k", 256, 144),
    (Format::Q5K, "q5_k", 256, 176),
    (Format::Q6K, "q6_k", 256, 210),
    (Format::F16, "f16", 1, 2),
    (Format::Bf16, "bf16", 1, 2),
];

/// `quant_matmul`: one row per format.
///
/// A model's matrices do not stay in the processor's caches, so calls rotate over many.
pub(super) fn quantised(run: &Run<'_>) -> Result<Vec<BenchRow>, BenchError> {
    let [rows, inputs, outputs] = run.shape.sides();
    let x = numbers(rows * inputs, 1);
    let mut y = vec![0.0; rows * outputs];
    let mut measure = |(format, name, block, block_bytes): (Format, &str, usize, usize)| {
        let bytes = weights(inputs * outputs / block, block_bytes);
        let first = matrix(format, &bytes, outputs, inputs)?;
        let mut matrices = vec![first];
        while matrices.len() < run.copies(matrices[0].bytes()) {
            matrices.push(matrix(format, &bytes, outputs, inputs)?);
        }
        let weight_bytes = matrices[0].bytes();
        let mut next = matrices.iter().cycle();
        let times = Times::of_calls(run.repeats(7, 0.3), || {
            if let Some(matrix) = next.next() {
                matrix.product(&x, rows, inputs, &mut y, outputs);
            }
        });
        let params = run.params(name);
        let flops = 2.0 * rows as f64 * inputs as f64 * outputs as f64;
        let bytes = weight_bytes + size_of_val(&x[..]) + size_of_val(&y[..]);
        Ok(BenchRow::new(run.name, params, times, Some(flops), Some(bytes as f64)))
    };
    let fits = |&(_, _, block, _): &(Format, &str, usize, usize)| inputs.is_multiple_of(block);
    FORMATS.into_iter().filter(fits).map(&mut measure).collect()
}

/// Blocks whose bytes differ from block to block; where half-precision scales are, at either end, they are 2⁻⁸.
fn weights(blocks: usize, block_bytes: usize) -> Vec<u8> {
    const SCALE: [u8; 2] = [0x00, 0x1C];
    let byte = |block: usize, at: usize| match (at, block_bytes - at) {
        (0..4, _) => SCALE[at % 2],
        (_, 1..=2) => SCALE[2 - (block_bytes - at)],
        _ => (block * 7 + at * 13) as u8,
    };
    (0..blocks).flat_map(|block| (0..block_bytes).map(move |at| byte(block, at))).collect()
}

/// The packed matrix of `bytes`.
fn matrix(format: Format, bytes: &[u8], outputs: usize, inputs: usize) -> Result<PackedMatrix, BenchError> {
    let halves = || -> Vec<u16> { bytes.as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes)).collect() };
    Ok(match format {
        Format::F16 => PackedMatrix::from_f16_bits(&halves(), outputs, inputs),
        Format::Bf16 => PackedMatrix::from_bf16_bits(&halves(), outputs, inputs),
        _ => PackedMatrix::from_blocks(format, bytes, outputs, inputs)?,
    })
}
