//! The parts of a supernet: one model whose layers can be used in several widths, and some left out, all with the same weights.
//!
//! A part of a layer has its first key-value heads, each with their query heads, and its first hidden channels. So the weights of a narrow
//! layer are those of a wide one, and one training trains them all. Weights are entangled as in AutoFormer, Chen et al. 2021,
//! arXiv:2107.00651; widths of single layers as in HAT, Wang et al. 2020, arXiv:2005.14187.

#[cfg(test)]
mod tests;

use burn::module::Param;
use burn::tensor::{Tensor, TensorData};
use headwise_nn::Linear;
use headwise_nn::block::Norms;
use headwise_nn::channel::{Channel, ChannelSpec, Gated, GatedSpec, Mlp, MlpSpec};
use headwise_nn::mixer::{Heads, Mixer};
use headwise_nn::position::PositionSpec;
use rand::{Rng, RngExt};

use super::CompressError;
use super::heads::{inputs, keep, outputs};
use crate::decoder::{Decoder, DecoderSpec};

/// What is used of every layer of a model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subnet {
    layers: Vec<Part>,
}

/// How many of the steps to its whole width are used of a layer; none of both where it is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Part {
    heads: usize,
    hidden: usize,
}

impl Part {
    const NOTHING: Self = Self { heads: 0, hidden: 0 };
}

/// The parts that there are of the layers of a model.
#[derive(Clone, Debug)]
pub struct Space {
    layers: Vec<Whole>,
    steps: usize,
}

/// A whole layer.
#[derive(Clone, Copy, Debug)]
struct Whole {
    kv_heads: usize,
    hidden: usize,
    /// Weights of a key-value head with its query heads.
    per_head: usize,
    /// Weights of a hidden channel.
    per_channel: usize,
    /// Whether the layer may be left out.
    optional: bool,
}

impl Space {
    /// The parts of a model as `spec` says, where a layer has at most `steps` widths. Every other layer, but not the last, may be left
    /// out.
    ///
    /// # Errors
    /// If a layer cannot be used in part.
    pub fn of(spec: &DecoderSpec, steps: usize) -> Result<Self, CompressError> {
        let refused = |text: &str| Err(CompressError::Method(format!("parts of a supernet: {text}")));
        if steps == 0 {
            return refused("steps=0: a layer has at least 1 width");
        }
        let mut layers = Vec::with_capacity(spec.layers.len());
        for (index, layer) in spec.layers.iter().enumerate() {
            let Some(mixer) = layer.mixer.softmax().filter(|mixer| mixer.convolution.is_none()) else {
                return Err(CompressError::Mixer { layer: index, mixer: layer.mixer.to_string() });
            };
            if matches!(mixer.position, PositionSpec::Alibi(_)) {
                return refused("position=alibi has other slopes for fewer heads");
            }
            if layer.norms != Norms::Pre {
                return refused("layers must have their norms before each part, or leaving one out would leave a norm");
            }
            if matches!(layer.channel, Some(ChannelSpec::MoeSpec(_))) {
                return refused("channel mixers must be `gated` or `mlp`");
            }
            let Heads { kv_heads, head_dim, .. } = mixer.sizes(spec.dim);
            let group = mixer.sizes(spec.dim).group();
            layers.push(Whole {
                kv_heads,
                hidden: layer.channel.as_ref().map_or(0, ChannelSpec::hidden),
                per_head: 2 * (group + 1) * head_dim * spec.dim,
                per_channel: layer.channel.as_ref().map_or(0, ChannelSpec::projections) * spec.dim,
                optional: index % 2 == 1 && index + 1 < spec.layers.len(),
            });
        }
        if spec.shared_by > 1 {
            return Err(CompressError::Shared { shared_by: spec.shared_by });
        }
        Ok(Self { layers, steps })
    }

    /// Everything.
    pub fn largest(&self) -> Subnet {
        Subnet { layers: vec![Part { heads: self.steps, hidden: self.steps }; self.layers.len()] }
    }

    /// The narrowest layers, and only those that may not be left out.
    pub fn smallest(&self) -> Subnet {
        let part = |whole: &Whole| if whole.optional { Part::NOTHING } else { Part { heads: 1, hidden: 1 } };
        Subnet { layers: self.layers.iter().map(part).collect() }
    }

    /// Any part.
    pub fn random(&self, random: &mut impl Rng) -> Subnet {
        Subnet { layers: self.layers.iter().map(|whole| self.random_part(whole, random)).collect() }
    }

    fn random_part(&self, whole: &Whole, random: &mut impl Rng) -> Part {
        if whole.optional && random.random_bool(0.25) {
            return Part::NOTHING;
        }
        let [heads, hidden] = [(); 2].map(|()| random.random_range(1..=self.steps));
        Part { heads, hidden }
    }

    /// The weights of the layers of `subnet`, matrices only.
    pub fn weights(&self, subnet: &Subnet) -> usize {
        let of =
            |whole: &Whole, (kv_heads, hidden): (usize, usize)| kv_heads * whole.per_head + hidden * whole.per_channel;
        self.layers.iter().zip(&subnet.layers).map(|(whole, part)| of(whole, self.sizes(whole, part))).sum()
    }

    /// `subnet` with each layer, with a chance of `chance`, replaced by a random part of it.
    pub(super) fn mutated(&self, subnet: &Subnet, chance: f64, random: &mut impl Rng) -> Subnet {
        let part = |(whole, part): (&Whole, &Part)| match random.random_bool(chance) {
            true => self.random_part(whole, random),
            false => *part,
        };
        Subnet { layers: self.layers.iter().zip(&subnet.layers).map(part).collect() }
    }

