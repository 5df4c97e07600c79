//! Decoders read from GGUF files: the tiny golden models as a converter writes them, with adapters (`adapters.rs`), and (`gemma3.rs`) Gemma 3 270M.
//!
//! The conversion here follows llama.cpp's `convert_hf_to_gguf.py`: names, row order of queries and keys, norm scales and
//! frequency divisors. So a GGUF file must give the logits that transformers gives for the model it was made from.

#[path = "gguf_models/adapters.rs"]
mod adapters;
#[path = "gguf_models/gemma3.rs"]
mod gemma3;
#[path = "hostile/writer.rs"]
#[allow(dead_code, reason = "the corpus of malformed files uses the rest")]
mod writer;

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use headwise_models::decoder::{Decoder, Weights};
use headwise_models::gguf::Gguf;
use headwise_models::mapped::Mapped;
use headwise_models::safetensors::Checkpoint;
use serde_json::Value;
use writer::{F32, STRING, U32, Writer};

/// The number of the metadata type of single-precision numbers.
const FLOAT: u32 = 6;

fn golden_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// A GGUF file being put together.
struct File {
    architecture: &'static str,
    keys: Vec<(String, Value)>,
    tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
}

impl File {
    fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.keys.retain(|(other, _)| other != key);
        self.keys.push((key.into(), value.into()));
    }

    fn write(&self) -> Gguf {
        let header = Writer::gguf(3, self.tensors.len() as u64, self.keys.len() as u64 + 1);
        let header = header.key("general.architecture", STRING).string(self.architecture.as_bytes());
        let header = self.keys.iter().fold(header, |writer, (key, value)| {
            let key = format!("{}.{key}", self.architecture);
            match value {
                Value::String(text) => writer.key(&key, STRING).string(text.as_bytes()),
                Value::Number(number) if number.is_u64() => writer.key(&key, U32).u32(number.as_u64().unwrap() as u32),
                number => writer.key(&key, FLOAT).u32((number.as_f64().unwrap() as f32).to_bits()),
            }
        });
        let mut offset = 0;
        let directory = self.tensors.iter().fold(header, |writer, (name, shape, values)| {
            let dimensions: Vec<u64> = shape.iter().rev().map(|&length| length as u64).collect();
            let writer = writer.tensor(name, &dimensions, F32, offset);
            offset += (4 * values.len() as u64).next_multiple_of(32);
            writer
        });
        let file = self.tensors.iter().fold(directory, |writer, (_, _, values)| {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            writer.data(32, 0).raw(&bytes)
        });
        Gguf::parse(Mapped::from(file.data(32, 0).finish())).unwrap()
    }
}

