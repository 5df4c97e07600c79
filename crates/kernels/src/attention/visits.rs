//! Counts of score products: that hidden blocks cost nothing, and statistics no more than stated.
//!
//! A visit is the score product of one line (a query row of one head) with one block of keys. [`Tile::scores`] notes them,
//! in tests only, on the thread that computes them.
//!
//! [`Tile::scores`]: super::tile::Tile::scores

use std::cell::Cell;
use std::ops::Range;

use super::tile::LINES;
use super::*;
use crate::kv::{Codec, KeyValues};
use crate::product::ROWS;

thread_local! {
    static VISITS: Cell<usize> = const { Cell::new(0) };
}

/// Notes the products of `lines` lines with a block.
pub(super) fn note(lines: usize) {
    VISITS.set(VISITS.get() + lines);
}

/// Visits of `work`, on one thread.
fn visits(work: impl FnOnce() + Send) -> usize {
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    one.install(|| {
        VISITS.set(0);
        work();
        VISITS.get()
    })
}

const WIDTH: usize = 16;

fn spec(window: Option<usize>, sinks_keep: usize) -> AttnSpec {
    AttnSpec { window, sinks_keep, ..AttnSpec::causal(WIDTH) }
}

/// Whether the row at `slot` sees `key`, by definition.
fn sees(spec: &AttnSpec, slot: usize, key: usize) -> bool {
    if spec.blocks.as_ref().is_some_and(|mask| !mask.sees(0, slot as isize, key)) {
        return false;
    }
    let near = spec.window.is_none_or(|window| slot.abs_diff(key) < window || key < spec.sinks_keep);
    !spec.causal || key <= slot && near
}

/// Visits of one key/value head whose `group` query heads attend from the `slots` of rows to `keys` keys: a strip of up to
/// six lines of a tile of `tile` lines meets a block if one of them sees something of it.
fn needed(spec: &AttnSpec, slots: Range<usize>, keys: usize, group: usize, tile: usize) -> usize {
    let lines: Vec<usize> = slots.flat_map(|slot| std::iter::repeat_n(slot, group)).collect();
    let strips = lines.chunks(tile / group * group).flat_map(|tile| tile.chunks(ROWS));
    let blocks = || (0..keys).step_by(BLOCK).map(|start| start..(start + BLOCK).min(keys));
    let meets =
        |strip: &[usize], block: Range<usize>| block.clone().any(|key| strip.iter().any(|&slot| sees(spec, slot, key)));
    strips.map(|strip| strip.len() * blocks().filter(|block| meets(strip, block.clone())).count()).sum()
}

/// Specs with how many keys a row sees at most.
fn specs() -> [(AttnSpec, usize); 4] {
    let all = usize::MAX;
    [(AttnSpec::full(WIDTH), all), (spec(None, 0), all), (spec(Some(100), 0), 100), (spec(Some(70), 5), 75)]
}

struct Tensors {
    dims: Dims,
    data: Vec<f32>,
}

impl Tensors {
    fn new(batch: usize, heads: usize, kv_heads: usize, queries: usize, keys: usize) -> Self {
        let dims = Dims { batch, heads, kv_heads, queries, keys, head_dim: WIDTH, value_dim: WIDTH };
        Self { dims, data: vec![0.25; batch * heads * keys.max(queries) * WIDTH] }
    }

    fn inputs(&self) -> Inputs<'_> {
        let Dims { heads, kv_heads, queries, keys, .. } = self.dims;
        let view = |heads, tokens| View4::contiguous(&self.data, heads, tokens, WIDTH);
        Inputs { query: view(heads, queries), key: view(kv_heads, keys), value: view(kv_heads, keys), bias: None }
    }

    fn forward(&self, spec: &AttnSpec) -> (Vec<f32>, Vec<f32>) {
        let (mut out, mut lse) = (vec![0.0; self.dims.output()], vec![0.0; self.dims.lse()]);
        let Dims { heads, queries, .. } = self.dims;
        forward(spec, &self.dims, &self.inputs(), View4Mut::heads_first(&mut out, heads, queries, WIDTH), &mut lse);
        (out, lse)
    }

    fn backward(&self, spec: &AttnSpec, (out, lse): &(Vec<f32>, Vec<f32>)) {
        let Dims { batch, heads, kv_heads, queries, keys, .. } = self.dims;
        let d_out = View4::contiguous(&self.data, heads, queries, WIDTH);
        let upstream = Upstream { out: View4::contiguous(out, heads, queries, WIDTH), lse, d_out, d_lse: None };
        let mut query = vec![0.0; self.dims.output()];
        let mut pairs = [0; 2].map(|_| vec![0.0; batch * kv_heads * keys * WIDTH]);
        let [key, value] = pairs.each_mut().map(|data| View4Mut::heads_first(data, kv_heads, keys, WIDTH));
        let query = View4Mut::heads_first(&mut query, heads, queries, WIDTH);
        backward(spec, &self.dims, &self.inputs(), &upstream, InputGradients { query, key, value }, false);
    }
}

