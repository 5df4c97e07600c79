//! SmolLM2-135M-Instruct against independent implementations: transformers in f32, llama.cpp on the same file.
//!
//! The model is looked up in the cache directory (`headwise pull smollm2-135m`); without it every test says SKIPPED.

use std::path::{Path, PathBuf};

use headwise_engine::cache::CachePolicy;
use headwise_engine::{Chunk, Engine, Wanted};
use headwise_models::decoder::Weights;
use headwise_models::gguf::Gguf;
use headwise_models::pull;
use headwise_models::tokenizer::{Encode, Tokenizer};
use serde_json::Value;

fn model() -> Option<PathBuf> {
    match pull::resolve("smollm2-135m") {
        Ok(path) => Some(path),
        Err(error) => {
            eprintln!("SKIPPED: SmolLM2-135M is not on this machine: {error}");
            None
        }
    }
}

fn golden(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn ids(value: &Value) -> Vec<u32> {
    numbers(value).into_iter().map(|x| x as u32).collect()
}

fn largest(logits: &[f32]) -> u32 {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]).then(b.cmp(&a))).unwrap() as u32
}

/// Negative log-likelihood of `id`, in nats.
fn nll(logits: &[f32], id: u32) -> f64 {
    let most = logits.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    let sum: f64 = logits.iter().map(|&x| f64::from(x - most).exp()).sum();
    sum.ln() - f64::from(logits[id as usize] - most)
}

/// Greedy ids equal transformers' f32 for 64 tokens, as far as the first step whose two best are within 1e-3.
#[test]
fn greedy_ids_equal_transformers() {
    let Some(path) = model() else { return };
    let engine = Engine::from_gguf(&path, Weights::F32, 0).unwrap();
    let cache = CachePolicy::parse("f32").unwrap();
    for prompt in golden("smollm2_greedy.json")["prompts"].as_array().unwrap() {
        let (expected, margins) = (ids(&prompt["ids"]), numbers(&prompt["margins"]));
        let mut sequence = engine.sequence(&cache).unwrap();
        let mut logits = engine.prefill(&mut sequence, &ids(&prompt["prompt_ids"]), |_| {}).unwrap();
        for (step, (&id, margin)) in expected.iter().zip(&margins).enumerate() {
            if *margin < 1e-3 {
                break;
            }
            assert_eq!(largest(logits.last()), id, "{} at step {step}, margin {margin}", prompt["name"]);
            logits = engine.step(&mut sequence, id).unwrap();
        }
    }
}

/// The tokenizer and the chat template give the ids that llama.cpp gave.
#[test]
fn prompts_encode_as_llama_cpp_does() {
    let Some(path) = model() else { return };
    let gguf = Gguf::open(path).unwrap();
    let tokenizer = Tokenizer::from_gguf(gguf.metadata()).unwrap();
    for prompt in golden("smollm2_greedy.json")["prompts"].as_array().unwrap() {
        let encoded = tokenizer.encode(prompt["text"].as_str().unwrap(), Encode::TEMPLATE).unwrap();
        assert_eq!(encoded, ids(&prompt["prompt_ids"]), "{}", prompt["name"]);
    }
}

/// Over 4096 tokens of prose: f32 has transformers' perplexity; the quantised path is within 1 % of it and agrees on the
/// likeliest token in at least 98 % of the places. (llama.cpp on this file: 97.5 % of 512.)
#[test]
fn the_quantised_path_stays_close_to_f32() {
    let Some(path) = model() else { return };
    let golden = golden("smollm2_perplexity.json");
    let text = ids(&golden["ids"]);
    let run = |weights, cache: &str| {
        let engine = Engine::from_gguf(&path, weights, 0).unwrap();
        let mut sequence = engine.sequence(&CachePolicy::parse(cache).unwrap()).unwrap();
        let (mut best, mut total) = (Vec::new(), 0.0);
        for (index, part) in text.chunks(256).enumerate() {
            let chunk = Chunk { sequence: &mut sequence, ids: part, prompt_ends: false, wanted: Wanted::All };
            let logits = engine.forward(&mut [chunk]).unwrap().remove(0);
            for (row, logits) in logits.rows().enumerate() {
                best.push(largest(logits));
                if let Some(&next) = text.get(index * 256 + row + 1) {
                    total += nll(logits, next);
                }
            }
        }
        ((total / (text.len() - 1) as f64).exp(), best)
    };
    let (exact, exact_best) = run(Weights::F32, "f32");
    let (stored, stored_best) = run(Weights::Stored, "f16");
    let agreeing = exact_best.iter().zip(&stored_best).filter(|(a, b)| a == b).count();
    let agreement = agreeing as f64 / text.len() as f64;
    println!("perplexity: f32 {exact:.4}, stored {stored:.4}; same likeliest token in {:.2} %", 100.0 * agreement);
    let published = golden["perplexity"].as_f64().unwrap();
    assert!((exact / published - 1.0).abs() < 1e-4, "perplexity {exact}, transformers {published}");
    assert!((stored / exact - 1.0).abs() < 0.01, "perplexity {stored} quantised, {exact} in f32");
    assert!(agreement >= 0.98, "the same likeliest token in {agreement}");
}
