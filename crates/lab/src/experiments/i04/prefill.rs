//! A prompt of one head read by blocks of queries that search, on keys and queries that drift as a text does.

use std::sync::Arc;
use std::time::Instant;

use headwise_engine::cache::{Representative, TreeSearch};
use headwise_kernels::attention::{AttnSpec, BLOCK, BlockMask, Rows, RowsMut, Segment, Shape, StatsOut, attend};
use headwise_kernels::kv::{Codec, KeyValues};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{Measured, normal};

const CHANNELS: usize = 64;
/// Keys that a block of queries finds, in blocks of the kernel.
const FOUND: usize = 512 / BLOCK;
/// Blocks before a block of queries that it reads without searching, its own included.
const RECENT: usize = 256 / BLOCK + 1;
/// Every so many rows of a block of queries search.
const STRIDE: usize = 2;

/// The blocks scored over a prompt of `tokens` tokens, as a share of those of the formula; and all blocks that could be.
pub fn work(tokens: usize, seed: u64) -> Measured {
    let rows = drift(tokens, seed);
    let (mut scored, mut formula, mut all) = (0, 0, 0);
    for query_block in 0..tokens / BLOCK {
        // One row stands for the others here: what is counted is how many blocks it scores.
        let (_, of_search, of_formula) = search(&rows, query_block, BLOCK);
        scored += of_search;
        formula += of_formula;
        all += query_block + 1;
    }
    Measured::against(scored as f64 / formula as f64, all as f64 / formula as f64)
}

/// How much longer 8,192 tokens take than 4,096, searched and in full; the fastest of several in turns.
pub fn growth_of_time(seed: u64) -> Measured {
    let lengths = [4096, 8192];
    let rows = lengths.map(|tokens| drift(tokens, seed));
    let mut fastest = [[f64::INFINITY; 2]; 2];
    for _ in 0..3 {
        for (rows, fastest) in rows.iter().zip(&mut fastest) {
            for (searched, fastest) in [true, false].into_iter().zip(fastest) {
                let started = Instant::now();
                read(rows, searched);
                *fastest = fastest.min(started.elapsed().as_secs_f64());
            }
        }
    }
    let [short, long] = fastest;
    Measured::against(long[0] / short[0], long[1] / short[1])
}

/// Rows `[tokens, CHANNELS]` that change slowly; keys, values and queries at once.
fn drift(tokens: usize, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut row = [0.0f64; CHANNELS];
    let mut rows = Vec::with_capacity(tokens * CHANNELS);
    for _ in 0..tokens {
        row.iter_mut().for_each(|x| *x = 0.95 * *x + 0.3 * normal(&mut random));
        rows.extend(row.map(|x| x as f32));
    }
    rows
}

/// The blocks that every `stride`-th row of a block of queries finds, how many were scored, and how many the formula says.
fn search(rows: &[f32], query_block: usize, stride: usize) -> (Vec<usize>, usize, usize) {
    let row = |at: usize| &rows[at * CHANNELS..][..CHANNELS];
    let queries = || (query_block * BLOCK..(query_block + 1) * BLOCK).skip(stride - 1).step_by(stride).map(row);
    let before = (query_block + 1).saturating_sub(RECENT);
    let product = |query: &[f32], key: &[f32]| {
        // Sixteen sums at once, which the compiler makes vectors of.
        let mut sums = [0.0f32; 16];
        for (q, k) in query.chunks_exact(16).zip(key.chunks_exact(16)) {
            sums.iter_mut().zip(q.iter().zip(k)).for_each(|(sum, (q, k))| *sum += q * k);
        }
        sums.iter().sum::<f32>()
    };
    let score = |block: &u32| {
        let keys = (*block as usize * BLOCK..(*block as usize + 1) * BLOCK).map(row);
        keys.flat_map(|key| queries().map(move |query| product(query, key))).fold(f32::NEG_INFINITY, f32::max)
    };
    let search = TreeSearch::new(before, FOUND, Representative::Center);
    let search = search.run(|blocks| blocks.iter().map(score).collect());
    (search.found().collect(), search.scored(), TreeSearch::most_scored(before, FOUND))
}

/// Reads a prompt, every block of queries what it finds beside the first block and the last ones, or everything.
fn read(rows: &[f32], searched: bool) {
    let tokens = rows.len() / CHANNELS;
    let mut spec = AttnSpec::causal(CHANNELS);
    if searched {
        let blocks = |query_block: usize| {
            let mut blocks = search(rows, query_block, STRIDE).0;
            blocks.push(0);
            blocks.extend((query_block + 1).saturating_sub(RECENT)..=query_block);
            blocks
        };
        spec.blocks = Some(Arc::new(BlockMask::new(&[(0..tokens / BLOCK).map(blocks).collect()])));
    }
    let mut pairs = KeyValues::new(Codec::F32, CHANNELS, CHANNELS);
    for (position, row) in rows.chunks_exact(CHANNELS).enumerate() {
        pairs.append(row, row, position as i32);
    }
    let shape = Shape { heads: 1, kv_heads: 1, head_dim: CHANNELS, value_dim: CHANNELS };
    let mut out = vec![0.0; rows.len()];
    let segment = Segment { rows: 0..tokens, heads: std::slice::from_ref(&pairs) };
    let query = Rows { data: rows, stride: CHANNELS };
    let out = RowsMut { data: &mut out, stride: CHANNELS };
    attend(&spec, shape, query, &[segment], out, &mut StatsOut::default());
}
