//! Decoders read from Hugging Face directories, against the logits that transformers gives for the same files.
//!
//! `golden/tiny_*` are small models with random weights, one for each architecture, made by `oracles/tiny_models.py`.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use half::bf16;
use headwise_kernels::matrix::Format;
use headwise_models::decoder::{Decoder, DecoderSpec, Weights};
use headwise_models::safetensors::Checkpoint;
use headwise_nn::Linear;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

const MODELS: [&str; 6] = ["llama", "llama3", "mistral", "qwen2", "qwen3", "gemma3"];
const CONFIGS: [&str; 2] = ["config.json", "config_v4.json"];

fn folder(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("tiny_{model}"))
}

fn config(model: &str, file: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(folder(model).join(file)).unwrap()).unwrap()
}

fn spec(config: &Value) -> Result<DecoderSpec, String> {
    DecoderSpec::from_hf(&config.to_string()).map_err(|error| error.to_string())
}

#[test]
fn specs_survive_toml_and_json() {
    for model in MODELS {
        let spec = spec(&config(model, "config.json")).unwrap();
        let (toml, json) = (toml::to_string(&spec).unwrap(), serde_json::to_string(&spec).unwrap());
        assert_eq!(toml::from_str::<DecoderSpec>(&toml).unwrap(), spec, "{model} in TOML:\n{toml}");
        assert_eq!(serde_json::from_str::<DecoderSpec>(&json).unwrap(), spec, "{model} in JSON: {json}");
        let error = toml::from_str::<DecoderSpec>(&format!("vocab = 3\n{toml}")).unwrap_err().to_string();
        assert!(error.contains("line 1") && error.contains("`vocab`") && error.contains("`vocabulary`"), "{error}");
    }
}

/// A copy of a model's directory, for tests that change it.
fn copy(model: &str) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder(model)).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "golden.safetensors" {
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    copy
}

/// A copy of a model's directory with some keys of its `config.json` changed.
fn copy_with(model: &str, changes: Value) -> TempDir {
    let copy = copy(model);
    let mut config = config(model, "config.json");
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    fs::write(copy.path().join("config.json"), config.to_string()).unwrap();
    copy
}

fn load(folder: &Path, weights: Weights) -> Result<Decoder, String> {
    Decoder::from_hf(folder, weights, &Device::flex()).map_err(|error| error.to_string())
}

/// What loading a directory says, with paths as seen from it.
fn message(folder: &Path) -> String {
    let error = load(folder, Weights::F32).expect_err("a directory that is wrong");
    error.replace(&format!("{}/", folder.display()), "")
}

/// Token ids and the logits `[ids, vocabulary]` that transformers gives.
fn golden(model: &str) -> (Vec<u32>, Vec<f32>) {
    let golden = Checkpoint::open(folder(model).join("golden.safetensors")).unwrap();
    let ids = golden.tensor("ids").unwrap().blob.bytes().chunks_exact(8);
    let ids = ids.map(|id| i64::from_le_bytes(id.try_into().unwrap()) as u32).collect();
    (ids, golden.tensor("logits").unwrap().to_f32().unwrap())
}

fn logits(model: &Decoder, ids: &[u32]) -> Vec<f32> {
    model.forward(ids, &Device::flex()).into_data().try_into_vec().unwrap()
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let difference = |at: &usize| (found[*at] - expected[*at]).abs();
    let worst = (0..found.len()).max_by(|a, b| difference(a).total_cmp(&difference(b))).unwrap();
    let (found, expected) = (found[worst], expected[worst]);
    assert!((found - expected).abs() <= tolerance, "{what}: logit {worst} is {found}, expected {expected}");
}

/// Every architecture, read with either form of its configuration and in every form of weights.
#[test]
fn logits_equal_transformers() {
    for model in MODELS {
        let (ids, expected) = golden(model);
        for file in CONFIGS {
            let copy = copy(model);
            fs::copy(folder(model).join(file), copy.path().join("config.json")).unwrap();
            for weights in [Weights::Stored, Weights::F32, Weights::Trainable] {
                let decoder = load(copy.path(), weights).unwrap();
                assert_close(&logits(&decoder, &ids), &expected, 1e-4, &format!("{model}, {file}, {weights:?}"));
            }
        }
    }
}

#[test]
fn both_forms_of_a_configuration_describe_the_same_model() {
    for model in MODELS {
        let [new, old] = CONFIGS.map(|file| spec(&config(model, file)).unwrap());
        assert_eq!(new, old, "{model}");
    }
}

#[test]
fn a_description_survives_json() {
    for model in MODELS {
        let spec = spec(&config(model, "config.json")).unwrap();
        let text = serde_json::to_string_pretty(&spec).unwrap();
        assert_eq!(serde_json::from_str::<DecoderSpec>(&text).unwrap(), spec, "{model}");
    }
    let unknown = serde_json::from_value::<DecoderSpec>(json!({"vocabulary": 1, "residual": 2})).unwrap_err();
    assert!(unknown.to_string().starts_with("unknown field `residual`"), "{unknown}");
}

