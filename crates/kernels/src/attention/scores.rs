//! The scores of one query row with all the keys it sees: what policies that choose keys for it compare.

use std::ops::Range;

use super::attend::{Segment, Sequence, lines_of};
use super::pass::{SCRATCH, SPLIT, Scratch};
use super::rows::{Rows, Shape};
use super::softmax::refill;
use super::source::{BLOCK, KeyValueBlocks, block_slots};
use super::spec::AttnSpec;
use super::tile::Tile;
use super::work;
use crate::disjoint::Disjoint;
use crate::parallel;
use crate::product::{ROWS, Vectors};
use crate::profile;
use crate::simd::{Kernel, Simd, dispatch};

/// The scores of `query` `[heads, head_dim]` with the slots of its key/value heads, `[heads][slots]`; −∞ where a slot is not
/// visible. The query has the slot `slots - 1 - later` of every head.
///
/// # Panics
/// If there are not `kv_heads` sources, or `query` is too short.
pub fn scores<B: KeyValueBlocks>(
    spec: &AttnSpec,
    shape: Shape,
    query: &[f32],
    later: usize,
    heads: &[B],
) -> Vec<Vec<f32>> {
    shape.check();
    spec.check(shape.heads);
    assert_eq!(heads.len(), shape.kv_heads, "one source per key/value head");
    let mut found: Vec<Vec<f32>> =
        (0..shape.heads).map(|head| vec![f32::NEG_INFINITY; heads[head / shape.group()].slots()]).collect();
    let splits = |(head, source): (usize, &B)| (0..source.slots().div_ceil(SPLIT)).map(move |split| (head, split));
    let units: Vec<(usize, usize)> = heads.iter().enumerate().flat_map(splits).collect();
    let sequence = Sequence::new(&Segment { rows: 0..later + 1, heads });
    let _span = profile::span("attention, scores").work(|| work::of_scores(spec, shape, &sequence));
    let out: Vec<Disjoint<'_, f32>> = found.iter_mut().map(|out| Disjoint::new(out)).collect();
    let call = Call { spec, shape, query, sequence: &sequence, out: &out };
    parallel::parts(units.len(), |unit| {
        let (kv_head, split) = units[unit];
        SCRATCH.with_borrow_mut(|scratch| call.split(kv_head, split, scratch));
    });
    drop(out);
    found
}

/// The arguments of a call.
struct Call<'a> {
    spec: &'a AttnSpec,
    shape: Shape,
    query: &'a [f32],
    sequence: &'a Sequence<'a>,
    /// Of every query head; a unit owns the slots of its split.
    out: &'a [Disjoint<'a, f32>],
}

impl Call<'_> {
    /// The scores of a group with one split of its keys.
    fn split(&self, kv_head: usize, split: usize, scratch: &mut Scratch) {
        let (shape, source) = (self.shape, self.sequence.heads[kv_head]);
        let Scratch { query, keys, .. } = scratch;
        let row = Rows { data: self.query, stride: shape.heads * shape.head_dim };
        let lines = lines_of(self.spec, shape, row, self.sequence, kv_head, 0..1, query);
        let tile = Tile::new(self.spec, &lines, query, shape.head_dim, source.positions());
        refill(keys, shape.head_dim * BLOCK, 0.0);
        let blocks = split * SPLIT / BLOCK..((split + 1) * SPLIT).min(source.slots()).div_ceil(BLOCK);
        for block in blocks.filter(|&block| tile.touches(block)) {
            source.decode(block, keys, &mut []);
            let slots = block_slots(block, source.slots());
            for (first, _) in tile.strips(block) {
                let mut scores = [0.0; ROWS * BLOCK];
                let lines = first..(first + ROWS).min(tile.lines.len());
                dispatch(OfBlock { tile: &tile, lines: lines.clone(), block, keys, scores: &mut scores });
                for (line, scores) in lines.zip(scores.chunks_exact(BLOCK)) {
                    let head = kv_head * shape.group() + line;
                    // SAFETY: these slots of the heads of the group belong to this unit.
                    let out = unsafe { self.out[head].range(slots.start, slots.len()) };
                    out.copy_from_slice(&scores[..slots.len()]);
                }
            }
        }
    }
}

/// The scores `[lines, BLOCK]` of some lines with a block.
struct OfBlock<'a> {
    tile: &'a Tile<'a>,
    lines: Range<usize>,
    block: usize,
    keys: &'a [f32],
    scores: &'a mut [f32],
}

impl Kernel for OfBlock<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { tile, lines, block, keys, scores } = self;
        tile.scores(s, lines, block, Vectors { data: keys, stride: BLOCK }, scores, None);
    }
}
