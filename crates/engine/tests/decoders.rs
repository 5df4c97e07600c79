//! Every supported architecture through the engine: read in chunks and steps, against transformers' logits.
//!
//! The models are those of `crates/models/tests/golden/tiny_*` (`oracles/tiny_models.py`). Their texts are three windows long.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use headwise_engine::cache::CachePolicy;
use headwise_engine::{Chunk, Engine, TextModel, Wanted};
use headwise_models::decoder::{Decoder, Weights};
use headwise_models::safetensors::Checkpoint;
use serde_json::{Value, json};

const MODELS: [&str; 6] = ["llama", "llama3", "mistral", "qwen2", "qwen3", "gemma3"];
/// Sizes of the chunks of the prompt; the rest of the text follows token by token.
const CHUNKS: [usize; 4] = [5, 17, 1, 13];

fn folder(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/golden").join(format!("tiny_{model}"))
}

fn engine(model: &str) -> Engine {
    Engine::new(Decoder::from_hf(&folder(model), Weights::F32, &Device::flex()).unwrap(), 2).unwrap()
}

/// Token ids and the logits `[ids, vocabulary]` that transformers gives.
fn golden(model: &str) -> (Vec<u32>, Vec<f32>) {
    let golden = Checkpoint::open(folder(model).join("golden.safetensors")).unwrap();
    let ids = golden.tensor("ids").unwrap().blob.bytes().chunks_exact(8);
    let ids = ids.map(|id| i64::from_le_bytes(id.try_into().unwrap()) as u32).collect();
    (ids, golden.tensor("logits").unwrap().to_f32().unwrap())
}

#[test]
fn chunks_and_steps_give_the_logits_of_transformers() {
    for model in MODELS {
        let (engine, (ids, expected)) = (engine(model), golden(model));
        let mut sequence = engine.sequence(&CachePolicy::parse("f32").unwrap()).unwrap();
        let (mut logits, mut read) = (Vec::new(), 0);
        for (index, length) in CHUNKS.into_iter().enumerate() {
            let ids = &ids[read..read + length];
            let prompt_ends = index + 1 == CHUNKS.len();
            let chunk = Chunk { sequence: &mut sequence, ids, prompt_ends, wanted: Wanted::All };
            logits.extend(engine.forward(&mut [chunk]).unwrap().remove(0).values);
            read += length;
        }
        for &id in &ids[read..] {
            logits.extend(engine.step(&mut sequence, id).unwrap().values);
        }
        assert_eq!(logits.len(), expected.len(), "{model}");
        let vocabulary = engine.spec().vocabulary;
        for (at, (found, expected)) in logits.iter().zip(&expected).enumerate() {
            let (row, token) = (at / vocabulary, at % vocabulary);
            assert!(
                (found - expected).abs() <= 1e-4,
                "{model}: row {row}, token {token}: {found}, expected {expected}"
            );
        }
    }
}

/// A folder of its own with the tiny Qwen 3 and a tokenizer of `words` words and one control token at the end.
fn directory(name: &str, words: usize, config: Option<Value>) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("decoders").join(name);
    fs::create_dir_all(&directory).unwrap();
    for file in ["config.json", "model.safetensors"] {
        let target = directory.join(file);
        if !target.exists() {
            fs::copy(folder("qwen3").join(file), target).unwrap();
        }
    }
    let vocabulary: serde_json::Map<String, Value> = (0..words).map(|id| (format!("w{id}"), id.into())).collect();
    let end = json!({
        "id": words, "content": "<end>", "special": true, "normalized": false, "single_word": false, "lstrip": false,
        "rstrip": false,
    });
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [end], "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "w0"},
    });
    fs::write(directory.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    if let Some(config) = config {
        fs::write(directory.join("tokenizer_config.json"), config.to_string()).unwrap();
    }
    directory
}

fn open(directory: &Path) -> Result<TextModel, String> {
    TextModel::open(directory, Weights::Stored, 1).map_err(|error| error.to_string())
}

#[test]
fn a_hugging_face_directory_is_a_text_model() {
    let template = "{% for message in messages %}{{ message.content }} {% endfor %}<end>";
    let chat = directory("chat.model", 95, Some(json!({"chat_template": template, "eos_token": "<end>"})));
    let model = open(&chat).unwrap();
    assert_eq!(model.name, "chat.model");
    assert_eq!(model.encode("w3 w14 w15").unwrap(), [3, 14, 15]);
    assert_eq!(model.encode_turn("w3 w14", " w15").unwrap(), [3, 14, 95, 15]);
    assert!(model.tokenizer.is_end_of_generation(95));
    let mut sequence = model.engine.sequence(&CachePolicy::parse("full").unwrap()).unwrap();
    let logits = model.engine.prefill(&mut sequence, &[3, 14, 95], |_| {}).unwrap();
    assert_eq!(logits.last().len(), 96);
}

#[test]
fn a_directory_without_template_completes_and_one_with_another_tokenizer_is_refused() {
    // The control token is one more than the model has rows.
    let plain = open(&directory("plain", 96, None)).unwrap();
    assert!(plain.template.is_none());
    assert_eq!(plain.encode_turn("w3 w14", " w15").unwrap(), [3, 14, 15]);
    let refused = open(&directory("other_tokenizer", 97, None)).err().unwrap();
    assert_eq!(refused, "the tokenizer has 98 tokens, the model 96: they do not belong together");
    let lacking = directory("no_tokenizer", 95, None);
    fs::remove_file(lacking.join("tokenizer.json")).unwrap();
    let refused = open(&lacking).err().unwrap();
    assert!(refused.contains("no_tokenizer/tokenizer.json: No such file"), "{refused}");
}
