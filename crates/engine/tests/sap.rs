//! Gaps filled by a model of the engine: what has been read is kept, and the numbers are those of the whole text.

mod small;

use std::sync::{Mutex, PoisonError};

use burn::tensor::Device;
use headwise_engine::{Chunk, Generation};
use headwise_engine::{
    Engine, FillsGaps, GapFiller, Sampler, Sap, SapEnd, TextModel, TokenLogProbabilities, Wanted, generate,
};
use headwise_models::decoder::{Decoder, DecoderSpec, Sentinels};
use headwise_models::tokenizer::{Encode, Tokenizer};
use serde_json::json;
use small::*;

const SENTINELS: Sentinels = Sentinels { first: 45, count: 5, end: 44 };
/// The tokens between a text and its filling.
const GAP: [u32; 3] = [45, 44, 45];

/// A random model of letters and spaces.
fn model(sentinels: Option<Sentinels>, context: usize) -> TextModel {
    seeded(3, sentinels, context)
}

/// The same, of the models that `seed` numbers.
fn seeded(seed: u64, sentinels: Option<Sentinels>, context: usize) -> TextModel {
    /// Random numbers come from one place, whichever test draws them.
    static DRAWING: Mutex<()> = Mutex::new(());
    let drawing = DRAWING.lock().unwrap_or_else(PoisonError::into_inner);
    let spec = DecoderSpec { sentinels, context, ..decoder([None; LAYERS]).spec().clone() };
    let device = Device::flex();
    device.seed(seed);
    let engine = Engine::new(Decoder::random(spec, &device).unwrap(), 2).unwrap();
    drop(drawing);
    let letters = ('a'..='z').map(String::from).chain(["▁".into(), "\n".into(), "<unk>".into()]);
    let vocabulary: serde_json::Value = letters.enumerate().map(|(id, letter)| (letter, json!(id))).collect();
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": { "type": "Replace", "pattern": { "String": " " }, "content": "▁" },
        "pre_tokenizer": { "type": "Split", "pattern": { "Regex": "(?s)." }, "behavior": "Isolated", "invert": false },
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>" },
    });
    let tokenizer = Tokenizer::from_json(&tokenizer.to_string(), "{}").unwrap();
    TextModel { engine, tokenizer, template: None, name: "letters".into() }
}

fn never(_: &str) -> bool {
    false
}

fn encode(model: &TextModel, text: &str) -> Vec<u32> {
    model.tokenizer.encode(text, Encode::TEXT).unwrap()
}

#[test]
fn a_filling_is_what_the_model_writes_after_the_gap() {
    // A random model may say what is no letter, or end at once.
    let spells = |model: &TextModel| {
        let found = GapFiller::new(model, &policy("f32"), 6).unwrap().fill("once upon a", &mut never).unwrap().unwrap();
        found.text.chars().count() == 6
    };
    let model = (0..100)
        .map(|seed| seeded(seed, Some(SENTINELS), CONTEXT))
        .find(spells)
        .expect("one of a hundred models spells");
    let mut filler = GapFiller::new(&model, &policy("f32"), 6).unwrap();
    let ids = encode(&model, "once upon a");
    let found = filler.fill("once upon a", &mut never).unwrap().unwrap();
    let mut sequence = model.engine.sequence(&policy("f32")).unwrap();
    let generation = Generation { tokens: 6, stop: (44..50).collect() };
    let prompt = [&ids[..], &GAP].concat();
    let mut sampler = Sampler::greedy();
    let expected = generate(&model.engine, &mut sequence, &prompt, &generation, &mut sampler, |_| true).unwrap();
    assert_eq!(found.text, model.tokenizer.decode(&expected.ids, false));
    assert_eq!((found.shown, found.read), (ids.len() + 3, ids.len() + 3));
    assert_eq!(found.written, expected.ids.len() + usize::from(expected.stopped));
    // It stops as soon as there is enough.
    let letter = filler.fill("once upon a", &mut |said| !said.is_empty()).unwrap().unwrap();
    assert_eq!((letter.text.chars().count(), letter.written), (1, 1));
    assert!(found.text.starts_with(&letter.text));
}

