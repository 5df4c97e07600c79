//! Writing a trained [`Decoder`] for others: weights in safetensors, the description beside them.

use std::path::{Path, PathBuf};

use half::bf16;
use headwise_nn::Embedding;
use headwise_nn::block::Norms;
use headwise_nn::channel::{ChannelSpec, Gate};
use headwise_nn::mixer::{Heads, MixerSpec};
use headwise_nn::named::{self, Named};
use headwise_nn::norm::NormSpec;
use safetensors::tensor::TensorView;
use serde_json::json;

use super::from_hf::NAMES;
use super::{Decoder, DecoderSpec, LoadError};
use crate::gguf::{GgufError, QuantiseError};
use crate::safetensors::Dtype;

/// In which type weights are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// Brain floats of 16 bits: half the size.
    Bf16,
}

/// Why a model cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// A file cannot be written.
    #[error("{}: {reason}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Weights that are packed for inference.
    #[error("packed weights cannot be written: load the model with trainable weights")]
    Packed,
    /// A part that GGUF files have no tensors for.
    #[error(
        "a GGUF file has no place for `{weight}`: it holds models whose layers mix with `softmax` without `convolution`, no mixtures of experts, and no vectors of positions"
    )]
    NoPlace {
        /// The weight.
        weight: String,
    },
    /// Weights that cannot be brought into the form of the file.
    #[error("`{weight}`: {source}")]
    Quantise {
        /// The weight.
        weight: String,
        /// Why.
        source: QuantiseError,
    },
    /// Parts that make no file.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A file that does not describe the model.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl Decoder {
    /// Writes `model.safetensors` and `headwise.toml` into `folder`, and the `config.json` of the Llama architecture if the
    /// model is one: then its weights have the names of that architecture, else those of [`named`].
    pub fn export(&self, folder: &Path, precision: Precision) -> Result<(), ExportError> {
        let failed = |path: &Path, reason: String| ExportError::Write { path: path.to_owned(), reason };
        std::fs::create_dir_all(folder).map_err(|error| failed(folder, error.to_string()))?;
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(|error| failed(&path, error.to_string()))
        };
        let spec = self.spec().resolved();
        let config = spec.llama();
        let tensors = self.weights(config.is_some())?;
        let bytes: Vec<Vec<u8>> = tensors.iter().map(|tensor| encode(&tensor.values, precision)).collect();
        let dtype = match precision {
            Precision::F32 => Dtype::F32,
            Precision::Bf16 => Dtype::BF16,
        };
        let views = tensors.iter().zip(&bytes).map(|(tensor, bytes)| {
            let view = TensorView::new(dtype, tensor.shape.clone(), bytes).expect("as many bytes as the shape says");
            (tensor.name.as_str(), view)
        });
        let path = folder.join("model.safetensors");
        let metadata = [("format".to_owned(), "pt".to_owned())].into();
        safetensors::serialize_to_file(views, Some(metadata), &path)
            .map_err(|error| failed(&path, error.to_string()))?;
        write("headwise.toml", toml::to_string(&spec).expect("a spec is plain data"))?;
        match config {
            Some(config) => write("config.json", format!("{config:#}\n")),
            None => Ok(()),
        }
    }

    /// All weights: under their own names, or those of the Llama architecture.
    fn weights(&self, llama: bool) -> Result<Vec<Named>, ExportError> {
        if matches!(self.embedding, Embedding::Packed(_)) {
            return Err(ExportError::Packed);
        }
        let mut weights = named::read(self);
        if llama {
            for weight in &mut weights {
                let name = NAMES.of(&weight.name);
                weight.name = name.expect("a model of the Llama architecture has no other weights");
            }
        }
        Ok(weights)
    }
}

impl DecoderSpec {
    /// The same with all sizes written out.
    pub fn resolved(&self) -> Self {
        let mut spec = self.clone();
        for layer in &mut spec.layers {
            let MixerSpec::SoftmaxSpec(mixer) = &mut layer.mixer else { continue };
            let Heads { kv_heads, head_dim, .. } = mixer.sizes(self.dim);
            (mixer.kv_heads, mixer.head_dim) = (Some(kv_heads), Some(head_dim));
        }
        spec
    }

