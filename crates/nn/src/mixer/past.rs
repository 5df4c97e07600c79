//! What comes before the rows of a forward: nothing, where texts are read whole, or what was kept of them.

use burn::tensor::Tensor;
use headwise_kernels::attention::View4;
use headwise_kernels::convolution::{self, Sizes};
use headwise_kernels::linear::{self, Dims, Inputs};
use headwise_ops::host::{self, Host};
use headwise_ops::{Decay, Recurrence, linear_recurrence};

use super::{MixContext, MixerState, Segment, ShortConvolution};

/// Where the texts of a forward start among its rows, and what is kept of the tokens before.
///
/// Without states every text begins with its first row, and operations are differentiable. With states they go on one token after the
/// other, so that a text has the same bits however it is cut into forwards.
pub(super) struct Past<'a> {
    /// Where texts start and, last, where the final one ends.
    offsets: Vec<usize>,
    /// Of every text.
    states: Option<Vec<&'a mut MixerState>>,
}

/// Where the texts of `tokens` rows start and, last, where the final one ends. Without segments there is one text.
///
/// # Panics
/// If the segments do not cover the tokens in order.
pub(super) fn offsets(segments: &[Segment], tokens: usize) -> Vec<usize> {
    let mut offsets = vec![0];
    for segment in segments {
        assert_eq!(segment.rows.start, offsets[offsets.len() - 1], "segments cover all rows in order");
        offsets.push(segment.rows.end);
    }
    if segments.is_empty() {
        offsets.push(tokens);
    }
    assert_eq!(offsets[offsets.len() - 1], tokens, "segments cover all rows");
    offsets
}

impl<'a> Past<'a> {
    /// Of a forward over `tokens`, as [`offsets`] cuts them.
    ///
    /// # Panics
    /// If the segments do not cover the tokens in order.
    pub fn of(ctx: &'a mut MixContext<'_>, tokens: usize) -> Self {
        let offsets = offsets(ctx.segments, tokens);
        let layer = ctx.layer;
        Self { offsets, states: ctx.cache.as_deref_mut().and_then(|cache| cache.states(layer)) }
    }

    /// How many tokens of its text come before each row, of which `positions` are the places in the text.
    pub fn tokens_before(&self, positions: &[i32]) -> Vec<usize> {
        match self.states {
            Some(_) => positions.iter().map(|&position| position as usize).collect(),
            None => self.offsets.windows(2).flat_map(|ends| 0..ends[1] - ends[0]).collect(),
        }
    }

    /// Queries, keys and values `[batch, tokens, channels]` after `convolution`, where there is one.
    pub fn convolve(&mut self, convolution: Option<&ShortConvolution>, inputs: [Tensor<3>; 3]) -> [Tensor<3>; 3] {
        let Some(convolution) = convolution else { return inputs };
        let mut inputs = inputs.into_iter().zip([&convolution.query, &convolution.key, &convolution.value]);
        std::array::from_fn(|part| {
            let (x, weight) = inputs.next().expect("three inputs");
            let weight = weight.val();
            let Some(states) = &mut self.states else {
                return headwise_ops::short_convolution(x, weight, &self.offsets);
            };
            let (shape, device, [channels, width]) = (x.dims(), x.device(), weight.dims());
            let (x, weight) = (Host::new(x), Host::new(weight));
            let mut tails: Vec<&mut [f32]> = states.iter_mut().map(|state| &mut state.tails[part][..]).collect();
            let mut out = vec![0.0; x.as_slice().len()];
            let sizes = Sizes { channels, width, offsets: &self.offsets };
            convolution::steps(&sizes, x.as_slice(), weight.as_slice(), &mut tails, &mut out);
            host::tensor(out, shape, &device)
        })
    }

    /// The recurrence over queries and keys `[batch, heads, tokens, key_dim]` and values `[batch, heads, tokens, value_dim]`; gives the shape
    /// of the values. With states, `batch` is 1.
    pub fn recur(&mut self, [query, key, value]: [Tensor<4>; 3], decay: Decay, spec: &Recurrence) -> Tensor<4> {
        let Some(states) = &mut self.states else {
            return linear_recurrence(query, key, value, decay, spec, &self.offsets, None).output;
        };
        let ([batch, heads, tokens, key_dim], value_dim, device) = (query.dims(), value.dims()[3], value.device());
        let dims = Dims { batch, heads, tokens, key_dim, value_dim };
        let (query, key, value) = (Host::new(query), Host::new(key), Host::new(value));
        let view = |data, width| View4::contiguous(data, heads, tokens, width);
        // What the kernel reads of the decay.
        let (of_heads, of_tokens, of_channels);
        let decay = match decay {
            Decay::None => linear::Decay::None,
            Decay::Head(decay) => {
                of_heads = Host::new(decay);
                linear::Decay::Head(of_heads.as_slice())
            }
            Decay::Token(decay) => {
                of_tokens = Host::new(decay);
                linear::Decay::Token(view(of_tokens.as_slice(), 1))
            }
            Decay::Channel(decay) => {
                of_channels = Host::new(decay);
                linear::Decay::Channel(view(of_channels.as_slice(), key_dim))
            }
        };
        let inputs = Inputs {
            query: view(query.as_slice(), key_dim),
            key: view(key.as_slice(), key_dim),
            value: view(value.as_slice(), value_dim),
            decay,
            offsets: &self.offsets,
            state: None,
        };
        let mut memories: Vec<&mut [f32]> = states.iter_mut().map(|state| &mut state.memory[..]).collect();
        let mut out = vec![0.0; dims.output()];
        linear::steps(spec, &dims, &inputs, &mut memories, &mut out);
        host::tensor(out, [batch, tokens, heads, value_dim], &device).swap_dims(1, 2)
    }
}
