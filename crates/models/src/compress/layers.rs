//! Layers that change least are left out.
//!
//! Block influence, `1 - mean cos(x, f(x))` over the tokens before and after a layer (ShortGPT, Men et al. 2024, arXiv:2403.03853), is
//! measured once. Macro influence, `1 - mean cos(h, h')` of the last hidden states with and without a layer (FuseGPT, arXiv:2411.14507),
//! is measured anew after every layer that goes.

use burn::tensor::Tensor;
use headwise_ops::host::Host;
use serde::{Deserialize, Serialize};

use super::calibration::Reading;
use super::{Calibration, Step};
use crate::decoder::Decoder;

/// By what a layer is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Influence {
    /// What it changes of its own input.
    #[default]
    Block,
    /// What the end of the model loses without it.
    Macro,
}

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
        Influence::Block => least_influence(model, start, dropped, progress),
        Influence::Macro => least_macro_influence(model, &start, dropped, progress),
    };
    let kept: Vec<usize> = (0..all).filter(|layer| !gone.contains(layer)).collect();
    model.keep_layers(&kept);
    let mut names: Vec<usize> = gone;
    names.sort_unstable();
    let names: Vec<String> = names.iter().map(usize::to_string).collect();
    format!("{dropped} of {all} layers left out: {}", if names.is_empty() { "none".into() } else { names.join(", ") })
}

fn least_influence(model: &Decoder, mut text: Reading, dropped: usize, progress: &mut dyn FnMut(Step)) -> Vec<usize> {
    let parts = model.blocks.len();
    let mut influence = Vec::with_capacity(parts);
    for layer in 0..parts {
        progress(Step { done: layer, parts });
        let before = text.hidden.clone();
        text.advance(model, layer);
        influence.push((1.0 - cosine(before, text.hidden.clone()), layer));
    }
    influence.sort_by(|a, b| a.0.total_cmp(&b.0));
    influence.into_iter().take(dropped).map(|(_, layer)| layer).collect()
}

fn least_macro_influence(
    model: &Decoder,
    text: &Reading,
    dropped: usize,
    progress: &mut dyn FnMut(Step),
) -> Vec<usize> {
    let all = model.blocks.len();
    let parts = (0..dropped).map(|round| all - round).sum();
    let last = |layers: &mut dyn Iterator<Item = usize>| {
        layers.fold(text.hidden.clone(), |hidden, layer| text.layer(model, layer, hidden))
    };
    let full = last(&mut (0..all));
    let mut kept: Vec<usize> = (0..all).collect();
    let (mut gone, mut done) = (Vec::new(), 0);
    for _ in 0..dropped {
        // What stands before the layer that is tried is the same for all of them.
        let mut before = text.hidden.clone();
        let mut best = (f64::INFINITY, 0);
        for (at, &layer) in kept.iter().enumerate() {
            progress(Step { done, parts });
            done += 1;
            let without = kept[at + 1..].iter().fold(before.clone(), |hidden, &next| text.layer(model, next, hidden));
            let influence = 1.0 - cosine(full.clone(), without);
            if influence < best.0 {
                best = (influence, layer);
            }
            before = text.layer(model, layer, before);
        }
        kept.retain(|&layer| layer != best.1);
        gone.push(best.1);
    }
    gone
}

/// The mean cosine of the rows of `a` and `b` `[1, tokens, dim]`.
fn cosine(a: Tensor<3>, b: Tensor<3>) -> f64 {
    let width = a.dims()[2];
    let (a, b) = (Host::new(a), Host::new(b));
    let rows = a.as_slice().chunks_exact(width).zip(b.as_slice().chunks_exact(width));
    let count = rows.len().max(1) as f64;
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    rows.map(|(a, b)| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f64::MIN_POSITIVE)).sum::<f64>() / count
}
