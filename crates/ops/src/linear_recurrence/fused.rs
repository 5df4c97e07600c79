//! Linear recurrences by the chunked kernels.

use burn::backend::{TensorMetadata, flex::FlexTensor};
use burn::tensor::Tensor;
use headwise_kernels::linear::{self as kernels, Dims, Inputs, Recurrence};

use super::{Decay, Recurred};
use crate::buffers::{recycle, take};
use crate::flex::{contiguous, elements, own, rows_contiguous, view};
use crate::kernel_op::{KernelOp, Upstream, outputs};

pub(super) fn linear_recurrence(
    inputs: [Tensor<4>; 3],
    decay: Decay,
    spec: &Recurrence,
    offsets: &[usize],
    state: Option<Tensor<5>>,
    dims: Dims,
) -> Recurred {
    let (kind, decay) = match decay {
        Decay::None => (Kind::None, None),
        Decay::Head(decay) => (Kind::Head, Some(decay.into_dispatch())),
        Decay::Token(decay) => (Kind::Token, Some(decay.unsqueeze_dim::<4>(3).into_dispatch())),
        Decay::Channel(decay) => (Kind::Channel, Some(decay.into_dispatch())),
    };
    let operation = LinearRecurrence { spec: *spec, dims, offsets: offsets.to_vec(), kind, starts: state.is_some() };
    let [query, key, value] = inputs.map(Tensor::into_dispatch);
    let mut found = match (decay, state.map(Tensor::into_dispatch)) {
        (None, None) => outputs(operation, [query, key, value]),
        (Some(other), None) | (None, Some(other)) => outputs(operation, [query, key, value, other]),
        (Some(decay), Some(state)) => outputs(operation, [query, key, value, decay, state]),
    };
    let state = Tensor::from_dispatch(found.remove(STATE));
    Recurred { output: Tensor::from_dispatch(found.remove(OUTPUT)), state }
}

/// Places of the outputs.
const OUTPUT: usize = 0;
const STATE: usize = 1;

/// Which decay there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    None,
    Head,
    Token,
    Channel,
}

#[derive(Clone, Debug)]
struct LinearRecurrence {
    spec: Recurrence,
    dims: Dims,
    offsets: Vec<usize>,
    kind: Kind,
    /// Whether the last input is the states that sequences start from.
    starts: bool,
}

/// What the gradient needs: the inputs, the output if it is normalised, and the states at the starts of all chunks.
#[derive(Clone, Debug)]
struct Saved<const N: usize> {
    inputs: [FlexTensor; N],
    output: Option<FlexTensor>,
    chunk_states: FlexTensor,
}

/// The place of the decay among the inputs, if there is one; the states come last.
const DECAY: usize = 3;

impl LinearRecurrence {
    fn inputs<'a, const N: usize>(&'a self, inputs: &'a [FlexTensor; N]) -> Inputs<'a> {
        Inputs {
            query: view(&inputs[0]),
            key: view(&inputs[1]),
            value: view(&inputs[2]),
            decay: match self.kind {
                Kind::None => kernels::Decay::None,
                Kind::Head => kernels::Decay::Head(elements(&inputs[DECAY])),
                Kind::Token => kernels::Decay::Token(view(&inputs[DECAY])),
                Kind::Channel => kernels::Decay::Channel(view(&inputs[DECAY])),
            },
            offsets: &self.offsets,
            state: self.starts.then(|| elements(&inputs[N - 1])),
        }
    }

    /// The inputs in the layouts that the kernels take.
    fn laid_out<const N: usize>(&self, inputs: [FlexTensor; N]) -> [FlexTensor; N] {
        inputs.map(|input| if input.shape().num_dims() == 4 { rows_contiguous(input) } else { contiguous(input) })
    }

    /// The outputs, and the states at the starts of all chunks if they are wanted.
    fn run<const N: usize>(&self, inputs: &[FlexTensor; N], saves: bool) -> (Vec<FlexTensor>, Option<FlexTensor>) {
        let (spec, dims, inputs) = (&self.spec, &self.dims, self.inputs(inputs));
        let mut output = take(dims.output());
        let mut states = take(inputs.states(spec, dims));
        let mut chunk_states = saves.then(|| take(inputs.chunk_states(spec, dims)));
        kernels::forward(spec, dims, &inputs, &mut output, &mut states, chunk_states.as_deref_mut());
        let Dims { batch, heads, key_dim, .. } = *dims;
        let columns = if dims.key_dim == 0 { 0 } else { dims.state(spec) / key_dim };
        let states = own(states, [batch, inputs.sequences(), heads, key_dim, columns]);
        let chunk_states = chunk_states.map(|states| {
            let length = states.len();
            own(states, [length])
        });
        (vec![self.by_head(output, dims.value_dim), states], chunk_states)
    }