#[test]
fn only_what_is_new_is_read_and_the_answer_is_the_same() {
    let model = model(Some(SENTINELS), CONTEXT);
    for text in ["f32", "full", "int8", "h2o(budget=12)"] {
        let mut kept = GapFiller::new(&model, &policy(text), 4).unwrap();
        let (mut said, mut read) = ("tell me ".to_owned(), 0);
        for call in 0..5 {
            let found = kept.fill(&said, &mut never).unwrap().unwrap();
            let tokens = encode(&model, &said).len();
            assert_eq!((found.shown, found.read), (tokens + 3, tokens - read + 3), "{text}, call {call}");
            read = tokens;
            if !text.starts_with("h2o") {
                let anew = GapFiller::new(&model, &policy(text), 4).unwrap().fill(&said, &mut never).unwrap().unwrap();
                assert_eq!(found.text, anew.text, "{text}, call {call}");
            }
            said.push_str("ab c");
        }
        // Another text shares nothing after its first letters: these are read again, and no more than it has.
        let other = kept.fill("tell you", &mut never).unwrap().unwrap();
        assert_eq!((other.shown, other.read), (11, 11));
    }
}

#[test]
fn a_text_is_as_likely_as_its_tokens_after_the_gap() {
    let model = model(Some(SENTINELS), CONTEXT);
    let mut filler = GapFiller::new(&model, &policy("f32"), 4).unwrap();
    let (before, answer) = (encode(&model, "who is"), encode(&model, " it"));
    for _ in 0..2 {
        let found = filler.judge("who is", " it").unwrap();
        let ids = [&before[..], &GAP, &answer].concat();
        let mut sequence = model.engine.sequence(&policy("f32")).unwrap();
        let chunk = Chunk { sequence: &mut sequence, ids: &ids, prompt_ends: true, wanted: Wanted::All };
        let logits = model.engine.forward(&mut [chunk]).unwrap().remove(0);
        let rows: Vec<&[f32]> = logits.rows().collect();
        let after = before.len() + GAP.len();
        let expected: f64 =
            (after..ids.len()).map(|at| TokenLogProbabilities::new(rows[at - 1], ids[at], 0).chosen.value).sum();
        assert_eq!(found.tokens, 3);
        assert!((found.log_probability - expected).abs() < 1e-4, "{found:?}, {expected}");
    }
    assert_eq!(filler.judge("who is", "").unwrap().tokens, 0);
}

#[test]
fn writing_ends_where_the_context_does() {
    let model = model(Some(SENTINELS), 24);
    let sap = Sap { span: 2, stop: String::new(), ..Sap::default() };
    let mut filler = GapFiller::new(&model, &policy("full"), sap.span).unwrap();
    let answer = sap.write(&mut filler, "once upon a t", 100, |_| {}).unwrap();
    assert_ne!(answer.end, SapEnd::Length);
    // A token is a letter, or none that is known.
    assert!(13 + answer.text.replace("<unk>", "?").chars().count() <= 21, "{answer:?}");
    let unreadable = filler.judge("once upon a t", "ime there was").unwrap();
    assert_eq!((unreadable.log_probability, unreadable.tokens), (f64::NEG_INFINITY, 13));
    let full = "once upon a time there was";
    assert_eq!(sap.write(&mut filler, full, 100, |_| {}).unwrap().end, SapEnd::Full);
}

#[test]
fn a_model_without_sentinels_is_refused() {
    let model = model(None, CONTEXT);
    let error = GapFiller::new(&model, &policy("full"), 4).err().unwrap().to_string();
    assert!(error.contains("no sentinels") && error.contains("`span_corruption`"), "{error}");
}
