use headwise_nn::mixer::SoftmaxSpec;
use headwise_nn::position::{Linear, RopeScaling, RopeSpec};
use serde_json::{Value, json};

use super::*;

/// The keys that every model needs.
fn llama(changes: Value) -> Value {
    let mut config = json!({
        "model_type": "llama", "vocab_size": 32, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4,
        "num_attention_heads": 4, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
    });
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    config
}

fn spec(changes: Value) -> DecoderSpec {
    read(&llama(changes).to_string()).unwrap().1
}

fn error(changes: Value) -> String {
    read(&llama(changes).to_string()).unwrap_err().to_string()
}

fn softmax(layer: &BlockSpec) -> &SoftmaxSpec {
    layer.mixer.softmax().unwrap()
}

fn windows(changes: Value) -> Vec<Option<usize>> {
    spec(changes).layers.iter().map(|layer| softmax(layer).window).collect()
}

#[test]
fn missing_keys_have_the_defaults_of_transformers() {
    let first = |changes| softmax(&spec(changes).layers[0]).clone();
    let llama = first(json!({}));
    assert_eq!((llama.kv_heads, llama.head_dim, llama.rope()), (Some(4), Some(16), Some(&RopeSpec::new(10_000.0))));
    assert_eq!((llama.window, llama.scale), (None, None));
    let mistral = first(json!({"model_type": "mistral", "num_attention_heads": 16}));
    assert_eq!((mistral.kv_heads, mistral.head_dim, mistral.window), (Some(8), Some(4), Some(4096)));
    let qwen3 = first(json!({"model_type": "qwen3", "num_key_value_heads": null}));
    assert_eq!((qwen3.kv_heads, qwen3.head_dim, qwen3.window), (Some(4), Some(128), None));
    let gemma = spec(json!({"model_type": "gemma3_text", "num_hidden_layers": 6}));
    assert!(gemma.tied);
    assert_eq!(gemma.embedding_scale, Some(8.0));
    let (sliding, full) = (softmax(&gemma.layers[4]), softmax(&gemma.layers[5]));
    assert_eq!((sliding.kv_heads, sliding.head_dim, sliding.window), (Some(4), Some(256), Some(4096)));
    assert_eq!((sliding.rope(), sliding.scale), (Some(&RopeSpec::new(10_000.0)), None));
    assert_eq!((full.window, full.rope()), (None, Some(&RopeSpec::new(1_000_000.0))));
}

#[test]
fn windows_follow_the_rule_of_the_architecture() {
    let (none, some) = (None, Some(8));
    let qwen = |changes: Value| {
        let mut all = json!({"model_type": "qwen2", "num_key_value_heads": 2, "sliding_window": 8});
        all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        all
    };
    assert_eq!(windows(json!({"model_type": "mistral", "num_key_value_heads": 2, "sliding_window": null})), [none; 4]);
    assert_eq!(windows(qwen(json!({"max_window_layers": 1}))), [none; 4]);
    assert_eq!(windows(qwen(json!({"use_sliding_window": true, "max_window_layers": 3}))), [none, none, none, some]);
    assert_eq!(windows(qwen(json!({"use_sliding_window": true}))), [none; 4]);
    let types = ["sliding_attention", "full_attention", "full_attention", "sliding_attention"];
    assert_eq!(windows(qwen(json!({"use_sliding_window": true, "layer_types": types}))), [some, none, none, some]);
    let gemma = json!({"model_type": "gemma3_text", "sliding_window": 8, "sliding_window_pattern": 3});
    assert_eq!(windows(gemma), [some, some, none, some]);
    let gemma = json!({"model_type": "gemma3_text", "sliding_window": 8, "layer_types": types});
    assert_eq!(windows(gemma), [some, none, none, some]);
}

#[test]
fn linear_scaling_is_read_from_both_versions() {
    let expected = Some(RopeSpec { scaling: Some(RopeScaling::from(Linear { factor: 8.0 })), ..RopeSpec::new(5000.0) });
    for changes in [
        json!({"rope_theta": 5000, "rope_scaling": {"type": "linear", "factor": 8.0}}),
        json!({"rope_theta": 5000, "rope_scaling": {"rope_type": "linear", "type": "linear", "factor": 8}}),
        json!({"rope_parameters": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5000.0}}),
    ] {
        assert_eq!(softmax(&spec(changes).layers[0]).rope().cloned(), expected);
    }
    // Gemma scales the layers that see the whole text only.
    let gemma = json!({"model_type": "gemma3_text", "sliding_window_pattern": 2, "rope_theta": 5000.0,
                       "rope_scaling": {"rope_type": "linear", "factor": 8.0}});
    let layers = spec(gemma).layers;
    assert_eq!(softmax(&layers[0]).rope(), Some(&RopeSpec::new(10_000.0)));
    assert_eq!(softmax(&layers[1]).rope().cloned(), expected);
}

