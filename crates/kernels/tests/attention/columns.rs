//! `column_sums`, `scores` and `merge` against the definition.

use std::ops::Range;
use std::sync::Arc;

use headwise_kernels::attention::{AttnSpec, HeadSum, Rows, Segment, Shape, Stats, attend, column_sums, merge, scores};
use headwise_kernels::attention::{Float, KeyValueBlocks, RowsMut, StatsOut, Strided};

use crate::inference::{Sequence, expected, run};
use crate::reference::{assert_close, random};

const SHAPE: Shape = Shape { heads: 6, kv_heads: 2, head_dim: 24, value_dim: 16 };

fn spec() -> AttnSpec {
    AttnSpec { want: Stats { col_sum: true, ..Stats::default() }, ..AttnSpec::causal(24) }
}

/// The column sums of the last `last` of `rows` rows, in both forms, checked against the definition.
fn check(spec: &AttnSpec, slots: &[usize], rows: usize, last: usize) -> Vec<Vec<f32>> {
    let sequence = Sequence::new(SHAPE, slots, true, 5);
    let sources = sequence.sources(SHAPE, 0);
    let stride = SHAPE.heads * SHAPE.head_dim;
    let query = random(rows * stride, 6);
    let (_, stats) = run(spec, SHAPE, &query, &[Segment { rows: 0..rows, heads: &sources }]);
    let segment = Segment { rows: rows - last..rows, heads: &sources[..] };
    let view = Rows { data: &query, stride };
    // The sums are added to what is there.
    let mut group: Vec<Vec<f32>> = slots.iter().map(|&slots| vec![1.0; slots]).collect();
    let mut each: Vec<Vec<f32>> = slots.iter().map(|&slots| vec![0.0; slots * SHAPE.group()]).collect();
    column_sums(spec, SHAPE, view, &segment, &stats.lse, HeadSum::Group, &mut group);
    column_sums(spec, SHAPE, view, &segment, &stats.lse, HeadSum::Each, &mut each);
    for (kv_head, &slots) in slots.iter().enumerate() {
        let mut total = vec![1.0; slots];
        for g in 0..SHAPE.group() {
            let head = kv_head * SHAPE.group() + g;
            let mut sums = vec![0.0; slots];
            for row in rows - last..rows {
                let weights = expected(spec, SHAPE, &query, &sources[kv_head], rows, row, head).weights;
                sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += weight);
            }
            assert_close(&each[kv_head][g * slots..][..slots], &sums, 1e-5, &format!("head {head}"));
            total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
        assert_close(&group[kv_head], &total, 1e-5, &format!("group {kv_head}"));
    }
    each
}

#[test]
fn equals_the_definition() {
    check(&spec(), &[1, 3], 1, 1);
    check(&spec(), &[130, 700], 100, 100);
    check(&spec(), &[130, 700], 100, 7);
    check(&AttnSpec { window: Some(20), sinks_keep: 3, softcap: Some(2.0), ..spec() }, &[130, 1100], 90, 90);
    let alibi = Some(Arc::from([0.5, 0.25, 0.125, 0.06, 0.03, 0.015]));
    let sink_logits = Some(Arc::from([0.5, -1.0, 2.0, 0.0, 1.0, 3.0]));
    check(&AttnSpec { alibi, sink_logits, causal: false, ..spec() }, &[64, 65], 40, 40);
}

/// The scores of a row with every slot are the logarithms of its weights, but for a constant.
#[test]
fn scores_are_what_weights_are_made_of() {
    let alibi = Some(Arc::from([0.5, 0.25, 0.125, 0.06, 0.03, 0.015]));
    let specs = [spec(), AttnSpec { softcap: Some(2.0), alibi, ..spec() }, AttnSpec { window: Some(90), ..spec() }];
    for (spec, slots, later) in specs.iter().flat_map(|spec| [(spec, [700, 65], 0), (spec, [1100, 130], 9)]) {
        let sequence = Sequence::new(SHAPE, &slots, true, 5);
        let sources = sequence.sources(SHAPE, 0);
        let query = random(SHAPE.heads * SHAPE.head_dim, 6);
        let found = scores(spec, SHAPE, &query, later, &sources);
        for (head, found) in found.iter().enumerate() {
            let exact = expected(spec, SHAPE, &query, &sources[head / SHAPE.group()], later + 1, 0, head);
            let weights: Vec<f32> = found.iter().map(|score| (f64::from(*score) - exact.lse).exp() as f32).collect();
            assert_close(&weights, &exact.weights, 1e-5, &format!("head {head}, {later} later tokens"));
        }
    }
}

