//! Scores, budgets and kept pairs equal those of kvpress 0.5.5 (`oracles/kv_scores.py`).

mod small;

use std::path::Path;

use headwise_engine::cache::expected_attention::{self, AverageTurn, FutureQuery};
use headwise_engine::cache::{
    AdaKv, Attended, CacheMethod, Evictor, LayerStore, Limit, Limits, NewPairs, Part, QueryMoments, StoreShape, When,
    keydiff, knorm, pyramidkv, snapkv, tova,
};
use headwise_kernels::attention::AttnSpec;
use headwise_kernels::kv::Codec;
use headwise_kernels::rope::{HeadLayout, Rope};
use safetensors::SafeTensors;
use serde_json::Value;
use small::assert_near;

const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const GROUP: usize = HEADS / KV_HEADS;
const TOKENS: usize = 96;
const WIDTH: usize = 16;
const TOLERANCE: f32 = 1e-5;

/// The tensors of the oracle, and what it was told.
struct Golden {
    bytes: Vec<u8>,
    parameters: Value,
}

impl Golden {
    fn open() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let parameters = std::fs::read_to_string(folder.join("kv_scores.json")).unwrap();
        let bytes = std::fs::read(folder.join("kv_scores.safetensors")).unwrap();
        Self { bytes, parameters: serde_json::from_str(&parameters).unwrap() }
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let data = tensors.tensor(name).unwrap().data().to_vec();
        data.chunks_exact(4).map(|x| f32::from_le_bytes(x.try_into().unwrap())).collect()
    }

    fn integers(&self, name: &str) -> Vec<i64> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let data = tensors.tensor(name).unwrap().data().to_vec();
        data.chunks_exact(8).map(|x| i64::from_le_bytes(x.try_into().unwrap())).collect()
    }

    /// `[heads, tokens, width]` as the rows `[tokens, heads · width]` of a projection.
    fn rows(&self, name: &str) -> Vec<f32> {
        let tensor = self.floats(name);
        let heads = tensor.len() / (TOKENS * WIDTH);
        let at = |row: usize, head: usize| &tensor[(head * TOKENS + row) * WIDTH..][..WIDTH];
        (0..TOKENS).flat_map(|row| (0..heads).flat_map(move |head| at(row, head))).copied().collect()
    }

    fn rope(&self) -> Rope {
        Rope::new(self.floats("inv_freq"), 1.0, false)
    }

    /// The scores of kvpress, `[kv_heads][tokens]`.
    fn scores(&self, name: &str) -> Vec<Vec<f32>> {
        self.floats(&format!("score_{name}")).chunks_exact(TOKENS).map(<[f32]>::to_vec).collect()
    }

    /// A store that has seen the whole text, for the policy `text`.
    fn store(&self, text: &str, reindex: bool) -> (LayerStore, std::sync::Arc<dyn Evictor>) {
        let Part::Evictor(evictor) = text.parse::<CacheMethod>().unwrap().part() else { panic!("{text} evicts") };
        let shape = StoreShape { heads: HEADS, kv_heads: KV_HEADS, head_dim: WIDTH, window: None };
        let mut store = LayerStore::new(0, shape, Codec::F32, evictor.needs(), reindex);
        let positions: Vec<i32> = (0..TOKENS as i32).collect();
        let (raw_key, key, value) = (self.rows("key_raw"), self.rows("key"), self.rows("value"));
        store.append(NewPairs { raw_key: &raw_key, key: &key, value: &value, positions: &positions });
        let (raw_query, query) = (self.rows("query_raw"), self.rows("query"));
        let rows = Attended { raw_query: &raw_query, query: &query, lse: &[] };
        store.observe(rows, &AttnSpec::causal(WIDTH), Some(&self.rope()));
        (store, evictor)
    }

    /// Weights of every head and row, by definition: `[heads][rows][tokens]`.
    fn attention(&self) -> Vec<Vec<Vec<f64>>> {
        let (query, key) = (self.floats("query"), self.floats("key"));
        let row = |head: usize, row: usize| {
            let query = &query[(head * TOKENS + row) * WIDTH..][..WIDTH];
            let score = |slot: usize| {
                let key = &key[(head / GROUP * TOKENS + slot) * WIDTH..][..WIDTH];
                let product: f64 = query.iter().zip(key).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                if slot <= row { (product / (WIDTH as f64).sqrt()).exp() } else { 0.0 }
            };
            let weights: Vec<f64> = (0..TOKENS).map(score).collect();
            let sum: f64 = weights.iter().sum();
            weights.into_iter().map(|weight| weight / sum).collect()
        };
        (0..HEADS).map(|head| (0..TOKENS).map(|index| row(head, index)).collect()).collect()
    }

    /// Mean attention from the last `window` rows and the heads of each group: `[kv_heads][tokens]`.
    fn window(&self, window: usize) -> Vec<Vec<f32>> {
        let attention = self.attention();
        let group = |heads: &[Vec<Vec<f64>>]| {
            let rows = || heads.iter().flat_map(|rows| &rows[TOKENS - window..]);
            (0..TOKENS).map(|slot| (rows().map(|row| row[slot]).sum::<f64>() / rows().count() as f64) as f32).collect()
        };
        attention.chunks_exact(GROUP).map(group).collect()
    }
}