    /// A child that has every layer from one parent or the other.
    pub(super) fn crossed(&self, [first, second]: [&Subnet; 2], random: &mut impl Rng) -> Subnet {
        let part = |(first, second): (&Part, &Part)| if random.random_bool(0.5) { *first } else { *second };
        Subnet { layers: first.layers.iter().zip(&second.layers).map(part).collect() }
    }

    /// `subnet`, made narrower at random until it has at most `most` weights; the smallest one if that has more.
    pub(super) fn within(&self, mut subnet: Subnet, most: usize, random: &mut impl Rng) -> Subnet {
        let smallest = self.smallest();
        while self.weights(&subnet) > most && subnet != smallest {
            let layer = random.random_range(0..self.layers.len());
            let part = &mut subnet.layers[layer];
            let narrower = |steps: usize| steps.max(2) - 1;
            *part = match (*part, random.random_bool(0.5)) {
                (Part::NOTHING, _) => Part::NOTHING,
                (Part { heads: 1, hidden: 1 }, _) if self.layers[layer].optional => Part::NOTHING,
                (Part { heads, hidden }, true) => Part { heads: narrower(heads), hidden },
                (Part { heads, hidden }, false) => Part { heads, hidden: narrower(hidden) },
            };
        }
        subnet
    }

    /// The key-value heads and hidden channels of a part, rounded up.
    fn sizes(&self, whole: &Whole, part: &Part) -> (usize, usize) {
        ((whole.kv_heads * part.heads).div_ceil(self.steps), (whole.hidden * part.hidden).div_ceil(self.steps))
    }

    /// `model` with what `subnet` does not use at zero, where gradients still reach what it uses: it computes what
    /// [`extracted`](Self::extracted) does.
    pub fn cut(&self, subnet: &Subnet, model: &Decoder) -> Decoder {
        let mut model = model.clone();
        for ((whole, part), block) in self.layers.iter().zip(&subnet.layers).zip(&mut model.blocks) {
            let (kv_heads, hidden) = self.sizes(whole, part);
            if let Mixer::Softmax(mixer) = &mut block.mixer {
                cut(&mut mixer.output, kv_heads, whole.kv_heads);
            }
            match &mut block.channel {
                Some(Channel::Gated(channel)) => cut(&mut channel.down, hidden, whole.hidden),
                Some(Channel::Mlp(channel)) => cut(&mut channel.down, hidden, whole.hidden),
                Some(Channel::Moe(_)) | None => {}
            }
        }
        model
    }

    /// The model that has what `subnet` uses of `model`, which has trainable weights, and nothing else.
    pub fn extracted(&self, subnet: &Subnet, model: &Decoder) -> Decoder {
        let mut model = model.clone();
        for (layer, (whole, part)) in self.layers.iter().zip(&subnet.layers).enumerate() {
            let (kv_heads, hidden) = self.sizes(whole, part);
            if *part != Part::NOTHING {
                keep(&mut model, layer, &(0..kv_heads).collect::<Vec<_>>());
                narrow(&mut model, layer, hidden);
            }
        }
        let kept = (0..self.layers.len()).filter(|&layer| subnet.layers[layer] != Part::NOTHING);
        model.keep_layers(&kept.collect::<Vec<_>>());
        model
    }

    /// How many layers `subnet` uses, and how many there are.
    pub fn depth(&self, subnet: &Subnet) -> [usize; 2] {
        [subnet.layers.iter().filter(|part| **part != Part::NOTHING).count(), self.layers.len()]
    }
}

/// Zeros for all inputs of `linear` but the first `kept` of `all` equal parts; nothing at all comes from none.
fn cut(linear: &mut Linear, kept: usize, all: usize) {
    let Linear::Float(float) = linear else { return };
    if kept == all {
        return;
    }
    let weight = float.weight.val();
    // Inputs stand first here.
    let inputs = weight.dims()[0];
    let factors: Vec<f32> = (0..inputs).map(|input| if input < inputs / all * kept { 1.0 } else { 0.0 }).collect();
    let factors = Tensor::<2>::from_data(TensorData::new(factors, [inputs, 1]), &weight.device());
    float.weight = Param::initialized(float.weight.id, weight * factors);
    if kept == 0 {
        float.bias = float.bias.take().map(|bias| Param::initialized(bias.id, bias.val() * 0.0));
    }
}

/// Leaves the first `hidden` channels between the projections of a channel layer.
fn narrow(model: &mut Decoder, layer: usize, hidden: usize) {
    let kept: Vec<usize> = (0..hidden).collect();
    let (spec, channel) = match (&model.spec().layers[layer].channel, &model.blocks[layer].channel) {
        (Some(ChannelSpec::GatedSpec(spec)), Some(Channel::Gated(whole))) => {
            let [gate, up] = [&whole.gate, &whole.up].map(|linear| outputs(linear, &kept));
            let channel = Gated::new(gate, up, inputs(&whole.down, &kept), spec.gate);
            (GatedSpec { hidden, ..spec.clone() }.into(), Channel::Gated(channel))
        }
        (Some(ChannelSpec::MlpSpec(spec)), Some(Channel::Mlp(whole))) => {
            let [up, down] = [outputs(&whole.up, &kept), inputs(&whole.down, &kept)];
            (MlpSpec { hidden, ..spec.clone() }.into(), Channel::Mlp(Mlp::new(up, down, spec.activation)))
        }
        _ => return,
    };
    model.replace_channel(layer, spec, channel);
}