/// A text read in parts gives the sums of the text read at once, bit for bit.
#[test]
fn sums_continue_where_they_were() {
    let (rows, slots) = (90, [700, 130]);
    let sequence = Sequence::new(SHAPE, &slots, true, 5);
    let sources = sequence.sources(SHAPE, 0);
    let stride = SHAPE.heads * SHAPE.head_dim;
    let query = random(rows * stride, 6);
    let (_, stats) = run(&spec(), SHAPE, &query, &[Segment { rows: 0..rows, heads: &sources }]);
    let sums_of = |parts: &[Range<usize>]| {
        let mut sums: Vec<Vec<f32>> = slots.iter().map(|&slots| vec![0.0; slots]).collect();
        for rows in parts {
            // The rows of a part are the last of its text: it ends where they end.
            let hidden = 90 - rows.end;
            let sources = sequence.sources(SHAPE, hidden);
            let segment = Segment { rows: rows.clone(), heads: &sources[..] };
            let mut part: Vec<Vec<f32>> = sums.iter().map(|sums| sums[..sums.len() - hidden].to_vec()).collect();
            column_sums(&spec(), SHAPE, Rows { data: &query, stride }, &segment, &stats.lse, HeadSum::Group, &mut part);
            sums.iter_mut().zip(part).for_each(|(sums, part)| sums[..part.len()].copy_from_slice(&part));
        }
        sums
    };
    assert_eq!(sums_of(std::slice::from_ref(&(0..90))), sums_of(&[0..17, 17..18, 18..19, 19..83, 83..90]));
}

#[test]
fn the_weights_of_a_row_sum_to_one() {
    let sums = check(&spec(), &[650, 600], 550, 550);
    for head in sums.iter().flat_map(|sums| sums.chunks(sums.len() / SHAPE.group())) {
        let total: f64 = head.iter().map(|&sum| f64::from(sum)).sum();
        assert!((total - 550.0).abs() < 1e-3, "{total}");
    }
}

/// Attention over two parts of the keys, merged, is attention over all of them.
#[test]
fn parts_merge_to_the_whole() {
    let shape = Shape { heads: 1, kv_heads: 1, head_dim: 32, value_dim: 32 };
    let spec = AttnSpec { want: Stats { lse: true, ..Stats::default() }, ..AttnSpec::full(32) };
    let (keys, values, query) = (random(300 * 32, 1), random(300 * 32, 2), random(32, 3));
    let over = |slots: std::ops::Range<usize>| {
        let rows = |data| Strided::contiguous(data, 32);
        let slots = slots.start * 32..slots.end * 32;
        let source = [Float { keys: rows(&keys[slots.clone()]), values: rows(&values[slots]), positions: None }];
        assert_eq!(source[0].slots() * 32, source[0].keys.data.len());
        let (mut out, mut stats) = (vec![0.0; 32], StatsOut::default());
        let segments = [Segment { rows: 0..1, heads: &source[..] }];
        let out_rows = RowsMut { data: &mut out, stride: 32 };
        attend(&spec, shape, Rows { data: &query, stride: 32 }, &segments, out_rows, &mut stats);
        (out, stats.lse[0])
    };
    let (whole, whole_lse) = over(0..300);
    for cut in [0, 1, 77, 299, 300] {
        let ((mut out, mut lse), (other, other_lse)) = (over(0..cut), over(cut..300));
        merge(&mut out, &mut lse, &other, other_lse);
        let whole: Vec<f64> = whole.iter().map(|&value| f64::from(value)).collect();
        assert_close(&out, &whole, 1e-6, &format!("cut at {cut}"));
        assert_close(&[lse], &[f64::from(whole_lse)], 1e-6, &format!("cut at {cut}"));
    }
}
