//! Weight matrices packed for inference, and their product with rows of activations.
//!
//! `y[r, o] = Σ_i x[r, i] · w[o, i] + bias[o]` with `w` stored as `f32`, `f16`, `bf16` or in the block formats of GGUF. Outputs lie in panels of 16, one per SIMD lane:
//!
//! - float formats: `[panel][input][16]`; a lane adds its products input after input, fused;
//! - block formats: `[panel][block of 32 inputs]`, see `blocks.rs`; the activations are rounded to signed bytes per row
//!   and block (`activations.rs`), so a block costs integer arithmetic and one fused addition.
//!
//! The order of additions of one element depends on nothing but the number of inputs: a row's result is bit-identical
//! whatever other rows are computed with it, in whatever chunks and on however many threads.

mod activations;
mod block_product;
mod blocks;
mod float_product;
mod schedule;
mod super_blocks;

use std::fmt;
use std::sync::Arc;

use crate::aligned::{Aligned, Plain};
use crate::parallel::{self, Reading};
use crate::profile::{self, Work};
use crate::simd::{LANES, Level, float};
use activations::Rounded;
use blocks::Blocks;
use schedule::{Rows, Target};

/// How the numbers of a matrix are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16: the upper half of single precision.
    Bf16,
    /// 8-bit codes `q` and a scale per 32: `w = d · q`.
    Q8_0,
    /// 4-bit codes and a scale per 32: `w = d · (q - 8)`.
    Q4_0,
    /// 4-bit codes, a scale and a minimum per 32: `w = d · q + m`.
    Q4_1,
    /// 5-bit codes and a scale per 32: `w = d · (q - 16)`. Each code takes a byte once packed.
    Q5_0,
    /// 5-bit codes, a scale and a minimum per 32: `w = d · q + m`. Each code takes a byte once packed.
    Q5_1,
    /// 3-bit codes in blocks of 256, a scale per 16: `w = d s · (q - 4)`. Each code takes a byte once packed.
    Q3K,
    /// 4-bit codes in blocks of 256, a scale and a minimum per 32: `w = d s · q - d' m`.
    Q4K,
    /// 5-bit codes in blocks of 256, otherwise as Q4_K. Each code takes a byte once packed.
    Q5K,
    /// 6-bit codes in blocks of 256, a scale per 16: `w = d s · (q - 32)`. Each code takes a byte once packed.
    Q6K,
}

/// Why bytes are not a matrix of the stated format and shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatrixError {
    /// [`PackedMatrix::from_blocks`] was given a float format.
    #[error("{0:?} is not a block format; those are Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q3K, Q4K, Q5K and Q6K")]
    NotABlockFormat(Format),
    /// A row is not a whole number of blocks.
    #[error("{format:?} stores blocks of {block} inputs, and {inputs} inputs are not a multiple of {block}")]
    PartialBlock {
        /// The format asked for.
        format: Format,
        /// Inputs of its blocks.
        block: usize,
        /// The length of a row.
        inputs: usize,
    },
    /// The data is longer or shorter than the shape says.
    #[error(
        "a {format:?} matrix of {outputs} outputs and {inputs} inputs takes {expected} bytes, but {found} were given"
    )]
    WrongLength {
        /// The format asked for.
        format: Format,
        /// Rows of the matrix.
        outputs: usize,
        /// Length of a row.
        inputs: usize,
        /// Bytes that the shape needs.
        expected: u128,
        /// Bytes that were given.
        found: usize,
    },
}

enum Storage {
    F32(Aligned<f32>),
    F16(Aligned<u16>),
    Bf16(Aligned<u16>),
    Blocks(Blocks),
}

impl Storage {
    /// All memory, in arrays that a product reads side by side.
    fn arrays(&self) -> Vec<&[u8]> {
        match self {
            Self::F32(weights) => vec![weights.memory()],
            Self::F16(weights) | Self::Bf16(weights) => vec![weights.memory()],
            Self::Blocks(blocks) => blocks.arrays(),
        }
    }
}

/// A weight matrix `[outputs, inputs]` in the layout of the product kernel.
pub struct PackedMatrix {
    storage: Storage,
    format: Format,
    outputs: usize,
    inputs: usize,
    /// Where the storage lies, and what products read after it.
    reading: Arc<Reading>,
}

impl fmt::Debug for PackedMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackedMatrix({:?} [{}, {}])", self.format, self.outputs, self.inputs)
    }
}

impl PackedMatrix {
    /// Packs row-major `weights` `[outputs, inputs]`, kept in single precision.
    ///
    /// # Panics
    /// If the length of `weights` is not `outputs · inputs`.
    pub fn from_f32(weights: &[f32], outputs: usize, inputs: usize) -> Self {
        Self::new(Storage::F32(panels(weights, outputs, inputs)), Format::F32, outputs, inputs)
    }

