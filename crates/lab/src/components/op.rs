//! The operations without parameters of their own, and norms: family `op`.

use burn::tensor::Tensor;
use headwise_kernels::attention::{AttnSpec, Stats};
use headwise_kernels::rope::{Rope, Scaling, inverse_frequencies};
use headwise_ops as ops;

use super::ComponentError;
use super::arrays::{Flat, Tensors};
use super::interface::{ElementType, Interface, Length, TensorSpec};

headwise_spec::method! {
    /// Attention of given queries to given keys and values.
    ///
    /// `output_i = Σ_j softmax_j(scale · q_i · k_j) v_j`. The last query stands at the last key.
    pub struct Attention {
        /// Keys after the query are hidden.
        pub causal: bool = true,
        /// Query `i` sees keys `j` with `0 ≤ i − j < window`.
        pub window: Option<usize> = None,
        /// Scores become `softcap · tanh(score / softcap)`.
        pub softcap: Option<f32> = None,
        /// Factor of the scores; none is `1 / √head_dim`.
        pub scale: Option<f32> = None,
        /// With a window, the first keys that stay visible.
        pub sinks_keep: usize = 0,
    }
}

headwise_spec::method! {
    /// `x / √(mean(x²) + ε) · weight` over the last dimension. arXiv:1910.07467.
    pub struct RmsNorm {
        /// Added to the mean square.
        pub epsilon: f32 = 1e-5,
    }
}

headwise_spec::method! {
    /// `(x − mean(x)) / √(var(x) + ε) · weight + bias` over the last dimension. arXiv:1607.06450.
    pub struct LayerNorm {
        /// Added to the variance.
        pub epsilon: f32 = 1e-5,
    }
}

headwise_spec::method! {
    /// `x Φ(x)` with the normal distribution function `Φ`. arXiv:1606.08415.
    pub struct Gelu {}
}

headwise_spec::method! {
    /// GELU in its `tanh` form. arXiv:1606.08415.
    pub struct GeluTanh {}
}

headwise_spec::method! {
    /// `x σ(x)`. arXiv:1606.08415.
    pub struct Silu {}
}

headwise_spec::method! {
    /// `silu(gate) · up`. arXiv:2002.05202.
    pub struct SwiGlu {}
}

headwise_spec::method! {
    /// `gelu(gate) · up` with the `tanh` form of GELU. arXiv:2002.05202.
    pub struct GeGluTanh {}
}

headwise_spec::method! {
    /// Rotary position encoding: turns channel pairs by angles proportional to the position. arXiv:2104.09864.
    pub struct Rotation {
        /// Base of the angles.
        pub theta: f64 = 10000.0,
        /// Channels that turn, the first ones; none turns all.
        pub dims: Option<usize> = None,
        /// A pair is two neighbouring channels instead of two half a head apart.
        pub interleaved: bool = false,
    }
}

headwise_spec::method! {
    /// Softmax over the last dimension.
    pub struct SoftmaxRows {}
}

headwise_spec::method! {
    /// The logarithm of the softmax over the last dimension.
    pub struct LogSoftmaxRows {}
}

headwise_spec::family! {
    /// A single operation on tensors.
    pub enum Op: "op" {
        attention => Attention,
        rms_norm => RmsNorm,
        layer_norm => LayerNorm,
        gelu => Gelu,
        gelu_tanh => GeluTanh,
        silu => Silu,
        swiglu => SwiGlu,
        geglu_tanh => GeGluTanh,
        rope => Rotation,
        softmax_rows => SoftmaxRows,
        log_softmax_rows => LogSoftmaxRows,
    }
}