#[test]
fn tensors_visit_what_is_visible_and_nothing_else() {
    for (heads, kv_heads, queries, keys) in [(2, 2, 700, 700), (6, 2, 97, 400), (1, 1, 1, 130)] {
        let tensors = Tensors::new(2, heads, kv_heads, queries, keys);
        for (spec, _) in specs() {
            let per_pair = |tile| needed(&spec, keys - queries..keys, keys, heads / kv_heads, tile);
            let found = visits(|| drop(tensors.forward(&spec)));
            assert_eq!(found, 2 * kv_heads * per_pair(LINES), "forward of {queries} to {keys}, {spec:?}");
            if spec.sinks_keep == 0 {
                let forward = tensors.forward(&spec);
                let found = visits(|| tensors.backward(&spec, &forward));
                assert_eq!(found, 2 * kv_heads * per_pair(48), "backward of {queries} to {keys}, {spec:?}");
            }
        }
    }
}

#[test]
fn a_causal_mask_halves_the_work_and_a_window_makes_it_linear() {
    let visits = |tokens: usize, spec: &AttnSpec| visits(|| drop(Tensors::new(1, 1, 1, tokens, tokens).forward(spec)));
    let (causal, window) = (spec(None, 0), spec(Some(128), 0));
    assert_eq!(visits(1536, &AttnSpec::full(WIDTH)), 1536 * 24);
    // A strip meets the blocks up to its last line: half of all pairs, and half a block more per row.
    assert_eq!(visits(1536, &causal), (0..256).map(|strip: usize| 6 * ((6 * strip + 6).div_ceil(BLOCK))).sum());
    let further = visits(3072, &window) - visits(1536, &window);
    assert!(further <= 1536 * 4, "128 keys and the strip itself touch at most 4 blocks: {further}");
    assert_eq!(visits(4608, &window) - visits(3072, &window), further, "every further row costs the same");
}

#[test]
fn hidden_blocks_cost_nothing() {
    // A block sees itself, the one before it and the first one.
    let lists = (0..24).map(|block: usize| vec![0, block.saturating_sub(1), block]).collect();
    let mask = std::sync::Arc::new(BlockMask::new(&[lists]));
    for causal in [false, true] {
        let spec = AttnSpec { causal, blocks: Some(mask.clone()), ..AttnSpec::full(WIDTH) };
        let tensors = Tensors::new(2, 2, 1, 1536, 1536);
        let expected = |tile| 2 * needed(&spec, 0..1536, 1536, 2, tile);
        assert_eq!(visits(|| drop(tensors.forward(&spec))), expected(LINES), "forward, causal {causal}");
        let forward = tensors.forward(&spec);
        // A strip of the gradient that straddles blocks of queries meets what lies between their blocks of keys too.
        let found = visits(|| tensors.backward(&spec, &forward));
        assert!((expected(48)..expected(48) * 9 / 8).contains(&found), "backward, causal {causal}: {found}");
        let all = visits(|| drop(tensors.forward(&AttnSpec { blocks: None, ..spec.clone() })));
        assert!(5 * found < 2 * all, "{found} of {all}");
        let caches = caches(Codec::F16, 2, 1400);
        let expected = 2 * needed(&spec, 1360..1400, 1400, 3, LINES);
        assert_eq!(attended(&spec, &caches, 40).0, expected, "40 rows, causal {causal}");
        assert_eq!(attended(&spec, &caches, 1).0, SHAPE.heads * 3, "one row, causal {causal}");
    }
}

#[test]
fn packed_texts_visit_nothing_of_each_other() {
    let (tensors, offsets) = (Tensors::new(2, 2, 1, 1536, 1536), [0, 5, 700, 700, 956, 1536]);
    for spec in [spec(None, 0), spec(Some(100), 0), AttnSpec::full(WIDTH)] {
        let alone = |work: fn(&Tensors, &AttnSpec)| -> usize {
            let lengths = offsets.windows(2).map(|ends| ends[1] - ends[0]).filter(|&length| length > 0);
            let of = |length| visits(|| work(&Tensors::new(2, 2, 1, length, length), &spec));
            lengths.map(of).sum()
        };
        let (mut out, mut lse) = (vec![0.0; tensors.dims.output()], vec![0.0; tensors.dims.lse()]);
        let found = visits(|| forward_packed(&spec, &tensors.dims, &tensors.inputs(), &offsets, &mut out, &mut lse));
        let together = visits(|| drop(tensors.forward(&spec)));
        assert_eq!(found, alone(|tensors, spec| drop(tensors.forward(spec))), "forward, {spec:?}");
        assert!(spec.window.is_some() || 2 * found < together, "{found} of {together}, {spec:?}");

        let d_out = View4::contiguous(&tensors.data, 2, 1536, WIDTH);
        let upstream = PackedUpstream { out: &out, lse: &lse, d_out };
        let mut query = vec![0.0; tensors.dims.output()];
        let [mut key, mut value] = [0; 2].map(|_| vec![0.0; 2 * 1536 * WIDTH]);
        let found = visits(|| {
            let gradients = PackedGradients { query: &mut query, key: &mut key, value: &mut value };
            backward_packed(&spec, &tensors.dims, &tensors.inputs(), &offsets, &upstream, gradients);
        });
        let backward = |tensors: &Tensors, spec: &AttnSpec| {
            let forward = tensors.forward(spec);
            // What the forward pass visits is not counted.
            VISITS.set(0);
            tensors.backward(spec, &forward);
        };
        assert_eq!(found, alone(backward), "backward, {spec:?}");
    }
}

