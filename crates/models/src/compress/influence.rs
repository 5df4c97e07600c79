//! How much a layer matters to a model.
//!
//! Block influence, `1 - mean cos(x, f(x))` over the tokens before and after a layer: ShortGPT, Men et al. 2024, arXiv:2403.03853. Macro
//! influence, `1 - mean cos(h, h')` of the last hidden states with and without a layer: FuseGPT, Pei et al. 2024, arXiv:2411.14507.

use burn::tensor::Tensor;
use headwise_ops::host::Host;
use serde::{Deserialize, Serialize};

use super::calibration::Reading;
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

impl Influence {
    /// The influence of every layer of `model`, on what `text` is before the first of them. `judged` is told of every layer.
    pub fn measure(self, model: &Decoder, text: &Reading, judged: &mut dyn FnMut()) -> Vec<f64> {
        let layers: Vec<usize> = (0..model.blocks.len()).collect();
        match self {
            Self::Block => block(model, text, judged),
            Self::Macro => without_each(model, text, &layers, &last(model, text, &layers), judged),
        }
    }
}

fn block(model: &Decoder, text: &Reading, judged: &mut dyn FnMut()) -> Vec<f64> {
    let mut before = text.hidden.clone();
    let of = |layer| {
        let after = text.layer(model, layer, before.clone());
        judged();
        1.0 - cosine(std::mem::replace(&mut before, after.clone()), after)
    };
    (0..model.blocks.len()).map(of).collect()
}

/// What `layers` of `model`, one after the other, make of `text`.
pub(super) fn last(model: &Decoder, text: &Reading, layers: &[usize]) -> Tensor<3> {
    layers.iter().fold(text.hidden.clone(), |hidden, &layer| text.layer(model, layer, hidden))
}

/// How far the end of a model of `layers` is from `full` without each of them.
pub(super) fn without_each(
    model: &Decoder,
    text: &Reading,
    layers: &[usize],
    full: &Tensor<3>,
    judged: &mut dyn FnMut(),
) -> Vec<f64> {
    // What stands before the layer that is tried is the same for all of them.
    let mut before = text.hidden.clone();
    let of = |(at, &layer): (usize, &usize)| {
        let without = layers[at + 1..].iter().fold(before.clone(), |hidden, &next| text.layer(model, next, hidden));
        before = text.layer(model, layer, before.clone());
        judged();
        1.0 - cosine(full.clone(), without)
    };
    layers.iter().enumerate().map(of).collect()
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

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::compress::Calibration;

    const MODEL: &str = r#"
        vocabulary = 50
        dim = 16
        context = 64
        epsilon = 1e-6
        layers = [
            { mixer = { type = "softmax", heads = 2 }, channel = { type = "gated", hidden = 24 } },
            { mixer = { type = "softmax", heads = 2 }, channel = { type = "mlp", hidden = 24 } },
            { mixer = { type = "softmax", heads = 4, kv_heads = 2 }, channel = { type = "gated", hidden = 24 } },
        ]
    "#;

    /// The last hidden states of every text, row by row.
    fn end(model: &Decoder, windows: &[&[u32]], layers: &[usize]) -> Vec<Vec<f32>> {
        let mut rows = Vec::new();
        for ids in windows {
            let mut model = model.clone();
            model.norm = None;
            model.keep_layers(layers);
            let positions: Vec<i32> = (0..ids.len() as i32).collect();
            let segments = [headwise_nn::mixer::Segment { sequence: 0, rows: 0..ids.len() }];
            let hidden = Host::new(model.hidden(ids, &positions, &segments, &Device::flex()));
            rows.extend(hidden.as_slice().chunks(16).map(<[f32]>::to_vec));
        }
        rows
    }

    fn far(a: &[Vec<f32>], b: &[Vec<f32>]) -> f64 {
        let mut sum = 0.0;
        for (a, b) in a.iter().zip(b) {
            let (mut dot, mut first, mut second) = (0.0, 0.0, 0.0);
            for (&a, &b) in a.iter().zip(b) {
                dot += f64::from(a) * f64::from(b);
                first += f64::from(a).powi(2);
                second += f64::from(b).powi(2);
            }
            sum += dot / first.sqrt() / second.sqrt();
        }
        1.0 - sum / a.len() as f64
    }

    #[test]
    fn influences_are_what_their_definitions_say() {
        let model = Decoder::random(toml::from_str(MODEL).unwrap(), &Device::flex()).unwrap();
        let ids: Vec<u32> = (0..48).map(|at| at * at * 7 % 50).collect();
        let calibration = Calibration::new(&ids, 48, 16).unwrap();
        let windows: Vec<&[u32]> = calibration.windows().collect();
        let text = calibration.start(&model);
        let mut judged = 0;
        let found = Influence::Macro.measure(&model, &text, &mut || judged += 1);
        assert_eq!(judged, 3);
        let full = end(&model, &windows, &[0, 1, 2]);
        for (found, kept) in found.iter().zip([[1, 2], [0, 2], [0, 1]]) {
            let expected = far(&full, &end(&model, &windows, &kept));
            assert!((found - expected).abs() < 1e-6 && expected > 1e-4, "{found}, not {expected}");
        }
        let found = Influence::Block.measure(&model, &text, &mut || {});
        for (layer, found) in found.iter().enumerate() {
            let before: Vec<usize> = (0..layer).collect();
            let after: Vec<usize> = (0..=layer).collect();
            let expected = far(&end(&model, &windows, &before), &end(&model, &windows, &after));
            assert!((found - expected).abs() < 1e-6 && expected > 1e-4, "{found}, not {expected}");
        }
    }
}
