//! Folders as PEFT writes them, and folders that are wrong.

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use super::*;

/// A model of two layers with grouped queries.
fn model() -> DecoderSpec {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny_llama/config_v4.json");
    DecoderSpec::from_hf(&std::fs::read_to_string(folder).unwrap()).unwrap()
}

/// What PEFT 0.17 writes, with other values for some keys.
fn config(more: Value) -> Value {
    let mut config = json!({
        "alpha_pattern": {}, "auto_mapping": null, "base_model_name_or_path": "org/model", "bias": "none", "corda_config": null,
        "eva_config": null, "exclude_modules": null, "fan_in_fan_out": false, "inference_mode": true, "init_lora_weights": true,
        "layer_replication": null, "layers_pattern": null, "layers_to_transform": null, "loftq_config": {}, "lora_alpha": 8,
        "lora_bias": false, "lora_dropout": 0.05, "megatron_config": null, "megatron_core": "megatron.core", "modules_to_save": null,
        "peft_type": "LORA", "qalora_group_size": 16, "r": 4, "rank_pattern": {}, "revision": null,
        "target_modules": ["q_proj", "down_proj"], "target_parameters": null, "task_type": "CAUSAL_LM", "trainable_token_indices": null,
        "use_dora": false, "use_qalora": false, "use_rslora": false
    });
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

type Tensors = Vec<(String, [usize; 2])>;

/// The tensors of `modules` in the layers `layers`.
fn tensors(layers: &[usize], modules: &[(&str, [usize; 2])]) -> Tensors {
    let name = |layer: &usize, module: &str, part: &str| format!("{PREFIX}{layer}.{module}.lora_{part}.weight");
    let both = |layer| {
        modules.iter().flat_map(move |(module, [outputs, inputs])| {
            [(name(layer, module, "A"), [4, *inputs]), (name(layer, module, "B"), [*outputs, 4])]
        })
    };
    layers.iter().flat_map(both).collect()
}

const QUERY: (&str, [usize; 2]) = ("self_attn.q_proj", [64, 64]);
const DOWN: (&str, [usize; 2]) = ("mlp.down_proj", [64, 96]);

/// Opens a folder with `config` and `tensors` of ones.
fn opened(config: &Value, tensors: &[(String, [usize; 2])]) -> Result<Adapter, AdapterError> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(CONFIG), config.to_string()).unwrap();
    let ones: Vec<u8> = 1f32.to_le_bytes().repeat(96 * 96);
    let view = |(name, shape): &(String, [usize; 2])| {
        (name.clone(), TensorView::new(Dtype::F32, shape.to_vec(), &ones[..4 * shape[0] * shape[1]]).unwrap())
    };
    let file = safetensors::serialize(tensors.iter().map(view), None).unwrap();
    std::fs::write(folder.path().join(WEIGHTS), file).unwrap();
    open(folder.path(), &model())
}

fn refusal(config: &Value, tensors: &[(String, [usize; 2])]) -> String {
    opened(config, tensors).unwrap_err().to_string()
}

#[test]
fn what_was_trained_is_there() {
    let adapter = opened(&config(json!({})), &tensors(&[0, 1], &[QUERY, DOWN])).unwrap();
    for layer in 0..2 {
        let there = Projection::ALL.map(|projection| adapter.get(layer, projection).map(LowRank::shape));
        assert_eq!(there, [Some([64, 64]), None, None, None, None, None, Some([64, 96])]);
    }
    assert!(check(&adapter, &model()).is_ok());
    let mut wider = model();
    wider.dim = 128;
    assert!(matches!(check(&adapter, &wider), Err(AdapterError::OtherModel)));
    let second = config(json!({ "layers_to_transform": [1], "target_modules": ["self_attn.q_proj"] }));
    let adapter = opened(&second, &tensors(&[1], &[QUERY])).unwrap();
    assert!(adapter.get(0, Projection::Query).is_none() && adapter.get(1, Projection::Query).is_some());
    let expression = config(json!({ "target_modules": ".*\\.1\\.self_attn.q_proj" }));
    assert!(opened(&expression, &tensors(&[1], &[QUERY])).is_ok());
}

#[test]
fn the_factor_is_that_of_the_configuration() {
    let read = |more| Config::parse(&config(more).to_string()).unwrap();
    let path = "model.layers.1.mlp.down_proj";
    assert_eq!(read(json!({})).rank_and_scale(path).unwrap(), (4, 2.0));
    assert_eq!(read(json!({ "use_rslora": true })).rank_and_scale(path).unwrap(), (4, 4.0));
    let patterns = json!({ "rank_pattern": { "down_proj": 16 }, "alpha_pattern": { "layers.1.mlp.down_proj": 64 } });
    let config = read(patterns);
    assert_eq!(config.rank_and_scale(path).unwrap(), (16, 4.0));
    assert_eq!(config.rank_and_scale("model.layers.0.mlp.down_proj").unwrap(), (16, 0.5));
    assert_eq!(config.rank_and_scale("model.layers.0.self_attn.q_proj").unwrap(), (4, 2.0));
    let twice = read(json!({ "rank_pattern": { "down_proj": 16, "mlp.down_proj": 8 } }));
    assert!(twice.rank_and_scale(path).unwrap_err().to_string().contains("rank_pattern"));
}

