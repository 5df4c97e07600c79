use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// What `sampling` leaves of `scores`, by definition: sorted, in `f64`.
fn reference(sampling: &Sampling, scores: &[f32]) -> BTreeSet<u32> {
    let exact = |id: u32| f64::from(scores[id as usize]);
    let mut ids: Vec<u32> = (0..scores.len() as u32).filter(|&id| exact(id) > f64::NEG_INFINITY).collect();
    ids.sort_by(|&a, &b| exact(b).total_cmp(&exact(a)).then(a.cmp(&b)));
    let most = exact(ids[0]);
    let probabilities = |ids: &[u32]| -> Vec<f64> {
        let total: f64 = ids.iter().map(|&id| (exact(id) - most).exp()).sum();
        ids.iter().map(|&id| (exact(id) - most).exp() / total).collect()
    };
    // So many of the first that hold `share`.
    let holding = |probabilities: &[f64], share: f32| {
        let mut held = 0.0;
        let before = |p: &&f64| {
            let missing = held < f64::from(share);
            held += **p;
            missing
        };
        probabilities.iter().take_while(before).count()
    };
    if sampling.top_k > 0 {
        ids.truncate(sampling.top_k);
    }
    if sampling.typical_p < 1.0 {
        let p = probabilities(&ids);
        let entropy: f64 = p.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
        let log_total = (exact(ids[0]) - most) - p[0].ln();
        let distance = |id: u32| (-(exact(id) - most - log_total) - entropy).abs();
        ids.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)).then(exact(b).total_cmp(&exact(a))).then(a.cmp(&b)));
        ids.truncate(holding(&probabilities(&ids), sampling.typical_p));
        ids.sort_by(|&a, &b| exact(b).total_cmp(&exact(a)).then(a.cmp(&b)));
    }
    if sampling.top_p < 1.0 {
        ids.truncate(holding(&probabilities(&ids), sampling.top_p));
    }
    if sampling.min_p > 0.0 {
        let p = probabilities(&ids);
        let kept = p.iter().take_while(|&&one| one >= f64::from(sampling.min_p) * p[0]).count();
        ids.truncate(kept);
    }
    ids.into_iter().collect()
}

fn kept(sampling: &Sampling, scores: &[f32]) -> BTreeSet<u32> {
    let mut found = Vec::new();
    let largest = scores::largest(scores).unwrap();
    candidates::collect(sampling, scores, scores[largest], &mut found);
    assert_eq!(found.iter().map(|candidate| candidate.id).collect::<BTreeSet<_>>().len(), found.len(), "once each");
    found.iter().map(|candidate| candidate.id).collect()
}

fn share() -> impl Strategy<Value = f32> {
    prop_oneof![Just(1.0f32), 0.01f32..1.0]
}

fn sampling() -> impl Strategy<Value = Sampling> {
    let min_p = prop_oneof![Just(0.0f32), 0.001f32..1.0];
    let top_k = prop_oneof![Just(0usize), 1usize..300];
    (top_k, share(), min_p, share()).prop_map(|(top_k, top_p, min_p, typical_p)| Sampling {
        temperature: 1.0,
        top_k,
        top_p,
        min_p,
        typical_p,
        ..Sampling::default()
    })
}

