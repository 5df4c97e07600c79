//! Building a [`Decoder`] from named tensors, wherever they come from.

use burn::module::Param;
use burn::tensor::{Device, Tensor};
use headwise_kernels::matrix::PackedMatrix;
use headwise_nn::block::{Around, Block, BlockSpec, Norms, share_rotations};
use headwise_nn::channel::{Channel, ChannelSpec, Gated, Mlp};
use headwise_nn::mixer::{HeadNorms, Heads, Mixer, Softmax, SoftmaxSpec};
use headwise_nn::norm::{LayerNorm, Norm, NormSpec, RmsNorm};
use headwise_nn::{Embedding, Factor, Linear, Table};
use headwise_ops::host;

use super::{Decoder, DecoderSpec, LoadError};

/// In which form weights are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weights {
    /// As the file has them, packed for the inference kernels.
    #[default]
    Stored,
    /// Dequantised to 32-bit floats, packed for the inference kernels: the reference.
    F32,
    /// Burn parameters in 32-bit floats, which can be trained.
    Trainable,
}

/// Named tensors that a model is built from.
pub(super) trait Source {
    /// The elements of `name`, which must have `shape`.
    fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError>;
    /// The matrix `name` `[outputs, inputs]` packed as it is stored.
    ///
    /// With `interleaved` heads the file pairs rotary channels `2i, 2i + 1`; rows are put back to `i, i + d/2`.
    fn packed(&self, name: &str, shape: [usize; 2], interleaved: Option<usize>) -> Result<PackedMatrix, LoadError>;
}

/// What the tensors of a format are called; `{}` stands for the layer.
pub(super) struct Names {
    pub embedding: &'static str,
    pub factor_up: &'static str,
    pub factor_down: &'static str,
    pub norm: &'static str,
    pub head: &'static str,
    pub query: &'static str,
    pub key: &'static str,
    pub value: &'static str,
    pub output: &'static str,
    pub query_norm: &'static str,
    pub key_norm: &'static str,
    pub mixer_before: &'static str,
    pub mixer_after: &'static str,
    pub channel_before: &'static str,
    pub channel_after: &'static str,
    pub gate: &'static str,
    pub up: &'static str,
    pub down: &'static str,
}

impl Names {
    /// What the weight at `path` of a module is called; none if the format has no such weight.
    pub fn of(&self, path: &str) -> Option<String> {
        let (path, part) = path.rsplit_once('.')?;
        let (layer, path) = path.strip_prefix("blocks.").and_then(|path| path.split_once('.')).unwrap_or(("", path));
        let template = match path {
            "embedding" => self.embedding,
            "factor.up" => self.factor_up,
            "factor.down" => self.factor_down,
            "norm" => self.norm,
            "head" => self.head,
            "mixer.query" => self.query,
            "mixer.key" => self.key,
            "mixer.value" => self.value,
            "mixer.output" => self.output,
            "mixer.norms.query" => self.query_norm,
            "mixer.norms.key" => self.key_norm,
            "mixer_norms.before" => self.mixer_before,
            "mixer_norms.after" | "mixer_norms.sum" => self.mixer_after,
            "channel_norms.before" => self.channel_before,
            "channel_norms.after" | "channel_norms.sum" => self.channel_after,
            "channel.gate" => self.gate,
            "channel.up" => self.up,
            "channel.down" => self.down,
            _ => return None,
        };
        Some(format!("{}.{part}", template.replace("{}", layer)))
    }
}

/// A decoder being built.
pub(super) struct Loader<'a, S> {
    pub source: &'a S,
    pub names: &'a Names,
    pub weights: Weights,
    /// Query and key rows are stored with interleaved rotary pairs.
    pub interleaved: bool,
    /// Norm scales are stored less this much.
    pub norm_offset: f32,
    pub device: &'a Device,
}