#[test]
fn keys_that_change_nothing_are_passed_over() {
    let harmless = json!({
        "torch_dtype": "bfloat16", "attention_bias": false, "partial_rotary_factor": 1, "quantization_config": null,
        "architectures": ["LlamaForCausalLM"], "pretraining_tp": 1, "eos_token_id": [1, 2],
    });
    assert_eq!(spec(harmless), spec(json!({})));
}

#[test]
fn every_mistake_has_its_own_message() {
    let cases = [
        (json!({"model_type": null}), "`model_type` is missing in config.json; expected a string"),
        (
            json!({"model_type": "gpt2"}),
            "architecture `gpt2` is not supported: the supported ones are llama, mistral, qwen2, qwen3, gemma3_text",
        ),
        (
            json!({"architectures": ["LlamaForSequenceClassification"]}),
            "architecture `LlamaForSequenceClassification` is not supported: the supported ones are LlamaForCausalLM, \
             MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, Gemma3ForCausalLM",
        ),
        (json!({"hidden_size": null}), "`hidden_size` is missing in config.json; expected a whole number"),
        (json!({"hidden_size": -64}), "`hidden_size` is -64 in config.json; expected a whole number"),
        (json!({"rms_norm_eps": "1e-5"}), "`rms_norm_eps` is \"1e-5\" in config.json; expected a number"),
        (
            json!({"attention_bias": true}),
            "`attention_bias` = true changes the mathematics of `llama` and is not understood",
        ),
        (
            json!({"quantization_config": {"bits": 4}}),
            "`quantization_config` = {\"bits\":4} changes the mathematics of `llama` and is not understood",
        ),
        (
            json!({"sliding_window": 16}),
            "`sliding_window` = 16 changes the mathematics of `llama` and is not understood",
        ),
        (
            json!({"hidden_act": "relu"}),
            "`hidden_act` = \"relu\" (supported: silu, gelu_pytorch_tanh) changes the mathematics of `llama` and is not \
             understood",
        ),
        (
            json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}),
            "`rope_scaling.rope_type` = \"yarn\" (supported: default, linear, llama3) changes the mathematics of `llama` \
             and is not understood",
        ),
        (
            json!({"rope_scaling": {"rope_type": "linear"}}),
            "`rope_scaling.factor` is missing in config.json; expected a number",
        ),
        (
            json!({"rope_parameters": {"rope_type": "default", "beta_fast": 32}}),
            "`rope_parameters.beta_fast` = 32 changes the mathematics of `llama` and is not understood",
        ),
        (
            json!({"rope_parameters": {"rope_theta": 1.0}, "rope_scaling": {"type": "linear", "factor": 2}}),
            "`rope_scaling` = {\"type\":\"linear\",\"factor\":2} changes the mathematics of `llama` and is not understood",
        ),
        (json!({"rope_theta": -1.0}), "rope theta is -1: it must be a finite number above 0"),
        (
            json!({"num_attention_heads": 3}),
            "a head's size is not given, and 64 channels cannot be shared out over 3 query heads",
        ),
        (
            json!({"num_attention_heads": 0}),
            "a head's size is not given, and 64 channels cannot be shared out over 0 query heads",
        ),
        (json!({"num_key_value_heads": 3}), "layer 0: 4 query heads cannot share 3 key-value heads: 3 must divide 4"),
        (
            json!({"head_dim": 15}),
            "layer 0: 15 rotary channels do not fit a head of 15: they must be even, at least 2 and no more than the \
             head has",
        ),
        (json!({"vocab_size": 0}), "vocabulary is 0: it must be at least 1"),
        (json!({"num_hidden_layers": 1u64 << 40}), "layers is 1099511627776: at most 16384 is supported"),
        (
            json!({"model_type": "qwen3", "layer_types": ["full_attention"]}),
            "`layer_types` is a list of 1 in config.json; expected 4 of them, one for each of `num_hidden_layers`",
        ),
        (
            json!({"model_type": "qwen3", "layer_types": vec!["chunked_attention"; 4]}),
            "`layer_types` = \"chunked_attention\" (supported: full_attention, sliding_attention) changes the mathematics \
             of `qwen3` and is not understood",
        ),
        (
            json!({"model_type": "qwen3", "layer_types": vec!["sliding_attention"; 4]}),
            "`sliding_window` is not used in config.json; expected a number, since some layers are sliding_attention",
        ),
        (
            json!({"model_type": "gemma3_text", "sliding_window_pattern": 0}),
            "`sliding_window_pattern` is 0 in config.json; expected at least 1",
        ),
    ];
    for (changes, expected) in cases {
        assert_eq!(error(changes), expected);
    }
    let syntax = read("{\"model_type\": ").unwrap_err().to_string();
    assert_eq!(syntax, "config.json is not a JSON object: EOF while parsing a value at line 1 column 15");
    let list = read("[]").unwrap_err().to_string();
    assert!(list.starts_with("config.json is not a JSON object: invalid type: sequence"), "{list}");
}
