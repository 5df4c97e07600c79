//! Policies over time and together: evicting again and again, one after the other, in every storage format, and in forks.

mod naive;
mod small;

use std::sync::Arc;

use burn::tensor::Device;
use headwise_engine::cache::{CachePolicy, Evictor, LayerStore, Limit, Limits, Needs, When};
use headwise_engine::{Engine, Sequence};
use headwise_kernels::kv::Codec;
use headwise_models::decoder::{Induction, Weights};
use naive::{NaiveCache, Rule};
use small::*;

/// Follows the engine and a naive cache over `steps` tokens; `kept` compares what they hold.
fn follow(text: &str, rule: Rule, prompt: usize, steps: usize, kept: bool) {
    let engine = engine(1);
    let mut naive = NaiveCache::new(rule, LAYERS, KV_HEADS);
    let mut sequence = engine.sequence(&policy(text)).unwrap();
    let prompt = ids(21, prompt);
    let mut expected = naive.forward(engine.model(), &prompt);
    let mut found = read(&engine, &mut sequence, &prompt, prompt.len()).values;
    for (step, id) in ids(22, steps).into_iter().enumerate() {
        assert_near(&found, &expected, 1e-4, &format!("{text} before step {step}"));
        if kept {
            assert_eq!(positions(&sequence), naive.positions(), "{text} before step {step}");
        }
        expected = naive.forward(engine.model(), &[id]);
        found = engine.step(&mut sequence, id).unwrap().values;
    }
    assert_near(&found, &expected, 1e-4, text);
}

#[test]
fn h2o_equals_a_naive_replay_after_120_evictions() {
    follow("h2o(budget=24, slack=0) + f32", Rule::LeastAttention { budget: 24 }, 50, 120, true);
    follow("h2o(budget=1) + f32", Rule::LeastAttention { budget: 1 }, 5, 10, true);
}

#[test]
fn streaming_does_not_drift_from_keys_rotated_anew() {
    follow("streaming(budget=20, slack=0) + f32", Rule::Oldest { budget: 20, sinks: 4 }, 40, 200, false);
    follow("streaming(budget=9, sinks=2, slack=0) + f32", Rule::Oldest { budget: 9, sinks: 2 }, 3, 60, false);
}

#[test]
fn every_evictor_works_with_every_codec() {
    let engine = engine(1);
    let (prompt, steps) = (ids(1, 200), ids(2, 40));
    for name in EVICTING {
        let reference = run(&engine, &(with(name, "keep=0.8") + " + f32"), &prompt, &steps).0;
        for (codec, tolerance) in [("f16", 0.02), ("int8", 0.2), ("int4", 4.0), ("kivi4", 4.0), ("kivi2", 12.0)] {
            let text = with(name, "keep=0.8");
            let (logits, sequence) = run(&engine, &format!("{text} + {codec}"), &prompt, &steps);
            let (other, _) = run(&engine, &format!("{codec} + {text}"), &prompt, &steps);
            assert!(logits == other, "{text} + {codec}: the place of the codec changes the scores");
            let pairs = lengths(&sequence).iter().flatten().sum::<usize>();
            assert!(pairs <= 192 * LAYERS * KV_HEADS, "{text} + {codec}: {pairs} pairs");
            assert!(logits.iter().flatten().all(|x| x.is_finite()), "{text} + {codec}");
            assert_near(&logits[0], &reference[0], tolerance, &format!("{text} + {codec}, the prompt"));
        }
    }
}

#[test]
fn evictors_apply_from_left_to_right() {
    let engine = engine(1);
    let prompt = ids(1, 120);
    let kept = |text: &str| positions(&run(&engine, text, &prompt, &ids(2, 10)).1);
    let (snap, stream) = ("snapkv(window=8, budget=40)", "streaming(budget=20, reindex=false)");
    let (one, other) = (kept(&format!("{snap} + {stream}")), kept(&format!("{stream} + {snap}")));
    assert_ne!(one, other);
    assert_eq!(other, kept(stream), "what is within the second budget already is left alone");
    for first in EVICTING {
        for second in EVICTING {
            let text = with(first, "budget=40") + " + " + &with(second, "budget=24");
            let (logits, sequence) = run(&engine, &text, &prompt, &ids(2, 6));
            assert!(logits.iter().flatten().all(|x| x.is_finite()), "{text}");
            let mean = lengths(&sequence).iter().flatten().sum::<usize>() / (LAYERS * KV_HEADS);
            assert!(mean <= 24, "{text}: {mean} pairs");
        }
    }
}

#[test]
fn a_fork_leaves_its_parent_alone() {
    let engine = engine(1);
    let (prompt, steps) = (ids(1, 100), ids(2, 30));
    for name in EVICTING {
        for codec in ["f32", "f16", "int4", "kivi2"] {
            let text = with(name, "budget=40") + " + " + codec;
            let (expected, _) = run(&engine, &text, &prompt, &steps);
            let mut parent = engine.sequence(&policy(&text)).unwrap();
            let mut found = vec![read(&engine, &mut parent, &prompt, prompt.len()).values];
            found.extend(continued(&engine, &mut parent, &steps[..10]));
            let mut fork = parent.clone();
            let apart = continued(&engine, &mut fork, &ids(3, 30));
            found.extend(continued(&engine, &mut parent, &steps[10..]));
            assert!(found == expected, "{text}: the parent changed");
            assert!(apart != expected[11..], "{text}: the fork went its own way");
        }
    }
}