/// Caches of `kv_heads` heads.
fn caches(codec: Codec, kv_heads: usize, slots: usize) -> Vec<KeyValues> {
    let mut pairs = KeyValues::new(codec, WIDTH, WIDTH);
    (0..slots).for_each(|slot| pairs.append(&[0.5; WIDTH], &[0.25; WIDTH], slot as i32));
    vec![pairs; kv_heads]
}

const SHAPE: Shape = Shape { heads: 6, kv_heads: 2, head_dim: WIDTH, value_dim: WIDTH };

/// Visits of the last `rows` rows over `caches`, and the statistics that they ask for.
fn attended(spec: &AttnSpec, caches: &[KeyValues], rows: usize) -> (usize, StatsOut) {
    let width = SHAPE.heads * WIDTH;
    let (query, mut out, mut stats) = (vec![0.5; rows * width], vec![0.0; rows * width], StatsOut::default());
    let found = visits(|| {
        let query = Rows { data: &query, stride: width };
        let out = RowsMut { data: &mut out, stride: width };
        attend(spec, SHAPE, query, &[Segment { rows: 0..rows, heads: caches }], out, &mut stats);
    });
    (found, stats)
}

#[test]
fn a_decoded_row_reads_every_visible_block_once() {
    for codec in Codec::ALL {
        for slots in [1, 64, 65, 1024, 1400] {
            let caches = caches(codec, 2, slots);
            let blocks = slots.div_ceil(BLOCK);
            assert_eq!(attended(&spec(None, 0), &caches, 1).0, SHAPE.heads * blocks, "{codec} {slots}");
            let window = needed(&spec(Some(100), 0), slots - 1..slots, slots, 3, LINES);
            assert_eq!(attended(&spec(Some(100), 0), &caches, 1).0, 2 * window, "{codec} {slots}, with a window");
            assert!(window <= 3 * 3, "100 slots touch at most 3 blocks");
        }
    }
}

#[test]
fn chunks_visit_what_is_visible_and_statistics_cost_nothing_more() {
    for (rows, slots) in [(1, 700), (40, 700), (256, 256)] {
        let caches = caches(Codec::F16, 2, slots);
        for (mut spec, _) in specs() {
            let expected = 2 * needed(&spec, slots - rows..slots, slots, 3, LINES);
            let (plain, stats) = attended(&spec, &caches, rows);
            assert_eq!(plain, expected, "{rows} rows of {slots}, {spec:?}");
            assert!(stats.lse.is_empty() && stats.entropy.is_empty(), "nothing is kept unasked");
            spec.want = Stats { lse: true, entropy: true, col_sum: false };
            let (asked, stats) = attended(&spec, &caches, rows);
            assert_eq!(asked, expected, "lse and entropy of {rows} rows of {slots}, {spec:?}");
            assert_eq!((stats.lse.len(), stats.entropy.len()), (rows * SHAPE.heads, rows * SHAPE.heads));
        }
    }
}

#[test]
fn column_sums_cost_the_score_product_once_more() {
    for (rows, slots) in [(1, 700), (32, 700), (256, 256)] {
        let caches = caches(Codec::F16, 2, slots);
        let query = vec![0.5; rows * SHAPE.heads * WIDTH];
        let query = Rows { data: &query, stride: SHAPE.heads * WIDTH };
        for (mut spec, most) in specs() {
            spec.want.lse = true;
            let (attention, stats) = attended(&spec, &caches, rows);
            let segment = Segment { rows: 0..rows, heads: &caches };
            let mut sums = vec![vec![0.0; slots]; 2];
            let more = visits(|| column_sums(&spec, SHAPE, query, &segment, &stats.lse, HeadSum::Group, &mut sums));
            assert_eq!(more, attention, "{rows} rows of {slots}, {spec:?}");
            if rows == 1 {
                let touched = sums[0].iter().filter(|&&sum| sum > 0.0).count();
                assert_eq!(touched, most.min(slots), "the sums are those of the visible slots");
            }
        }
    }
}
