//! Writing a trained [`Decoder`] for others: weights in safetensors, the description beside them.

use std::path::{Path, PathBuf};

use burn::module::Param;
use burn::tensor::Tensor;
use half::bf16;
use headwise_nn::block::Norms;
use headwise_nn::channel::{Channel, ChannelSpec, Gate};
use headwise_nn::mixer::{Heads, Mixer, MixerSpec};
use headwise_nn::norm::{Norm, NormSpec};
use headwise_nn::position::InputPosition;
use headwise_nn::{Embedding, Linear};
use headwise_ops::host::{Host, contiguous};
use safetensors::tensor::TensorView;
use serde_json::json;

use super::from_hf::NAMES;
use super::{Decoder, DecoderSpec};
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
    /// A layer that the format has no names for.
    #[error("layer {layer} cannot be written: the format holds `softmax` with `gated` channels and norms before them")]
    Layer {
        /// Index of the layer.
        layer: usize,
    },
}

/// The table of learned positions, which the Llama architecture does not have.
const POSITIONS: &str = "model.embed_positions";
/// The convolutions of queries, keys and values, which it does not have either.
const CONVOLUTIONS: [&str; 3] =
    ["model.layers.{}.self_attn.q_conv", "model.layers.{}.self_attn.k_conv", "model.layers.{}.self_attn.v_conv"];

/// A tensor with its name and shape.
struct Named {
    name: String,
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Decoder {
    /// Writes `model.safetensors` and `headwise.toml` into `folder`, and the `config.json` of the Llama architecture if the
    /// model is one.
    pub fn export(&self, folder: &Path, precision: Precision) -> Result<(), ExportError> {
        let failed = |path: &Path, reason: String| ExportError::Write { path: path.to_owned(), reason };
        std::fs::create_dir_all(folder).map_err(|error| failed(folder, error.to_string()))?;
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(|error| failed(&path, error.to_string()))
        };
        let tensors = self.named()?;
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
        let spec = self.spec().resolved();
        write("headwise.toml", toml::to_string(&spec).expect("a spec is plain data"))?;
        match spec.llama() {
            Some(config) => write("config.json", format!("{config:#}\n")),
            None => Ok(()),
        }
    }

    /// All weights under the names of the Llama architecture, and those that it does not have.
    fn named(&self) -> Result<Vec<Named>, ExportError> {
        let mut tensors = Vec::new();
        let mut push = |name: &str, shape: Vec<usize>, values: Vec<f32>| {
            tensors.push(Named { name: format!("{name}.weight"), shape, values });
        };
        let Embedding::Float(table) = &self.embedding else { return Err(ExportError::Packed) };
        let table = table.weight.val();
        push(NAMES.embedding, table.dims().to_vec(), values(table));
        if let Some(InputPosition::Learned(table)) = &self.position {
            let table = table.weight.val();
            push(POSITIONS, table.dims().to_vec(), values(table));
        }
        for (layer, block) in self.blocks.iter().enumerate() {
            let name = |template: &str| template.replace("{}", &layer.to_string());
            let Mixer::Softmax(mixer) = &block.mixer else { return Err(ExportError::Layer { layer }) };
            let (Some(Norm::Rms(mixer_norm)), Some(Norm::Rms(channel_norm)), Some(Channel::Gated(channel)), None) =
                (&block.mixer_norms.before, &block.channel_norms.before, &block.channel, &mixer.norms)
            else {
                return Err(ExportError::Layer { layer });
            };
            for (template, norm) in [(NAMES.mixer_before, mixer_norm), (NAMES.channel_before, channel_norm)] {
                let weight = norm.weight.val();
                push(&name(template), weight.dims().to_vec(), values(weight));
            }
            let linears = [
                (NAMES.query, &mixer.query),
                (NAMES.key, &mixer.key),
                (NAMES.value, &mixer.value),
                (NAMES.output, &mixer.output),
                (NAMES.gate, &channel.gate),
                (NAMES.up, &channel.up),
                (NAMES.down, &channel.down),
            ];
            for (template, linear) in linears {
                let Linear::Float(linear) = linear else { return Err(ExportError::Packed) };
                if linear.bias.is_some() {
                    return Err(ExportError::Layer { layer });
                }
                let weight = linear.weight.val().transpose();
                push(&name(template), weight.dims().to_vec(), values(weight));
            }
            if let Some(convolution) = &mixer.convolution {
                let weights = [&convolution.query, &convolution.key, &convolution.value];
                for (template, weight) in CONVOLUTIONS.into_iter().zip(weights.map(Param::val)) {
                    push(&name(template), weight.dims().to_vec(), values(weight));
                }
            }
        }
        if let Some(Norm::Rms(norm)) = &self.norm {
            let weight = norm.weight.val();
            push(NAMES.norm, weight.dims().to_vec(), values(weight));
        }
        if let Some(head) = &self.head {
            let Linear::Float(head) = head else { return Err(ExportError::Packed) };
            let weight = head.weight.val().transpose();
            push(NAMES.head, weight.dims().to_vec(), values(weight));
        }
        Ok(tensors)
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

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    Host::new(contiguous(tensor)).as_slice().to_vec()
}

fn encode(values: &[f32], precision: Precision) -> Vec<u8> {
    match precision {
        Precision::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Precision::Bf16 => values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Weights;
    use super::*;
    use burn::tensor::Device;

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
            ("softmax(heads=2)", "position = \"learned\"", &["model.embed_positions.weight"], false),
            ("softmax(heads=2)", "position = \"sinusoidal\"", &[], false),
            ("softmax(heads=2, convolution=3)", "", &["model.layers.0.self_attn.q_conv.weight"], false),
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
        let spec: DecoderSpec = toml::from_str(
            r#"
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
            "#,
        )
        .unwrap();
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
}
