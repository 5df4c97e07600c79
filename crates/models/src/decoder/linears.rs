//! The matrices of a layer, by name.

use headwise_nn::Linear;
use headwise_nn::block::Block;
use headwise_nn::channel::{Channel, Gated, Mlp};
use headwise_nn::mixer::{Mixer, Softmax};

/// The projections of `block`, in the order in which a token passes them, with the paths of [`headwise_nn::named`]. Mixers other than
/// attention keep theirs to themselves.
pub(crate) fn linears(block: &mut Block) -> Vec<(&'static str, &mut Linear)> {
    let mut all = Vec::new();
    if let Mixer::Softmax(Softmax { query, key, value, output, .. }) = &mut block.mixer {
        let names = ["mixer.query", "mixer.key", "mixer.value", "mixer.output"];
        all.extend(names.into_iter().zip([query, key, value, output]));
    }
    match &mut block.channel {
        Some(Channel::Gated(Gated { gate, up, down, .. })) => {
            all.extend(["channel.gate", "channel.up", "channel.down"].into_iter().zip([gate, up, down]));
        }
        Some(Channel::Mlp(Mlp { up, down, .. })) => all.extend([("channel.up", up), ("channel.down", down)]),
        None => {}
    }
    all
}
