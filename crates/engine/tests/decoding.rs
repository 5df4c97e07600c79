//! Ways of writing: what they write is what their definitions say, and what writing token by token gives.

mod small;

use headwise_engine::{
    BeamSearch, Dry, Engine, EngineError, Generated, Generation, Hypothesis, Mirostat, PromptLookup, Sampler, Sampling,
    Sequence, TokenLogProbabilities, Writing, Xtc, beam_search, generate, generate_several, generate_with,
};
use small::*;

fn until(tokens: usize, stop: &[u32]) -> Generation {
    Generation { tokens, stop: stop.to_vec() }
}

/// `log p` of every token after the text `ids`, which is read anew.
fn log_softmax(engine: &Engine, ids: &[u32]) -> Vec<f64> {
    let mut sequence = engine.sequence(&policy("f32")).unwrap();
    let logits = engine.prefill(&mut sequence, ids, |_| {}).unwrap();
    let total = logits.last().iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
    logits.last().iter().map(|&x| f64::from(x) - total).collect()
}

#[test]
fn log_probabilities_are_those_of_the_text_read_anew() {
    let engine = engine(2);
    let prompt = ids(3, 20);
    let mut sequence = engine.sequence(&policy("f32")).unwrap();
    let mut noted: Vec<TokenLogProbabilities> = Vec::new();
    let mut sampler = Sampler::new(1.0, 0, 1.0, 5);
    let generation = until(12, &[]);
    let written = generate_with(&engine, &mut sequence, &prompt, &generation, &mut sampler, None, |token| {
        noted.push(token.log_probabilities(3));
        true
    });
    let written = written.unwrap().ids;
    assert_eq!((written.len(), noted.len()), (12, 12));
    for (at, (id, noted)) in written.iter().zip(&noted).enumerate() {
        let expected = log_softmax(&engine, &[&prompt[..], &written[..at]].concat());
        assert_eq!(noted.chosen.id, *id);
        assert_eq!(noted.likeliest.len(), 3);
        for token in noted.likeliest.iter().chain([&noted.chosen]) {
            assert!((token.value - expected[token.id as usize]).abs() < 1e-4, "token {} at {at}", token.id);
        }
        let better = expected.iter().filter(|&&p| p > noted.likeliest[2].value + 1e-4).count();
        assert!(better <= 2, "{better} tokens are likelier than the third of the likeliest");
    }
}

#[test]
fn several_answers_are_those_drawn_alone_and_share_the_prompt() {
    let engine = engine(2);
    let prompt = ids(4, 400);
    for text in ["full", "int8", "kivi4", "snapkv(budget=64, window=8)", "h2o(budget=50)"] {
        let policy = policy(text);
        let samplers: Vec<Sampler> = (0..4).map(|seed| Sampler::new(1.0, 0, 0.95, seed)).collect();
        let generation = until(25, &[7]);
        let begun = Writing::new(engine.sequence(&policy).unwrap(), prompt.clone(), Sampler::greedy());
        let begun = begun.with_log_probabilities(0);
        let several = generate_several(&engine, begun, samplers.clone(), &generation, |_| {}).unwrap();
        for (answer, mut sampler) in several.iter().zip(samplers) {
            let mut sequence = engine.sequence(&policy).unwrap();
            let alone = generate(&engine, &mut sequence, &prompt, &generation, &mut sampler, |_| true).unwrap();
            assert_eq!((answer.written(), answer.stopped()), (&alone.ids[..], alone.stopped), "{text}");
            assert_eq!(positions(answer.sequence()), positions(&sequence), "{text}");
            let [sum, mean] = answer.log_probability().unwrap();
            assert!((sum / mean - (alone.ids.len() + usize::from(alone.stopped)) as f64).abs() < 1e-6);
            assert!(answer.log_probabilities().len() == alone.ids.len());
        }
        let sequences: Vec<&Sequence> = several.iter().map(Writing::sequence).collect();
        let apart: usize = sequences.iter().map(|sequence| sequence.bytes().total()).sum();
        let together = Sequence::bytes_together(&sequences).total();
        let one = sequences[0].bytes().total();
        assert!(together >= one && together <= apart, "{text}: {one} ≤ {together} ≤ {apart}");
        if text == "full" {
            // Of 400 pairs in half precision the first twelve pages stay shared.
            let page = 32 * 2 * HEAD_DIM * 2 * KV_HEADS * LAYERS;
            assert_eq!(apart - together, 3 * 12 * page);
        }
    }
    assert!(engine.sequence(&policy("full")).is_ok_and(|sequence| Sequence::bytes_together(&[&sequence]).total() == 0));
}

