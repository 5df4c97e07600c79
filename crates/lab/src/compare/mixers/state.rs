//! What a decoder must keep of the text it has read, to go on with it.

use headwise_models::decoder::DecoderSpec;
use headwise_nn::mixer::SoftmaxSpec;

/// Bytes of a number in a cache of keys and values: they are kept in f16, as `full` keeps them.
const CACHED: usize = 2;

/// Bytes that all mixers of `model` keep of one text of `length` tokens: keys and values in f16 of the tokens that a
/// softmax layer sees, the matrix in f32 of any other, and in f32 what convolutions need of the last tokens.
pub(super) fn state_bytes(model: &DecoderSpec, length: usize) -> u64 {
    let cached = |mixer: &SoftmaxSpec| cache_bytes(mixer, model.dim, length);
    let mixers = model.layers.iter().map(|layer| &layer.mixer);
    mixers.map(|mixer| (mixer.softmax().map_or(0, cached) + mixer.state(model.dim).bytes()) as u64).sum()
}

fn cache_bytes(mixer: &SoftmaxSpec, dim: usize, length: usize) -> usize {
    let sizes = mixer.sizes(dim);
    2 * CACHED * sizes.kv_heads * sizes.head_dim * mixer.window.map_or(length, |window| window.min(length))
}
