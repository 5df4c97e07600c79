//! Heads whose gates matter least are left out.
//!
//! With a gate `g_h = 1` on the output of every head, the importance of head `h` is the mean of `|∂L/∂g_h|` over texts (Michel et al. 2019,
//! arXiv:1905.10650). A gate scales the columns of the output projection that read its head, so `∂L/∂g_h = Σ W ∂L/∂W` over those columns.
//! Query heads that share keys and values go together with them, so that files and caches shrink as well.

use burn::module::Param;
use burn::tensor::{Device, Tensor};
use headwise_kernels::loss::Targets;
use headwise_nn::Linear;
use headwise_nn::mixer::{Heads as Sizes, Mixer, Segment, Softmax, SoftmaxSpec};
use headwise_nn::position::PositionSpec;
use headwise_ops::host::Host;
use headwise_ops::{CutSettings, cut_cross_entropy};

use super::matrix::Matrix;
use super::{Calibration, CompressError, Step};
use crate::decoder::Decoder;

headwise_spec::method! {
    /// Leaves out the key-value heads, each with its query heads, whose gates matter least.
    ///
    /// Needs a calibration text. A layer keeps at least one. Michel et al. 2019, arXiv:1905.10650.
    pub struct Heads {
        /// Share of the key-value heads of the whole model that go.
        pub share: f64 = 0.25,
    }
}

impl Heads {
    /// The gradient of the mean loss of the text `ids` with respect to a gate on every query head, `[layer][head]`, for a model with
    /// trainable weights.
    pub fn gate_gradients(model: &Decoder, ids: &[u32]) -> Vec<Vec<f64>> {
        gate_gradients(&tracked(model), ids)
    }
}

/// Leaves heads out.
pub(super) fn run(
    method: &Heads,
    model: &mut Decoder,
    calibration: &Calibration,
    progress: &mut dyn FnMut(Step),
) -> Result<String, CompressError> {
    let mut layers = model.spec().layers.iter().filter_map(|layer| layer.mixer.softmax());
    if layers.any(|mixer| matches!(mixer.position, PositionSpec::Alibi(_))) {
        let text =
            "heads of layers with position=alibi cannot go: the slopes of the others depend on how many there are";
        return Err(CompressError::Method(text.into()));
    }
    let mut scored: Vec<(f64, usize, usize)> = importance(model, calibration, progress)
        .into_iter()
        .enumerate()
        .flat_map(|(layer, heads)| heads.into_iter().enumerate().map(move |(head, score)| (score, layer, head)))
        .collect();
    let all = scored.len();
    scored.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut left: Vec<Vec<usize>> = sizes(model).iter().map(|sizes| (0..sizes.kv_heads).collect()).collect();
    let mut dropped = 0;
    for (_, layer, head) in scored {
        if dropped < (all as f64 * method.share).round() as usize && left[layer].len() > 1 {
            left[layer].retain(|&other| other != head);
            dropped += 1;
        }
    }
    for (layer, kept) in left.iter().enumerate() {
        keep(model, layer, kept);
    }
    Ok(format!("{dropped} of {all} key-value heads left out, each with its query heads"))
}

fn sizes(model: &Decoder) -> Vec<Sizes> {
    let spec = model.spec();
    spec.layers.iter().filter_map(|layer| layer.mixer.softmax()).map(|mixer| mixer.sizes(spec.dim)).collect()
}

/// The importance of every key-value head, `[layer][head]`: the sum over its query heads.
pub(super) fn importance(model: &Decoder, calibration: &Calibration, progress: &mut dyn FnMut(Step)) -> Vec<Vec<f64>> {
    let sizes = sizes(model);
    let mut total: Vec<Vec<f64>> = sizes.iter().map(|sizes| vec![0.0; sizes.kv_heads]).collect();
    let tracked = tracked(model);
    let parts = calibration.windows().len();
    for (done, ids) in calibration.windows().enumerate() {
        progress(Step { done, parts });
        for ((total, gates), sizes) in total.iter_mut().zip(gate_gradients(&tracked, ids)).zip(&sizes) {
            for (head, gradient) in gates.into_iter().enumerate() {
                total[head / sizes.group()] += gradient.abs() / parts as f64;
            }
        }
    }
    total
}

