//! Layers that change least are left out: those with the least [`Influence`]. Block influence is measured once, macro influence anew after
//! every layer that goes, against the model that still has all of them.

use super::calibration::Reading;
use super::influence::{last, without_each};
use super::{Calibration, Influence, Step};
use crate::decoder::Decoder;

headwise_spec::method! {
    /// Leaves out the layers that change least.
    ///
    /// Needs a calibration text. `influence=block`: 1 - cosine of a layer's input and output, measured once (arXiv:2403.03853).
    /// `influence=macro`: 1 - cosine of the last hidden states with and without the layer, measured anew for each that goes
    /// (arXiv:2411.14507); that takes a forward of the whole model for every layer and round.
    pub struct Layers {
        /// Share of the layers that go.
        pub share: f64 = 0.25,
        /// By what a layer is judged.
        pub influence: Influence = Influence::Block,
    }
}

/// Leaves layers out.
pub(super) fn run(
    method: &Layers,
    model: &mut Decoder,
    calibration: &Calibration,
    progress: &mut dyn FnMut(Step),
) -> String {
    let all = model.blocks.len();
    let dropped = ((all as f64 * method.share).round() as usize).min(all - 1);
    let start = calibration.start(model);
    let gone = match method.influence {
        Influence::Block => least_influence(model, &start, dropped, progress),
        Influence::Macro => least_macro_influence(model, &start, dropped, progress),
    };
    let kept: Vec<usize> = (0..all).filter(|layer| !gone.contains(layer)).collect();
    model.keep_layers(&kept);
    let mut names: Vec<usize> = gone;
    names.sort_unstable();
    let names: Vec<String> = names.iter().map(usize::to_string).collect();
    format!("{dropped} of {all} layers left out: {}", if names.is_empty() { "none".into() } else { names.join(", ") })
}

fn least_influence(model: &Decoder, text: &Reading, dropped: usize, progress: &mut dyn FnMut(Step)) -> Vec<usize> {
    let parts = model.blocks.len();
    let mut done = 0;
    let influences = Influence::Block.measure(model, text, &mut || {
        progress(Step { done, parts });
        done += 1;
    });
    let mut layers: Vec<(usize, f64)> = influences.into_iter().enumerate().collect();
    layers.sort_by(|a, b| a.1.total_cmp(&b.1));
    layers.into_iter().take(dropped).map(|(layer, _)| layer).collect()
}

fn least_macro_influence(
    model: &Decoder,
    text: &Reading,
    dropped: usize,
    progress: &mut dyn FnMut(Step),
) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..model.blocks.len()).collect();
    let parts = (0..dropped).map(|round| kept.len() - round).sum();
    let full = last(model, text, &kept);
    let (mut gone, mut done) = (Vec::new(), 0);
    for _ in 0..dropped {
        let influences = without_each(model, text, &kept, &full, &mut || {
            progress(Step { done, parts });
            done += 1;
        });
        let least = (0..kept.len()).min_by(|&a, &b| influences[a].total_cmp(&influences[b]));
        gone.extend(least.map(|least| kept.remove(least)));
    }
    gone
}
