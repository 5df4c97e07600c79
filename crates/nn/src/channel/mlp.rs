//! Feed-forward layer: `y = W_down activation(W_up x + b) + c`. Vaswani et al. 2017, arXiv:1706.03762.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::Linear;

/// What stands between the two projections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x Φ(x)` with the normal distribution function `Φ`.
    #[default]
    Gelu,
    /// GELU in its tanh form.
    GeluTanh,
    /// `x · sigmoid(x)`
    Silu,
    /// GELU in integers, of inputs in 8 bits with a scale for each token: what a processor without floating point gives. I-BERT,
    /// arXiv:2101.01321.
    IntegerGelu,
}

impl Activation {
    fn apply(self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Gelu => headwise_ops::gelu(x),
            Self::GeluTanh => headwise_ops::gelu_tanh(x),
            Self::Silu => headwise_ops::silu(x),
            Self::IntegerGelu => headwise_ops::integer_gelu(x, 8),
        }
    }

    /// The activation of `x + bias`.
    fn apply_biased(self, x: Tensor<3>, bias: Tensor<1>) -> Tensor<3> {
        match self {
            Self::Gelu => headwise_ops::bias_gelu(x, bias),
            Self::GeluTanh => headwise_ops::bias_gelu_tanh(x, bias),
            Self::Silu => headwise_ops::bias_silu(x, bias),
            Self::IntegerGelu => self.apply(x + bias.unsqueeze()),
        }
    }
}

headwise_spec::method! {
    /// A feed-forward layer of two projections.
    ///
    /// Vaswani et al. 2017, arXiv:1706.03762.
    pub struct MlpSpec {
        /// Inner width.
        pub hidden: usize = 1024,
        /// What stands between the two projections.
        pub activation: Activation = Activation::Gelu,
        /// Both projections have a bias.
        pub bias: bool = false,
    }
}

/// A feed-forward layer of two projections.
#[derive(Module, Debug)]
pub struct Mlp {
    /// `dim` to `hidden`, activated.
    pub up: Linear,
    /// `hidden` to `dim`.
    pub down: Linear,
    #[module(skip)]
    activation: Activation,
}

impl Mlp {
    /// A layer from its two projections.
    pub fn new(up: Linear, down: Linear, activation: Activation) -> Self {
        Self { up, down, activation }
    }

    /// Trainable weights at random.
    pub fn random(spec: &MlpSpec, dim: usize, device: &Device) -> Self {
        let up = Linear::random(dim, spec.hidden, spec.bias, device);
        Self::new(up, Linear::random(spec.hidden, dim, spec.bias, device), spec.activation)
    }

    /// `x` `[batch, tokens, dim]` to the same shape.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let hidden = match &self.up {
            // The bias is added where the activation reads.
            Linear::Float(burn::nn::Linear { weight, bias: Some(bias) }) => {
                self.activation.apply_biased(headwise_ops::linear(x, weight.val(), None), bias.val())
            }
            up => self.activation.apply(up.forward(x)),
        };
        self.down.forward(hidden)
    }
}