/// The definition: all beginnings, each read anew.
fn naive_beams(
    engine: &Engine,
    prompt: &[u32],
    tokens: usize,
    stop: u32,
    beams: usize,
    penalty: f64,
) -> Vec<Hypothesis> {
    let mut going: Vec<(Vec<u32>, f64)> = vec![(Vec::new(), 0.0)];
    let mut ended: Vec<(Vec<u32>, f64)> = Vec::new();
    for _ in 0..tokens {
        let mut next: Vec<(Vec<u32>, f64)> = Vec::new();
        for (ids, sum) in &going {
            let scores = log_softmax(engine, &[prompt, ids].concat());
            next.extend((0..).zip(scores).map(|(id, score)| ([&ids[..], &[id]].concat(), sum + score)));
        }
        next.sort_by(|a, b| b.1.total_cmp(&a.1));
        next.truncate(beams - ended.len());
        let (stopped, others): (Vec<_>, Vec<_>) = next.into_iter().partition(|(ids, _)| ids.last() == Some(&stop));
        ended.extend(stopped);
        going = others;
    }
    let mut all: Vec<Hypothesis> = ended
        .into_iter()
        .chain(going)
        .map(|(mut ids, log_probability)| {
            let score = log_probability / (ids.len() as f64).powf(penalty);
            let stopped = ids.last() == Some(&stop);
            ids.truncate(ids.len() - usize::from(stopped));
            Hypothesis { ids, log_probability, score, stopped }
        })
        .collect();
    all.sort_by(|a, b| b.score.total_cmp(&a.score));
    all
}

#[test]
fn beams_find_what_their_definition_finds() {
    let engine = engine(2);
    let prompt = ids(6, 9);
    // The second and the last are exhaustive: there are fewer answers than beams.
    for (beams, tokens, penalty) in [(5, 6, 1.0), (3000, 2, 0.0), (4, 5, 0.3), (3000, 2, 2.0)] {
        let mut lengths = Vec::new();
        let sequence = engine.sequence(&policy("f32")).unwrap();
        let search = BeamSearch { beams, length_penalty: penalty };
        // The second likeliest token, so that one beam does not end at once.
        let stop = second_likeliest(&log_softmax(&engine, &prompt));
        let generation = until(tokens, &[stop]);
        let found =
            beam_search(&engine, sequence, &prompt, &generation, search, |tokens| lengths.push(tokens)).unwrap();
        let expected = naive_beams(&engine, &prompt, tokens, stop, beams, penalty);
        assert_eq!(found.len(), expected.len(), "{beams} beams");
        if beams == 3000 {
            assert_eq!(found.len(), 1 + (VOCABULARY - 1) * VOCABULARY, "every answer there is");
        }
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found.score - expected.score).abs() < 1e-4, "{found:?} is not {expected:?}");
            assert!((found.log_probability - expected.log_probability).abs() < 1e-4);
        }
        for (found, expected) in found.iter().zip(&expected).take(5) {
            assert_eq!((&found.ids, found.stopped), (&expected.ids, expected.stopped), "{beams} beams");
        }
        assert!(found.iter().any(|found| found.stopped));
        assert_eq!(lengths, (1..tokens).collect::<Vec<_>>());
    }
}

fn second_likeliest(scores: &[f64]) -> u32 {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order[1] as u32
}