/// The model, with gradients of the output projections.
fn tracked(model: &Decoder) -> Decoder {
    let mut model = model.clone();
    for block in &mut model.blocks {
        if let Mixer::Softmax(Softmax { output: Linear::Float(output), .. }) = &mut block.mixer {
            let weight = Tensor::from_inner(output.weight.val()).require_grad();
            output.weight = Param::initialized(output.weight.id, weight);
        }
    }
    model
}

/// `∂L/∂g_h` of every query head of every layer, for the mean loss of the text `ids`.
fn gate_gradients(model: &Decoder, ids: &[u32]) -> Vec<Vec<f64>> {
    let device = Device::flex().autodiff();
    let positions: Vec<i32> = (0..ids.len() as i32).collect();
    let hidden = model.hidden(ids, &positions, &[Segment { sequence: 0, rows: 0..ids.len() }], &device);
    let tokens: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
    let targets = Targets::shifted(&tokens, tokens.len(), 1);
    let loss = cut_cross_entropy(hidden, model.classifier(), None, &targets, &CutSettings::default()).loss;
    let gradients = loss.backward();
    model
        .blocks
        .iter()
        .filter_map(|block| block.mixer.softmax())
        .map(|mixer| {
            let heads = mixer.spec().heads;
            let Linear::Float(output) = &mixer.output else { return vec![0.0; heads] };
            let weight = output.weight.val();
            let Some(gradient) = weight.grad(&gradients) else { return vec![0.0; heads] };
            // Inputs stand first here: `[heads · head_dim, dim]`.
            let (weight, gradient) = (Host::new(weight), Host::new(gradient));
            let products = weight.as_slice().iter().zip(gradient.as_slice()).map(|(w, d)| f64::from(w * d));
            let products: Vec<f64> = products.collect();
            products.chunks_exact(products.len() / heads).map(|head| head.iter().sum()).collect()
        })
        .collect()
}

/// Leaves the key-value heads `kept` of a layer, each with its query heads.
pub(super) fn keep(model: &mut Decoder, layer: usize, kept: &[usize]) {
    let dim = model.spec().dim;
    let Mixer::Softmax(mixer) = &model.blocks[layer].mixer else { return };
    let Sizes { heads, kv_heads, head_dim } = mixer.spec().sizes(dim);
    if kept.len() == kv_heads {
        return;
    }
    let group = heads / kv_heads;
    let channels = |heads_each: usize| -> Vec<usize> {
        let width = heads_each * head_dim;
        kept.iter().flat_map(|head| head * width..(head + 1) * width).collect()
    };
    let (queries, keys) = (channels(group), channels(1));
    // Said or not, a score is divided by the same number.
    let spec = SoftmaxSpec {
        heads: kept.len() * group,
        kv_heads: Some(kept.len()),
        head_dim: Some(head_dim),
        ..mixer.spec().clone()
    };
    let projections = [
        outputs(&mixer.query, &queries),
        outputs(&mixer.key, &keys),
        outputs(&mixer.value, &keys),
        inputs(&mixer.output, &queries),
    ];
    let smaller = Softmax::new(spec, dim, projections, mixer.norms.clone());
    model.replace_softmax(layer, smaller);
}

/// The projection with the outputs `kept` only.
pub(super) fn outputs(linear: &Linear, kept: &[usize]) -> Linear {
    let (Some(matrix), Linear::Float(float)) = (Matrix::of(linear), linear) else { return linear.clone() };
    let rows = kept.iter().flat_map(|&row| matrix.values[row * matrix.inputs..][..matrix.inputs].iter().copied());
    let bias = float.bias.as_ref().map(|bias| {
        let values = Host::new(bias.val());
        kept.iter().map(|&at| values.as_slice()[at]).collect()
    });
    Matrix { values: rows.collect(), inputs: matrix.inputs }.into_linear(bias)
}

