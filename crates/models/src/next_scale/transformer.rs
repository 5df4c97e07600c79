//! The transformer that predicts a map of codes from all smaller ones.
//!
//! A token reads the features so far at its place, `word(area(f̂, p_k))`, plus the vectors of its scale and its position; the first reads
//! the class. All tokens of a scale are predicted at once, and see each other and every earlier scale. Tian et al. 2024 (VAR),
//! arXiv:2404.02905.

use burn::module::{Module, Param};
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use headwise_nn::Linear;
use headwise_ops::{host, silu};

use super::block::{NextScaleBlock, PARTS, Projected, attended, modulated};
use super::spec::NextScaleSpec;

/// The score of a key that is hidden: its weight is exactly 0 beside any cosine.
const HIDDEN: f32 = -1e9;

/// The transformer.
#[derive(Module, Debug)]
pub struct NextScaleTransformer {
    /// A vector for each class, and the last for no class: `[classes + 1, dim]`.
    pub class: Param<Tensor<2>>,
    /// From features to token vectors.
    pub word: Linear,
    /// A vector for each scale: `[scales, dim]`.
    pub level: Param<Tensor<2>>,
    /// A vector for each token: `[tokens, dim]`.
    pub position: Param<Tensor<2>>,
    /// From the class to what scales, shifts and gates all layers.
    pub condition: Linear,
    /// The layers.
    pub blocks: Vec<NextScaleBlock>,
    /// From the class to scale and shift before the head.
    pub last_condition: Linear,
    /// To the scores of the codes.
    pub head: Linear,
    scales: Vec<usize>,
}

/// What the class says to all layers.
#[derive(Clone, Debug)]
pub struct Condition {
    /// The vector of the class, which is also the first token: `[rows, 1, dim]`.
    class: Tensor<3>,
    /// `[rows, 6, dim]`.
    layers: Tensor<3>,
    /// Scale and shift before the head: `[rows, 2, dim]`.
    last: Tensor<3>,
}

impl NextScaleTransformer {
    /// A transformer with weights drawn at random.
    pub fn random(spec: &NextScaleSpec, device: &Device) -> Self {
        let dim = spec.dim;
        let table =
            |rows: usize| Param::from_tensor(Tensor::random([rows, dim], Distribution::Normal(0.0, 0.1), device));
        Self {
            class: table(spec.classes + 1),
            word: Linear::random(spec.channels, dim, true, device),
            level: table(spec.scales.len()),
            position: table(spec.tokens()),
            condition: Linear::random(dim, PARTS * dim, true, device),
            blocks: (0..spec.layers).map(|_| NextScaleBlock::random(spec, device)).collect(),
            last_condition: Linear::random(dim, 2 * dim, true, device),
            head: Linear::random(dim, spec.codes, true, device),
            scales: spec.scales.clone(),
        }
    }

    /// What `classes` say; one for each row, the number of classes itself standing for none.
    pub fn condition(&self, classes: &[usize]) -> Condition {
        let table = self.class.val();
        let (device, [_, dim], rows) = (table.device(), table.dims(), classes.len());
        let indices: Vec<i64> = classes.iter().map(|&class| class as i64).collect();
        let class = table.select(0, Tensor::<1, Int>::from_data(TensorData::new(indices, [rows]), &device));
        let seen = silu(class.clone());
        Condition {
            layers: self.condition.forward(seen.clone()).reshape([rows, PARTS, dim]),
            last: self.last_condition.forward(seen).reshape([rows, 2, dim]),
            class: class.reshape([rows, 1, dim]),
        }
    }

    /// The first and one after the last token of `scale`.
    fn places(&self, scale: usize) -> std::ops::Range<usize> {
        let first = self.scales[..scale].iter().map(|side| side * side).sum();
        first..first + self.scales[scale].pow(2)
    }

    /// Token vectors of the scales `scales`, from the `features` `[rows, tokens, channels]` that they read; those of the first scale,
    /// where it is among them, read the class instead.
    fn embed(&self, condition: &Condition, features: Option<Tensor<3>>, scales: std::ops::Range<usize>) -> Tensor<3> {
        let first = (scales.start == 0).then(|| condition.class.clone());
        let words = features.map(|features| self.word.forward(features));
        let x = Tensor::cat(first.into_iter().chain(words).collect(), 1);
        let device = x.device();
        let places = self.places(scales.start).start..self.places(scales.end - 1).end;
        let levels: Vec<i64> =
            scales.flat_map(|scale| std::iter::repeat_n(scale as i64, self.scales[scale].pow(2))).collect();
        let count = levels.len();
        let level = self.level.val().select(0, Tensor::<1, Int>::from_data(TensorData::new(levels, [count]), &device));
        let position = self.position.val().narrow(0, places.start, places.len());
        x + (level + position).unsqueeze()
    }

    /// The scores of the codes: `[rows, tokens, codes]`.
    fn scores(&self, x: Tensor<3>, condition: &Condition) -> Tensor<3> {
        let part = |index: usize| condition.last.clone().narrow(1, index, 1);
        self.head.forward(modulated(x, part(0), part(1)))
    }

    /// The scores of all tokens at once, each seeing its own and earlier scales: `features` `[rows, tokens - 1, channels]` are those that
    /// all scales but the first read. Gives `[rows, tokens, codes]`.
    pub fn forward(&self, classes: &[usize], features: Tensor<3>) -> Tensor<3> {
        let condition = self.condition(classes);
        let bias = self.hidden(&features.device());
        let mut x = self.embed(&condition, Some(features), 0..self.scales.len());
        for block in &self.blocks {
            x = block.forward(x, &condition.layers, |projected| attended(projected, Some(bias.clone())));
        }
        self.scores(x, &condition)
    }

    /// The bias that hides later scales: `[1, 1, tokens, tokens]`.
    fn hidden(&self, device: &Device) -> Tensor<4> {
        let scale_of: Vec<usize> =
            self.scales.iter().enumerate().flat_map(|(scale, side)| std::iter::repeat_n(scale, side * side)).collect();
        let seen =
            |query: &usize| scale_of.iter().map(|key| if key <= query { 0.0 } else { HIDDEN }).collect::<Vec<_>>();
        let values = scale_of.iter().flat_map(seen).collect();
        host::tensor(values, [1, 1, scale_of.len(), scale_of.len()], device)
    }

    /// The scores of one scale, from the `features` `[rows, cells, channels]` that it reads, none for the first. `attend` is given the
    /// number of the layer and its new queries, keys and values, and knows the older ones. Gives `[rows, cells, codes]`.
    pub fn step(
        &self,
        condition: &Condition,
        scale: usize,
        features: Option<Tensor<3>>,
        mut attend: impl FnMut(usize, Projected) -> Tensor<4>,
    ) -> Tensor<3> {
        let mut x = self.embed(condition, features, scale..scale + 1);
        for (layer, block) in self.blocks.iter().enumerate() {
            x = block.forward(x, &condition.layers, |projected| attend(layer, projected));
        }
        self.scores(x, condition)
    }
}