    /// The `config.json` of a model of the Llama architecture; none if this is no such model.
    fn llama(&self) -> Option<serde_json::Value> {
        let first = self.layers.first()?;
        let (mixer, Some(ChannelSpec::GatedSpec(channel))) = (first.mixer.softmax()?, &first.channel) else {
            return None;
        };
        let (rope, sizes) = (mixer.rope()?, mixer.sizes(self.dim));
        let plain = channel.gate == Gate::Silu && first.norms == Norms::Pre && first.norm == NormSpec::Rms;
        let config = json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.vocabulary,
            "hidden_size": self.dim,
            "intermediate_size": channel.hidden,
            "num_hidden_layers": self.layers.len(),
            "num_attention_heads": sizes.heads,
            "num_key_value_heads": sizes.kv_heads,
            "head_dim": sizes.head_dim,
            "max_position_embeddings": self.context,
            "rms_norm_eps": self.epsilon,
            "rope_theta": rope.theta,
            "tie_word_embeddings": self.tied,
            "hidden_act": "silu",
        });
        // Whatever the configuration cannot say, reading it back does not give.
        let same = DecoderSpec::from_hf(&config.to_string()).is_ok_and(|read| read == *self);
        (plain && same).then_some(config)
    }
}

fn encode(values: &[f32], precision: Precision) -> Vec<u8> {
    match precision {
        Precision::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Precision::Bf16 => values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ModelFamily, Weights};
    use super::*;
    use burn::tensor::{Device, Tensor};
    use headwise_ops::host::Host;

    fn values(tensor: Tensor<2>) -> Vec<f32> {
        Host::new(tensor).as_slice().to_vec()
    }

    const SMALL: &str = r#"
        vocabulary = 32
        dim = 16
        context = 64
        epsilon = 1e-5
        tied = true
        [[layers]]
        mixer = "softmax(heads=4, kv_heads=2)"
        channel = "gated(hidden=24)"
        [[layers]]
        mixer = "softmax(heads=4, kv_heads=2)"
        channel = "gated(hidden=24)"
        "#;

    /// Writes a model of one layer with `mixer` and `position`: its spec, the one that is read back, the names of all tensors, and
    /// whether there is a configuration.
    fn written(mixer: &str, position: &str) -> (DecoderSpec, DecoderSpec, Vec<String>, bool) {
        let text = format!(
            "vocabulary = 8\ndim = 8\ncontext = 5\nepsilon = 1e-5\n{position}\n\
             [[layers]]\nmixer = \"{mixer}\"\nchannel = \"gated(hidden=4)\""
        );
        let spec: DecoderSpec = toml::from_str(&text).unwrap();
        let folder = tempfile::tempdir().unwrap();
        Decoder::random(spec.clone(), &Device::flex()).unwrap().export(folder.path(), Precision::F32).unwrap();
        let read = toml::from_str(&std::fs::read_to_string(folder.path().join("headwise.toml")).unwrap()).unwrap();
        let weights = crate::safetensors::Checkpoint::open(folder.path()).unwrap();
        let names = weights.names().map(str::to_owned).collect();
        (spec.resolved(), read, names, folder.path().join("config.json").exists())
    }

    #[test]
    fn what_llama_has_not_is_written_without_its_configuration() {
        let cases = [
            ("softmax(heads=2)", "", &[][..], true),
            ("softmax(heads=2)", "position = \"learned\"", &["position.weight"], false),
            ("softmax(heads=2)", "position = \"sinusoidal\"", &[], false),
            ("softmax(heads=2, convolution=3)", "", &["blocks.0.mixer.convolution.query"], false),
        ];
        for (mixer, position, more, llama) in cases {
            let (spec, read, names, found) = written(mixer, position);
            assert_eq!(read, spec, "{mixer} {position}");
            assert_eq!(found, llama, "{mixer} {position}");
            assert!(more.iter().all(|name| names.iter().any(|found| found == name)), "{more:?} in {names:?}");
        }
    }

    #[test]
    fn a_written_model_says_the_same() {
        let spec: DecoderSpec = toml::from_str(SMALL).unwrap();
        let device = Device::flex();
        let model = Decoder::random(spec.clone(), &device).unwrap();
        let folder = tempfile::tempdir().unwrap();
        model.export(folder.path(), Precision::F32).unwrap();
        let read = Decoder::from_hf(folder.path(), Weights::Trainable, &device).unwrap();
        assert_eq!(*read.spec(), spec.resolved());
        let ids = [1, 5, 3, 30, 7];
        let [expected, found] = [&model, &read].map(|model| values(model.forward(&ids, &device)));
        assert_eq!(expected, found);

        let text = std::fs::read_to_string(folder.path().join("headwise.toml")).unwrap();
        assert_eq!(toml::from_str::<DecoderSpec>(&text).unwrap(), spec.resolved());
        model.export(folder.path(), Precision::Bf16).unwrap();
        let read = Decoder::from_hf(folder.path(), Weights::F32, &device).unwrap();
        let halved = values(read.forward(&ids, &device));
        assert!(expected.iter().zip(&halved).all(|(a, b)| (a - b).abs() < 0.05));
    }

    #[test]
    fn a_model_of_any_mixer_is_written_and_read() {
        let text = r#"
            vocabulary = 32
            dim = 16
            context = 64
            epsilon = 1e-5
            [[layers]]
            mixer = "gla(heads=2)"
            channel = "gated(hidden=24)"
            [[layers]]
            mixer = "softmax(heads=4, position=alibi, bias=true, qk_norm=true)"
            channel = "mlp(hidden=24)"
            norms = "sandwich"
            [[layers]]
            mixer = "retention(heads=2)"
            "#;
        let device = Device::flex();
        let model = Decoder::random(toml::from_str(text).unwrap(), &device).unwrap();
        let folder = tempfile::tempdir().unwrap();
        model.export(folder.path(), Precision::F32).unwrap();
        assert!(!folder.path().join("config.json").exists());
        let expected = values(model.forward(&[1, 5, 3, 30, 7], &device));
        for weights in [Weights::Trainable, Weights::F32, Weights::Stored] {
            let read = Decoder::open(folder.path(), weights, &device).unwrap();
            assert_eq!(*read.spec(), model.spec().resolved());
            let found = values(read.forward(&[1, 5, 3, 30, 7], &device));
            assert!(expected.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-5), "{weights:?}");
        }

        let path = folder.path().join("headwise.toml");
        let described = std::fs::read_to_string(&path).unwrap();
        let error = |text: String| {
            std::fs::write(&path, text).unwrap();
            Decoder::open(folder.path(), Weights::F32, &device).unwrap_err().to_string()
        };
        let wrong = error(described.replace("dim = 16", "dim = 32"));
        assert!(wrong.contains("embedding.weight") && wrong.contains("[32, 16]"), "{wrong}");
        let more = error(described.replace("qk_norm = true", "qk_norm = false"));
        assert!(more.contains("does not use") && more.contains("blocks.1.mixer.norms.query.weight"), "{more}");
        assert!(error("dim = ".into()).contains("headwise.toml"));
        std::fs::remove_file(&path).unwrap();
        let none = Decoder::open(folder.path(), Weights::F32, &device).unwrap_err().to_string();
        assert!(none.contains("config.json") && none.contains("headwise.toml"), "{none}");
    }

    #[test]
    fn an_encoder_is_written_and_read_as_one() {
        let text = format!("family = \"encoder\"\n{}", SMALL.replace("heads=4,", "heads=4, causal=false,"));
        let spec: DecoderSpec = toml::from_str(&text).unwrap();
        let device = Device::flex();
        let folder = tempfile::tempdir().unwrap();
        Decoder::random(spec.clone(), &device).unwrap().export(folder.path(), Precision::F32).unwrap();
        let written = std::fs::read_to_string(folder.path().join("headwise.toml")).unwrap();
        assert!(written.contains("family = \"encoder\""), "{written}");
        assert_eq!(toml::from_str::<DecoderSpec>(&written).unwrap(), spec.resolved());
        let read = Decoder::open(folder.path(), Weights::Trainable, &device).unwrap();
        assert_eq!(read.spec().family, ModelFamily::Encoder);
    }

    #[test]
    fn a_family_s_layers_see_the_same() {
        let check = |text: String| toml::from_str::<DecoderSpec>(&text).unwrap().check();
        let encoder = |mixer: &str| {
            check(format!("family = \"encoder\"\n{}", SMALL.replace("softmax(heads=4, kv_heads=2)", mixer)))
        };
        assert_eq!(encoder("softmax(causal=false)"), Ok(()));
        assert!(encoder("softmax").unwrap_err().to_string().contains("layer 0 is causal"));
        assert!(encoder("gla").unwrap_err().to_string().contains("sees one side only"));
        assert_eq!(check(SMALL.into()), Ok(()));
        let decoder = check(SMALL.replace("heads=4,", "heads=4, causal=false,"));
        assert!(decoder.unwrap_err().to_string().contains("layer 0 is not causal"));
    }
}
