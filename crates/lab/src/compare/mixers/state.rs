//! What a decoder must keep of the text it has read, to go on with it.

use headwise_models::decoder::Decoder;
use headwise_nn::mixer::{Mixer, Softmax};

/// Bytes of a number in a cache of keys and values: they are kept in f16, as `full` keeps them.
const CACHED: usize = 2;

/// Bytes that all mixers of `model` keep of one text of `length` tokens: keys and values in f16 of the tokens that a
/// softmax layer sees, the matrix in f32 of any other, and in f32 what convolutions need of the last tokens.
pub(super) fn state_bytes(model: &Decoder, length: usize) -> u64 {
    let of = |mixer: &Mixer| match mixer {
        Mixer::Softmax(mixer) => cache_bytes(mixer, model.spec().dim, length),
        Mixer::LinearAttention(mixer) => mixer.state(1).bytes(),
        Mixer::Retention(mixer) => mixer.state(1).bytes(),
        Mixer::Gla(mixer) => mixer.state(1).bytes(),
    };
    (0..model.spec().layers.len()).map(|layer| of(&model.block(layer).mixer) as u64).sum()
}

fn cache_bytes(mixer: &Softmax, dim: usize, length: usize) -> usize {
    let sizes = mixer.spec().sizes(dim);
    let tokens = mixer.spec().window.map_or(length, |window| window.min(length));
    let convolved = mixer.spec().convolution.map_or(0, |width| (width - 1) * size_of::<f32>());
    let (queries, keys) = (sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim);
    2 * CACHED * keys * tokens + convolved * (queries + 2 * keys)
}
