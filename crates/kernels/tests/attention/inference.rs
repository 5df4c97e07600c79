//! `attend` over ragged caches.

use std::ops::Range;
use std::sync::Arc;

use headwise_kernels::attention::{
    AttnSpec, BLOCK, Float, KeyValueBlocks, Rows, RowsMut, SPLIT, Segment, Shape, Stats, StatsOut, Strided, attend,
};
use proptest::prelude::*;

use crate::reference::{Result, Row, assert_close, random};

/// A sequence: one cache per key/value head.
pub struct Sequence {
    pub heads: Vec<Cache>,
}

pub struct Cache {
    pub keys: Vec<f32>,
    pub values: Vec<f32>,
    pub positions: Option<Vec<i32>>,
}

impl Sequence {
    /// Random caches with the given numbers of slots; with `gaps` the positions are not consecutive.
    pub fn new(shape: Shape, slots: &[usize], gaps: bool, seed: u64) -> Self {
        let head = |(head, &slots): (usize, &usize)| {
            let seed = seed * 1000 + head as u64 * 10;
            let positions = gaps.then(|| (0..slots as i32).map(|slot| slot + slot / (3 + head as i32) * 4).collect());
            Cache {
                keys: random(slots * shape.head_dim, seed + 1),
                values: random(slots * shape.value_dim, seed + 2),
                positions,
            }
        };
        Self { heads: slots.iter().enumerate().map(head).collect() }
    }

    /// The caches as they were when `dropped` slots less were there.
    pub fn sources(&self, shape: Shape, dropped: usize) -> Vec<Float<'_>> {
        let short = |data: &'_ [f32], width: usize| data.len() / width - dropped;
        self.heads
            .iter()
            .map(|cache| {
                let rows = short(&cache.keys, shape.head_dim);
                Float {
                    keys: Strided { rows, ..Strided::contiguous(&cache.keys, shape.head_dim) },
                    values: Strided { rows, ..Strided::contiguous(&cache.values, shape.value_dim) },
                    positions: cache.positions.as_ref().map(|positions| &positions[..rows]),
                }
            })
            .collect()
    }
}

pub fn wide(data: &[f32]) -> Vec<f64> {
    data.iter().map(|&value| f64::from(value)).collect()
}

/// The definition for one row and head of a segment of `rows` rows.
pub fn expected(
    spec: &AttnSpec,
    shape: Shape,
    query: &[f32],
    source: &Float<'_>,
    rows: usize,
    row: usize,
    head: usize,
) -> Result {
    let slots = source.slots();
    let list = |rows: &Strided<'_>| (0..slots).map(|slot| wide(rows.row(slot))).collect::<Vec<_>>();
    let query = &query[(row * shape.heads + head) * shape.head_dim..][..shape.head_dim];
    Row { spec, head, slot: (slots + row) as isize - rows as isize, positions: source.positions, bias: None }.attend(
        &wide(query),
        &list(&source.keys),
        &list(&source.values),
    )
}