    /// Packs row-major half-precision bits `[outputs, inputs]`, kept in half precision.
    ///
    /// # Panics
    /// If the length of `weights` is not `outputs · inputs`.
    pub fn from_f16_bits(weights: &[u16], outputs: usize, inputs: usize) -> Self {
        Self::new(Storage::F16(panels(weights, outputs, inputs)), Format::F16, outputs, inputs)
    }

    /// Packs row-major bfloat16 bits `[outputs, inputs]`, kept in bfloat16.
    ///
    /// # Panics
    /// If the length of `weights` is not `outputs · inputs`.
    pub fn from_bf16_bits(weights: &[u16], outputs: usize, inputs: usize) -> Self {
        Self::new(Storage::Bf16(panels(weights, outputs, inputs)), Format::Bf16, outputs, inputs)
    }

    /// Packs the blocks of a GGUF tensor: `outputs` rows of `inputs` weights each.
    ///
    /// # Errors
    /// If `format` has no blocks, `inputs` is not a multiple of theirs, or `bytes` has another length than the shape needs.
    pub fn from_blocks(format: Format, bytes: &[u8], outputs: usize, inputs: usize) -> Result<Self, MatrixError> {
        let layout = blocks::Layout::of(format).ok_or(MatrixError::NotABlockFormat(format))?;
        if !inputs.is_multiple_of(layout.inputs) {
            return Err(MatrixError::PartialBlock { format, block: layout.inputs, inputs });
        }
        let expected = (outputs as u128 * (inputs / layout.inputs) as u128).saturating_mul(layout.bytes as u128);
        if expected != bytes.len() as u128 {
            return Err(MatrixError::WrongLength { format, outputs, inputs, expected, found: bytes.len() });
        }
        let storage = Storage::Blocks(Blocks::pack(layout, bytes, outputs, inputs));
        Ok(Self::new(storage, format, outputs, inputs))
    }

    fn new(storage: Storage, format: Format, outputs: usize, inputs: usize) -> Self {
        let reading = Reading::of(&storage.arrays());
        Self { storage, format, outputs, inputs, reading }
    }

    /// Rows of the matrix: elements of a result.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Columns of the matrix: elements of an activation row.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// How the numbers are stored.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Bytes of memory the weights take, padding included.
    pub fn bytes(&self) -> usize {
        self.reading.bytes()
    }

    /// Writes row `index` as numbers: an embedding lookup.
    ///
    /// # Panics
    /// If there is no such row, or `out` is not `inputs` long.
    pub fn row(&self, index: usize, out: &mut [f32]) {
        assert!(index < self.outputs, "row {index} of a matrix with {} rows", self.outputs);
        assert_eq!(out.len(), self.inputs, "the length of a row");
        match &self.storage {
            Storage::F32(weights) => lane(weights.values(), index, out, |value| value),
            Storage::F16(weights) => lane(weights.values(), index, out, |bits| half::f16::from_bits(bits).to_f32()),
            Storage::Bf16(weights) => lane(weights.values(), index, out, |bits| half::bf16::from_bits(bits).to_f32()),
            Storage::Blocks(blocks) => blocks.row(index, out),
        }
    }

    /// `y[r, o] = Σ_i x[r, i] · w[o, i]` for `rows` rows of `x`, `x_stride` apart, into rows of `y`, `y_stride` apart.
    ///
    /// # Panics
    /// If a stride is shorter than a row, or `x` or `y` does not hold `rows` rows.
    pub fn product(&self, x: &[f32], rows: usize, x_stride: usize, y: &mut [f32], y_stride: usize) {
        self.product_at(Level::current(), x, rows, x_stride, None, y, y_stride);
    }

    /// [`product`](Self::product) plus a `bias` of one number per output.
    ///
    /// # Panics
    /// As `product`, and if `bias` has another length than `outputs`.
    pub fn product_with_bias(
        &self,
        x: &[f32],
        rows: usize,
        x_stride: usize,
        bias: &[f32],
        y: &mut [f32],
        y_stride: usize,
    ) {
        self.product_at(Level::current(), x, rows, x_stride, Some(bias), y, y_stride);
    }

    /// What a product with `rows` rows has to do.
    fn work(&self, rows: usize) -> Work {
        let activations = rows * (self.inputs + self.outputs) * size_of::<f32>();
        let flops = 2.0 * rows as f64 * self.inputs as f64 * self.outputs as f64;
        Work { flops, bytes: (self.bytes() + activations) as f64 }
    }

    /// The product with the instruction set `level`.
    pub(crate) fn product_at(
        &self,
        level: Level,
        x: &[f32],
        rows: usize,
        x_stride: usize,
        bias: Option<&[f32]>,
        y: &mut [f32],
        y_stride: usize,
    ) {
        products_at(level, x, rows, x_stride, &mut [Product { weight: self, bias, y, y_stride }]);
    }