#[test]
fn votes_count_every_query_that_still_sees_a_slot() {
    // Random eviction takes recent pairs too: SnapKV's queries then have no slots of their own.
    let text = "random(budget=40, seed=1) + snapkv(window=8, budget=40)";
    let (_, sequence) = run(&engine(1), text, &ids(1, 120), &[]);
    for layer in sequence.layers() {
        let attention = layer.window_attention(8);
        for (attention, pairs) in attention.iter().zip(layer.pairs()) {
            // Every row of every head gives a weight of 1 to what it sees.
            assert!((attention.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            let last = attention.iter().zip(pairs.positions()).filter(|(_, position)| **position > 112);
            assert!(last.clone().all(|(attention, position)| *attention <= (120 - *position) as f32 / 8.0 + 1e-6));
        }
    }
}

/// Takes the pair of one token from every head: `(layer, head)` chooses which.
#[derive(Debug)]
struct Without {
    tokens: usize,
    victim: fn(usize, usize, usize) -> usize,
    answer: usize,
}

impl Evictor for Without {
    fn limits(&self) -> Result<Limits, String> {
        Ok(Limits { limit: Limit::Pairs(self.tokens - 1), when: When::End, reindex: false, slack: 0 })
    }

    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn score(&self, store: &LayerStore) -> Vec<Vec<f32>> {
        let score = |(head, slots): (usize, usize)| {
            let mut scores = vec![1.0; slots];
            let victim = (self.victim)(store.layer(), head, self.answer);
            scores[if slots == self.tokens { victim } else { slots - 1 }] = 0.0;
            scores
        };
        store.pairs().iter().map(|pairs| pairs.len()).enumerate().map(score).collect()
    }
}

/// A text of fillers in which `A` stands at `at`, followed by `B`.
fn copied(tokens: usize, at: usize) -> (Vec<u32>, u32, u32) {
    let (a, b) = (251, 252);
    let mut text: Vec<u32> = (0..tokens as u32).map(|i| 1 + i * 7 % 241).collect();
    text[0] = Induction::START;
    (text[at], text[at + 1]) = (a, b);
    (text, a, b)
}

fn probability(logits: &[f32], token: u32) -> f64 {
    let most = logits.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    let sum: f64 = logits.iter().map(|&x| f64::from(x - most).exp()).sum();
    f64::from(logits[token as usize] - most).exp() / sum
}

fn induction() -> Engine {
    Engine::new(Induction::new(0).decoder(Weights::Stored, &Device::flex()).unwrap(), 1).unwrap()
}

#[test]
fn the_answer_lives_in_one_slot_of_one_head() {
    let engine = induction();
    for at in [1, 50, 170] {
        let (text, a, b) = copied(200, at);
        let asked = |victim| {
            let evictor = Without { tokens: text.len(), victim, answer: at + 1 };
            let policy = CachePolicy::custom("without", vec![Arc::new(evictor)], Codec::F32).unwrap();
            let mut sequence = engine.sequence(&policy).unwrap();
            engine.prefill(&mut sequence, &text, |_| {}).unwrap();
            probability(engine.step(&mut sequence, a).unwrap().last(), b)
        };
        let killed =
            asked(
                |layer, head, answer| {
                    if (layer, head) == (Induction::MATCH_LAYER, Induction::MATCH_HEAD) { answer } else { answer + 5 }
                },
            );
        assert!(killed < 0.01, "p = {killed} without the slot of the answer at {at}");
        let elsewhere =
            asked(
                |layer, head, answer| {
                    if (layer, head) == (Induction::MATCH_LAYER, Induction::MATCH_HEAD) { answer + 5 } else { answer }
                },
            );
        assert!(elsewhere > 0.999, "p = {elsewhere} without that token in all other heads, at {at}");
    }
}

/// The probability of `B` when a text that says `A B` twenty times from `at` on ends by asking for what follows `A`, goes on
/// with another token, and asks again. That token is an answer, too: one pair kept makes `B` about as likely, two certain.
fn recalled(engine: &Engine, policy_text: &str, at: usize) -> f64 {
    let (mut text, a, b) = copied(200, at);
    (at..at + 60).step_by(3).for_each(|at| text[at..at + 2].copy_from_slice(&[a, b]));
    text.push(a);
    let mut sequence: Sequence = engine.sequence(&policy(policy_text)).unwrap();
    engine.prefill(&mut sequence, &text, |_| {}).unwrap();
    engine.step(&mut sequence, 250).unwrap();
    probability(engine.step(&mut sequence, a).unwrap().last(), b)
}

#[test]
fn attention_keeps_what_a_stream_forgets() {
    let engine = induction();
    for at in [20, 50, 80] {
        let full = recalled(&engine, "full", at);
        assert!(full > 0.999, "p = {full} with the full cache, from {at}");
        for text in ["streaming(keep=0.25)", "streaming(keep=0.25, reindex=false)"] {
            let lost = recalled(&engine, text, at);
            assert!(lost < 0.01, "{text}, from {at}: p = {lost}");
        }
        for text in ["snapkv(keep=0.25, window=8)", "h2o(keep=0.25)"] {
            let found = recalled(&engine, text, at);
            assert!(found > 0.45, "{text}, from {at}: p = {found}");
        }
    }
}
