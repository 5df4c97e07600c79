//! Against attention to all pairs, and against plain dropping.

use headwise_kernels::attention::{Rows, RowsMut, Segment, Shape, StatsOut, attend};
use headwise_kernels::kv::Codec;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::cache::{Needs, NewPairs};

const WIDTH: usize = 32;

/// A draw of mean 0 and variance 1, nearly normal.
fn draw(rng: &mut ChaCha8Rng) -> f32 {
    (0..12).map(|_| rng.random_range(-0.5..0.5f32)).sum()
}

fn vector(rng: &mut ChaCha8Rng, deviation: f32) -> Vec<f32> {
    (0..WIDTH).map(|_| deviation * draw(rng)).collect()
}

/// A layer of two query heads and one key-value head that holds `keys` and `values`.
fn store(keys: &[Vec<f32>], values: &[Vec<f32>]) -> LayerStore {
    let shape = StoreShape { heads: 2, kv_heads: 1, head_dim: WIDTH, window: None };
    let mut store = LayerStore::new(0, shape, Codec::F32, Needs::default(), false);
    let positions: Vec<i32> = (0..keys.len() as i32).collect();
    let (key, value) = (keys.concat(), values.concat());
    store.append(NewPairs { raw_key: &key, key: &key, value: &value, positions: &positions });
    store
}

/// What one row with both heads asking `query` reads.
fn read(store: &LayerStore, spec: &AttnSpec, query: &[f32]) -> Vec<f32> {
    let shape = Shape { heads: 2, kv_heads: 1, head_dim: WIDTH, value_dim: WIDTH };
    let query = [query, query].concat();
    let (mut out, mut stats) = (vec![0.0; 2 * WIDTH], StatsOut::default());
    let mut spec = spec.clone();
    spec.want.lse = true;
    let segment = Segment { rows: 0..1, heads: store.pairs() };
    let rows = Rows { data: &query, stride: 2 * WIDTH };
    attend(&spec, shape, rows, &[segment], RowsMut { data: &mut out, stride: 2 * WIDTH }, &mut stats);
    store.attend_dropped(&spec, &query, &mut stats.lse, &mut out);
    assert_eq!(out[..WIDTH], out[WIDTH..]);
    out.truncate(WIDTH);
    out
}

/// Attention of `query` to all of `keys` and `values` by its definition, in double precision.
fn naive(spec: &AttnSpec, query: &[f32], keys: &[Vec<f32>], values: &[Vec<f32>]) -> Vec<f32> {
    let weight = |key: &Vec<f32>| {
        let product: f64 = query.iter().zip(key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
        let score = f64::from(spec.scale) * product;
        spec.softcap.map(f64::from).map_or(score, |cap| cap * (score / cap).tanh()).exp()
    };
    let weights: Vec<f64> = keys.iter().map(weight).collect();
    let sum: f64 = weights.iter().sum();
    let channel = |channel: usize| {
        let all = weights.iter().zip(values);
        (all.map(|(weight, value)| weight * f64::from(value[channel])).sum::<f64>() / sum) as f32
    };
    (0..WIDTH).map(channel).collect()
}

fn error(found: &[f32], expected: &[f32]) -> f32 {
    let length = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>().sqrt();
    length(&mut found.iter().zip(expected).map(|(a, b)| a - b)) / length(&mut expected.iter().copied())
}

/// Every fifth slot, and the last one.
fn some(slots: usize) -> Vec<u32> {
    (0..slots as u32).filter(|slot| slot % 5 == 0 || *slot == slots as u32 - 1).collect()
}

#[test]
fn pairs_that_are_alike_are_dropped_without_a_trace() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    // The kernel's tanh is an approximation.
    for (softcap, tolerance) in [(None, 1e-6), (Some(5.0), 1e-5)] {
        let spec = AttnSpec { softcap, ..AttnSpec::causal(WIDTH) };
        let slots = 300;
        let keep = some(slots);
        let (alike_key, alike_value) = (vector(&mut rng, 0.5), vector(&mut rng, 0.5));
        let pick = |rng: &mut ChaCha8Rng, alike: &[f32]| -> Vec<Vec<f32>> {
            let of = |slot: usize| if keep.contains(&(slot as u32)) { vector(rng, 0.5) } else { alike.to_vec() };
            (0..slots).map(of).collect()
        };
        let (keys, values) = (pick(&mut rng, &alike_key), pick(&mut rng, &alike_value));
        let mut store = store(&keys, &values);
        let query = vector(&mut rng, 0.5);
        let full = naive(&spec, &query, &keys, &values);
        // In two steps, as while decoding.
        let first: Vec<u32> = (0..slots as u32).filter(|slot| *slot >= 150 || keep.contains(slot)).collect();
        store.absorb_dropped(std::slice::from_ref(&first));
        store.compact(std::slice::from_ref(&first));
        let rest: Vec<u32> = (0u32..).zip(&first).filter(|(_, slot)| keep.contains(slot)).map(|(at, _)| at).collect();
        store.absorb_dropped(std::slice::from_ref(&rest));
        store.compact(&[rest]);
        assert_eq!(store.dropped_counts(), [slots - keep.len()]);
        assert_eq!(store.pairs()[0].len(), keep.len());
        let found = read(&store, &spec, &query);
        let off = found.iter().zip(&full).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < tolerance, "softcap {softcap:?}: off by {off}");
        // One slot that weighs like one pair is something else.
        store.dropped[0].count = 1;
        assert!(error(&read(&store, &spec, &query), &full) > 0.01);
    }
}

