//! One step of training: forward, loss, backward and AdamW.
//!
//! The model is an encoder with norms after the residual sums, as the first transformer had them: layers of attention with heads of 32
//! channels and an MLP with GELU, four times as wide, all projections with biases. It learns to repeat its input; the loss is the mean square.

use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor, TensorData};
use headwise_nn::block::{Block, BlockSpec, Norms};
use headwise_nn::channel::{Activation, ChannelSpec, MlpSpec};
use headwise_nn::mixer::{MixContext, MixerSpec, SoftmaxSpec};
use headwise_nn::norm::NormSpec;
use headwise_nn::position::Nope;
use headwise_train::optimiser::AdamW;

use super::attention::numbers;
use super::memory::growth_of;
use super::plan::Run;
use super::{BenchRow, Times};

/// Channels of a head.
const HEAD_DIM: usize = 32;
/// Inner width of the MLP, in widths of the model.
const EXPANSION: usize = 4;
const LEARNING_RATE: f64 = 1e-3;

/// A stack of layers.
#[derive(Module, Debug)]
struct Encoder {
    blocks: Vec<Block>,
}

impl Encoder {
    fn new(dim: usize, layers: usize, device: &Device) -> Self {
        let heads = (dim / HEAD_DIM).max(1);
        let spec = BlockSpec {
            mixer: MixerSpec::from(SoftmaxSpec {
                heads,
                head_dim: Some(dim.div_ceil(heads)),
                position: Nope {}.into(),
                causal: false,
                bias: true,
                ..SoftmaxSpec::default()
            }),
            channel: Some(ChannelSpec::from(MlpSpec {
                hidden: EXPANSION * dim,
                activation: Activation::Gelu,
                bias: true,
            })),
            norms: Norms::Post,
            norm: NormSpec::Layer,
        };
        Self { blocks: (0..layers).map(|_| Block::random(&spec, dim, 1e-5, device)).collect() }
    }

    /// The mean square of what the model makes of `x`, less `x`.
    fn loss(&self, x: Tensor<3>) -> Tensor<1> {
        let mut ctx = MixContext { positions: &[], segments: &[], layer: 0, cache: None };
        let y = self.blocks.iter().fold(x.clone(), |x, block| block.forward(x, &mut ctx));
        (y - x).square().mean()
    }
}

/// `train_step`
pub(super) fn train_step(run: &Run<'_>) -> Vec<BenchRow> {
    let [batch, tokens, dim, layers] = run.shape.sides();
    let (times, peak_mib) = growth_of(|| steps(run));
    let (rows, attended) = (batch * tokens, batch * tokens * tokens);
    // Four projections of attention and two of the MLP; scores and sums of values. The gradient takes twice as much.
    let forward = 2 * layers * (rows * dim * dim * (4 + 2 * EXPANSION) + 2 * attended * dim);
    let row = BenchRow::new(run.name, run.params("f32"), times, Some(3.0 * forward as f64), None);
    vec![BenchRow { peak_mib, ..row }]
}

/// Times of steps.
fn steps(run: &Run<'_>) -> Times {
    let [batch, tokens, dim, layers] = run.shape.sides();
    let device = Device::flex().autodiff();
    let mut model = Some(Encoder::new(dim, layers, &device));
    let mut optimiser = ModuleOptimizer::from(AdamW::default());
    let x = TensorData::new(numbers(batch * tokens * dim, 1), [batch, tokens, dim]);
    let x = Tensor::<3>::from_data(x, &device);
    Times::of_calls(run.repeats(7, 1.0), || {
        if let Some(last) = model.take() {
            let gradients = GradientsParams::from_grads(last.loss(x.clone()).backward(), &last);
            model = Some(optimiser.step(LEARNING_RATE, last, gradients));
        }
    })
}
