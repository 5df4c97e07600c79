//! How the backward pass is cut into units of work.
//!
//! A unit owns a whole (batch, key/value head): per pair of tile and block it needs five products. With fewer of those than
//! workers, units for query gradients own a tile and units for key and value gradients some blocks, at seven products. Sums
//! run over tiles and blocks in ascending order either way, so gradients do not depend on the number of threads.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::source::BLOCK;
use super::view::{Dims, View4};
use crate::parallel;

/// Lines of a tile: few enough that their rows stay in the first cache.
const LINES: usize = 48;
/// Blocks whose key and value gradients a unit owns when pairs are cut.
const OWNED_BLOCKS: usize = 4;

/// How the work is cut.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// (batch, key/value head) pairs.
    pub pairs: usize,
    /// Tiles of a pair and query rows of a tile.
    pub tiles: usize,
    pub rows: usize,
    pub blocks: usize,
    /// Whether pairs are cut, because there are fewer of them than workers.
    pub cut: bool,
}

impl Layout {
    /// With the gradient of a bias, `bias`, pairs stay whole.
    pub fn new(dims: &Dims, bias: bool) -> Self {
        let rows = (LINES / dims.shape().group()).max(1);
        let pairs = dims.batch * dims.kv_heads;
        Self {
            pairs,
            cut: !bias && pairs < worker_count(),
            tiles: dims.queries.div_ceil(rows),
            rows,
            blocks: dims.keys.div_ceil(BLOCK),
        }
    }

    /// The units, grouped into parts that may run at the same time.
    pub fn parts(&self, dims: &Dims, bias: Option<&BiasGradient>) -> Vec<Vec<Unit>> {
        let everything = |pair| Unit { pair, tiles: 0..self.tiles, blocks: 0..self.blocks, queries: true, keys: true };
        if let Some(bias) = bias {
            // Pairs that share elements of the bias run one after the other.
            let owner = |pair: usize| bias.at(pair / dims.kv_heads, pair % dims.kv_heads * dims.shape().group(), 0);
            let mut owners: Vec<usize> = (0..self.pairs).map(owner).collect();
            owners.sort_unstable();
            owners.dedup();
            let share = |of: usize| (0..self.pairs).filter(|&pair| owner(pair) == of).map(everything).collect();
            return owners.into_iter().map(share).collect();
        }
        if !self.cut {
            return (0..self.pairs).map(|pair| vec![everything(pair)]).collect();
        }
        let pair = |pair| {
            let tiles =
                (0..self.tiles).rev().map(move |tile| Unit { tiles: tile..tile + 1, keys: false, ..everything(pair) });
            let blocks = (0..self.blocks).step_by(OWNED_BLOCKS).map(move |start| Unit {
                blocks: start..(start + OWNED_BLOCKS).min(self.blocks),
                queries: false,
                ..everything(pair)
            });
            blocks.chain(tiles).map(|unit| vec![unit])
        };
        (0..self.pairs).flat_map(pair).collect()
    }
}

/// How many workers a parallel region has.
fn worker_count() -> usize {
    let count = AtomicUsize::new(1);
    parallel::workers(usize::MAX, |_, workers| count.store(workers, Ordering::Relaxed));
    count.into_inner()
}

/// Some tiles and blocks of a pair, and whether their query gradients and their key and value gradients are wanted.
pub(super) struct Unit {
    pub pair: usize,
    pub tiles: Range<usize>,
    pub blocks: Range<usize>,
    pub queries: bool,
    pub keys: bool,
}

/// Where the gradient of a bias goes.
pub(super) struct BiasGradient {
    /// Elements from one batch, head and query to the next; 0 where the bias is broadcast.
    strides: [usize; 3],
    pub length: usize,
}

impl BiasGradient {
    pub fn new(dims: &Dims, bias: View4<'_>) -> Self {
        let mut length = dims.keys;
        let mut strides = [0; 3];
        for (i, count) in [dims.batch, dims.heads, dims.queries].into_iter().enumerate().rev() {
            if bias.strides[i] != 0 {
                strides[i] = length;
                length *= count;
            }
        }
        Self { strides, length }
    }

    /// Where the row of (batch, head, query) starts.
    pub fn at(&self, batch: usize, head: usize, query: usize) -> usize {
        batch * self.strides[0] + head * self.strides[1] + query * self.strides[2]
    }
}
