//! What a call of attention has to do by definition, for profiles: hidden keys are not counted, and what several rows read
//! is read once.

use super::attend::{Sequence, slot_of_row};
use super::rows::Shape;
use super::source::BLOCK;
use super::spec::AttnSpec;
use super::view::Dims;
use super::visible::Visible;
use crate::profile::Work;

/// What a profile calls attention over the rows of `sequences`.
pub(super) fn name(sequences: &[Sequence<'_>]) -> &'static str {
    if sequences.iter().all(|sequence| sequence.rows.len() <= 1) { "attention, decode" } else { "attention, prefill" }
}

/// Attention of rows over their caches.
pub(super) fn of_rows(spec: &AttnSpec, shape: Shape, sequences: &[Sequence<'_>]) -> Work {
    let mut work = Work::default();
    for sequence in sequences {
        let Seen { pairs, cache } = Seen::by(spec, shape, sequence);
        let rows = sequence.rows.len() * shape.heads;
        work += Work {
            flops: 2.0 * pairs * (shape.head_dim + shape.value_dim) as f64,
            bytes: cache + floats(rows * (shape.head_dim + shape.value_dim)),
        };
    }
    work
}

/// The scores of rows with their caches, whose values are not read.
pub(super) fn of_scores(spec: &AttnSpec, shape: Shape, sequence: &Sequence<'_>) -> Work {
    let Seen { pairs, cache } = Seen::by(spec, shape, sequence);
    let keys = shape.head_dim as f64 / (shape.head_dim + shape.value_dim) as f64;
    let queries = floats(sequence.rows.len() * shape.heads * shape.head_dim);
    Work { flops: 2.0 * pairs * shape.head_dim as f64, bytes: keys * cache + queries }
}

/// The forward pass over whole tensors.
pub(super) fn of_tensors(spec: &AttnSpec, dims: &Dims) -> Work {
    Work {
        flops: 2.0 * pairs(spec, dims) * (dims.head_dim + dims.value_dim) as f64,
        bytes: floats(inputs(dims) + dims.output()),
    }
}

/// The backward pass over whole tensors: the scores once more, two products for queries and keys, two for values.
pub(super) fn of_gradients(spec: &AttnSpec, dims: &Dims) -> Work {
    Work {
        flops: 2.0 * pairs(spec, dims) * (3 * dims.head_dim + 2 * dims.value_dim) as f64,
        bytes: floats(2 * inputs(dims) + 2 * dims.output()),
    }
}

/// What the rows of a sequence see.
struct Seen {
    /// Pairs of a row and a visible slot, over the query heads.
    pairs: f64,
    /// Bytes of the slots that any row sees.
    cache: f64,
}

impl Seen {
    fn by(spec: &AttnSpec, shape: Shape, sequence: &Sequence<'_>) -> Self {
        let mut seen = Self { pairs: 0.0, cache: 0.0 };
        for (kv_head, &source) in sequence.heads.iter().enumerate() {
            let rows = sequence.rows.len();
            let visible = (0..rows).map(|row| Visible::of_row(spec, source, rows, row));
            for (row, visible) in visible.clone().enumerate() {
                let heads = kv_head * shape.group()..(kv_head + 1) * shape.group();
                let slot = slot_of_row(source.slots(), rows, row);
                seen.pairs += heads.map(|head| count(spec, head, slot, visible) as f64).sum::<f64>();
            }
            let slots = visible.reduce(Visible::union).map_or(0, Visible::count);
            seen.cache += source.stored_bytes() as f64 * slots as f64 / source.slots().max(1) as f64;
        }
        seen
    }
}

/// Pairs of a query and a visible key in whole tensors.
fn pairs(spec: &AttnSpec, dims: &Dims) -> f64 {
    let of_row = |head: usize, row: usize| {
        let position = dims.position(row);
        count(spec, head, position, Visible::new(spec, dims.keys, position, None)) as f64
    };
    let rows = (0..dims.heads).flat_map(|head| (0..dims.queries).map(move |row| (head, row)));
    dims.batch as f64 * rows.map(|(head, row)| of_row(head, row)).sum::<f64>()
}

/// How many of the `visible` slots a mask of blocks leaves to the query at slot `query` of `head`.
fn count(spec: &AttnSpec, head: usize, query: isize, visible: Visible) -> usize {
    if spec.blocks.is_none() {
        return visible.count();
    }
    let row = spec.blocks_of(head, query);
    (0..visible.end.div_ceil(BLOCK)).filter(|&block| row.sees(block)).map(|block| visible.count_in(block)).sum()
}

/// Elements of queries, keys and values.
fn inputs(dims: &Dims) -> usize {
    let Dims { batch, heads, kv_heads, queries, keys, head_dim, value_dim } = *dims;
    batch * (heads * queries * head_dim + kv_heads * keys * (head_dim + value_dim))
}

fn floats(elements: usize) -> f64 {
    (elements * size_of::<f32>()) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::{BlockMask, SPLIT, Segment};
    use crate::kv::{Codec, KeyValues};

    fn cache(codec: Codec, slots: usize) -> KeyValues {
        let mut pairs = KeyValues::new(codec, 16, 16);
        (0..slots).for_each(|slot| pairs.append(&[0.5; 16], &[0.25; 16], slot as i32));
        pairs
    }

    #[test]
    fn a_decoded_row_reads_the_stored_bytes_once() {
        let shape = Shape { heads: 6, kv_heads: 2, head_dim: 16, value_dim: 16 };
        for codec in [Codec::F32, Codec::F16, Codec::Int8, Codec::Int4] {
            let heads = [cache(codec, SPLIT + 9), cache(codec, SPLIT + 9)];
            let sequences = [Sequence::new(&Segment { rows: 0..1, heads: &heads })];
            let work = of_rows(&AttnSpec::causal(16), shape, &sequences);
            assert_eq!(name(&sequences), "attention, decode");
            assert_eq!(work.flops, 4.0 * (6 * 16 * (SPLIT + 9)) as f64);
            assert_eq!(work.bytes, (2 * (SPLIT + 9) * codec.pair_bytes(16, 16) + 6 * 32 * 4) as f64, "{codec}");
        }
    }

    #[test]
    fn hidden_keys_are_not_counted() {
        let shape = Shape { heads: 1, kv_heads: 1, head_dim: 16, value_dim: 16 };
        let heads = [cache(Codec::F32, 10)];
        let sequences = [Sequence::new(&Segment { rows: 0..3, heads: &heads })];
        assert_eq!(name(&sequences), "attention, prefill");
        let flops = |spec: &AttnSpec| of_rows(spec, shape, &sequences).flops / 64.0;
        let causal = AttnSpec::causal(16);
        assert_eq!(flops(&causal), (8 + 9 + 10) as f64);
        assert_eq!(flops(&AttnSpec { window: Some(4), sinks_keep: 1, ..causal.clone() }), (3 * 5) as f64);
        let scores = of_scores(&causal, shape, &sequences[0]);
        assert_eq!((scores.flops / 32.0, scores.bytes), (27.0, (10 * 16 * 4 + 3 * 16 * 4) as f64));
        let dims = Dims { batch: 2, heads: 3, kv_heads: 1, queries: 4, keys: 6, head_dim: 16, value_dim: 16 };
        assert_eq!(of_tensors(&causal, &dims).flops, 64.0 * 6.0 * (3 + 4 + 5 + 6) as f64);
        assert_eq!(of_gradients(&causal, &dims).flops, 2.5 * of_tensors(&causal, &dims).flops);
        let dims = Dims { batch: 1, heads: 2, kv_heads: 1, queries: 130, keys: 130, ..dims };
        let mask = BlockMask::new(&[vec![vec![0], vec![1, 9], vec![0, 2]]]);
        let masked = AttnSpec { blocks: Some(mask.into()), ..AttnSpec::full(16) };
        assert_eq!(of_tensors(&masked, &dims).flops, 2.0 * 64.0 * (64 * 64 + 64 * 64 + 2 * (64 + 2)) as f64);
    }
}