    /// `[batch, tokens, heads, width]` with the heads before the tokens.
    fn by_head(&self, values: Vec<f32>, width: usize) -> FlexTensor {
        let Dims { batch, heads, tokens, .. } = self.dims;
        own(values, [batch, tokens, heads, width]).permute(&[0, 2, 1, 3])
    }
}

impl<const N: usize> KernelOp<N> for LinearRecurrence {
    type Saved = Saved<N>;

    fn outputs(&self) -> usize {
        2
    }

    fn forward(&self, inputs: [FlexTensor; N]) -> Vec<FlexTensor> {
        self.run(&self.laid_out(inputs), false).0
    }

    fn forward_saving(&self, inputs: [FlexTensor; N]) -> (Vec<FlexTensor>, Saved<N>) {
        let inputs = self.laid_out(inputs);
        let (outputs, chunk_states) = self.run(&inputs, true);
        let output = self.spec.normalise.then(|| outputs[OUTPUT].clone());
        let chunk_states = chunk_states.unwrap_or_else(|| own(Vec::new(), [0]));
        (outputs, Saved { inputs, output, chunk_states })
    }

    fn backward(&self, saved: Saved<N>, upstream: Upstream<N>) -> [Option<FlexTensor>; N] {
        let (spec, dims) = (&self.spec, &self.dims);
        let (d_output, d_states) = if upstream.output == OUTPUT {
            (rows_contiguous(upstream.gradient), None)
        } else {
            (own(vec![0.0; dims.value_dim], [1, 1, 1, dims.value_dim]), Some(contiguous(upstream.gradient)))
        };
        // As the kernel wrote it: the heads of a token side by side.
        let output = saved.output.map(|output| contiguous(output.permute(&[0, 2, 1, 3])));
        let inputs = self.inputs(&saved.inputs);
        let rows = dims.batch * dims.tokens * dims.heads;
        let [mut query, mut key, mut value] =
            [dims.key_dim, dims.key_dim, dims.value_dim].map(|width| take(rows * width));
        let mut state = take(inputs.states(spec, dims));
        let decay_wanted = self.kind != Kind::None && upstream.wanted[DECAY];
        let mut decay = decay_wanted.then(|| {
            take(match self.kind {
                Kind::None => 0,
                Kind::Head => dims.heads,
                Kind::Token => rows,
                Kind::Channel => rows * dims.key_dim,
            })
        });
        kernels::backward(
            spec,
            dims,
            &inputs,
            &kernels::Upstream {
                out: output.as_ref().map_or(&[], elements),
                chunk_states: elements(&saved.chunk_states),
                d_out: view(&d_output),
                d_states: d_states.as_ref().map(elements),
            },
            kernels::Gradients {
                query: &mut query,
                key: &mut key,
                value: &mut value,
                decay: decay.as_deref_mut(),
                state: &mut state,
            },
        );
        let mut gradients = vec![
            Some(self.by_head(query, dims.key_dim)),
            Some(self.by_head(key, dims.key_dim)),
            Some(self.by_head(value, dims.value_dim)),
        ];
        match self.kind {
            Kind::None => {}
            Kind::Head => gradients.push(decay.map(|decay| own(decay, [dims.heads]))),
            Kind::Token => gradients.push(decay.map(|decay| self.by_head(decay, 1))),
            Kind::Channel => gradients.push(decay.map(|decay| self.by_head(decay, dims.key_dim))),
        }
        if self.starts {
            gradients.push(Some(own(state, saved.inputs[N - 1].shape())));
        }
        [Some(saved.chunk_states), output, Some(d_output)].into_iter().flatten().for_each(recycle);
        saved.inputs.into_iter().for_each(recycle);
        let mut gradients = gradients.into_iter();
        std::array::from_fn(|_| gradients.next().flatten())
    }
}