/// What the converter calls a tensor.
fn converted_name(name: &str, gemma: bool) -> String {
    let name = if gemma { name.replace("post_attention_layernorm", "post_attention_norm") } else { name.to_owned() };
    let renamed = [
        ("model.layers.", "blk."),
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("pre_feedforward_layernorm", "ffn_norm"),
        ("post_feedforward_layernorm", "post_ffw_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    renamed.iter().fold(name, |name, (from, to)| name.replace(from, to))
}

/// Rows of heads of 16 channels with the pairs `i, i + 8` put side by side.
fn pairs_side_by_side(rows: &[f32], width: usize) -> Vec<f32> {
    let mut out = vec![0.0; rows.len()];
    for (row, values) in rows.chunks_exact(width).enumerate() {
        let (head, half, pair) = (row / 16, row % 16 / 8, row % 8);
        out[(16 * head + 2 * pair + half) * width..][..width].copy_from_slice(values);
    }
    out
}

/// The tiny model `model` as the converter writes it.
fn convert(model: &str) -> File {
    let folder = golden_folder().join(format!("tiny_{model}"));
    let config = json(&folder.join("config_v4.json"));
    let architecture = match model {
        "qwen2" | "qwen3" | "gemma3" => ["qwen2", "qwen3", "gemma3"].into_iter().find(|name| *name == model).unwrap(),
        _ => "llama",
    };
    let gemma = model == "gemma3";
    let mut file = File { architecture, keys: Vec::new(), tensors: Vec::new() };
    for (key, from) in [
        ("block_count", "num_hidden_layers"),
        ("context_length", "max_position_embeddings"),
        ("embedding_length", "hidden_size"),
        ("feed_forward_length", "intermediate_size"),
        ("attention.head_count", "num_attention_heads"),
        ("attention.head_count_kv", "num_key_value_heads"),
        ("attention.key_length", "head_dim"),
        ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
        ("rope.freq_base", "rope_theta"),
        ("attention.sliding_window", "sliding_window"),
        ("attention.sliding_window_pattern", "sliding_window_pattern"),
    ] {
        let used = key != "attention.sliding_window" || config["use_sliding_window"] != Value::Bool(false);
        if let Some(value) = config.get(from).filter(|value| used && !value.is_null()) {
            file.set(key, value.clone());
        }
    }
    for tensor in Checkpoint::open(&folder).unwrap().tensors() {
        let (mut values, width) = (tensor.to_f32().unwrap(), tensor.shape.get(1).copied().unwrap_or(1));
        if architecture == "llama" && (tensor.name.contains("q_proj") || tensor.name.contains("k_proj")) {
            values = pairs_side_by_side(&values, width);
        }
        if gemma && tensor.name.contains("norm") {
            values.iter_mut().for_each(|value| *value += 1.0);
        }
        if gemma && tensor.name.contains("q_norm") {
            // The file cannot say that scores are scaled by 1/√24 and not by the head's 1/√16.
            values.iter_mut().for_each(|value| *value *= (16.0f32 / 24.0).sqrt());
        }
        file.tensors.push((converted_name(&tensor.name, gemma), tensor.shape.clone(), values));
    }
    if model == "llama3" {
        file.tensors.push(("rope_freqs.weight".into(), vec![8], llama3_divisors(&config["rope_scaling"])));
    }
    file
}

/// The divisors of the 8 rotary frequencies of a head of 16 channels, base 10000.
fn llama3_divisors(scaling: &Value) -> Vec<f32> {
    let number = |key: &str| scaling[key].as_f64().unwrap();
    let (factor, low, high) = (number("factor"), number("low_freq_factor"), number("high_freq_factor"));
    let context = number("original_max_position_embeddings");
    let divisor = |pair: i32| {
        let wavelength = 2.0 * std::f64::consts::PI * 10000f64.powf(2.0 * f64::from(pair) / 16.0);
        if wavelength < context / high {
            1.0
        } else if wavelength > context / low {
            factor
        } else {
            let smooth = (context / wavelength - low) / (high - low);
            1.0 / ((1.0 - smooth) / factor + smooth)
        }
    };
    (0..8).map(|pair| divisor(pair) as f32).collect()
}

#[test]
fn converted_models_give_the_logits_of_transformers() {
    let device = Device::flex();
    for model in ["llama", "llama3", "mistral", "qwen2", "qwen3", "gemma3"] {
        let golden = Checkpoint::open(golden_folder().join(format!("tiny_{model}/golden.safetensors"))).unwrap();
        let ids = golden.tensor("ids").unwrap().blob.bytes().chunks_exact(8);
        let ids: Vec<u32> = ids.map(|id| i64::from_le_bytes(id.try_into().unwrap()) as u32).collect();
        let expected = golden.tensor("logits").unwrap().to_f32().unwrap();
        let gguf = convert(model).write();
        for weights in [Weights::Stored, Weights::F32, Weights::Trainable] {
            let decoder = Decoder::from_gguf(&gguf, weights, &device).unwrap();
            let found: Vec<f32> = decoder.forward(&ids, &device).into_data().try_into_vec().unwrap();
            let difference = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(difference <= 1e-4, "{model}, {weights:?}: logits differ by {difference}");
        }
    }
}

#[test]
fn what_a_file_says_and_nobody_understands_is_refused() {
    let error = |change: fn(&mut File)| {
        let mut file = convert("qwen3");
        change(&mut file);
        let error = Decoder::from_gguf(&file.write(), Weights::F32, &Device::flex()).expect_err("a file that is wrong");
        error.to_string()
    };
    let not_understood = "changes the mathematics of `qwen3` and is not understood";
    let layers = error(|file| file.set("block_count", 4_000_000_000u32));
    assert_eq!(layers, "layers is 4000000000: at most 16384 is supported");
    let key = error(|file| file.set("attention.temperature", 2));
    assert_eq!(key, format!("`qwen3.attention.temperature` = U32(2) {not_understood}"));
    let scaling = error(|file| file.set("rope.scaling.type", "yarn"));
    assert_eq!(scaling, format!("`qwen3.rope.scaling.type` = `yarn` (supported: none, linear) {not_understood}"));
    let value = error(|file| file.set("attention.value_length", 8));
    assert_eq!(value, format!("`qwen3.attention.value_length` = 8, the keys have 16 {not_understood}"));
    let head_dim = error(|file| file.keys.retain(|(key, _)| key != "attention.key_length"));
    assert_eq!(head_dim, "a head's size is not given, and 64 channels cannot be shared out over 6 query heads");
    let scalar = error(|file| {
        let embedding = file.tensors.iter_mut().find(|tensor| tensor.0 == "token_embd.weight").unwrap();
        (embedding.1, embedding.2) = (Vec::new(), vec![0.0]);
    });
    assert_eq!(scalar, "vocabulary is 0: it must be at least 1");
    let divisors = error(|file| file.tensors.push(("rope_freqs.weight".into(), vec![4], vec![1.0; 4])));
    assert_eq!(divisors, "tensor `rope_freqs.weight` has shape [4]; the model's description asks for [8]");
    let architecture = error(|file| file.architecture = "mamba");
    let expected =
        "architecture `mamba` is not supported: the supported ones are llama, qwen2, qwen3, gemma3, headwise";
    assert_eq!(architecture, expected);
}