#[test]
fn one_beam_is_greedy_under_every_policy() {
    let engine = engine(2);
    let prompt = ids(8, 90);
    for text in ["full", "kivi4", "tova(budget=30)", "quest(budget=96, dense_layers=0)"] {
        let policy = policy(text);
        let mut sequence = engine.sequence(&policy).unwrap();
        let free = until(30, &[]);
        let greedy = generate(&engine, &mut sequence, &prompt, &free, &mut Sampler::greedy(), |_| true).unwrap().ids;
        let new = *greedy.iter().enumerate().find(|(at, id)| *at > 3 && !greedy[..*at].contains(id)).unwrap().1;
        for stop in [vec![], vec![new]] {
            let generation = until(30, &stop);
            let mut sequence = engine.sequence(&policy).unwrap();
            let written = generate(&engine, &mut sequence, &prompt, &generation, &mut Sampler::greedy(), |_| true);
            let written = written.unwrap();
            let search = BeamSearch { beams: 1, length_penalty: 1.0 };
            let sequence = engine.sequence(&policy).unwrap();
            let found = beam_search(&engine, sequence, &prompt, &generation, search, |_| {}).unwrap();
            assert_eq!(found.len(), 1);
            assert_eq!((&found[0].ids, found[0].stopped), (&written.ids, written.stopped), "{text}");
        }
    }
}

#[test]
fn beams_stop_at_the_end_of_the_context() {
    let engine = engine(1).with_context(12);
    let search = BeamSearch { beams: 3, length_penalty: 1.0 };
    let sequence = engine.sequence(&policy("full")).unwrap();
    let found = beam_search(&engine, sequence, &ids(1, 9), &until(50, &[]), search, |_| {}).unwrap();
    let mut sequence = engine.sequence(&policy("full")).unwrap();
    let greedy = generate(&engine, &mut sequence, &ids(1, 9), &until(50, &[]), &mut Sampler::greedy(), |_| true);
    assert!(found.iter().all(|found| found.ids.len() == greedy.as_ref().unwrap().ids.len()));
    let sequence = engine.sequence(&policy("full")).unwrap();
    let none = beam_search(&engine, sequence, &ids(1, 9), &until(0, &[]), search, |_| {}).unwrap();
    assert!(none.is_empty());
}

/// What is written with drafts, and its text.
fn looked_up(
    engine: &Engine,
    text: &str,
    prompt: &[u32],
    generation: &Generation,
    mut sampler: Sampler,
    lookup: Option<PromptLookup>,
) -> (Generated, Sequence) {
    let mut sequence = engine.sequence(&policy(text)).unwrap();
    let written = generate_with(engine, &mut sequence, prompt, generation, &mut sampler, lookup.as_ref(), |_| true);
    (written.unwrap(), sequence)
}

#[test]
fn drafts_change_nothing_but_the_number_of_forwards() {
    let full = engine(2);
    // Windows shorter than the text, so that pairs leave while drafts are read and taken back.
    let windowed = Engine::new(decoder([Some(16), None, Some(40)]), 2).unwrap();
    let prompt = ids(9, 30).repeat(3);
    let (mut accepted, mut refused) = (0, 0);
    for (engine, name) in [(&full, "full"), (&windowed, "windowed")] {
        for text in ["full", "f32", "bf16", "int8", "int4"] {
            for sampler in [Sampler::greedy(), Sampler::new(0.5, 0, 0.9, 3)] {
                for draft in [1, 4, 40] {
                    let lookup = PromptLookup { shortest: 1, ..PromptLookup::new(draft) };
                    let (plain, mut plainly) =
                        looked_up(engine, text, &prompt, &until(120, &[7]), sampler.clone(), None);
                    let (drafted, mut draftily) =
                        looked_up(engine, text, &prompt, &until(120, &[7]), sampler.clone(), Some(lookup));
                    let what = format!("{name} model, {text}, drafts of {draft}");
                    assert_eq!((&plain.ids, plain.stopped), (&drafted.ids, drafted.stopped), "{what}");
                    assert_eq!((plain.drafted, plain.accepted), (0, 0));
                    assert!(drafted.steps.len() + drafted.accepted >= plain.steps.len());
                    assert_eq!(plainly.tokens(), draftily.tokens(), "{what}");
                    assert_eq!(positions(&plainly), positions(&draftily), "{what}");
                    assert_eq!(plainly.bytes().coded(), draftily.bytes().coded(), "{what}");
                    // What is held has the same bits, so whatever follows has too.
                    let next = ids(77, 40);
                    assert!(
                        continued(engine, &mut plainly, &next) == continued(engine, &mut draftily, &next),
                        "{what}: what follows"
                    );
                    accepted += drafted.accepted;
                    refused += drafted.drafted - drafted.accepted;
                }
            }
        }
    }
    assert!(accepted > 100 && refused > 100, "{accepted} accepted, {refused} refused");
}