impl Op {
    /// Checks the parameters.
    pub(super) fn check(&self) -> Result<(), ComponentError> {
        let wrong =
            |text: String| Err(ComponentError::Parameter(format!("`{}`: {text}", headwise_spec::Family::name(self))));
        match self {
            Self::Attention(Attention { window: Some(0), .. }) => {
                wrong("window=0 hides every key: it must be at least 1".into())
            }
            Self::Attention(Attention { softcap: Some(cap), .. }) if *cap <= 0.0 => {
                wrong(format!("softcap={cap}: it must be above 0"))
            }
            Self::Attention(Attention { sinks_keep, window: None, .. }) if *sinks_keep > 0 => {
                wrong(format!("sinks_keep={sinks_keep} needs a window"))
            }
            Self::RmsNorm(RmsNorm { epsilon }) | Self::LayerNorm(LayerNorm { epsilon }) if *epsilon < 0.0 => {
                wrong(format!("epsilon={epsilon}: it must not be negative"))
            }
            Self::Rotation(Rotation { theta, .. }) if *theta <= 0.0 => {
                wrong(format!("theta={theta}: it must be above 0"))
            }
            Self::Rotation(Rotation { dims: Some(dims), .. }) if *dims == 0 || dims % 2 == 1 => {
                wrong(format!("dims={dims}: channels turn in pairs, it must be even"))
            }
            _ => Ok(()),
        }
    }

    /// What it takes and gives.
    pub(super) fn interface(&self) -> Interface {
        let rows = |name| TensorSpec::float(name, [Length::Leading, Length::Symbol("dim")]);
        let elementwise = |inputs: &[&'static str], parameters: &[&'static str]| Interface {
            inputs: inputs.iter().map(|&name| rows(name)).collect(),
            parameters: parameters.iter().map(|&name| TensorSpec::symbolic(name, ["dim"])).collect(),
            outputs: vec![rows("output")],
        };
        match self {
            Self::Attention(_) => attention_interface(),
            Self::RmsNorm(_) => elementwise(&["x"], &["weight"]),
            Self::LayerNorm(_) => elementwise(&["x"], &["weight", "bias"]),
            Self::SwiGlu(_) | Self::GeGluTanh(_) => elementwise(&["gate", "up"], &[]),
            Self::Rotation(_) => {
                let heads = |name| TensorSpec::symbolic(name, ["batch", "heads", "tokens", "head_dim"]);
                let positions =
                    TensorSpec { element_type: ElementType::I32, ..TensorSpec::symbolic("positions", ["tokens"]) };
                Interface {
                    inputs: vec![heads("x"), positions.or_none()],
                    outputs: vec![heads("output")],
                    ..Interface::default()
                }
            }
            Self::Gelu(_) | Self::GeluTanh(_) | Self::Silu(_) | Self::SoftmaxRows(_) | Self::LogSoftmaxRows(_) => {
                elementwise(&["x"], &[])
            }
        }
    }

    /// Computes the outputs.
    pub(super) fn run(&self, tensors: &Tensors) -> Result<Vec<(&'static str, Flat)>, ComponentError> {
        let on_x = |f: &dyn Fn(Tensor<2>) -> Tensor<2>| {
            let (x, shape) = tensors.rows("x");
            Ok(reshaped(f(x), shape))
        };
        match self {
            Self::Attention(attention) => attention.run(tensors),
            Self::RmsNorm(RmsNorm { epsilon }) => on_x(&|x| ops::rms_norm(x, tensors.float("weight"), *epsilon)),
            Self::LayerNorm(LayerNorm { epsilon }) => {
                on_x(&|x| ops::layer_norm(x, tensors.float("weight"), tensors.find("bias"), *epsilon))
            }
            Self::Gelu(_) => on_x(&ops::gelu),
            Self::GeluTanh(_) => on_x(&ops::gelu_tanh),
            Self::Silu(_) => on_x(&ops::silu),
            Self::SoftmaxRows(_) => on_x(&ops::softmax),
            Self::LogSoftmaxRows(_) => on_x(&ops::log_softmax),
            Self::SwiGlu(_) => gated(tensors, ops::swiglu),
            Self::GeGluTanh(_) => gated(tensors, ops::geglu_tanh),
            Self::Rotation(rotation) => rotation.run(tensors),
        }
    }
}

