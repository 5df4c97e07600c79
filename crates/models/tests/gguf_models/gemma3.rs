//! Gemma 3 270M, quantised, against transformers in f32 on its dequantised weights (`oracles/gemma3.py`).
//!
//! The model is looked up in the cache directory (`headwise pull gemma3-270m`) or at `HEADWISE_GEMMA3`; without it every
//! test says SKIPPED.

use std::path::PathBuf;

use burn::tensor::{Device, Tensor};
use headwise_models::decoder::{Decoder, DecoderSpec, Weights};
use headwise_models::gguf::Gguf;
use headwise_models::pull;
use headwise_models::tokenizer::{Encode, Tokenizer};
use headwise_nn::mixer::{MixContext, Segment};
use headwise_nn::position::RopeSpec;
use serde_json::Value;

use super::{golden_folder, json};

fn gemma() -> Option<Gguf> {
    let path = std::env::var_os("HEADWISE_GEMMA3").map(PathBuf::from).or_else(|| pull::resolve("gemma3-270m").ok());
    let Some(path) = path else {
        eprintln!("SKIPPED: gemma3-270m is not on this machine; run `headwise pull gemma3-270m`");
        return None;
    };
    Some(Gguf::open(path).unwrap())
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn ids(value: &Value) -> Vec<u32> {
    numbers(value).into_iter().map(|x| x as u32).collect()
}

/// Hands the scores after the tokens from `first` on to `each`, a few rows at a time: all at once would be gigabytes.
fn each_row(model: &Decoder, ids: &[u32], first: usize, mut each: impl FnMut(usize, &[f32])) {
    let device = Device::flex();
    let positions: Vec<i32> = (0..ids.len() as i32).collect();
    let segments = [Segment { sequence: 0, rows: 0..ids.len() }];
    let mut ctx = MixContext::new(&positions, &segments);
    let layers = model.spec().layers.len();
    let x: Tensor<3> = model.embed(ids, &positions, &device);
    let x = (0..layers).fold(x, |x, layer| model.layer(layer, x, &mut ctx));
    for rows in (first..ids.len()).collect::<Vec<_>>().chunks(64) {
        let logits: Vec<f32> = model.head(x.clone(), rows).into_data().try_into_vec().unwrap();
        rows.iter().zip(logits.chunks_exact(model.spec().vocabulary)).for_each(|(&row, logits)| each(row, logits));
    }
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

#[test]
fn gemma_is_described_as_published() {
    let Some(gguf) = gemma() else { return };
    let spec = DecoderSpec::from_gguf(&gguf).unwrap();
    assert_eq!((spec.vocabulary, spec.dim, spec.context, spec.tied), (262_144, 640, 32_768, true));
    assert_eq!(spec.embedding_scale, Some(640f32.sqrt()));
    for (index, layer) in spec.layers.iter().enumerate() {
        let mixer = layer.mixer.softmax().unwrap();
        let (window, theta) = if [5, 11, 17].contains(&index) { (None, 1e6) } else { (Some(512), 1e4) };
        assert_eq!((mixer.window, mixer.rope().cloned()), (window, Some(RopeSpec::new(theta))), "layer {index}");
        assert_eq!(mixer.attention(spec.dim).scale, 1.0 / 16.0);
    }
}

/// In f32 the likeliest tokens and the perplexity are transformers', on prompts and on a text longer than the window; the
/// quantised path stays close.
#[test]
fn gemma_predicts_what_transformers_predicts() {
    let Some(gguf) = gemma() else { return };
    let golden = json(&golden_folder().join("gemma3_270m.json"));
    let tokenizer = Tokenizer::from_gguf(gguf.metadata()).unwrap();
    let text = ids(&golden["text_ids"]);
    let (top1, margins) = (ids(&golden["top1"]), numbers(&golden["margins"]));
    let (block, published) = (golden["block"].as_u64().unwrap() as usize, numbers(&golden["block_mean_nll"]));
    // Tolerances: a lead too small to decide, relative perplexity of a block, agreement with the likeliest tokens.
    for (weights, lead, tolerance, agreement) in [(Weights::F32, 2e-3, 1e-4, 0.999), (Weights::Stored, 1.5, 0.02, 0.95)]
    {
        let model = Decoder::from_gguf(&gguf, weights, &Device::flex()).unwrap();
        for prompt in golden["prompts"].as_array().unwrap() {
            let (prompt_ids, answer, leads) =
                (ids(&prompt["prompt_ids"]), ids(&prompt["ids"]), numbers(&prompt["margins"]));
            assert_eq!(tokenizer.encode(prompt["text"].as_str().unwrap(), Encode::TEXT).unwrap(), prompt_ids);
            let first = prompt_ids.len() - 1;
            let all: Vec<u32> = prompt_ids.iter().chain(&answer[..answer.len() - 1]).copied().collect();
            each_row(&model, &all, first, |row, logits| {
                let (found, step) = (largest(logits), row - first);
                let decided = leads[step] > lead;
                assert!(!decided || found == answer[step], "{weights:?}: {} step {step}: {found}", prompt["name"]);
            });
        }
        let (mut agreeing, mut sums) = (0, vec![0.0; published.len()]);
        each_row(&model, &text, 0, |row, logits| {
            let found = largest(logits);
            agreeing += usize::from(found == top1[row]);
            let decided = margins[row] > lead;
            assert!(!decided || found == top1[row], "{weights:?}: row {row}: {found}, expected {}", top1[row]);
            if let Some(&next) = text.get(row + 1) {
                sums[(row + 1) / block] += nll(logits, next);
            }
        });
        let agreeing = agreeing as f64 / text.len() as f64;
        println!("{weights:?}: the same likeliest token in {:.2} %", 100.0 * agreeing);
        assert!(agreeing >= agreement, "{weights:?}: the same likeliest token in {agreeing}");
        for (index, (sum, published)) in sums.iter().zip(&published).enumerate() {
            let mean = sum / (if index == 0 { block - 1 } else { block }) as f64;
            println!("{weights:?}: block {index}: {mean:.6} nats, transformers {published:.6}");
            assert!(
                (mean - published).abs() < tolerance,
                "{weights:?}: block {index}: {mean}, transformers {published}"
            );
        }
    }
}