#[test]
fn drafts_change_nothing_for_samplers_that_remember() {
    let engine = engine(2);
    let prompt = ids(9, 30).repeat(3);
    let draws = |seed| Sampling { temperature: 0.4, seed, ..Sampling::default() };
    let dry = Dry { multiplier: 0.3, base: 1.1, ..Dry::default() };
    let mut accepted = 0;
    for seed in 0..6 {
        for sampling in [
            Sampling { dry: Some(dry.clone()), ..draws(seed) },
            Sampling { xtc: Some(Xtc { probability: 0.3, threshold: 0.05 }), top_p: 0.95, ..draws(seed) },
            Sampling { mirostat: Some(Mirostat { tau: 1.0, eta: 0.2 }), ..draws(seed) },
            Sampling { dry: Some(dry.clone()), temperature: 0.0, ..draws(seed) },
        ] {
            let sampler = Sampler::of(sampling);
            let lookup = PromptLookup { shortest: 1, ..PromptLookup::new(4) };
            let (plain, _) = looked_up(&engine, "full", &prompt, &until(120, &[7]), sampler.clone(), None);
            let (drafted, _) = looked_up(&engine, "full", &prompt, &until(120, &[7]), sampler.clone(), Some(lookup));
            assert_eq!((&plain.ids, plain.stopped), (&drafted.ids, drafted.stopped), "{:?}", sampler.sampling());
            accepted += drafted.accepted;
        }
    }
    assert!(accepted > 20, "{accepted} accepted");
}

#[test]
fn drafts_end_where_the_text_does() {
    let prompt = ids(9, 30).repeat(3);
    for context in 91..100 {
        let engine = engine(1).with_context(context);
        let lookup = PromptLookup { shortest: 1, ..PromptLookup::new(16) };
        let (plain, _) = looked_up(&engine, "full", &prompt, &until(120, &[]), Sampler::greedy(), None);
        let (drafted, _) = looked_up(&engine, "full", &prompt, &until(120, &[]), Sampler::greedy(), Some(lookup));
        assert_eq!(plain.ids, drafted.ids);
    }
    let engine = engine(1);
    for tokens in 0..12 {
        let lookup = PromptLookup { shortest: 1, ..PromptLookup::new(16) };
        let (plain, a) = looked_up(&engine, "full", &prompt, &until(tokens, &[]), Sampler::greedy(), None);
        let (drafted, b) = looked_up(&engine, "full", &prompt, &until(tokens, &[]), Sampler::greedy(), Some(lookup));
        assert_eq!((plain.ids, a.tokens()), (drafted.ids, b.tokens()));
    }
}

#[test]
fn policies_that_cannot_take_tokens_back_are_refused() {
    let engine = engine(1);
    for (text, says) in [
        ("h2o(budget=30)", "evicts"),
        ("snapkv(keep=0.5) + int8", "evicts"),
        ("quest(budget=96)", "depends on what the tokens before have read"),
        ("kivi4", "codes many tokens together"),
    ] {
        let mut sequence = engine.sequence(&policy(text)).unwrap();
        let lookup = Some(PromptLookup::new(4));
        let (prompt, generation) = (ids(1, 9), until(5, &[]));
        let refused = generate_with(
            &engine,
            &mut sequence,
            &prompt,
            &generation,
            &mut Sampler::greedy(),
            lookup.as_ref(),
            |_| true,
        );
        let error = refused.unwrap_err();
        assert!(matches!(error, EngineError::Policy(_)));
        assert!(error.to_string().contains(says) && error.to_string().contains(text), "{error}");
        assert_eq!(sequence.tokens(), 0, "nothing was read");
    }
}