#[test]
fn what_is_not_understood_is_refused_with_what_is_right() {
    let tensors = tensors(&[0, 1], &[QUERY, DOWN]);
    for (more, says) in [
        (json!({ "peft_type": "LOHA" }), ["`peft_type` is \"LOHA\"", "LORA"]),
        (json!({ "peft_type": null }), ["`peft_type` is missing", "LORA"]),
        (json!({ "use_dora": true }), ["`use_dora` is true", "false"]),
        (json!({ "lora_bias": true }), ["`lora_bias` is true", "false"]),
        (json!({ "bias": "lora_only" }), ["`bias` is \"lora_only\"", "none"]),
        (json!({ "modules_to_save": ["lm_head"] }), ["`modules_to_save` is [\"lm_head\"]", "null"]),
        (json!({ "layer_replication": [[0, 2]] }), ["`layer_replication`", "null"]),
        (json!({ "layers_pattern": "h" }), ["`layers_pattern` is \"h\"", "layers"]),
        (
            json!({ "init_lora_weights": "pissa_niter_4" }),
            ["`init_lora_weights`", "path_initial_model_for_weight_conversion"],
        ),
        (json!({ "alora_invocation_tokens": [1, 2] }), ["`alora_invocation_tokens`", "null"]),
        (json!({ "something_new": 3 }), ["`something_new` is 3", "not understood"]),
        (json!({ "r": 0 }), ["`r` is 0", "from 1 on"]),
        (json!({ "rank_pattern": { "^model.*q_proj": 8 } }), ["`rank_pattern`", "names of modules"]),
        (json!({ "target_modules": ["q_proj", "lm_head"] }), ["`target_modules`", "q_proj, k_proj"]),
        (json!({ "target_modules": ["q_proj"] }), ["model.layers.0.mlp.down_proj", "`target_modules`"]),
        (
            json!({ "target_modules": ["q_proj", "down_proj", "v_proj"] }),
            ["layers.0.self_attn.v_proj.lora_A.weight", "missing"],
        ),
        (json!({ "r": 8 }), ["shape [4, 64]", "[8, 64]"]),
    ] {
        let message = refusal(&config(more), &tensors);
        assert!(says.iter().all(|says| message.contains(says)), "{message}");
    }
    assert!(opened(&json!([]), &tensors).unwrap_err().to_string().contains("JSON object"));
}

#[test]
fn tensors_that_do_not_fit_are_refused_by_name() {
    let both = tensors(&[0, 1], &[QUERY, DOWN]);
    let with = |name: &str, shape: [usize; 2]| [&both[..], &[(name.to_owned(), shape)]].concat();
    let plain = config(json!({}));
    for (tensors, says) in [
        (both[1..].to_vec(), "layers.0.self_attn.q_proj.lora_A.weight` is missing"),
        ([&both[..1], &both[2..]].concat(), "layers.0.self_attn.q_proj.lora_B.weight` is missing"),
        (with("base_model.model.lm_head.lora_A.weight", [4, 64]), "lm_head.lora_A.weight` is not understood"),
        (with(&format!("{PREFIX}00.mlp.down_proj.lora_A.weight"), [4, 96]), "layers.00.mlp"),
        (with(&format!("{PREFIX}0.mlp.down_proj.lora_magnitude_vector"), [64, 1]), "lora_magnitude_vector"),
        (tensors(&[0, 1, 2], &[QUERY, DOWN]), "the model has 2 layers"),
        (tensors(&[0, 1], &[QUERY, ("mlp.down_proj", [64, 64])]), "[4, 96]"),
        (Vec::new(), "missing"),
    ] {
        let message = refusal(&plain, &tensors);
        assert!(message.contains(says), "{message}");
    }
    let expression = config(json!({ "target_modules": "all-linear" }));
    assert!(refusal(&expression, &[]).contains("no tensors"));
}

#[test]
fn folders_without_the_files_are_refused_with_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let refused = || open(folder.path(), &model()).unwrap_err().to_string();
    assert!(refused().contains("adapter_config.json"));
    std::fs::write(folder.path().join(CONFIG), config(json!({})).to_string()).unwrap();
    assert!(refused().contains("safe_serialization"));
}