impl<S: Source> Loader<'_, S> {
    /// Builds the model `spec` from the tensors.
    pub fn decoder(&self, spec: DecoderSpec) -> Result<Decoder, LoadError> {
        spec.check()?;
        let (names, dim, width) = (self.names, spec.dim, spec.head_width());
        let embedding = self.embedding(names.embedding, [spec.vocabulary, width])?;
        let factor = match spec.embedding_dim {
            Some(_) => Some(Factor {
                up: self.linear(names.factor_up, [dim, width], false, None)?,
                down: self.linear(names.factor_down, [width, dim], false, None)?,
            }),
            None => None,
        };
        let mut blocks = (0..spec.layers.len() / spec.shared_by)
            .map(|index| self.block(&spec, index))
            .collect::<Result<Vec<_>, LoadError>>()?;
        share_rotations(&mut blocks);
        let norm = spec.final_norm.then(|| self.norm(spec.norm(), names.norm, dim, spec.epsilon)).transpose()?;
        let head = (!spec.tied).then(|| self.linear(names.head, [spec.vocabulary, width], false, None)).transpose()?;
        // No format that is read has vectors of positions.
        Ok(Decoder { embedding, factor, position: None, blocks, norm, head, spec })
    }

    /// The weights with number `index`, those of the layers from `index * shared_by` on.
    fn block(&self, spec: &DecoderSpec, index: usize) -> Result<Block, LoadError> {
        let layer = index * spec.shared_by;
        let (block, dim) = (&spec.layers[layer], spec.dim);
        let name = |template: &str| template.replace("{}", &index.to_string());
        let around = |before: &str, after: &str| {
            let norm = |present, template: &str| match present {
                true => self.norm(block.norm, &name(template), dim, spec.epsilon).map(Some),
                false => Ok(None),
            };
            Ok::<_, LoadError>(Around {
                before: norm(matches!(block.norms, Norms::Pre | Norms::Sandwich), before)?,
                after: norm(block.norms == Norms::Sandwich, after)?,
                sum: norm(block.norms == Norms::Post, after)?,
            })
        };
        let names = self.names;
        Ok(Block {
            mixer_norms: around(names.mixer_before, names.mixer_after)?,
            mixer: Mixer::Softmax(self.softmax(softmax(block, layer)?, dim, spec.epsilon, &name)?),
            channel_norms: match &block.channel {
                Some(_) => around(names.channel_before, names.channel_after)?,
                None => Around { before: None, after: None, sum: None },
            },
            channel: block.channel.as_ref().map(|channel| self.channel(channel, dim, &name)).transpose()?,
        })
    }

    fn channel(&self, spec: &ChannelSpec, dim: usize, name: &impl Fn(&str) -> String) -> Result<Channel, LoadError> {
        let (names, hidden) = (self.names, spec.hidden());
        let up = |template, bias| self.linear(&name(template), [hidden, dim], bias, None);
        let down = |bias| self.linear(&name(names.down), [dim, hidden], bias, None);
        Ok(match spec {
            ChannelSpec::GatedSpec(spec) => {
                Channel::Gated(Gated::new(up(names.gate, false)?, up(names.up, false)?, down(false)?, spec.gate))
            }
            ChannelSpec::MoeSpec(_) => return Err(LoadError::Channel { channel: spec.to_string() }),
            ChannelSpec::MlpSpec(spec) => {
                Channel::Mlp(Mlp::new(up(names.up, spec.bias)?, down(spec.bias)?, spec.activation))
            }
        })
    }

    fn softmax(
        &self,
        mixer: &SoftmaxSpec,
        dim: usize,
        epsilon: f64,
        name: &impl Fn(&str) -> String,
    ) -> Result<Softmax, LoadError> {
        let names = self.names;
        let Heads { heads, kv_heads, head_dim } = mixer.sizes(dim);
        let (queries, keys) = (heads * head_dim, kv_heads * head_dim);
        let interleaved = |count| self.interleaved.then_some(count);
        let projections = [
            self.linear(&name(names.query), [queries, dim], mixer.bias, interleaved(heads))?,
            self.linear(&name(names.key), [keys, dim], mixer.bias, interleaved(kv_heads))?,
            self.linear(&name(names.value), [keys, dim], mixer.bias, None)?,
            self.linear(&name(names.output), [dim, queries], false, None)?,
        ];
        let norms = match mixer.qk_norm {
            true => Some(HeadNorms {
                query: self.rms_norm(&name(names.query_norm), head_dim, epsilon)?,
                key: self.rms_norm(&name(names.key_norm), head_dim, epsilon)?,
            }),
            false => None,
        };
        Ok(Softmax::new(mixer.clone(), dim, projections, norms))
    }

    fn norm(&self, spec: NormSpec, name: &str, dim: usize, epsilon: f64) -> Result<Norm, LoadError> {
        match spec {
            NormSpec::Rms => self.rms_norm(name, dim, epsilon).map(Norm::Rms),
            NormSpec::Layer => {
                let [weight, bias] =
                    ["weight", "bias"].map(|part| self.source.floats(&format!("{name}.{part}"), &[dim]));
                Ok(Norm::Layer(LayerNorm::from_parts(weight?, bias?, epsilon, self.device)))
            }
        }
    }

    fn rms_norm(&self, name: &str, dim: usize, epsilon: f64) -> Result<RmsNorm, LoadError> {
        let mut weight = self.source.floats(&format!("{name}.weight"), &[dim])?;
        weight.iter_mut().for_each(|weight| *weight += self.norm_offset);
        Ok(RmsNorm::from_weight(weight, epsilon, self.device))
    }

    fn linear(&self, name: &str, shape: [usize; 2], bias: bool, heads: Option<usize>) -> Result<Linear, LoadError> {
        let [outputs, inputs] = shape;
        let mut bias = bias.then(|| self.source.floats(&format!("{name}.bias"), &[outputs])).transpose()?;
        if let (Some(bias), Some(heads)) = (&mut bias, heads) {
            *bias = halves_apart(bias, heads, 1);
        }
        let name = format!("{name}.weight");
        if self.weights == Weights::Trainable {
            let weight = self.matrix(&name, shape, heads)?;
            let weight: Tensor<2> = host::tensor(weight, shape, self.device);
            let weight = Param::from_tensor(host::contiguous(weight.transpose()));
            let bias = bias.map(|bias| Param::from_tensor(host::tensor(bias, [outputs], self.device)));
            return Ok(Linear::Float(burn::nn::Linear { weight, bias }));
        }
        Ok(Linear::packed(self.pack(&name, outputs, inputs, heads)?, bias))
    }

    fn embedding(&self, name: &str, shape: [usize; 2]) -> Result<Embedding, LoadError> {
        let name = format!("{name}.weight");
        if self.weights == Weights::Trainable {
            let weight = host::tensor(self.source.floats(&name, &shape)?, shape, self.device);
            return Ok(Embedding::Float(Table { weight: Param::from_tensor(weight) }));
        }
        Ok(Embedding::packed(self.pack(&name, shape[0], shape[1], None)?))
    }

    fn pack(&self, name: &str, outputs: usize, inputs: usize, heads: Option<usize>) -> Result<PackedMatrix, LoadError> {
        match self.weights {
            Weights::Stored => self.source.packed(name, [outputs, inputs], heads),
            _ => Ok(PackedMatrix::from_f32(&self.matrix(name, [outputs, inputs], heads)?, outputs, inputs)),
        }
    }

    fn matrix(&self, name: &str, shape: [usize; 2], heads: Option<usize>) -> Result<Vec<f32>, LoadError> {
        let weight = self.source.floats(name, &shape)?;
        Ok(match heads {
            Some(heads) => halves_apart(&weight, heads, shape[1]),
            None => weight,
        })
    }
}

