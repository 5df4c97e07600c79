//! Against the induction model, whose heads are known.

use burn::tensor::Device;
use headwise_models::decoder::{Induction, Weights};

use super::*;
use crate::cache::CachePolicy;

pub(super) fn engine() -> Engine {
    Engine::new(Induction::new(0).decoder(Weights::Stored, &Device::flex()).unwrap(), 2).unwrap()
}

const MATCH: [usize; 2] = [Induction::MATCH_LAYER, Induction::MATCH_HEAD];

#[test]
fn the_induction_head_ranks_first() {
    let engine = engine();
    let scores = engine.head_scores().unwrap();
    assert_eq!(scores.heads().len(), 8);
    for head in scores.heads() {
        if [head.layer, head.head] == MATCH {
            assert!(head.induction > 0.99 && head.echo < 0.01, "{head:?}");
        } else {
            assert!(head.induction < 0.05 && head.echo < 0.05, "{head:?}");
        }
    }
    assert_eq!(scores.retrieval(), [MATCH]);
}

#[test]
fn neither_threads_nor_codes_change_what_is_found() {
    for (seed, threads) in [(0, 1), (3, 2)] {
        let model = Induction::new(seed).decoder(Weights::Stored, &Device::flex()).unwrap();
        assert_eq!(Engine::new(model, threads).unwrap().head_scores().unwrap().retrieval(), [MATCH]);
    }
}

#[test]
fn shares_and_ties_are_as_defined() {
    let head = |layer, head: usize, induction, echo| HeadScore {
        layer,
        head,
        kv_head: head / 2,
        window: (layer == 9).then_some(64),
        induction,
        echo,
        entropy: 0.5,
    };
    // 9 layers without a window, 10 key-value heads each: 13 by induction, 1 by echo.
    let mut heads: Vec<HeadScore> =
        (0..10).flat_map(|layer| (0..20).map(move |index| head(layer, index, 0.1, 0.2))).collect();
    heads[3 * 20 + 7].induction = 0.9;
    heads[9 * 20].induction = 1.0;
    heads[8 * 20 + 1].echo = 0.3;
    let mut expected: Vec<[usize; 2]> = (0..10).map(|head| [0, head]).chain([[1, 0], [1, 1]]).collect();
    expected.extend([[3, 3], [8, 0]]);
    assert_eq!(HeadScores { heads, picks: Vec::new() }.retrieval(), expected, "the rest by index, none with a window");
    assert_eq!(
        HeadScores { heads: vec![head(0, 0, 0.0, 0.0)], picks: Vec::new() }.retrieval(),
        [[0, 0]],
        "at least one"
    );
}

#[test]
fn the_layer_that_matches_picks() {
    let engine = engine();
    let scores = engine.head_scores().unwrap();
    assert!(
        scores.picks()[Induction::MATCH_LAYER] > Some(0.95) && scores.picks()[0] < Some(0.3),
        "{:?}",
        scores.picks()
    );
    assert_eq!(engine.picking_layer().unwrap(), Some(Induction::MATCH_LAYER));
    let of = picking;
    assert_eq!(of(&[Some(0.5), None, Some(0.96), Some(1.0), Some(0.2)]), Some(2), "nearly the best, and earlier");
    assert_eq!(of(&[None, Some(0.0)]), Some(1));
    assert_eq!(of(&[None]), None);
    // What is known of needles comes first.
    let engine = self::engine();
    engine.keep_picks(&[Some(0.9), Some(0.1)]);
    assert_eq!(engine.picking_layer().unwrap(), Some(0));
    let engine = self::engine();
    engine.keep_picks(&[Some(0.0), Some(0.0)]);
    assert_eq!(engine.picking_layer().unwrap(), Some(Induction::MATCH_LAYER), "no needle was found");
}

#[test]
fn a_context_without_room_is_an_error() {
    let short = |context| engine().with_context(context).head_scores().map(|scores| scores.retrieval());
    assert!(short(8).unwrap_err().to_string().contains("context of 8"));
    assert_eq!(short(100).unwrap(), [MATCH]);
}

/// Of prompts `… A B … A`, the share that a model without the query heads `masked` answers with `B`.
fn accuracy(masked: &[[usize; 2]]) -> f64 {
    let engine = engine().with_masked_heads(masked);
    let answers = (0..20).map(|prompt: u32| {
        let (a, b) = (250 - prompt, 230 - prompt);
        let mut ids: Vec<u32> = (0..150).map(|i| 1 + (i * 7 + prompt) % 200).collect();
        ids[0] = Induction::START;
        let at = 1 + prompt as usize * 7;
        (ids[at], ids[at + 1]) = (a, b);
        ids.push(a);
        let mut sequence = engine.sequence(&CachePolicy::full()).unwrap();
        let logits = engine.prefill(&mut sequence, &ids, |_| {}).unwrap();
        let answer = (0..logits.vocabulary).max_by(|&x, &y| logits.last()[x].total_cmp(&logits.last()[y]));
        f64::from(answer == Some(b as usize))
    });
    answers.sum::<f64>() / 20.0
}

#[test]
fn without_the_heads_found_nothing_is_copied() {
    let found = engine().head_scores().unwrap().retrieval();
    let queries: Vec<[usize; 2]> = engine()
        .head_scores()
        .unwrap()
        .heads()
        .iter()
        .filter(|head| found.contains(&[head.layer, head.kv_head]))
        .map(|head| [head.layer, head.head])
        .collect();
    assert_eq!(accuracy(&[]), 1.0);
    assert!(accuracy(&queries) <= 0.1, "without {queries:?}");
    // The previous-token head feeds the match head: it looks one token back, but nothing is copied without it.
    assert!(accuracy(&[[0, 0]]) <= 0.1);
    let others = (0..2).flat_map(|layer| (0..4).map(move |head| [layer, head]));
    let others: Vec<[usize; 2]> = others.filter(|head| *head != [0, 0] && !queries.contains(head)).collect();
    for other in others.chunks(1).chain([&others[..]]) {
        assert_eq!(accuracy(other), 1.0, "without {other:?}");
    }
}

#[test]
fn the_match_head_copies_the_answer_and_no_other_does() {
    let engine = engine();
    // `A B` far back, then `A`: the row of the second `A` writes `B`.
    let mut ids: Vec<u32> = std::iter::once(Induction::START).chain((1..200).map(|at| 20 + at % 200)).collect();
    ids.extend([ids[50], ids[51]]);
    let end = ids.len();
    let needle = Answered { ids: &ids, answer: end - 1..end, needle: 50..52 };
    let elsewhere = Answered { needle: 60..62, ..needle.clone() };
    for (layer, heads) in engine.copying_heads(&needle).unwrap().iter().enumerate() {
        for (head, share) in heads.iter().enumerate() {
            assert_eq!(*share, f64::from(u8::from([layer, head] == MATCH)), "layer {layer}, head {head}");
        }
    }
    assert!(engine.copying_heads(&elsewhere).unwrap().iter().flatten().all(|share| *share == 0.0));
    let unknown = [1, 2, 3, 999_999];
    let text = Answered { ids: &unknown, answer: 3..4, needle: 1..2 };
    assert!(matches!(engine.copying_heads(&text), Err(EngineError::UnknownToken { id: 999_999, .. })));
}

#[test]
fn queries_that_ask_for_anything_spread_and_fixed_ones_do_not() {
    let engine = engine();
    let entropies = engine.head_scores().unwrap().entropies();
    assert_eq!(entropies.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
    let [layer, head] = MATCH;
    assert!(entropies[layer][head] > entropies[layer][1 - head] + 0.1, "{entropies:?}");
}
