//! How far heads with ALiBi see: the distance beyond which no key can weigh more than `ε`, from the weights alone.
//!
//! In a head of slope `m` the key `d` tokens back weighs at most `exp(N - m d)` of what the query's own key does, where `N` bounds the
//! difference of any two products of a query with keys: `N = 2 s (‖W_Q W_Kᵀ‖₂ R² + ‖W_Kᵀ b_Q‖ R)`, with the scale `s` of scores, the bias
//! `b_Q` of queries and the length `R` that the norm before the layer allows. So the scope is `(N - ln ε) / m`. Tang et al. 2024,
//! arXiv:2407.15891; the bias, and norms of queries and keys, which set `N = 2 s d max|γ_Q| max|γ_K|`, are ours.

use burn::tensor::Tensor;
use headwise_models::decoder::DecoderSpec;
use headwise_nn::block::{Block, BlockSpec};
use headwise_nn::norm::{Norm, RmsNorm};
use headwise_nn::position::PositionSpec;
use headwise_nn::{Linear, mixer};
use headwise_ops::host::Host;
use nalgebra::{DMatrix, DVector};
use serde::{Deserialize, Serialize};

use crate::Engine;

/// What is taken for `R²`, the squared length of what a layer with ALiBi reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScopeBound {
    /// `(max|γ| √D + ‖β‖)²`, which no output of the norm exceeds.
    #[default]
    Safe,
    /// `‖γ‖² + ‖β‖²`, as the paper has it: nearer to what happens where activations spread, and no bound where they do not.
    Paper,
}

/// When a key of a head with ALiBi is out of sight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scope {
    /// What is taken for the length of inputs.
    pub bound: ScopeBound,
    /// A key that weighs less is out of sight; above 0, below 1.
    pub least_weight: f64,
}

/// How large the differences of a query head's scores can be, and how fast scores fall with the distance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fading {
    /// `N` with either length of inputs.
    safe: f64,
    paper: f64,
    slope: f64,
}

impl Fading {
    /// Keys that are in sight, the query's own included; all of a text if nothing bounds the scores.
    fn keys(&self, scope: Scope) -> usize {
        let most = match scope.bound {
            ScopeBound::Safe => self.safe,
            ScopeBound::Paper => self.paper,
        };
        // Of what is too large for an integer, the largest is taken.
        (((most - scope.least_weight.ln()) / self.slope).ceil() as usize).saturating_add(1)
    }
}

/// Whether the scores of `layer` fall with the distance, over the whole text.
pub(crate) fn fades(layer: &BlockSpec) -> bool {
    let distant =
        |mixer: &mixer::SoftmaxSpec| matches!(mixer.position, PositionSpec::Alibi(_)) && mixer.window.is_none();
    layer.mixer.softmax().is_some_and(distant)
}

impl Engine {
    /// How many keys every key-value head sees, `[layers][kv_heads]`: the most of its query heads. Empty for layers without ALiBi.
    ///
    /// Nothing is run for it; the weights are looked at when it is first asked for.
    pub fn scopes(&self, scope: Scope) -> Vec<Vec<usize>> {
        let layers = self.fading.get_or_init(|| self.install(|| fading(self)));
        let group = |layer: usize| {
            self.spec().layers[layer].mixer.softmax().map_or(1, |spec| spec.sizes(self.spec().dim).group())
        };
        let most = |heads: &[Fading]| heads.iter().map(|head| head.keys(scope)).max().unwrap_or(0);
        layers.iter().enumerate().map(|(layer, heads)| heads.chunks(group(layer)).map(most).collect()).collect()
    }
}

/// Every query head of every layer that fades.
fn fading(engine: &Engine) -> Vec<Vec<Fading>> {
    let model: &DecoderSpec = engine.spec();
    let layers = model.layers.iter().enumerate();
    layers
        .map(|(layer, spec)| if fades(spec) { of_block(engine.model().block(layer), model.dim) } else { Vec::new() })
        .collect()
}

