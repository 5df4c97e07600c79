//! Keys and values of whole tensors, brought into the form of blocks once for all query rows.

use super::pass::{Block, BlockBuffer, Blocks};
use super::source::{BLOCK, Strided};
use super::view::{Dims, View4};
use crate::parallel;
use crate::product::Vectors;
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// A tensor `[batch, kv_heads, keys, width]`, transposed: `[batch, kv_heads, blocks, width, BLOCK]`.
pub(super) struct Transposed {
    data: Vec<f32>,
    width: usize,
    blocks: usize,
}

impl Transposed {
    pub fn new(dims: &Dims, view: View4<'_>, width: usize) -> Self {
        let blocks = dims.keys.div_ceil(BLOCK);
        let mut data = vec![0.0; dims.batch * dims.kv_heads * blocks * width * BLOCK];
        parallel::pieces(&mut data, width * BLOCK, |piece, out| {
            let (pair, block) = (piece / blocks, piece % blocks);
            let rows = view.head(pair / dims.kv_heads, pair % dims.kv_heads, dims.keys, width);
            dispatch(Prepare { rows, block, transpose: true, out });
        });
        Self { data, width, blocks }
    }

    /// A block of the pair `batch · kv_heads + kv_head`.
    #[inline(always)]
    pub fn block(&self, pair: usize, block: usize) -> &[f32] {
        let length = self.width * BLOCK;
        &self.data[(pair * self.blocks + block) * length..][..length]
    }
}

/// A tensor `[batch, kv_heads, keys, width]` whose rows can be read by whole vectors: itself if its rows follow each other
/// and are whole vectors long, else a copy. Rows far apart would fall into few sets of the cache.
pub(super) enum Readable<'a> {
    InPlace { view: View4<'a>, dims: Dims, width: usize },
    Copied { data: Vec<f32>, width: usize, blocks: usize },
}

impl<'a> Readable<'a> {
    pub fn new(dims: &Dims, view: View4<'a>, width: usize) -> Self {
        if view.strides[2] == width && width.is_multiple_of(LANES) {
            return Self::InPlace { view, dims: *dims, width };
        }
        let blocks = dims.keys.div_ceil(BLOCK);
        let mut data = vec![0.0; dims.batch * dims.kv_heads * blocks * width * BLOCK + LANES];
        let end = data.len() - LANES;
        parallel::pieces(&mut data[..end], width * BLOCK, |piece, out| {
            let (pair, block) = (piece / blocks, piece % blocks);
            let rows = view.head(pair / dims.kv_heads, pair % dims.kv_heads, dims.keys, width);
            dispatch(Prepare { rows, block, transpose: false, out });
        });
        Self::Copied { data, width, blocks }
    }

    /// The rows of a block of the pair `batch · kv_heads + kv_head`; those past the last key must not be read.
    #[inline(always)]
    pub fn block(&self, pair: usize, block: usize) -> Vectors<'_> {
        match self {
            Self::InPlace { view, dims, width } => {
                let rows = view.head(pair / dims.kv_heads, pair % dims.kv_heads, dims.keys, *width);
                Vectors { data: &rows.data[block * BLOCK * width..], stride: *width }
            }
            Self::Copied { data, width, blocks } => {
                Vectors { data: &data[(pair * blocks + block) * width * BLOCK..], stride: *width }
            }
        }
    }
}

/// Brings one block into its form.
struct Prepare<'a> {
    rows: Strided<'a>,
    block: usize,
    transpose: bool,
    out: &'a mut [f32],
}

impl Kernel for Prepare<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if self.transpose {
            self.rows.transpose_block(s, self.block, self.out);
        } else {
            self.rows.copy_block(s, self.block, self.out, self.rows.width);
        }
    }
}

/// The prepared keys and values of one (batch, key/value head).
pub(super) struct Pair<'a> {
    pub keys: &'a Transposed,
    pub values: &'a Readable<'a>,
    pub pair: usize,
}

impl Blocks for Pair<'_> {
    fn fetch<'a>(&'a self, block: usize, _: &'a mut BlockBuffer) -> Block<'a> {
        Block { keys: self.keys.block(self.pair, block), values: self.values.block(self.pair, block) }
    }
}
