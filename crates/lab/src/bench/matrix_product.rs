//! Products of activations with quantised matrices.

use headwise_kernels::matrix::{Format, PackedMatrix};

use super::attention::numbers;
use super::plan::Run;
use super::{BenchError, BenchRow, Params, Times};

/// Formats with the bytes of a block of 32 weights.
const FORMATS: [(Format, &str, usize); 5] = [
    (Format::Q4_0, "q4_0", 18),
    (Format::Q4_1, "q4_1", 20),
    (Format::Q5_0, "q5_0", 22),
    (Format::Q5_1, "q5_1", 24),
    (Format::Q8_0, "q8_0", 34),
];

/// `quant_matmul`: one row per format.
///
/// A model's matrices do not stay in the processor's caches, so calls rotate over many.
pub(super) fn quantised(run: &Run<'_>) -> Result<Vec<BenchRow>, BenchError> {
    let [rows, inputs, outputs] = run.shape.sides();
    let x = numbers(rows * inputs, 1);
    let mut y = vec![0.0; rows * outputs];
    let mut measure = |(format, name, block_bytes): (Format, &str, usize)| {
        let matrices = matrices(run, format, block_bytes, inputs, outputs)?;
        let weight_bytes = matrices[0].bytes();
        let mut next = matrices.iter().cycle();
        let times = Times::of_calls(run.repeats(7, 0.3), || {
            if let Some(matrix) = next.next() {
                matrix.product(&x, rows, inputs, &mut y, outputs);
            }
        });
        let params = Params {
            shape: Some(run.shape.to_string()),
            dtype: Some(name.to_owned()),
            threads: run.threads,
            ..Params::default()
        };
        let flops = 2.0 * rows as f64 * inputs as f64 * outputs as f64;
        let bytes = weight_bytes + size_of_val(&x[..]) + size_of_val(&y[..]);
        Ok(BenchRow::new(run.name, params, times, Some(flops), Some(bytes as f64)))
    };
    FORMATS.into_iter().map(&mut measure).collect()
}

/// As many matrices as calls rotate over.
fn matrices(
    run: &Run<'_>,
    format: Format,
    block_bytes: usize,
    inputs: usize,
    outputs: usize,
) -> Result<Vec<PackedMatrix>, BenchError> {
    // The scale 2⁻⁸ in half precision, then bytes that differ from block to block.
    let byte = |block: usize, at: usize| [0x00, 0x1C].get(at).copied().unwrap_or((block * 7 + at * 13) as u8);
    let blocks = (inputs * outputs).div_ceil(32);
    let bytes: Vec<u8> = (0..blocks).flat_map(|block| (0..block_bytes).map(move |at| byte(block, at))).collect();
    let first = PackedMatrix::from_blocks(format, &bytes, outputs, inputs)?;
    let copies = run.copies(first.bytes());
    let mut matrices = vec![first];
    while matrices.len() < copies {
        matrices.push(PackedMatrix::from_blocks(format, &bytes, outputs, inputs)?);
    }
    Ok(matrices)
}
