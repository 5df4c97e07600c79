//! Rotary position encoding: pairs of channels turn by an angle proportional to the position.
//!
//! Pair `(a, b)` at position `p` becomes `(a cos φ - b sin φ, a sin φ + b cos φ)` with `φ = p · f`, the frequency `f`
//! decreasing from pair to pair. The gradient turns back. Su et al. 2021, arXiv:2104.09864.

use burn::backend::{TensorMetadata, flex::FlexTensor};
use burn::tensor::{Tensor, TensorData};
use headwise_kernels::rope::{HeadLayout, Rope};

use crate::flex::{contiguous, update};
use crate::kernel_op::{KernelOp, Upstream, kernels_serve, output};

/// Rotates the heads of `x` `[batch, heads, tokens, head_dim]`; token `t` stands at `positions[t]`.
pub fn rope(x: Tensor<4>, positions: &[i32], rope: &Rope) -> Tensor<4> {
    let [_, _, tokens, head_dim] = x.dims();
    assert_eq!(positions.len(), tokens, "a position for each token");
    assert!(rope.rotary_dim() <= head_dim, "{} of {head_dim} channels cannot turn", rope.rotary_dim());
    if !kernels_serve(&x) {
        return composed(x, positions, rope);
    }
    output(Rotation { rope: rope.clone(), positions: positions.to_vec() }, [x.into_dispatch()])
}

fn composed(x: Tensor<4>, positions: &[i32], rope: &Rope) -> Tensor<4> {
    let [batch, heads, tokens, head_dim] = x.dims();
    let (turning, pairs) = (rope.rotary_dim(), rope.rotary_dim() / 2);
    // A pair is two neighbours, or a channel of the first and one of the second half of those that turn.
    let (shape, pair_dim) = if rope.interleaved() { ([pairs, 2], 4) } else { ([2, pairs], 3) };
    let heads_split = x.clone().narrow(3, 0, turning).reshape([batch, heads, tokens, shape[0], shape[1]]);
    let [a, b] = [0, 1].map(|of| heads_split.clone().narrow(pair_dim, of, 1));

    let angles = |of: fn(f64) -> f64| {
        let of = |position: i32| rope.inv_freq().iter().map(move |&w| of(f64::from(position) * f64::from(w)));
        let values: Vec<f64> =
            positions.iter().flat_map(|&p| of(p)).map(|v| v * f64::from(rope.attention_factor())).collect();
        let width = if rope.interleaved() { [pairs, 1] } else { [1, pairs] };
        let data = TensorData::new(values, [1, 1, tokens, width[0], width[1]]);
        Tensor::<5>::from_data(data, (&x.device(), x.dtype()))
    };
    let (cos, sin) = (angles(f64::cos), angles(f64::sin));
    let turned = vec![a.clone() * cos.clone() - b.clone() * sin.clone(), a * sin + b * cos];
    let turned = Tensor::cat(turned, pair_dim).reshape([batch, heads, tokens, turning]);
    if turning == head_dim {
        return turned;
    }
    Tensor::cat(vec![turned, x.narrow(3, turning, head_dim - turning)], 3)
}

#[derive(Clone, Debug)]
struct Rotation {
    rope: Rope,
    positions: Vec<i32>,
}

impl Rotation {
    /// Turns `x` forth or back, in place if nobody else holds it.
    fn turn(&self, x: FlexTensor, turn: fn(&Rope, &mut [f32], HeadLayout, &[i32])) -> FlexTensor {
        let [batch, heads, _, head_dim] = x.shape().dims();
        // A projection has the heads of a token side by side: then a row is a token, otherwise a single head.
        let by_token = x.layout().permute(&[0, 2, 1, 3]);
        if by_token.is_contiguous() {
            let layout = HeadLayout { row_stride: heads * head_dim, heads, head_dim };
            let positions = self.positions.repeat(batch);
            update(x.with_layout(by_token), |x| turn(&self.rope, x, layout, &positions)).permute(&[0, 2, 1, 3])
        } else {
            let layout = HeadLayout { row_stride: head_dim, heads: 1, head_dim };
            let positions = self.positions.repeat(batch * heads);
            update(contiguous(x), |x| turn(&self.rope, x, layout, &positions))
        }
    }
}

impl KernelOp<1> for Rotation {
    type Saved = ();

    fn forward(&self, [x]: [FlexTensor; 1]) -> Vec<FlexTensor> {
        vec![self.turn(x, Rope::rotate)]
    }

    fn forward_saving(&self, inputs: [FlexTensor; 1]) -> (Vec<FlexTensor>, ()) {
        (self.forward(inputs), ())
    }

    fn backward(&self, (): (), upstream: Upstream<1>) -> [Option<FlexTensor>; 1] {
        [Some(self.turn(upstream.gradient, Rope::rotate_back))]
    }
}