/// The query heads of a block with ALiBi in a model of `dim` channels.
fn of_block(block: &Block, dim: usize) -> Vec<Fading> {
    let Some(mixer) = block.mixer.softmax() else { return Vec::new() };
    let spec = mixer.spec().attention(dim);
    let mixer::Heads { heads, head_dim, .. } = mixer.spec().sizes(dim);
    let group = mixer.spec().sizes(dim).group();
    let slopes = spec.alibi.as_deref().unwrap_or_default();
    let scale = f64::from(spec.scale);
    let lengths = block.mixer_norms.before.as_ref().map(|norm| squared_lengths(norm, dim));
    let [(query, bias), (key, _)] = [&mixer.query, &mixer.key].map(|linear| matrix(linear, dim));
    let fading = |(head, &slope): (usize, &f32)| {
        let [safe, paper] = match (&mixer.norms, lengths) {
            // Convolved, or not normalised: anything may come.
            _ if mixer.convolution.is_some() => [f64::INFINITY; 2],
            (Some(norms), _) => [2.0 * scale * head_dim as f64 * largest(&norms.query) * largest(&norms.key); 2],
            (None, None) => [f64::INFINITY; 2],
            (None, Some(lengths)) => {
                let query_rows = query.columns(head * head_dim, head_dim).transpose();
                let key_rows = key.columns(head / group * head_dim, head_dim).transpose();
                let product = product_norm(&query_rows, &key_rows);
                let of_bias =
                    bias.as_ref().map_or(0.0, |bias| key_rows.tr_mul(&bias.rows(head * head_dim, head_dim)).norm());
                lengths.map(|squared| 2.0 * scale * (product * squared + of_bias * squared.sqrt()))
            }
        };
        Fading { safe, paper, slope: f64::from(slope) }
    };
    slopes.iter().take(heads).enumerate().map(fading).collect()
}

/// `R²` of what `norm` gives, in `dim` channels: safe, and as the paper has it.
fn squared_lengths(norm: &Norm, dim: usize) -> [f64; 2] {
    let (weight, bias) = match norm {
        Norm::Rms(norm) => (Host::new(norm.weight.val()), None),
        Norm::Layer(norm) => (Host::new(norm.weight.val()), Some(Host::new(norm.bias.val()))),
    };
    let squares = |values: &[f32]| values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
    let most = weight.as_slice().iter().fold(0.0f64, |most, x| most.max(f64::from(x.abs())));
    let bias = bias.map_or(0.0, |bias| squares(bias.as_slice()));
    [(most * (dim as f64).sqrt() + bias.sqrt()).powi(2), squares(weight.as_slice()) + bias]
}

fn largest(norm: &RmsNorm) -> f64 {
    Host::new(norm.weight.val()).as_slice().iter().fold(0.0, |most, x| most.max(f64::from(x.abs())))
}

/// The weights `[dim, outputs]` of `linear`, however it stores them, and its bias.
fn matrix(linear: &Linear, dim: usize) -> (DMatrix<f64>, Option<DVector<f64>>) {
    let device = burn::tensor::Device::flex();
    let rows = |x: Tensor<2>| {
        let y = linear.forward(x);
        let [rows, outputs] = y.dims();
        DMatrix::from_row_iterator(rows, outputs, Host::new(y).as_slice().iter().map(|x| f64::from(*x)))
    };
    let bias = rows(Tensor::zeros([1, dim], &device));
    let mut weights = rows(Tensor::eye(dim, &device));
    weights.row_iter_mut().for_each(|mut row| row -= bias.row(0));
    (weights, bias.iter().any(|x| *x != 0.0).then(|| bias.row(0).transpose()))
}

