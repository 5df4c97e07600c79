//! Keys and values of whole tensors, brought into the form of blocks once for all query rows.

use super::pass::{Block, BlockBuffer, Blocks};
use super::softmax::fit;
use super::source::{BLOCK, Strided};
use super::view::{Dims, View4};
use crate::parallel;
use crate::product::Vectors;
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Which pairs of a batch and a key/value head are brought into form.
#[derive(Clone, Copy)]
pub(super) enum Pairs {
    /// All of them, by all workers.
    All,
    /// One, by the worker that needs it.
    One(usize),
}

/// Blocks of `[keys, width]` of some pairs, `[pairs, blocks, width · BLOCK]`.
pub(super) struct PreparedBlocks<'a> {
    data: &'a [f32],
    /// The first pair.
    first: usize,
    width: usize,
    blocks: usize,
}

impl<'a> PreparedBlocks<'a> {
    /// Brings the keys or values `view` into form, in `room`.
    fn new(dims: &Dims, view: View4<'_>, width: usize, pairs: Pairs, transpose: bool, room: &'a mut Vec<f32>) -> Self {
        let blocks = dims.keys.div_ceil(BLOCK);
        let (first, count) = match pairs {
            Pairs::All => (0, dims.batch * dims.kv_heads),
            Pairs::One(pair) => (pair, 1),
        };
        let length = count * blocks * width * BLOCK;
        // One vector more, because the last row's last vector may reach past it.
        fit(room, length + LANES);
        let prepare = |piece: usize, out: &mut [f32]| {
            let (pair, block) = (first + piece / blocks, piece % blocks);
            let rows = view.head(pair / dims.kv_heads, pair % dims.kv_heads, dims.keys, width);
            dispatch(Prepare { rows, block, transpose, out });
        };
        match pairs {
            Pairs::All => parallel::pieces(&mut room[..length], width * BLOCK, prepare),
            Pairs::One(_) => {
                let pieces = room[..length].chunks_exact_mut(width * BLOCK);
                pieces.enumerate().for_each(|(piece, out)| prepare(piece, out));
            }
        }
        Self { data: room, first, width, blocks }
    }

    /// A block of the pair `batch · kv_heads + kv_head`, and what follows it.
    #[inline(always)]
    fn starting_at(&self, pair: usize, block: usize) -> &[f32] {
        &self.data[((pair - self.first) * self.blocks + block) * self.width * BLOCK..]
    }
}

/// Keys or values, transposed: `[pairs, blocks, width, BLOCK]`.
pub(super) struct Transposed<'a>(PreparedBlocks<'a>);

impl<'a> Transposed<'a> {
    pub fn new(dims: &Dims, view: View4<'_>, width: usize, pairs: Pairs, room: &'a mut Vec<f32>) -> Self {
        Self(PreparedBlocks::new(dims, view, width, pairs, true, room))
    }

    /// A block of the pair `batch · kv_heads + kv_head`.
    #[inline(always)]
    pub fn block(&self, pair: usize, block: usize) -> &[f32] {
        &self.0.starting_at(pair, block)[..self.0.width * BLOCK]
    }
}

/// Keys or values whose rows can be read by whole vectors: themselves if their rows follow each other and are whole vectors
/// long, else a copy. Rows far apart would fall into few sets of the cache.
pub(super) enum Readable<'a> {
    InPlace { view: View4<'a>, dims: Dims, width: usize },
    Copied(PreparedBlocks<'a>),
}

impl<'a> Readable<'a> {
    pub fn new(dims: &Dims, view: View4<'a>, width: usize, pairs: Pairs, room: &'a mut Vec<f32>) -> Self {
        if view.strides[2] == width && width.is_multiple_of(LANES) {
            return Self::InPlace { view, dims: *dims, width };
        }
        Self::Copied(PreparedBlocks::new(dims, view, width, pairs, false, room))
    }

    /// The rows of a block of the pair `batch · kv_heads + kv_head`; those past the last key must not be read.
    #[inline(always)]
    pub fn block(&self, pair: usize, block: usize) -> Vectors<'_> {
        match self {
            Self::InPlace { view, dims, width } => {
                let rows = view.head(pair / dims.kv_heads, pair % dims.kv_heads, dims.keys, *width);
                Vectors { data: &rows.data[block * BLOCK * width..], stride: *width }
            }
            Self::Copied(prepared) => Vectors { data: prepared.starting_at(pair, block), stride: prepared.width },
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
    pub keys: &'a Transposed<'a>,
    pub values: &'a Readable<'a>,
    pub pair: usize,
}

impl Blocks for Pair<'_> {
    fn fetch<'a>(&'a self, block: usize, _: &'a mut BlockBuffer) -> Block<'a> {
        Block { keys: self.keys.block(self.pair, block), values: self.values.block(self.pair, block) }
    }
}