/// Weights of 16 bits stay so, and give what the same weights give in single precision.
#[test]
fn stored_weights_keep_their_16_bits() {
    let copy = copy("gemma3");
    let path = copy.path().join("model.safetensors");
    let original = Checkpoint::open(&path).unwrap();
    let rounded: Vec<(String, Vec<usize>, Vec<u8>)> = original
        .tensors()
        .map(|tensor| {
            let bytes = tensor.to_f32().unwrap().into_iter().flat_map(|x| bf16::from_f32(x).to_le_bytes());
            (tensor.name.clone(), tensor.shape.clone(), bytes.collect())
        })
        .collect();
    let views =
        rounded.iter().map(|(name, shape, bytes)| (name, TensorView::new(Dtype::BF16, shape.clone(), bytes).unwrap()));
    let file = safetensors::serialize(views, None).unwrap();
    drop(original);
    fs::remove_file(&path).unwrap();
    fs::write(&path, file).unwrap();

    let (ids, _) = golden("gemma3");
    let stored = load(copy.path(), Weights::Stored).unwrap();
    let Some(Linear::Packed(query)) = stored.blocks[0].mixer.softmax().map(|mixer| &mixer.query) else {
        panic!("weights are packed")
    };
    assert_eq!(query.weight().format(), Format::Bf16);
    let exact = load(copy.path(), Weights::F32).unwrap();
    assert_close(&logits(&stored, &ids), &logits(&exact, &ids), 1e-4, "bf16 beside f32");
}

#[test]
fn a_tied_model_may_store_its_embedding_twice_but_no_other_head() {
    for changed in [false, true] {
        let copy = copy("qwen3");
        let path = copy.path().join("model.safetensors");
        let original = Checkpoint::open(&path).unwrap();
        let mut tensors: Vec<_> = original
            .tensors()
            .map(|tensor| (tensor.name.clone(), tensor.shape.clone(), tensor.blob.bytes().to_vec()))
            .collect();
        let mut head = tensors.iter().find(|tensor| tensor.0 == "model.embed_tokens.weight").unwrap().clone();
        head.0 = "lm_head.weight".into();
        head.2[0] ^= u8::from(changed);
        tensors.push(head);
        let views = tensors
            .iter()
            .map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
        let file = safetensors::serialize(views, None).unwrap();
        drop(original);
        fs::remove_file(&path).unwrap();
        fs::write(&path, file).unwrap();
        let error = load(copy.path(), Weights::F32).err();
        let expected = "the file has tensors that `qwen3` does not use: lm_head.weight";
        assert_eq!(error.as_deref(), changed.then_some(expected));
    }
}

#[test]
fn a_directory_that_lacks_a_file_is_refused() {
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(
        message(empty.path()),
        "cannot read config.json: No such file or directory (os error 2); a model's folder holds config.json or headwise.toml, \
         safetensors files and tokenizer.json"
    );
    let weightless = copy("qwen2");
    fs::remove_file(weightless.path().join("model.safetensors")).unwrap();
    let expected = "holds neither model.safetensors nor model.safetensors.index.json";
    assert!(message(weightless.path()).ends_with(expected), "{}", message(weightless.path()));
    let shardless = copy("llama");
    fs::remove_file(shardless.path().join("model-00002-of-00003.safetensors")).unwrap();
    let expected =
        "shard model-00002-of-00003.safetensors is missing; model.safetensors.index.json puts \"model.layers.0.";
    assert!(message(shardless.path()).starts_with(expected), "{}", message(shardless.path()));
}

#[test]
fn tensors_that_do_not_fit_the_configuration_are_refused() {
    let wrong = [
        (
            copy_with("qwen2", json!({"intermediate_size": 80})),
            "tensor `model.layers.0.mlp.gate_proj.weight` has shape [72, 64]; the model's description asks for [80, 64]",
        ),
        (
            copy_with("mistral", json!({"vocab_size": 97})),
            "tensor `model.embed_tokens.weight` has shape [96, 64]; the model's description asks for [97, 64]",
        ),
        (copy_with("qwen3", json!({"tie_word_embeddings": false})), "tensor `lm_head.weight` is missing"),
        (
            copy_with("llama", json!({"num_hidden_layers": 3})),
            "tensor `model.layers.2.input_layernorm.weight` is missing",
        ),
        (
            // Biases on query, key and value that Llama has not.
            copy_with(
                "qwen2",
                json!({
                    "model_type": "llama", "architectures": null, "layer_types": null, "max_window_layers": null,
                    "use_sliding_window": null,
                }),
            ),
            "the file has tensors that `llama` does not use: model.layers.0.self_attn.k_proj.bias, \
             model.layers.0.self_attn.q_proj.bias, model.layers.0.self_attn.v_proj.bias, \
             model.layers.1.self_attn.k_proj.bias, model.layers.1.self_attn.q_proj.bias",
        ),
    ];
    for (copy, expected) in wrong {
        assert_eq!(message(copy.path()), expected);
    }
}

#[test]
fn integers_are_no_weights() {
    let copy = copy("qwen2");
    let path = copy.path().join("model.safetensors");
    let text = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    // The first type in the header becomes one of the same length that is not a number format of weights.
    let at = text.windows(5).position(|part| part == b"\"F32\"").unwrap();
    fs::write(&path, [&text[..at], b"\"I32\"", &text[at + 5..]].concat()).unwrap();
    let error = message(copy.path());
    assert!(error.ends_with("is I32; only F32, F16, BF16 and F64 can be read as numbers"), "{error}");
}