#[test]
fn pairs_of_some_spread_leave_less_of_an_error_than_without_the_slot() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let (slots, spec) = (2048, AttnSpec::causal(WIDTH));
    for spread in [0.25, 1.0] {
        let mut errors = [const { Vec::new() }; 2];
        for _ in 0..9 {
            let (mean_key, mean_value) = (vector(&mut rng, 1.0), vector(&mut rng, 1.0));
            let around = |rng: &mut ChaCha8Rng, mean: &[f32]| -> Vec<Vec<f32>> {
                (0..slots).map(|_| mean.iter().map(|x| x + spread * draw(rng)).collect()).collect()
            };
            let (keys, values) = (around(&mut rng, &mean_key), around(&mut rng, &mean_value));
            let mut compensated = store(&keys, &values);
            let query = vector(&mut rng, 1.0);
            let full = read(&compensated, &spec, &query);
            let keep = [some(slots)];
            compensated.absorb_dropped(&keep);
            compensated.compact(&keep);
            errors[0].push(error(&read(&compensated, &spec, &query), &full));
            compensated.dropped[0] = Dropped::default();
            errors[1].push(error(&read(&compensated, &spec, &query), &full));
        }
        let [compensated, dropped] = errors.map(|mut errors| {
            errors.sort_by(f32::total_cmp);
            errors[errors.len() / 2]
        });
        assert!(compensated <= 0.5 * dropped, "spread {spread}: {compensated} with the slot, {dropped} without");
    }
}

#[test]
fn the_slot_costs_a_pair_in_single_precision() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let rows: Vec<Vec<f32>> = (0..10).map(|_| vector(&mut rng, 1.0)).collect();
    let mut store = store(&rows, &rows);
    assert!(!store.has_dropped());
    let before = store.bytes().coded();
    store.absorb_dropped(&[vec![0, 9]]);
    store.compact(&[vec![0, 9]]);
    assert_eq!((store.dropped_counts(), store.dropped_pairs_cost()), (vec![8], 1));
    assert_eq!(before - store.bytes().coded(), 7 * 2 * WIDTH * 4);
    let mean = rows[1..9].iter().map(|row| row[3]).sum::<f32>() / 8.0;
    assert!((store.dropped[0].key[3] - mean).abs() < 1e-6);
}
