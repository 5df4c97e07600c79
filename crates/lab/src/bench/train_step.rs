//! One step of training: forward, loss, backward and AdamW.
//!
//! `train_step` is of an encoder with norms after the residual sums, as the first transformer had them: layers of attention with heads of
//! 32 channels and an MLP with GELU, four times as wide, all projections with biases. It learns to repeat its input; the loss is the mean
//! square. `decoder_step` is of a causal language model over bytes with the same layers, norms before their parts; the loss is the cross-entropy.

use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor, TensorData};
use headwise_models::decoder::{Decoder, DecoderSpec, ModelFamily};
use headwise_nn::block::{Block, BlockSpec, Norms};
use headwise_nn::channel::{Activation, ChannelSpec, MlpSpec};
use headwise_nn::mixer::{MixContext, MixerSpec, Segment, SoftmaxSpec};
use headwise_nn::norm::NormSpec;
use headwise_nn::position::Nope;
use headwise_ops::{CutSettings, Targets, cut_cross_entropy};
use headwise_train::optimiser::AdamW;

use super::attention::numbers;
use super::memory::growth_of;
use super::plan::Run;
use super::{BenchRow, Times};

/// Channels of a head.
const HEAD_DIM: usize = 32;
/// Inner width of the MLP, in widths of the model.
const EXPANSION: usize = 4;
/// Tokens of the language model: bytes.
const VOCABULARY: usize = 256;
const LEARNING_RATE: f64 = 1e-3;

/// A layer of `dim` channels.
fn block(dim: usize, causal: bool, norms: Norms) -> BlockSpec {
    let heads = (dim / HEAD_DIM).max(1);
    BlockSpec {
        mixer: MixerSpec::from(SoftmaxSpec {
            heads,
            head_dim: Some(dim.div_ceil(heads)),
            position: Nope {}.into(),
            causal,
            bias: true,
            ..SoftmaxSpec::default()
        }),
        channel: Some(ChannelSpec::from(MlpSpec { hidden: EXPANSION * dim, activation: Activation::Gelu, bias: true })),
        norms,
        norm: NormSpec::Layer,
    }
}

/// A stack of layers.
#[derive(Module, Debug)]
struct Encoder {
    blocks: Vec<Block>,
}

impl Encoder {
    fn new(dim: usize, layers: usize, device: &Device) -> Self {
        let spec = block(dim, false, Norms::Post);
        Self { blocks: (0..layers).map(|_| Block::random(&spec, dim, 1e-5, device)).collect() }
    }

    /// The mean square of what the model makes of `x`, less `x`.
    fn loss(&self, x: Tensor<3>) -> Tensor<1> {
        let mut ctx = MixContext::new(&[], &[]);
        let y = self.blocks.iter().fold(x.clone(), |x, block| block.forward(x, &mut ctx));
        (y - x).square().mean()
    }
}

/// `train_step`
pub(super) fn train_step(run: &Run<'_>) -> Vec<BenchRow> {
    let [batch, tokens, dim, layers] = run.shape.sides();
    let times = || {
        let device = Device::flex().autodiff();
        let x = TensorData::new(numbers(batch * tokens * dim, 1), [batch, tokens, dim]);
        let x = Tensor::<3>::from_data(x, &device);
        steps(run, Encoder::new(dim, layers, &device), |model| model.loss(x.clone()))
    };
    row(run, times, 0)
}

/// `decoder_step`
pub(super) fn decoder_step(run: &Run<'_>) -> Vec<BenchRow> {
    let [batch, tokens, dim, layers] = run.shape.sides();
    let spec = DecoderSpec {
        family: ModelFamily::Decoder,
        vocabulary: VOCABULARY,
        dim,
        context: tokens,
        epsilon: 1e-5,
        embedding_scale: None,
        position: None,
        tied: false,
        final_norm: true,
        embedding_dim: None,
        shared_by: 1,
        final_softcap: None,
        sentinels: None,
        layers: vec![block(dim, true, Norms::Pre); layers],
    };
    let ids: Vec<u32> = (0..batch * tokens).map(|index| (index * 7919 % VOCABULARY) as u32).collect();
    let targets = Targets::new(&ids.iter().map(|&id| (id as i32 + 1) % VOCABULARY as i32).collect::<Vec<_>>());
    let positions: Vec<i32> = (0..batch).flat_map(|_| 0..tokens as i32).collect();
    let segments: Vec<Segment> =
        (0..batch).map(|sequence| Segment { sequence, rows: sequence * tokens..(sequence + 1) * tokens }).collect();
    let times = || {
        let device = Device::flex().autodiff();
        let model = Decoder::random(spec, &device).expect("a sound spec");
        steps(run, model, |model| {
            let hidden = model.hidden(&ids, &positions, &segments, &device);
            cut_cross_entropy(hidden, model.classifier(), None, &targets, &CutSettings::default()).loss
        })
    };
    row(run, times, VOCABULARY)
}

/// The row of a model with an output head of so many classes.
fn row(run: &Run<'_>, times: impl FnOnce() -> Times, classes: usize) -> Vec<BenchRow> {
    let [batch, tokens, dim, layers] = run.shape.sides();
    let (times, peak_mib) = growth_of(times);
    let (rows, attended) = (batch * tokens, batch * tokens * tokens);
    // Four projections of attention and two of the MLP; scores and sums of values. The gradient takes twice as much.
    let forward = 2 * layers * (rows * dim * dim * (4 + 2 * EXPANSION) + 2 * attended * dim) + 2 * rows * dim * classes;
    let row = BenchRow::new(run.name, run.params("f32"), times, Some(3.0 * forward as f64), None);
    vec![BenchRow { peak_mib, ..row }]
}

/// Times of steps.
fn steps<M: Module>(run: &Run<'_>, model: M, loss: impl Fn(&M) -> Tensor<1>) -> Times {
    let mut model = Some(model);
    let mut optimiser = ModuleOptimizer::from(AdamW::default());
    Times::of_calls(run.repeats(7, 1.0), || {
        if let Some(last) = model.take() {
            let gradients = GradientsParams::from_grads(loss(&last).backward(), &last);
            model = Some(optimiser.step(LEARNING_RATE, last, gradients));
        }
    })
}
