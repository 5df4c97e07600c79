//! Language models: one description, one module, for training and inference. An encoder is a [`Decoder`] of another family, whose layers
//! see both sides.

mod asked;
mod error;
mod experts;
mod export;
mod folder;
mod from_gguf;
mod from_hf;
mod induction;
mod linears;
mod load;
mod sentinels;
mod spec;
mod to_gguf;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use headwise_nn::block::{Block, share_rotations};
use headwise_nn::channel::{Channel, ChannelSpec};
use headwise_nn::mixer::{MixContext, Mixer, Segment, Softmax};
use headwise_nn::norm::Norm;
use headwise_nn::position::InputPosition;
use headwise_nn::{Embedding, Factor, Linear};

pub use error::LoadError;
pub use experts::ExpertFile;
pub use export::{ExportError, Precision};
pub use induction::Induction;
pub(crate) use linears::linears;
pub use load::Weights;
pub use sentinels::Sentinels;
pub use spec::{DecoderSpec, ModelFamily, SpecError};
pub use to_gguf::Encoded;

/// A decoder language model, or an encoder: [`DecoderSpec::family`] says which.
#[derive(Module, Debug)]
pub struct Decoder {
    /// Token vectors; also the output head when `head` is none.
    pub embedding: Embedding,
    /// Between token vectors and the residual stream, where the former have fewer channels.
    pub factor: Option<Factor>,
    /// Vectors that say where tokens stand, where they are added to those of the tokens.
    pub position: Option<InputPosition>,
    /// The layers; where several have the same weights, one of them: see [`block`](Self::block).
    pub blocks: Vec<Block>,
    /// The norm before the output head.
    pub norm: Option<Norm>,
    /// The output head, where it is not tied to the embedding.
    pub head: Option<Linear>,
    #[module(skip)]
    spec: DecoderSpec,
}

impl Decoder {
    /// A model with trainable weights drawn at random.
    pub fn random(spec: DecoderSpec, device: &Device) -> Result<Self, SpecError> {
        spec.check()?;
        let (dim, epsilon, width) = (spec.dim, spec.epsilon, spec.head_width());
        let layers = spec.layers.iter().step_by(spec.shared_by);
        let mut blocks: Vec<Block> = layers.map(|layer| Block::random(layer, dim, epsilon, device)).collect();
        share_rotations(&mut blocks);
        let position = |position| InputPosition::random(position, spec.context, dim, device);
        Ok(Self {
            embedding: Embedding::random(spec.vocabulary, width, device),
            factor: spec.embedding_dim.map(|width| Factor::random(width, dim, device)),
            position: spec.position.as_ref().map(position),
            blocks,
            norm: spec.final_norm.then(|| Norm::new(spec.norm(), dim, epsilon, device)),
            head: (!spec.tied).then(|| Linear::random(width, spec.vocabulary, false, device)),
            spec,
        })
    }

    /// What the model is.
    pub fn spec(&self) -> &DecoderSpec {
        &self.spec
    }

    /// Layer `layer`.
    pub fn block(&self, layer: usize) -> &Block {
        &self.blocks[layer / self.spec.shared_by]
    }

    /// Leaves the layers `kept`, ascending, and no others. Every layer must have weights of its own.
    pub fn keep_layers(&mut self, kept: &[usize]) {
        let mut blocks: Vec<Option<Block>> = self.blocks.drain(..).map(Some).collect();
        self.blocks = kept.iter().filter_map(|&layer| blocks.get_mut(layer)?.take()).collect();
        self.spec.layers = kept.iter().filter_map(|&layer| self.spec.layers.get(layer).cloned()).collect();
    }

    /// Puts other attention into layer `layer`.
    pub(crate) fn replace_softmax(&mut self, layer: usize, mixer: Softmax) {
        self.spec.layers[layer].mixer = mixer.spec().clone().into();
        self.blocks[layer].mixer = Mixer::Softmax(mixer);
        share_rotations(&mut self.blocks);
    }

    /// Puts another channel mixer into layer `layer`.
    pub(crate) fn replace_channel(&mut self, layer: usize, spec: ChannelSpec, channel: Channel) {
        self.spec.layers[layer].channel = Some(spec);
        self.blocks[layer].channel = Some(channel);
    }

    /// The vectors of `ids` at `positions` of their texts: `[1, ids, dim]`. Every id must be below the vocabulary size.
    ///
    /// # Panics
    /// If a position is not below [`DecoderSpec::positions`].
    pub fn embed(&self, ids: &[u32], positions: &[i32], device: &Device) -> Tensor<3> {
        let x = self.embedding.lookup(ids, device);
        let x = match &self.factor {
            Some(factor) => factor.up.forward(x),
            None => x,
        };
        let x = match self.spec.embedding_scale {
            Some(scale) => x * scale,
            None => x,
        };
        match &self.position {
            Some(position) => position.add(x, positions),
            None => x,
        }
    }