/// The attention of a layer; no format that is read has another mixer.
fn softmax(block: &BlockSpec, layer: usize) -> Result<&SoftmaxSpec, LoadError> {
    let mixer = &block.mixer;
    mixer.softmax().ok_or_else(|| LoadError::Mixer { layer, mixer: mixer.to_string() })
}

/// The bits of 16-bit floats.
pub(super) fn halves(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
}

/// The way back of [`halves_apart`].
pub(super) fn side_by_side<T: Copy>(rows: &[T], heads: usize, width: usize) -> Vec<T> {
    let head_dim = rows.len() / (heads * width);
    let half = head_dim / 2;
    let mut out = Vec::with_capacity(rows.len());
    for head in rows.chunks_exact(head_dim * width) {
        for stored in 0..head_dim {
            let channel = stored / 2 + stored % 2 * half;
            out.extend_from_slice(&head[channel * width..][..width]);
        }
    }
    out
}

/// Reorders the rows of every head from rotary pairs side by side (`2i, 2i + 1`) to pairs half a head apart
/// (`i, i + d/2`). Rows have `width` elements.
pub(super) fn halves_apart<T: Copy>(rows: &[T], heads: usize, width: usize) -> Vec<T> {
    let head_dim = rows.len() / (heads * width);
    let half = head_dim / 2;
    let mut out = Vec::with_capacity(rows.len());
    for head in rows.chunks_exact(head_dim * width) {
        for channel in 0..head_dim {
            let stored = (channel % half) * 2 + channel / half;
            out.extend_from_slice(&head[stored * width..][..width]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotary_pairs_are_moved_half_a_head_apart() {
        let stored = [0, 4, 1, 5, 2, 6, 3, 7, 10, 14, 11, 15, 12, 16, 13, 17];
        let expected = [0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15, 16, 17];
        assert_eq!(halves_apart(&stored, 2, 1), expected);
        let wide: Vec<i32> = stored.iter().flat_map(|&row| [row, row + 100]).collect();
        assert_eq!(side_by_side(&expected, 2, 1), stored);
        assert_eq!(side_by_side(&halves_apart(&wide, 2, 2), 2, 2), wide);
        assert_eq!(halves_apart(&wide, 2, 2), expected.iter().flat_map(|&row| [row, row + 100]).collect::<Vec<_>>());
    }
}
