//! LoRA adapters of models whose query and key rows stand in another order in their file.

use headwise_models::adapter;
use headwise_nn::adapter::{AdaptedRows, Adapter, LowRank, Projection};
use headwise_nn::mixer::{MixContext, Segment};

use super::*;

const RANK: usize = 4;

/// Numbers that look like nothing.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|index| ((index * 37 + seed * 101) % 89) as f32 / 178.0 - 0.25).collect()
}

/// The scores of `decoder` after every token of `ids`, with an adapter if there is one.
fn scores(decoder: &Decoder, ids: &[u32], adapters: &[AdaptedRows]) -> Vec<f32> {
    let (device, positions) = (Device::flex(), (0..ids.len() as i32).collect::<Vec<_>>());
    let segments = [Segment { sequence: 0, rows: 0..ids.len() }];
    let mut ctx = MixContext { adapters, ..MixContext::new(&positions, &segments) };
    let x = decoder.embed(ids, &positions, &device);
    let x = (0..decoder.spec().layers.len()).fold(x, |x, layer| decoder.layer(layer, x, &mut ctx));
    let rows: Vec<usize> = (0..ids.len()).collect();
    decoder.head(x, &rows).into_data().try_into_vec().unwrap()
}

fn furthest(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn an_adapter_gives_what_the_converted_sum_gives() {
    // The heads of the tiny model: 4 for queries, 2 for keys, of 16 channels.
    let changed = [("attn_q", Projection::Query, 64), ("attn_k", Projection::Key, 32)];
    let ids: Vec<u32> = (0..40).map(|index| index * 7 % 96).collect();
    let plain = Decoder::from_gguf(&convert("llama").write(), Weights::F32, &Device::flex()).unwrap();
    let (mut file, mut added) = (convert("llama"), Adapter::new(2));
    for layer in 0..2 {
        for (seed, (name, projection, outputs)) in changed.into_iter().enumerate() {
            let (a, b) = (numbers(RANK * 64, seed + layer), numbers(outputs * RANK, seed + 5));
            added.set(layer, projection, LowRank::new(&a, &b, 0.5, [outputs, RANK, 64]));
            // In the order of Hugging Face, and then as the converter writes it.
            let sum = |index: usize| {
                let (row, input) = (index / 64, index % 64);
                0.5 * (0..RANK).map(|rank| b[row * RANK + rank] * a[rank * 64 + input]).sum::<f32>()
            };
            let sums: Vec<f32> = (0..outputs * 64).map(sum).collect();
            let name = format!("blk.{layer}.{name}.weight");
            let (_, _, values) = file.tensors.iter_mut().find(|tensor| tensor.0 == name).unwrap();
            values.iter_mut().zip(pairs_side_by_side(&sums, 64)).for_each(|(value, sum)| *value += sum);
        }
    }
    adapter::check(&added, plain.spec()).unwrap();
    let merged = Decoder::from_gguf(&file.write(), Weights::F32, &Device::flex()).unwrap();
    let adapters = [AdaptedRows { adapter: added.into(), rows: (0..ids.len()).collect() }];
    let expected = scores(&merged, &ids, &[]);
    assert!(furthest(&scores(&plain, &ids, &[]), &expected) > 1e-2, "the adapter changes the scores");
    let off = furthest(&scores(&plain, &ids, &adapters), &expected);
    assert!(off <= 1e-4, "scores differ by {off}");
}