    fn product_of(&self, level: Level, x: Rows<'_>, rounded: &mut Rounded, y: &Target<'_>) {
        let _span = profile::span(self.format.product_name()).work(|| self.work(x.count));
        parallel::reads(&self.reading);
        match &self.storage {
            Storage::F32(weights) => float_product::run::<float::F32>(level, weights, self.inputs, x, y),
            Storage::F16(weights) => float_product::run::<float::F16>(level, weights, self.inputs, x, y),
            Storage::Bf16(weights) => float_product::run::<float::Bf16>(level, weights, self.inputs, x, y),
            Storage::Blocks(blocks) => block_product::run(level, blocks, x, rounded, y),
        }
    }
}

/// One of several products with the same rows.
#[derive(Debug)]
pub struct Product<'a> {
    /// The matrix.
    pub weight: &'a PackedMatrix,
    /// Added to every row: a number per output.
    pub bias: Option<&'a [f32]>,
    /// Rows of results.
    pub y: &'a mut [f32],
    /// Numbers from the start of a row of `y` to that of the next.
    pub y_stride: usize,
}

/// Several products with the same `rows` rows of `x`, `x_stride` apart, as [`PackedMatrix::product`] does each; the rows are
/// rounded only once.
///
/// # Panics
/// As [`PackedMatrix::product_with_bias`].
pub fn products(x: &[f32], rows: usize, x_stride: usize, products: &mut [Product<'_>]) {
    products_at(Level::current(), x, rows, x_stride, products);
}

fn products_at(level: Level, x: &[f32], rows: usize, x_stride: usize, products: &mut [Product<'_>]) {
    let mut rounded = Rounded::default();
    let inputs = products.first().map_or(0, |product| product.weight.inputs);
    for Product { weight, bias, y, y_stride } in products {
        if rows == 0 || weight.outputs == 0 {
            continue;
        }
        assert_eq!(weight.inputs, inputs, "inputs of matrices for the same rows");
        assert!(x_stride >= inputs && *y_stride >= weight.outputs, "strides {x_stride} and {y_stride} of {weight:?}");
        assert!(x.len() >= (rows - 1) * x_stride + inputs, "{rows} rows of x in {} values", x.len());
        assert!(y.len() >= (rows - 1) * *y_stride + weight.outputs, "{rows} rows of y in {} values", y.len());
        assert!(bias.is_none_or(|bias| bias.len() == weight.outputs), "a bias per output of {weight:?}");
        let x = Rows { values: x, count: rows, stride: x_stride };
        weight.product_of(level, x, &mut rounded, &Target::new(y, *y_stride, weight.outputs, *bias));
    }
}

impl Format {
    /// What a profile calls products with such weights.
    fn product_name(self) -> &'static str {
        match self {
            Self::F32 => "matrix product, f32",
            Self::F16 => "matrix product, f16",
            Self::Bf16 => "matrix product, bf16",
            Self::Q8_0 => "matrix product, q8_0",
            Self::Q4_0 => "matrix product, q4_0",
            Self::Q4_1 => "matrix product, q4_1",
            Self::Q5_0 => "matrix product, q5_0",
            Self::Q5_1 => "matrix product, q5_1",
            Self::Q3K => "matrix product, q3_k",
            Self::Q4K => "matrix product, q4_k",
            Self::Q5K => "matrix product, q5_k",
            Self::Q6K => "matrix product, q6_k",
        }
    }
}

/// Packs `[outputs, inputs]` as `[panel][input][16]`; the lanes after the last output are zero.
fn panels<T: Plain + Send + Sync>(weights: &[T], outputs: usize, inputs: usize) -> Aligned<T> {
    assert_eq!(Some(weights.len()), outputs.checked_mul(inputs), "{outputs} outputs of {inputs} inputs");
    let mut packed = Aligned::zeros(outputs.div_ceil(LANES) * inputs * LANES);
    if inputs > 0 {
        parallel::pieces(packed.values_mut(), LANES * inputs, |panel, packed| {
            for (lane, row) in weights.chunks_exact(inputs).skip(panel * LANES).take(LANES).enumerate() {
                for (target, weight) in packed[lane..].iter_mut().step_by(LANES).zip(row) {
                    *target = *weight;
                }
            }
        });
    }
    packed
}

/// Reads row `index` of `[panel][input][16]`.
fn lane<T: Plain>(weights: &[T], index: usize, out: &mut [f32], convert: impl Fn(T) -> f32) {
    let start = index / LANES * LANES * out.len() + index % LANES;
    for (i, out) in out.iter_mut().enumerate() {
        *out = convert(weights[start + i * LANES]);
    }
}

#[cfg(test)]
mod tests;
