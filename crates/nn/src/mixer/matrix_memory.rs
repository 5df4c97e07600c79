//! What mixers whose memory is a matrix for each head share: how heads are split, where sequences start, and the memory between steps.

use burn::tensor::{Device, Tensor};
use headwise_kernels::attention::View4;
use headwise_kernels::linear::{self, Decay, Dims, Inputs, Recurrence};
use headwise_ops::host::{self, Host};

use super::MixContext;
use super::short_convolution::Tails;

/// The memory of a mixer between steps; its size does not depend on the number of tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixState {
    /// `[batch, heads, key_dim, columns]`
    memory: Vec<f32>,
    /// What a convolution of queries, keys and values needs of the last tokens.
    pub(super) tails: Tails,
    /// Tokens seen, which is the position of the next one.
    tokens: i32,
}

impl MatrixState {
    /// An empty memory of `elements` numbers, and the tails before the first token.
    pub(super) fn new(elements: usize, tails: Tails) -> Self {
        Self { memory: vec![0.0; elements], tails, tokens: 0 }
    }

    /// Bytes of the memory and the tails.
    pub fn bytes(&self) -> usize {
        let tails = self.tails.iter().map(|tail| size_of_val(&tail[..]));
        size_of_val(&self.memory[..]) + tails.sum::<usize>()
    }

    /// The position of the next token.
    pub(super) fn position(&self) -> i32 {
        self.tokens
    }
}

/// `x` `[batch, tokens, heads · width]` as `[batch, heads, tokens, width]`, without a copy.
pub(super) fn split_heads(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [batch, tokens, width] = x.dims();
    x.reshape([batch, tokens, heads, width / heads]).swap_dims(1, 2)
}

/// `x` `[batch, heads, tokens, width]` as `[batch, tokens, heads · width]`.
pub(super) fn join_heads(x: Tensor<4>) -> Tensor<3> {
    let [batch, heads, tokens, width] = x.dims();
    x.swap_dims(1, 2).reshape([batch, tokens, heads * width])
}

/// Where the sequences of a forward over `tokens` start, and where the last one ends. Without segments there is one.
///
/// # Panics
/// If the segments do not cover the tokens in order, or there is a cache: it keeps keys and values, neither matrices nor the tails of a
/// convolution.
pub(super) fn offsets(ctx: &MixContext<'_>, tokens: usize) -> Vec<usize> {
    assert!(ctx.cache.is_none(), "only softmax attention without a convolution runs with a cache of keys and values");
    if ctx.segments.is_empty() {
        return vec![0, tokens];
    }
    let mut offsets = vec![0];
    for segment in ctx.segments {
        let start = offsets[offsets.len() - 1];
        assert_eq!(segment.rows.start, start, "segments cover all rows in order");
        offsets.push(segment.rows.end);
    }
    assert_eq!(offsets[offsets.len() - 1], tokens, "segments cover all rows");
    offsets
}

/// The decay of a step.
#[allow(clippy::large_enum_variant, reason = "one is made for a step and read at once")]
pub(super) enum StepDecay<'a> {
    /// Nothing is forgotten.
    None,
    /// A log-decay for each head.
    Head(&'a [f32]),
    /// A log-decay for each channel of the keys, `[batch, heads, key_dim]`.
    Channel(Tensor<3>),
}

/// One token of every row: query and key `[batch, heads, key_dim]`, value `[batch, heads, value_dim]`; gives the shape of the value.
pub(super) fn step(
    [query, key, value]: [Tensor<3>; 3],
    decay: StepDecay<'_>,
    spec: &Recurrence,
    state: &mut MatrixState,
) -> Tensor<3> {
    let ([batch, heads, key_dim], [_, _, value_dim]) = (query.dims(), value.dims());
    let device: Device = value.device();
    let dims = Dims { batch, heads, tokens: 1, key_dim, value_dim };
    let (query, key, value) = (Host::new(query), Host::new(key), Host::new(value));
    let channels = match &decay {
        StepDecay::Channel(decay) => Some(Host::new(decay.clone())),
        StepDecay::None | StepDecay::Head(_) => None,
    };
    let view = |data, width| View4::contiguous(data, heads, 1, width);
    let inputs = Inputs {
        query: view(query.as_slice(), key_dim),
        key: view(key.as_slice(), key_dim),
        value: view(value.as_slice(), value_dim),
        decay: match (&decay, &channels) {
            (StepDecay::Head(decays), _) => Decay::Head(decays),
            (_, Some(decays)) => Decay::Channel(view(decays.as_slice(), key_dim)),
            _ => Decay::None,
        },
        offsets: &[0, 1],
        state: None,
    };
    let mut out = vec![0.0; dims.output()];
    linear::step(spec, &dims, &inputs, &mut state.memory, &mut out);
    state.tokens += 1;
    host::tensor(out, [batch, heads, value_dim], &device)
}

/// Whether `width` channels divide into `heads`; a message that names the numbers if not.
pub(super) fn check_heads(name: &str, width: usize, heads: usize) -> Result<(), String> {
    match () {
        () if heads == 0 => Err("heads=0: it must be at least 1".into()),
        () if width == 0 => Err(format!("{name}=0: it must be at least 1")),
        () if !width.is_multiple_of(heads) => Err(format!("{name}={width} does not divide into heads={heads}")),
        () => Ok(()),
    }
}