/// Scores of any spread, some of them forbidden, some equal.
fn scores() -> impl Strategy<Value = Vec<f32>> {
    let score = prop_oneof![9 => -1.0f32..1.0, 1 => Just(f32::NEG_INFINITY), 1 => Just(0.5f32)];
    (0.1f32..30.0, prop::collection::vec(score, 1..1500), -1.0f32..1.0).prop_map(|(spread, mut scores, one)| {
        scores.push(one);
        scores.iter().map(|score| score * spread).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn cuts_leave_what_a_full_sort_leaves(sampling in sampling(), scores in scores()) {
        prop_assume!(sampling.top_k > 0 || sampling.top_p < 1.0 || sampling.min_p > 0.0 || sampling.typical_p < 1.0);
        prop_assert_eq!(kept(&sampling, &scores), reference(&sampling, &scores));
    }

    #[test]
    fn what_is_chosen_was_left(sampling in sampling(), scores in scores(), temperature in 0.05f32..5.0, seed: u64) {
        let left = reference(&sampling, &scores);
        let mut sampler = Sampler::of(Sampling { temperature, seed, ..sampling });
        for _ in 0..5 {
            let id = sampler.choose(&scores);
            prop_assert!(left.contains(&id), "{} of {:?}", id, left);
        }
    }
}

#[test]
fn greedy_takes_the_first_of_the_largest() {
    assert_eq!(Sampler::greedy().choose(&[0.0, 3.0, 3.0, -1.0]), 1);
    assert_eq!(Sampler::greedy().choose(&[f32::NAN, -3.0, f32::NEG_INFINITY]), 1);
    assert_eq!(Sampler::greedy().choose(&[f32::NEG_INFINITY; 3]), 0);
}

/// How often each of `scores` is drawn in `draws`.
fn counts(mut sampler: Sampler, scores: &[f32], draws: usize) -> Vec<usize> {
    let mut counts = vec![0; scores.len()];
    (0..draws).for_each(|_| counts[sampler.choose(scores) as usize] += 1);
    counts
}

/// Whether `counts` follow `probabilities`: within five standard deviations each.
fn assert_follow(counts: &[usize], probabilities: &[f64], what: &str) {
    let draws = counts.iter().sum::<usize>() as f64;
    for (id, (&count, p)) in counts.iter().zip(probabilities).enumerate() {
        let (expected, deviation) = (draws * p, (draws * p * (1.0 - p)).sqrt());
        assert!(
            (count as f64 - expected).abs() <= 5.0 * deviation,
            "{what}: token {id}: {count}, expected {expected:.1}"
        );
    }
}

#[test]
fn draws_follow_the_probabilities() {
    // More than two blocks, the weight spread over all of them.
    let scores: Vec<f32> =
        (0..1200).map(|id| if id % 100 == 7 { (id / 100) as f32 * 0.3 } else { f32::NEG_INFINITY }).collect();
    for temperature in [0.5f32, 1.0, 2.0] {
        let weights = scores.iter().map(|score| (f64::from(*score) / f64::from(temperature)).exp());
        let total: f64 = weights.clone().sum();
        let exact: Vec<f64> = weights.map(|weight| weight / total).collect();
        for (sampling, what) in [
            (Sampling::default(), "all"),
            (Sampling { top_k: 12, ..Sampling::default() }, "top-k of all there are"),
            (Sampling { top_p: 0.99999, ..Sampling::default() }, "almost all"),
        ] {
            let sampler = Sampler::of(Sampling { temperature, seed: 5, ..sampling });
            assert_follow(&counts(sampler, &scores, 20_000), &exact, what);
        }
    }
}

#[test]
fn what_is_left_is_drawn_at_the_temperature() {
    let scores = [0.6f32.ln(), 0.3f32.ln(), 0.06f32.ln(), 0.04f32.ln()];
    let halves = |p: [f64; 4]| {
        let total: f64 = p.iter().map(|p| p.sqrt()).sum();
        p.map(|p| p.sqrt() / total)
    };
    // The likeliest tokens that hold 0.8 at temperature 1 are two, and three at 2.
    let sampler = Sampler::of(Sampling { temperature: 2.0, top_p: 0.8, seed: 1, ..Sampling::default() });
    assert_follow(&counts(sampler, &scores, 20_000), &halves([0.6, 0.3, 0.0, 0.0]), "top-p");
    // Half as likely as the likeliest are two at temperature 1, and one at 0.5.
    let sampler = Sampler::of(Sampling { temperature: 0.5, min_p: 0.4, seed: 1, ..Sampling::default() });
    assert_follow(&counts(sampler, &scores, 20_000), &[0.8, 0.2, 0.0, 0.0], "min-p");
    // Entropy 0.97: nearest are 0.3 (1.20) and 0.6 (0.51).
    let sampler = Sampler::of(Sampling { temperature: 1.0, typical_p: 0.25, seed: 1, ..Sampling::default() });
    assert_follow(&counts(sampler, &scores, 2_000), &[0.0, 1.0, 0.0, 0.0], "typical-p");
    let sampler = Sampler::of(Sampling { temperature: 1.0, top_k: 1, seed: 1, ..Sampling::default() });
    assert_follow(&counts(sampler, &scores, 2_000), &[1.0, 0.0, 0.0, 0.0], "top-k");
}

#[test]
fn the_same_seed_draws_the_same_and_another_does_not() {
    let scores: Vec<f32> = (0..5000).map(|id| ((id * 37) % 101) as f32 / 30.0).collect();
    let written = |seed, top_k, others: usize| -> Vec<u32> {
        let mut sampler = Sampler::new(1.0, top_k, 1.0, seed);
        let mut other = Sampler::new(1.0, 0, 0.9, seed);
        let next = |_| {
            (0..others).for_each(|_| _ = other.choose(&scores));
            sampler.choose(&scores)
        };
        (0..50).map(next).collect()
    };
    for top_k in [0, 40] {
        assert_eq!(written(3, top_k, 0), written(3, top_k, 2));
        assert_ne!(written(3, top_k, 0), written(4, top_k, 0));
    }
}

fn greedy_with(sampling: Sampling) -> Sampler {
    Sampler::of(Sampling { temperature: 0.0, ..sampling })
}

#[test]
fn a_repetition_penalty_counts_what_was_read_and_written() {
    let mut sampler = greedy_with(Sampling { repetition_penalty: 2.0, ..Sampling::default() });
    sampler.read(&[0, 3]);
    // 0 was read: 4 / 2 is below 3. Then 1 was written too: 3 / 2.
    assert_eq!(sampler.choose(&[4.0, 3.0, 0.5]), 1);
    assert_eq!(sampler.choose(&[4.0, 3.0, 0.5]), 0);
    // Below 0 it multiplies.
    assert_eq!(sampler.choose(&[-1.0, -1.0, -1.5]), 2);
}

#[test]
fn presence_and_frequency_count_what_was_written_only() {
    let scores = [4.0, 3.2, 0.0];
    let written = |sampling, tokens| -> Vec<u32> {
        let mut sampler = greedy_with(sampling);
        sampler.read(&[0, 0, 0, 0]);
        (0..tokens).map(|_| sampler.choose(&scores)).collect()
    };
    assert_eq!(written(Sampling { presence_penalty: 1.0, ..Sampling::default() }, 4), [0, 1, 0, 0]);
    assert_eq!(written(Sampling { frequency_penalty: 1.0, ..Sampling::default() }, 4), [0, 1, 0, 1]);
    let mut sampler = greedy_with(Sampling { presence_penalty: 1.0, ..Sampling::default() });
    assert_eq!([sampler.choose(&scores), sampler.choose(&scores)], [0, 1]);
    // A new prompt: what was written is read.
    sampler.read(&[]);
    assert_eq!(sampler.choose(&scores), 0);
}

#[test]
fn a_bias_moves_the_scores_it_names() {
    let bias = vec![(2, 5.0), (0, -100.0), (9, 100.0)];
    assert_eq!(greedy_with(Sampling { logit_bias: bias, ..Sampling::default() }).choose(&[4.0, 3.0, 0.0]), 2);
}

#[test]
fn a_text_does_not_end_before_its_minimum_unless_it_must() {
    let mut sampler = greedy_with(Sampling { min_tokens: 2, ..Sampling::default() });
    sampler.end_with(&[0, 7]);
    let scores = [4.0, 3.0, 0.0];
    assert_eq!([0; 3].map(|_| sampler.choose(&scores)), [1, 1, 0]);
    sampler.read(&[]);
    assert_eq!(sampler.choose(&[4.0, f32::NEG_INFINITY]), 0, "nothing else can be chosen");
}

#[test]
fn repetitions_of_prompt_and_answer_are_held_back() {
    let dry = Dry { multiplier: 1.0, base: 2.0, ..Dry::default() };
    let scores = [0.0, 1.0, 0.5];
    let mut sampler = greedy_with(Sampling { dry: Some(dry), ..Sampling::default() });
    sampler.read(&[0, 0, 1, 2, 0, 0]);
    // 0 0 was followed by 1, which loses 1. Then 0 2 is new.
    assert_eq!([sampler.choose(&scores), sampler.choose(&scores)], [2, 1]);
    let mut again = sampler.clone();
    assert_eq!(again.history.tokens, [0, 0, 1, 2, 0, 0, 2, 1]);
    // What will be read again is not there twice.
    again.take_back(1);
    again.read(&[1, 2]);
    assert_eq!(again.history.tokens, [0, 0, 1, 2, 0, 0, 2, 1, 2]);
    assert!(sampler.number(1).history.tokens.is_empty());
}

/// Microseconds per token; printed with `--nocapture`, asserted by nobody.
#[test]
#[ignore = "a measurement: run it with --ignored --nocapture"]
fn time_of_a_choice() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    // Shaped like a model's: a few tokens far above the rest.
    let mut normal = || (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0;
    let mut scores: Vec<f32> = (0..49152).map(|_| normal() * 2.5).collect();
    (0..30).for_each(|i| scores[i * 1601] = 14.0 - i as f32 * 0.2);
    for (name, mut sampler) in [
        ("greedy", Sampler::greedy()),
        ("temperature", Sampler::new(1.0, 0, 1.0, 0)),
        ("top-p 0.95", Sampler::new(1.0, 0, 0.95, 0)),
        ("top-k 40", Sampler::new(1.0, 40, 1.0, 0)),
        (
            "mirostat",
            Sampler::of(Sampling { temperature: 1.0, mirostat: Some(Mirostat::default()), ..Sampling::default() }),
        ),
    ] {
        let started = std::time::Instant::now();
        let sum: u32 = (0..200).map(|_| sampler.choose(&scores)).fold(0, u32::wrapping_add);
        println!("{name}: {:.1} us ({sum})", started.elapsed().as_secs_f64() * 1e6 / 200.0);
    }
}