    /// Runs layer `index` on `x` `[1, rows, dim]`.
    pub fn layer(&self, index: usize, x: Tensor<3>, ctx: &mut MixContext<'_>) -> Tensor<3> {
        ctx.layer = index;
        self.block(index).forward(x, ctx)
    }

    /// The token mixer's part of layer `index`: enough where only what it stores is of interest.
    pub fn mix(&self, index: usize, x: Tensor<3>, ctx: &mut MixContext<'_>) -> Tensor<3> {
        ctx.layer = index;
        self.block(index).mix(x, ctx)
    }

    /// Scores of the next token after each of `rows` of `x` `[1, rows, dim]`: `[rows, vocabulary]`.
    pub fn head(&self, x: Tensor<3>, rows: &[usize]) -> Tensor<2> {
        let device = x.device();
        let indices: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
        let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [rows.len()]), &device);
        self.logits(self.read_out(x.squeeze_dim::<2>(0).select(0, indices)))
    }

    /// What the output head reads, `[rows, head_width]`: `x` `[rows, dim]` through the last norm, and narrowed where token vectors are.
    pub fn read_out(&self, x: Tensor<2>) -> Tensor<2> {
        match &self.factor {
            Some(factor) => factor.down.forward(self.normed(x)),
            None => self.normed(x),
        }
    }

    /// `x` `[rows, dim]` through the last norm.
    pub fn normed(&self, x: Tensor<2>) -> Tensor<2> {
        match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        }
    }

    /// Scores of the next token, from what [`hidden`](Self::hidden) gives.
    fn logits(&self, x: Tensor<2>) -> Tensor<2> {
        let logits = match &self.head {
            Some(head) => head.forward(x),
            None => self.embedding.project(x),
        };
        match self.spec.final_softcap {
            Some(cap) => (logits / cap).tanh() * cap,
            None => logits,
        }
    }

    /// What the output head reads after every token: `[ids, head_width]`. The texts of `segments` are read alone, without a
    /// cache; `positions` is the place of every token in its text.
    pub fn hidden(&self, ids: &[u32], positions: &[i32], segments: &[Segment], device: &Device) -> Tensor<2> {
        self.hidden_and_balance(ids, positions, segments, device).0
    }

    /// The same, and what the loss gets in training so that the experts of mixtures are equally busy; none without mixtures.
    pub fn hidden_and_balance(
        &self,
        ids: &[u32],
        positions: &[i32],
        segments: &[Segment],
        device: &Device,
    ) -> (Tensor<2>, Option<Tensor<1>>) {
        let mut ctx = MixContext::new(positions, segments);
        let x = self.embed(ids, positions, device);
        let x = (0..self.spec.layers.len()).fold(x, |x, index| self.layer(index, x, &mut ctx));
        let balance = ctx.balance.into_iter().reduce(|sum, more| sum + more);
        (self.read_out(x.squeeze_dim(0)), balance)
    }

    /// The residual stream after each layer, `[ids, dim]`, of what [`hidden`](Self::hidden) reads.
    pub fn states(&self, ids: &[u32], positions: &[i32], segments: &[Segment], device: &Device) -> Vec<Tensor<2>> {
        let mut ctx = MixContext::new(positions, segments);
        let mut x = self.embed(ids, positions, device);
        let after = |index: usize| {
            x = self.layer(index, x.clone(), &mut ctx);
            x.clone().squeeze_dim(0)
        };
        (0..self.spec.layers.len()).map(after).collect()
    }

    /// Scores after every token of one text, without a cache: `[ids, vocabulary]`.
    pub fn forward(&self, ids: &[u32], device: &Device) -> Tensor<2> {
        let positions: Vec<i32> = (0..ids.len() as i32).collect();
        let segments = [Segment { sequence: 0, rows: 0..ids.len() }];
        self.logits(self.hidden(ids, &positions, &segments, device))
    }

    /// The trainable weights of the output head as `[vocabulary, head_width]`, which may be a view.
    ///
    /// # Panics
    /// If the weights are packed: load the model with trainable weights.
    pub fn classifier(&self) -> Tensor<2> {
        match (&self.head, &self.embedding) {
            (Some(Linear::Float(head)), _) => head.weight.val().transpose(),
            (None, Embedding::Float(table)) => table.weight.val(),
            _ => panic!("packed weights have no gradient: load the model with trainable weights"),
        }
    }
}
