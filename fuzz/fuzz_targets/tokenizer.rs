//! Any vocabulary and any text: an error that can be printed, or ids that decode.
//!
//! The first byte chooses the kind of tokenizer; the lines after it are tokens, then, after an empty line, merges, and after
//! another the text.

#![no_main]

use headwise_models::gguf::{Array, Metadata, Value};
use headwise_models::tokenizer::{Encode, Tokenizer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, rest)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    let mut sections = text.splitn(3, "\n\n");
    let mut lines = || -> Vec<String> { sections.next().unwrap_or_default().lines().map(str::to_owned).collect() };
    let (tokens, merges) = (lines(), lines());
    let text = sections.next().unwrap_or_default();
    let model = ["gpt2", "llama", "bert", "other"][usize::from(kind & 3)];
    let types: Vec<i32> = tokens.iter().map(|token| 1 + token.bytes().next().map_or(0, |byte| i32::from(byte) % 7)).collect();
    let scores: Vec<f32> = tokens.iter().map(|token| -(token.len() as f32)).collect();
    let metadata: Metadata = [
        ("tokenizer.ggml.model", Value::String(model.into())),
        ("tokenizer.ggml.pre", Value::String(if kind & 4 == 0 { "default" } else { "smollm" }.into())),
        ("tokenizer.ggml.tokens", Value::Array(Array::String(tokens.clone()))),
        ("tokenizer.ggml.merges", Value::Array(Array::String(merges))),
        ("tokenizer.ggml.scores", Value::Array(Array::F32(scores))),
        ("tokenizer.ggml.token_type", Value::Array(Array::I32(types))),
        ("tokenizer.ggml.bos_token_id", Value::U32(u32::from(kind >> 4))),
        ("tokenizer.ggml.add_bos_token", Value::Bool(kind & 8 != 0)),
    ]
    .into_iter()
    .collect();
    let tokenizer = match Tokenizer::from_gguf(&metadata) {
        Ok(tokenizer) => tokenizer,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert_eq!(tokenizer.vocab_size(), tokens.len());
    for options in [Encode::TEXT, Encode::TEMPLATE] {
        match tokenizer.encode(text, options) {
            Ok(ids) => {
                assert!(ids.iter().all(|&id| (id as usize) < tokens.len()));
                let _ = tokenizer.decode(&ids, false);
                let mut decoder = tokenizer.decoder();
                ids.iter().for_each(|&id| drop(decoder.push(id)));
                let _ = decoder.finish();
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
});