/// `‖AᵀB‖₂` of two matrices `[d, D]`: the root of the largest eigenvalue of `(A Aᵀ)(B Bᵀ)`.
fn product_norm(a: &DMatrix<f64>, b: &DMatrix<f64>) -> f64 {
    let of_b = (b * b.transpose()).symmetric_eigen();
    let roots = of_b.eigenvalues.map(|value| value.max(0.0).sqrt());
    let root = &of_b.eigenvectors * DMatrix::from_diagonal(&roots);
    let product = root.transpose() * (a * a.transpose()) * &root;
    product.symmetric_eigenvalues().max().max(0.0).sqrt()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use headwise_models::decoder::Decoder;
    use headwise_nn::mixer::{MixerSpec, SoftmaxSpec};
    use headwise_nn::norm::NormSpec;
    use headwise_nn::position::Alibi;
    use proptest::prelude::*;

    use super::*;
    use crate::probe::{Looking, Probe};

    const SCOPE: Scope = Scope { bound: ScopeBound::Safe, least_weight: 1e-2 };

    fn engine(norm: NormSpec, mixer: SoftmaxSpec) -> Engine {
        let mut spec = headwise_models::decoder::Induction::new(0)
            .decoder(headwise_models::decoder::Weights::Stored, &Device::flex())
            .unwrap()
            .spec()
            .clone();
        (spec.dim, spec.context) = (24, 600);
        let mixer = SoftmaxSpec { head_dim: Some(8), position: Alibi {}.into(), ..mixer };
        for layer in &mut spec.layers {
            (layer.mixer, layer.norm) = (MixerSpec::from(mixer.clone()), norm);
            layer.norms = headwise_nn::block::Norms::Pre;
        }
        Engine::new(Decoder::random(spec, &Device::flex()).unwrap(), 1).unwrap()
    }

    #[test]
    fn nothing_out_of_sight_weighs_more_than_was_said() {
        let heads = SoftmaxSpec { heads: 4, kv_heads: Some(2), ..SoftmaxSpec::default() };
        for (norm, mixer) in [
            (NormSpec::Rms, heads.clone()),
            (NormSpec::Layer, SoftmaxSpec { bias: true, ..heads.clone() }),
            (NormSpec::Rms, SoftmaxSpec { qk_norm: true, ..heads }),
        ] {
            let engine = engine(norm, mixer);
            let scopes = engine.scopes(SCOPE);
            let ids: Vec<u32> = (0..400).map(|at| 1 + at * 7 % 200).collect();
            let mut seen = 0;
            let mut probe = Probe(|looking: &Looking<'_>| {
                for (head, row) in (0..looking.shape.heads).flat_map(|head| (0..ids.len()).map(move |row| (head, row)))
                {
                    let keys = scopes[looking.layer][head / looking.shape.group()];
                    for column in 0..(row + 1).saturating_sub(keys) {
                        assert!(
                            looking.weight(head, row, column) <= SCOPE.least_weight,
                            "{norm:?}: {head}, {row}, {column}"
                        );
                        seen += 1;
                    }
                }
            });
            engine.observe(&ids, &mut probe, |_| {});
            assert!(seen > 1000, "{norm:?}: some heads are short-sighted: {scopes:?}");
        }
    }

    #[test]
    fn the_scope_goes_with_the_slope_and_the_weight() {
        let keys = |slope: f64, least_weight: f64| {
            Fading { safe: 70.0, paper: 5.0, slope }.keys(Scope { bound: ScopeBound::Safe, least_weight })
        };
        // (70 + ln 1e5) / slope, rounded up, and the query's own key.
        assert_eq!([0.25, 0.0625, 0.015625].map(|slope| keys(slope, 1e-5)), [328, 1306, 5218]);
        assert!(keys(0.25, 1e-2) < keys(0.25, 1e-5));
        let endless = Fading { safe: f64::INFINITY, paper: 1.0, slope: 0.5 };
        assert_eq!(endless.keys(SCOPE), usize::MAX);
    }

    /// What the paper's length leaves out: a norm of one large channel, whose output can stand in this channel alone.
    #[test]
    fn only_the_safe_length_holds_where_activations_do_not_spread() {
        const DIM: usize = 64;
        let mut gamma = vec![0.05f32; DIM];
        gamma[0] = 3.0;
        let norm = Norm::Rms(RmsNorm::from_weight(gamma, 1e-6, &Device::flex()));
        let [safe, paper] = squared_lengths(&norm, DIM);
        // Query and key read that channel, the key with the other sign: the query's own key is opposed, one of the opposite input is not.
        let (query, key) = (0.2, -0.2);
        let product = product_norm(
            &DMatrix::from_fn(1, DIM, |_, channel| if channel == 0 { query } else { 0.0 }),
            &DMatrix::from_fn(1, DIM, |_, channel| if channel == 0 { key } else { 0.0 }),
        );
        let fading = Fading { safe: 2.0 * product * safe, paper: 2.0 * product * paper, slope: 0.125 };
        let input = 3.0 * (DIM as f64).sqrt();
        let difference = query * input * (key * -input - key * input);
        let weight = |distance: f64| 1.0 / (1.0 + (fading.slope * distance - difference).exp());
        let scope = |bound| fading.keys(Scope { bound, ..SCOPE }) as f64;
        assert!(weight(scope(ScopeBound::Safe)) <= SCOPE.least_weight);
        assert!(weight(scope(ScopeBound::Paper)) > 0.99);
    }

    proptest! {
        #[test]
        fn norms_of_products_are_those_of_the_products(values in prop::collection::vec(-1.0f64..1.0, 2 * 3 * 7)) {
            let [a, b] = [&values[..21], &values[21..]].map(|values| DMatrix::from_row_slice(3, 7, values));
            let expected = (a.transpose() * &b).singular_values().max();
            prop_assert!((product_norm(&a, &b) - expected).abs() < 1e-6, "{expected}");
        }
    }
}
