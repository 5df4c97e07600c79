//! The architectures of transformers that are understood, as data.

use super::super::LoadError;

/// How one architecture of transformers differs from the others.
#[derive(Debug)]
pub struct Architecture {
    /// `model_type` in `config.json`.
    pub model_type: &'static str,
    /// The class with a language-model head.
    pub class: &'static str,
    /// Query, key and value projections have a bias.
    pub bias: bool,
    /// Query and key heads are normed.
    pub qk_norm: bool,
    /// Gemma's traits: norms after every part and scaled by `1 + weight`, scaled token vectors, a query scale, caps on
    /// scores, and two rotary bases.
    pub gemma: bool,
    /// Which layers have a window.
    pub windows: Windows,
    /// Key-value heads where `config.json` has no such key; none means as many as query heads.
    pub kv_heads: Option<usize>,
    /// Channels of a head where `config.json` has no such key; none means an equal share of `hidden_size`.
    pub head_dim: Option<usize>,
}

/// Which layers have a sliding window, where `layer_types` does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windows {
    /// None of them; there are no such keys.
    Never,
    /// All of them, if `sliding_window` is given.
    Always,
    /// Those from `max_window_layers` on, if `use_sliding_window`.
    Late,
    /// All but every `sliding_window_pattern`-th.
    Pattern,
}

const LLAMA: Architecture = Architecture {
    model_type: "llama",
    class: "LlamaForCausalLM",
    bias: false,
    qk_norm: false,
    gemma: false,
    windows: Windows::Never,
    kv_heads: None,
    head_dim: None,
};

/// All of them. Defaults are those of transformers' configuration classes.
const ARCHITECTURES: [Architecture; 5] = [
    LLAMA,
    Architecture {
        model_type: "mistral",
        class: "MistralForCausalLM",
        windows: Windows::Always,
        kv_heads: Some(8),
        ..LLAMA
    },
    Architecture {
        model_type: "qwen2",
        class: "Qwen2ForCausalLM",
        bias: true,
        windows: Windows::Late,
        kv_heads: Some(32),
        ..LLAMA
    },
    Architecture {
        model_type: "qwen3",
        class: "Qwen3ForCausalLM",
        qk_norm: true,
        windows: Windows::Late,
        kv_heads: Some(32),
        head_dim: Some(128),
        ..LLAMA
    },
    Architecture {
        model_type: "gemma3_text",
        class: "Gemma3ForCausalLM",
        qk_norm: true,
        gemma: true,
        windows: Windows::Pattern,
        kv_heads: Some(4),
        head_dim: Some(256),
        ..LLAMA
    },
];

impl Architecture {
    /// The architecture called `model_type`, if the model has the head that the `classes` of its file must name.
    pub fn find(model_type: &str, classes: Option<&[String]>) -> Result<&'static Self, LoadError> {
        let supported = |name: fn(&Self) -> &'static str| ARCHITECTURES.iter().map(name).collect::<Vec<_>>().join(", ");
        let architecture = ARCHITECTURES.iter().find(|architecture| architecture.model_type == model_type);
        let architecture = architecture.ok_or_else(|| LoadError::Architecture {
            found: model_type.into(),
            supported: supported(|architecture| architecture.model_type),
        })?;
        match classes {
            Some(classes) if !classes.iter().any(|class| class == architecture.class) => Err(LoadError::Architecture {
                found: classes.join(", "),
                supported: supported(|architecture| architecture.class),
            }),
            _ => Ok(architecture),
        }
    }

    /// What norms add to the scales in the file.
    pub fn norm_offset(&self) -> f32 {
        if self.gemma { 1.0 } else { 0.0 }
    }
}
