//! The matrices of a layer, by name.

use headwise_nn::Linear;
use headwise_nn::block::Block;
use headwise_nn::channel::{Channel, Experts, Gated, Mlp, Moe};
use headwise_nn::mixer::{Mixer, Softmax};

/// The projections of `block`, in the order in which a token passes them, with the paths of [`headwise_nn::named`]. Mixers other than
/// attention keep theirs to themselves, and so do mixtures of experts.
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
        Some(Channel::Moe(_)) | None => {}
    }
    all
}

/// The router and the projections of the experts that are in memory.
pub(crate) fn of_experts(block: &mut Block) -> Vec<&mut Linear> {
    let Some(Channel::Moe(Moe { router, experts, .. })) = &mut block.channel else { return Vec::new() };
    let experts = match experts {
        Experts::Resident(experts) => &mut experts[..],
        Experts::Elsewhere(_) => &mut [],
    };
    let projections = experts.iter_mut().flat_map(|Gated { gate, up, down, .. }| [gate, up, down]);
    std::iter::once(router).chain(projections).collect()
}