/// The projection with the inputs `kept` only.
pub(super) fn inputs(linear: &Linear, kept: &[usize]) -> Linear {
    let (Some(matrix), Linear::Float(float)) = (Matrix::of(linear), linear) else { return linear.clone() };
    let rows = matrix.values.chunks_exact(matrix.inputs);
    let values = rows.flat_map(|row| kept.iter().map(|&at| row[at])).collect();
    let bias = float.bias.as_ref().map(|bias| Host::new(bias.val()).as_slice().to_vec());
    Matrix { values, inputs: kept.len() }.into_linear(bias)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = "vocabulary = 24\ndim = 32\ncontext = 64\nepsilon = 1e-5\ntied = true\n\
        [[layers]]\nmixer = \"softmax(heads=4, kv_heads=2, bias=true)\"\nchannel = \"gated(hidden=32)\"\n\
        [[layers]]\nmixer = \"softmax(heads=4, kv_heads=4, qk_norm=true)\"\nchannel = \"gated(hidden=32)\"";

    fn model() -> Decoder {
        let model = Decoder::random(toml::from_str(SPEC).unwrap(), &Device::flex()).unwrap();
        // Weights are drawn when they are first read; clones made before would draw their own.
        headwise_nn::named::read(&model);
        model
    }

    fn ids() -> Vec<u32> {
        (0..64).map(|at| at * at * 5 % 24).collect()
    }

    /// Multiplies what head `head` of a layer gives by `gate`.
    fn gated(model: &Decoder, layer: usize, head: usize, gate: f32) -> Decoder {
        let mut model = model.clone();
        if let Mixer::Softmax(mixer) = &mut model.blocks[layer].mixer {
            let factors: Vec<f32> = (0..32).map(|at| if at / 8 == head { gate } else { 1.0 }).collect();
            Matrix::of(&mixer.output).unwrap().columns_times(&factors).put(&mut mixer.output);
        }
        model
    }

    fn logits(model: &Decoder) -> Vec<f32> {
        Host::new(model.forward(&ids(), &Device::flex())).as_slice().to_vec()
    }

    fn loss(model: &Decoder) -> f64 {
        let (ids, logits) = (ids(), logits(model));
        let nll = |(at, row): (usize, &[f32])| {
            let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
            sum.ln() - f64::from(row[ids[at + 1] as usize])
        };
        logits.chunks_exact(24).take(63).enumerate().map(nll).sum::<f64>() / 63.0
    }

    #[test]
    fn the_gradient_of_a_gate_is_a_finite_difference() {
        let model = model();
        let gradients = gate_gradients(&tracked(&model), &ids());
        for (layer, gradients) in gradients.iter().enumerate() {
            assert_eq!(gradients.len(), 4);
            for (head, gradient) in gradients.iter().enumerate() {
                let step = 0.05;
                let ends = [1.0 + step, 1.0 - step].map(|gate| loss(&gated(&model, layer, head, gate)));
                let expected = (ends[0] - ends[1]) / (2.0 * f64::from(step));
                assert!((gradient - expected).abs() < 1e-3, "layer {layer}, head {head}: {gradient} for {expected}");
            }
        }
    }

    #[test]
    fn a_model_without_a_head_is_the_one_with_its_gate_shut() {
        let model = model();
        let mut smaller = model.clone();
        let shut = gated(&gated(&gated(&model, 0, 0, 0.0), 0, 1, 0.0), 1, 2, 0.0);
        keep(&mut smaller, 0, &[1]);
        keep(&mut smaller, 1, &[0, 1, 3]);
        let difference = logits(&shut).iter().zip(logits(&smaller)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference < 1e-5, "{difference}");
        assert_eq!(
            smaller.spec().layers[0].mixer.softmax().unwrap().sizes(32),
            Sizes { heads: 2, kv_heads: 1, head_dim: 8 }
        );
        assert_eq!(smaller.spec().check(), Ok(()));
    }

    #[test]
    fn a_share_of_the_heads_goes_and_a_layer_keeps_one() {
        for (share, left) in [(0.0, 6), (0.5, 3), (0.99, 2)] {
            let mut model = model();
            let calibration = Calibration::new(&ids(), 64, 32).unwrap();
            run(&Heads { share }, &mut model, &calibration, &mut |_| {}).unwrap();
            assert_eq!(sizes(&model).iter().map(|sizes| sizes.kv_heads).sum::<usize>(), left);
            assert!(sizes(&model).iter().all(|sizes| sizes.kv_heads > 0));
            assert!(logits(&model).iter().all(|value| value.is_finite()));
        }
    }
}
