//! `uncomp_stages` and `uncomp_groups` in a whole model.

mod small;

use headwise_engine::cache::CachePolicy;
use headwise_engine::{Chunk, Prompt, TextModel, Wanted};
use headwise_models::decoder::Weights;
use small::*;

/// A policy whose stages begin wherever the entropy falls.
const STAGES: &str = "uncomp_stages(keep=0.3, fall=0, window=8, first=2)";

#[test]
fn all_tokens_in_every_layer_is_the_full_cache() {
    let engine = engine(1);
    let (prompt, steps) = (ids(1, 700), ids(2, 5));
    let (expected, _) = run(&engine, "full", &prompt, &steps);
    let (found, _) = run(&engine, "uncomp_stages(keep=1, fall=0)", &prompt, &steps);
    for (a, b) in found.iter().flatten().zip(expected.iter().flatten()) {
        assert!((a - b).abs() <= 1e-4, "{a} {b}");
    }
}

#[test]
fn deeper_layers_hold_fewer_tokens_and_always_the_first_and_the_last() {
    // The model that comes with the program: its entropy falls behind the third layer.
    let engine = TextModel::embedded(Weights::Stored, 2).unwrap().engine;
    let policy = CachePolicy::parse(STAGES).unwrap();
    let mut sequence = engine.sequence(&policy).unwrap();
    engine.prefill(&mut sequence, &ids(3, 300), |_| {}).unwrap();
    assert_eq!(sequence.tokens(), 300);
    let whole: Vec<_> = sequence.layers().iter().filter(|layer| layer.shape().window.is_none()).collect();
    let lengths: Vec<usize> = whole.iter().map(|layer| layer.longest()).collect();
    assert!(lengths[0] == 300 && *lengths.last().unwrap() == 90, "{lengths:?}");
    assert!(lengths.is_sorted_by(|a, b| a >= b), "{lengths:?}");
    for pairs in whole.iter().flat_map(|layer| layer.pairs()) {
        let positions = pairs.positions();
        assert!(positions.starts_with(&[0, 1]) && positions.is_sorted_by(|a, b| a < b));
        assert!(positions.ends_with(&(292..300).collect::<Vec<i32>>()));
    }
    // What follows is read by all layers, each row as if alone.
    let (mut together, steps) = (sequence.clone(), ids(4, 5));
    let chunk = Chunk { sequence: &mut together, ids: &steps, prompt_ends: true, wanted: Wanted::All };
    let rows = engine.forward(&mut [chunk]).unwrap();
    for (row, id) in rows[0].rows().zip(&steps) {
        assert_eq!(row, engine.step(&mut sequence, *id).unwrap().last());
    }
    let last = sequence.layers().last().unwrap().pairs()[0].positions().to_vec();
    assert!(last.ends_with(&(292..305).collect::<Vec<i32>>()), "{last:?}");
}

#[test]
fn prompts_read_together_are_those_read_alone() {
    let engine = engine(2);
    let texts = [STAGES, "full", "uncomp_groups + snapkv(keep=0.5, window=8)"];
    let prompts: Vec<Vec<u32>> = (0..3).map(|text| ids(10 + text, 100 + 60 * text as usize)).collect();
    let sequences: Vec<_> = texts.map(|text| engine.sequence(&CachePolicy::parse(text).unwrap()).unwrap()).into();
    let mut together = sequences.clone();
    let mut items: Vec<Prompt<'_>> =
        together.iter_mut().zip(&prompts).map(|(sequence, ids)| Prompt { sequence, ids }).collect();
    let mut read = 0;
    let found = engine.prefill_all(&mut items, |tokens| read = tokens).unwrap();
    assert_eq!(read, prompts.iter().map(Vec::len).sum::<usize>());
    for ((mut sequence, ids), found) in sequences.into_iter().zip(&prompts).zip(found) {
        assert_eq!(engine.prefill(&mut sequence, ids, |_| {}).unwrap(), found);
    }
}

#[test]
fn groups_differ_in_what_they_hold_and_their_mean_is_the_budget() {
    let engine = engine(1);
    let (prompt, steps) = (ids(5, 400), ids(6, 20));
    let entropies = engine.head_scores().unwrap().entropies();
    for text in ["uncomp_groups + snapkv(budget=90, window=8)", "h2o(budget=90) + uncomp_groups(ratio=2) + int8"] {
        let (_, sequence) = run(&engine, text, &prompt, &steps);
        for (heads, entropies) in lengths(&sequence).iter().zip(&entropies) {
            let higher = usize::from(entropies[1] > entropies[0]);
            assert!(heads[higher] > heads[1 - higher], "{text}: {heads:?} {entropies:?}");
            assert!(heads.iter().sum::<usize>() <= 2 * 90, "{text}: {heads:?}");
        }
    }
    let (found, _) = run(&engine, "uncomp_groups + snapkv(budget=1000, window=8)", &prompt, &steps);
    assert_eq!(found, run(&engine, "full", &prompt, &steps).0);
}