fn reshaped(y: Tensor<2>, shape: Vec<usize>) -> Vec<(&'static str, Flat)> {
    vec![("output", Flat { shape, ..Flat::new(y) })]
}

fn gated(
    tensors: &Tensors,
    f: fn(Tensor<2>, Tensor<2>) -> Tensor<2>,
) -> Result<Vec<(&'static str, Flat)>, ComponentError> {
    let ((gate, shape), (up, up_shape)) = (tensors.rows("gate"), tensors.rows("up"));
    if up_shape != shape {
        let wanted = format!("{shape:?}, the shape of `gate`");
        return Err(ComponentError::WrongShape { name: "up".into(), found: up_shape, wanted });
    }
    Ok(reshaped(f(gate, up), shape))
}

fn attention_interface() -> Interface {
    let bias = TensorSpec::symbolic("bias", ["batch", "heads", "queries", "keys"]);
    Interface {
        inputs: vec![
            TensorSpec::symbolic("query", ["batch", "heads", "queries", "head_dim"]),
            TensorSpec::symbolic("key", ["batch", "kv_heads", "keys", "head_dim"]),
            TensorSpec::symbolic("value", ["batch", "kv_heads", "keys", "value_dim"]),
            TensorSpec { broadcasts: true, ..bias.or_none() },
        ],
        parameters: Vec::new(),
        outputs: vec![
            TensorSpec::symbolic("output", ["batch", "heads", "queries", "value_dim"]),
            TensorSpec::symbolic("lse", ["batch", "heads", "queries"]),
        ],
    }
}

impl Attention {
    fn run(&self, tensors: &Tensors) -> Result<Vec<(&'static str, Flat)>, ComponentError> {
        let (query, key): (Tensor<4>, Tensor<4>) = (tensors.float("query"), tensors.float("key"));
        let ([_, heads, _, head_dim], [_, kv_heads, ..]) = (query.dims(), key.dims());
        check_groups(heads, kv_heads)?;
        let spec = AttnSpec {
            scale: self.scale.unwrap_or(1.0 / (head_dim as f32).sqrt()),
            causal: self.causal,
            window: self.window,
            sinks_keep: self.sinks_keep,
            blocks: None,
            softcap: self.softcap,
            alibi: None,
            sink_logits: None,
            want: Stats { lse: true, ..Stats::default() },
        };
        let attended = ops::attention(query, key, tensors.float("value"), tensors.find("bias"), &spec);
        let lse = attended.lse.map(|lse| ("lse", Flat::new(lse)));
        Ok([("output", Flat::new(attended.output))].into_iter().chain(lse).collect())
    }
}

/// Query heads must divide into groups, one for each key-value head.
pub(super) fn check_groups(heads: usize, kv_heads: usize) -> Result<(), ComponentError> {
    if heads.is_multiple_of(kv_heads) {
        return Ok(());
    }
    Err(ComponentError::Lengths(format!(
        "heads = {heads} of `query` must be a multiple of kv_heads = {kv_heads} of `key`"
    )))
}

impl Rotation {
    fn run(&self, tensors: &Tensors) -> Result<Vec<(&'static str, Flat)>, ComponentError> {
        let x: Tensor<4> = tensors.float("x");
        let [_, _, tokens, head_dim] = x.dims();
        let dims = self.dims.unwrap_or(head_dim);
        if dims > head_dim || dims % 2 == 1 {
            let text = format!(
                "`rope`: {dims} channels of head_dim = {head_dim} cannot turn: it takes an even number, at most {head_dim}"
            );
            return Err(ComponentError::Parameter(text));
        }
        let rope = Rope::new(inverse_frequencies(dims, self.theta, Scaling::None), 1.0, self.interleaved);
        let from_zero: Vec<i32> = (0..tokens as i32).collect();
        let positions = tensors.ints("positions").unwrap_or(&from_zero);
        Ok(vec![("output", Flat::new(ops::rope(x, positions, &rope)))])
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_family_keeps_its_promises() {
        headwise_spec::check_family::<super::Op>();
    }
}