/// Compares the slots that are open to choice: all but the first `sinks` and the last `recent`.
#[track_caller]
fn assert_scores(found: &[Vec<f32>], expected: &[Vec<f32>], sinks: usize, recent: usize, what: &str) {
    assert_eq!(found.len(), KV_HEADS, "{what}");
    for (found, expected) in found.iter().zip(expected) {
        let open = sinks..TOKENS - recent;
        assert_near(&found[open.clone()], &expected[open.clone()], TOLERANCE, what);
        // kvpress gives what always stays a score above all others.
        let most = expected[open.clone()].iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert!((0..TOKENS).filter(|slot| !open.contains(slot)).all(|slot| expected[slot] > most), "{what}");
    }
}

#[test]
fn policies_score_as_kvpress() {
    let golden = Golden::open();
    for (name, text) in [
        ("snapkv", "snapkv(window=8, kernel=5, keep=0.5)"),
        ("snapkv", "pyramidkv(window=8, kernel=5, keep=0.5)"),
        ("snapkv_kernel_1", "snapkv(window=8, kernel=1, keep=0.5)"),
        ("tova", "tova(keep=0.5)"),
        ("knorm", "knorm(keep=0.5)"),
        ("keydiff", "keydiff(keep=0.5)"),
        ("expected_attention", "expected_attention(future=16, sinks=4, keep=0.5)"),
        ("expected_attention_512", "expected_attention(keep=0.5)"),
    ] {
        let (store, evictor) = golden.store(text, false);
        let protected = evictor.protected(TOKENS / 2);
        assert_scores(&evictor.score(&store), &golden.scores(name), protected.sinks, protected.recent, text);
    }
}

#[test]
fn formulas_on_slices_score_as_kvpress() {
    let golden = Golden::open();
    let (keys, values) = (golden.floats("key"), golden.floats("value"));
    let heads = || keys.chunks_exact(TOKENS * WIDTH);

    for (name, kernel) in [("snapkv", 5), ("snapkv_kernel_1", 1)] {
        let found: Vec<_> = golden.window(8).iter().map(|attention| snapkv::vote(attention, 8, kernel)).collect();
        assert_scores(&found, &golden.scores(name), 0, 8, name);
    }
    let positions: Vec<i32> = (0..TOKENS as i32).collect();
    let found = tova::mean_over_heads(&golden.window(1), &[&positions, &positions]);
    assert_scores(&found, &golden.scores("tova"), 0, 1, "tova");
    let norms = heads().map(|keys| keys.chunks_exact(WIDTH).map(knorm::length).collect::<Vec<_>>());
    let found: Vec<_> = norms.map(|norms| knorm::score(&norms)).collect();
    assert_scores(&found, &golden.scores("knorm"), 0, 0, "knorm");
    let found: Vec<_> = heads().map(|keys| keydiff::score(keys, WIDTH)).collect();
    assert_scores(&found, &golden.scores("keydiff"), 0, 0, "keydiff");

    for (name, future) in [("expected_attention", 16), ("expected_attention_512", 512)] {
        let turn = AverageTurn::new(&golden.rope(), TOKENS, future);
        let raw = golden.floats("query_raw");
        let futures: Vec<FutureQuery> = raw
            .chunks_exact(TOKENS * WIDTH)
            .map(|queries| {
                let mut moments = QueryMoments::new(WIDTH);
                queries.chunks_exact(WIDTH).skip(4).for_each(|query| moments.add(query));
                FutureQuery::new(moments.mean().to_vec(), moments.covariance(), Some(&turn))
            })
            .collect();
        let found: Vec<_> = heads()
            .zip(values.chunks_exact(TOKENS * WIDTH))
            .zip(futures.chunks_exact(GROUP))
            .map(|((keys, values), futures)| expected_attention::score(keys, values, futures, 0.25, 4))
            .collect();
        assert_scores(&found, &golden.scores(name), 4, 0, name);
    }
}

