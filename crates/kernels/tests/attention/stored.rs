//! Caches read where they are stored, against the same numbers as plain floats.

use headwise_kernels::attention::{AttnSpec, Float, SPLIT, Segment, Shape, Stats, Strided};
use headwise_kernels::kv::{Codec, KeyValues};
use headwise_kernels::parallel;

use super::inference::run;
use super::reference::random;

/// A store of `slots` pairs, and what is read from it, slot after slot.
fn store(codec: Codec, slots: usize, shape: Shape, seed: u64) -> (KeyValues, [Vec<f32>; 2]) {
    let mut store = KeyValues::new(codec, shape.head_dim, shape.value_dim);
    let (keys, values) = (random(slots * shape.head_dim, seed), random(slots * shape.value_dim, seed + 1));
    let pairs = keys.chunks_exact(shape.head_dim).zip(values.chunks_exact(shape.value_dim));
    pairs.enumerate().for_each(|(slot, (key, value))| store.append(key, value, slot as i32));
    let mut read = [vec![0.0; keys.len()], vec![0.0; values.len()]];
    let [keys, values] = &mut read;
    let pairs = keys.chunks_exact_mut(shape.head_dim).zip(values.chunks_exact_mut(shape.value_dim));
    pairs.enumerate().for_each(|(slot, (key, value))| store.read(slot, key, value));
    (store, read)
}

/// Few rows and many, so that blocks are read in place and decoded; widths of whole and of broken vectors and groups, and
/// more channels than groups are read in place for; on one thread, on several, and on a team.
#[test]
fn a_store_has_the_same_bits_as_the_floats_it_holds() {
    for (index, codec) in Codec::ALL.into_iter().enumerate() {
        for (head_dim, value_dim) in [(64, 64), (40, 48), (128, 128), (24, 40), (144, 160)] {
            let shape = Shape { heads: 6, kv_heads: 2, head_dim, value_dim };
            let heads = [(6 * SPLIT + 75, 3), (700, 5)]
                .map(|(slots, seed)| store(codec, slots, shape, index as u64 * 9 + seed));
            let stores = heads.each_ref().map(|(store, _)| store.clone());
            let floats = heads.each_ref().map(|(store, [keys, values])| Float {
                keys: Strided::contiguous(keys, head_dim),
                values: Strided::contiguous(values, value_dim),
                positions: Some(store.positions()),
            });
            let window = AttnSpec { window: Some(400), sinks_keep: 70, ..AttnSpec::causal(head_dim) };
            for spec in [AttnSpec::causal(head_dim), window] {
                let spec = AttnSpec { want: Stats { lse: true, entropy: true, col_sum: false }, ..spec };
                for rows in [1, 2, 5] {
                    let query = random(rows * 6 * head_dim, rows as u64);
                    let expected = run(&spec, shape, &query, &[Segment { rows: 0..rows, heads: &floats }]);
                    for threads in [1, 3] {
                        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                        let actual = || run(&spec, shape, &query, &[Segment { rows: 0..rows, heads: &stores }]);
                        for (out, stats) in [pool.install(actual), pool.install(|| parallel::team(actual))] {
                            let same =
                                |a: &[f32], b: &[f32]| a.iter().map(|x| x.to_bits()).eq(b.iter().map(|x| x.to_bits()));
                            let equal = same(&out, &expected.0) && same(&stats.lse, &expected.1.lse);
                            assert!(
                                equal && same(&stats.entropy, &expected.1.entropy),
                                "{codec}, {head_dim} and {value_dim} channels, {rows} rows, {threads} threads, {spec:?}"
                            );
                        }
                    }
                }
            }
        }
    }
}