/// Runs `attend` on contiguous rows.
pub fn run<B: KeyValueBlocks>(
    spec: &AttnSpec,
    shape: Shape,
    query: &[f32],
    segments: &[Segment<'_, B>],
) -> (Vec<f32>, StatsOut) {
    let stride = shape.heads * shape.head_dim;
    let rows = query.len() / stride;
    let mut out = vec![f32::NAN; rows * shape.heads * shape.value_dim];
    let mut stats = StatsOut::default();
    let out_rows = RowsMut { data: &mut out, stride: shape.heads * shape.value_dim };
    attend(spec, shape, Rows { data: query, stride }, segments, out_rows, &mut stats);
    (out, stats)
}

/// Checks one segment against the definition.
fn check(spec: &AttnSpec, shape: Shape, slots: &[usize], rows: usize, gaps: bool, seed: u64) {
    let spec = AttnSpec { want: Stats { lse: true, entropy: true, col_sum: false }, ..spec.clone() };
    let sequence = Sequence::new(shape, slots, gaps, seed);
    let sources = sequence.sources(shape, 0);
    let query: Vec<f32> = random(rows * shape.heads * shape.head_dim, seed).iter().map(|value| value * 3.0).collect();
    let (out, stats) = run(&spec, shape, &query, &[Segment { rows: 0..rows, heads: &sources }]);
    // Scores far below zero are rounded as coarsely as they are large.
    let steepest = spec.alibi.iter().flat_map(|slopes| slopes.iter()).fold(0.0f32, |most, slope| most.max(slope.abs()));
    let longest = slots.iter().max().map_or(0.0, |&slots| slots as f32);
    let tolerance = 1e-5 + f64::from(steepest * longest * f32::EPSILON);
    for row in 0..rows {
        for head in 0..shape.heads {
            let what = format!("{shape:?} {spec:?} slots {slots:?} rows {rows} row {row} head {head}");
            let at = row * shape.heads + head;
            let result = expected(&spec, shape, &query, &sources[head / shape.group()], rows, row, head);
            assert_close(&out[at * shape.value_dim..][..shape.value_dim], &result.output, tolerance, &what);
            assert_close(&stats.lse[at..=at], &[result.lse], tolerance, &format!("lse {what}"));
            assert_close(&stats.entropy[at..=at], &[result.entropy], tolerance, &format!("entropy {what}"));
        }
    }
}

fn shape(heads: usize, kv_heads: usize, head_dim: usize, value_dim: usize) -> Shape {
    Shape { heads, kv_heads, head_dim, value_dim }
}

#[test]
fn equals_the_definition() {
    for head_dim in [1, 16, 32, 40, 64, 128, 256] {
        for slots in [1, 5, 64, 65, 200] {
            for rows in [1, 3, slots].into_iter().filter(|&rows| rows <= slots) {
                check(&AttnSpec::causal(head_dim), shape(2, 1, head_dim, head_dim), &[slots], rows, false, 1);
            }
        }
    }
    check(&AttnSpec::causal(64), shape(9, 3, 64, 24), &[700, 650, 1300], 40, true, 2);
    check(&AttnSpec::full(32), shape(4, 4, 32, 48), &[513, 512, 511, 90], 100, false, 3);
}

fn specs() -> impl Strategy<Value = AttnSpec> {
    let window = prop_oneof![Just(None), (0usize..90).prop_map(Some)];
    (any::<bool>(), window, 0usize..80, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(causal, window, sinks_keep, softcap, alibi, sinks)| AttnSpec {
            causal,
            window,
            sinks_keep,
            softcap: softcap.then_some(2.5),
            alibi: alibi.then(|| Arc::from([0.5, 0.25, 0.125, 0.06, 0.03, 0.015])),
            sink_logits: sinks.then(|| Arc::from([0.5, -1.0, 2.0, 0.0, 1.0, 3.0])),
            ..AttnSpec::causal(24)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equals_the_definition_with_every_option(
        spec in specs(),
        kv_heads in prop_oneof![Just(1usize), Just(2), Just(3), Just(6)],
        slots in prop::collection::vec(1usize..700, 6),
        rows in 1usize..60,
        gaps: bool,
        seed in 0u64..1000,
    ) {
        let slots: Vec<usize> = slots[..kv_heads].iter().map(|slots| slots + rows).collect();
        check(&spec, shape(6, kv_heads, 24, 20), &slots, rows, gaps, seed);
    }
}

/// Whole prompt, chunks and token by token, each with and without another sequence, on one and on several threads.
#[test]
fn a_row_has_the_same_bits_in_any_company() {
    let shape = shape(6, 2, 24, 40);
    let slots = SPLIT + 2 * BLOCK + 7;
    let rows = slots - 60;
    let specs = [
        AttnSpec::causal(24),
        AttnSpec { window: Some(300), sinks_keep: 5, ..AttnSpec::causal(24) },
        AttnSpec {
            alibi: Some(Arc::from([0.5, 0.25, 0.125, 0.06, 0.03, 0.015])),
            sink_logits: Some(Arc::from([0.5, -1.0, 2.0, 0.0, 1.0, 3.0])),
            softcap: Some(3.0),
            ..AttnSpec::causal(24)
        },
    ];
    let sequence = Sequence::new(shape, &[slots, slots + 100], true, 7);
    let other = Sequence::new(shape, &[90, 1200], false, 8);
    let width = shape.heads * shape.head_dim;
    let query = random(rows * width, 9);
    for spec in specs {
        let spec = AttnSpec { want: Stats { lse: true, entropy: true, col_sum: false }, ..spec };
        let whole = run(&spec, shape, &query, &[Segment { rows: 0..rows, heads: &sequence.sources(shape, 0) }]);
        let mut chunks: Vec<Range<usize>> = (0..rows).step_by(97).map(|start| start..(start + 97).min(rows)).collect();
        chunks.extend((0..rows).step_by(41).map(|row| row..row + 1));
        for chunk in chunks {
            let sources = sequence.sources(shape, rows - chunk.end);
            let part = &query[chunk.start * width..chunk.end * width];
            let alone = || run(&spec, shape, part, &[Segment { rows: 0..chunk.len(), heads: &sources }]);
            let threads = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let company = [random(3 * width, 10), part.to_vec()].concat();
            let others = other.sources(shape, 0);
            let segments =
                [Segment { rows: 0..3, heads: &others[..] }, Segment { rows: 3..3 + chunk.len(), heads: &sources }];
            let (batched, batched_stats) = run(&spec, shape, &company, &segments);
            let out_width = shape.heads * shape.value_dim;
            let batched_stats = StatsOut {
                lse: batched_stats.lse[3 * shape.heads..].to_vec(),
                entropy: batched_stats.entropy[3 * shape.heads..].to_vec(),
            };
            let batched = (batched[3 * out_width..].to_vec(), batched_stats);
            let results = [alone(), threads(1).install(alone), threads(3).install(alone), batched];
            for (i, (out, stats)) in results.into_iter().enumerate() {
                let same = |a: &[f32], b: &[f32], width: usize, what: &str| {
                    let b = &b[chunk.start * width..chunk.end * width];
                    let equal = a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(a.len() == b.len() && equal, "{what} of rows {chunk:?}, result {i}, {spec:?}");
                };
                same(&out, &whole.0, out_width, "output");
                same(&stats.lse, &whole.1.lse, shape.heads, "lse");
                same(&stats.entropy, &whole.1.entropy, shape.heads, "entropy");
            }
        }
    }
}

#[test]
fn extreme_scores_stay_finite() {
    let shape = shape(1, 1, 16, 16);
    for (query, key) in [(100.0, 100.0), (-100.0, 100.0), (1e19, 1e19), (3e38, 10.0), (-3e38, 10.0), (0.0, 3e38)] {
        for slots in [1, 63, 600] {
            let keys: Vec<f32> = (0..slots * 16).map(|i| if i / 16 % 5 == 0 { key } else { 0.0 }).collect();
            let values = random(slots * 16, 1);
            let source = [Float {
                keys: Strided::contiguous(&keys, 16),
                values: Strided::contiguous(&values, 16),
                positions: None,
            }];
            let rows = slots.min(7);
            let segments = [Segment { rows: 0..rows, heads: &source[..] }];
            let (out, stats) = run(
                &AttnSpec { want: Stats { lse: true, entropy: true, col_sum: false }, ..AttnSpec::causal(16) },
                shape,
                &vec![query; rows * 16],
                &segments,
            );
            assert!(out.iter().all(|value| value.abs() <= 1.0), "{query} {key} {slots}: {out:?}");
            assert!(!stats.lse.iter().chain(&stats.entropy).any(|value| value.is_nan()), "{query} {key} {slots}");
        }
    }
}

#[test]
fn rows_at_a_stride_and_rows_of_no_segment() {
    let shape = shape(2, 1, 16, 16);
    let sequence = Sequence::new(shape, &[70], false, 1);
    let sources = sequence.sources(shape, 0);
    let (stride, out_stride) = (100, 45);
    let query = random(5 * stride, 2);
    let mut out = vec![7.0; 5 * out_stride];
    let spec = AttnSpec::causal(16);
    let segment = [Segment { rows: 1..4, heads: &sources[..] }];
    let out_rows = RowsMut { data: &mut out, stride: out_stride };
    attend(&spec, shape, Rows { data: &query, stride }, &segment, out_rows, &mut StatsOut::default());
    let packed: Vec<f32> = (1..4).flat_map(|row| query[row * stride..][..32].to_vec()).collect();
    let (dense, _) = run(&spec, shape, &packed, &[Segment { rows: 0..3, heads: &sources }]);
    for (i, &value) in out.iter().enumerate() {
        let (row, column) = (i / out_stride, i % out_stride);
        let expected = if (1..4).contains(&row) && column < 32 { dense[(row - 1) * 32 + column] } else { 7.0 };
        assert_eq!(value, expected, "row {row} column {column}");
    }
}

#[test]
fn a_row_without_keys_is_zero() {
    let shape = shape(2, 1, 16, 16);
    let sequence = Sequence::new(shape, &[2], false, 1);
    let spec = AttnSpec { want: Stats { lse: true, entropy: true, col_sum: false }, ..AttnSpec::causal(16) };
    let (out, stats) =
        run(&spec, shape, &random(5 * 32, 2), &[Segment { rows: 0..5, heads: &sequence.sources(shape, 0) }]);
    assert!(out[..3 * 32].iter().all(|&value| value == 0.0) && out[3 * 32..].iter().all(|&value| value != 0.0));
    assert!(stats.lse[..6].iter().all(|&lse| lse == f32::NEG_INFINITY));
    assert!(stats.entropy[..6].iter().all(|&entropy| entropy == 0.0));
}