#[test]
fn column_sums_are_the_observed_attention_of_kvpress() {
    let golden = Golden::open();
    let (store, evictor) = golden.store("h2o(keep=0.5)", false);
    let mut sums = evictor.score(&store);
    for sums in &mut sums {
        sums.iter_mut().enumerate().for_each(|(slot, sum)| *sum /= (GROUP * (TOKENS - slot)) as f32);
    }
    assert_scores(&sums, &golden.scores("observed_attention"), 0, 0, "h2o");
}

#[test]
fn streaming_keeps_and_moves_what_kvpress_does() {
    let golden = Golden::open();
    let kept: Vec<u32> = golden.integers("rerotated_tokens")[..TOKENS / 2].iter().map(|&token| token as u32).collect();
    let (mut store, evictor) = golden.store("streaming(budget=48)", true);
    let protected = evictor.protected(TOKENS / 2);
    let mut best: Vec<u32> = (protected.sinks as u32..TOKENS as u32).collect();
    let scores = evictor.score(&store).remove(0);
    best.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]));
    best.truncate(TOKENS / 2 - protected.sinks);
    best.extend(0..protected.sinks as u32);
    best.sort_unstable();
    assert_eq!(best, kept);

    store.compact(&[kept.clone(), kept.clone()]);
    store.reindex();
    let mut expected = golden.floats("rerotated_key");
    // kvpress counts from 0, the store up to the position of the last token.
    let layout = HeadLayout { row_stride: WIDTH, heads: 1, head_dim: WIDTH };
    golden.rope().rotate_by(&mut expected, layout, 2 * kept.len(), (TOKENS - kept.len()) as i32);
    for (pairs, expected) in store.pairs().iter().zip(expected.chunks_exact(kept.len() * WIDTH)) {
        let (mut key, mut value) = ([0.0; WIDTH], [0.0; WIDTH]);
        for (slot, expected) in expected.chunks_exact(WIDTH).enumerate() {
            pairs.read(slot, &mut key, &mut value);
            assert_near(&key, expected, TOLERANCE, &format!("slot {slot}"));
            assert_eq!(pairs.positions()[slot] as usize, TOKENS - kept.len() + slot);
        }
    }
}

#[test]
fn budgets_are_divided_over_heads_as_by_kvpress() {
    let golden = Golden::open();
    let (store, evictor) = golden.store("snapkv(window=8, kernel=5, keep=0.5)", false);
    let division = AdaKv { floor: golden.parameters["adakv"]["alpha"].as_f64().unwrap() };
    let keep = division.divide(&evictor.score(&store), TOKENS / 2, evictor.protected(TOKENS / 2));
    let tensors = SafeTensors::deserialize(&golden.bytes).unwrap();
    let kept = tensors.tensor("kept_adakv").unwrap().data();
    let of_head = |kept: &[u8]| (0u32..).zip(kept).filter(|(_, kept)| **kept == 1).map(|(slot, _)| slot).collect();
    let expected: Vec<Vec<u32>> = kept.chunks_exact(TOKENS).map(of_head).collect();
    assert_ne!(expected[0].len(), expected[1].len());
    assert_eq!(keep, expected);
}

#[test]
fn shares_keep_as_many_pairs_as_kvpress() {
    let golden = Golden::open();
    for row in golden.parameters["n_kept"].as_array().unwrap() {
        let (tokens, kept) = (row["tokens"].as_u64().unwrap() as usize, row["kept"].as_u64().unwrap() as usize);
        let share = 1.0 - row["ratio"].as_f64().unwrap();
        let limits = Limits { limit: Limit::Share(share), when: When::End, reindex: false, slack: 0 };
        // 1 - 0.9 is a little less than 0.1: kvpress then keeps 99 pairs of 1000, and we the 100 that were meant.
        let rounded_off = (kept + 1) as f64 - tokens as f64 * share < 1e-9;
        assert_eq!(limits.pairs(tokens, 1, 1), kept + usize::from(rounded_off), "{row}");
    }
}

#[test]
fn pyramids_have_the_budgets_of_kvpress() {
    let golden = Golden::open();
    for row in golden.parameters["pyramidkv"].as_array().unwrap() {
        let number = |name: &str| row[name].as_u64().unwrap() as usize;
        let (tokens, layers, window) = (number("tokens"), number("layers"), number("window"));
        let budget = tokens as f64 * (1.0 - row["ratio"].as_f64().unwrap());
        for (layer, expected) in row["budgets"].as_array().unwrap().iter().enumerate() {
            let found = pyramidkv::layer_budget(budget, tokens, layer, layers, window, number("beta"));
            assert_eq!(found as u64, expected.as_u64().unwrap(), "layer {layer} of {row}");
        }
    }
}
