//! Residual quantisation over scales: a picture's features as maps of codes that grow.
//!
//! For scale `k` with a map of `p_k` × `p_k`: `z = area(rest, p_k)`; every cell takes the nearest code `e`; `h = Φ(bicubic(e))` at full
//! size with `Φ(h) = (1 - r) h + r conv(h)`, `r = ½`; `f̂ += h`, `rest -= h`. There are four `Φ`, and a scale has the one that is nearest in
//! its place. What a model reads before it says scale `k` is `area(f̂, p_k)`. Tian et al. 2024 (VAR), arXiv:2404.02905.

use burn::module::{Module, Param};
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use headwise_ops::host::{self, Host};

use super::resize::{area, bicubic};
use super::spec::NextScaleSpec;

/// Share of the convolution in `Φ`.
const CONVOLVED: f64 = 0.5;
/// How many `Φ` there are.
const SMOOTHINGS: usize = 4;
/// Weight of the pull on the encoder towards the codes, beside that on the codes.
const COMMITMENT: f64 = 0.25;

/// A codebook and what makes features of its codes.
#[derive(Module, Debug)]
pub struct Quantiser {
    /// The codes: `[codes, channels]`.
    pub codebook: Param<Tensor<2>>,
    /// The convolutions of `Φ`.
    pub smoothing: Vec<Conv2d>,
    scales: Vec<usize>,
}

/// Features as codes.
#[derive(Clone, Debug)]
pub struct Quantised {
    /// The codes, picture after picture, scale after scale, row by row.
    pub tokens: Vec<u32>,
    /// `f̂` after the last scale, with the gradient of the features themselves: `[pictures, channels, side, side]`.
    pub features: Tensor<4>,
    /// How far the codes and the features are apart, the mean over the scales: `[1]`.
    pub loss: Tensor<1>,
    /// What was looked up in the codebook, `[cells, channels]`, over all scales.
    pub cells: Vec<f32>,
}

impl Quantiser {
    /// Codes drawn at random.
    pub fn random(spec: &NextScaleSpec, device: &Device) -> Self {
        let NextScaleSpec { channels, codes, .. } = *spec;
        let convolution = Conv2dConfig::new([channels, channels], [3, 3]).with_padding(PaddingConfig2d::Same);
        Self {
            codebook: Param::from_tensor(Tensor::random([codes, channels], Distribution::Normal(0.0, 0.3), device)),
            smoothing: (0..SMOOTHINGS).map(|_| convolution.init(device)).collect(),
            scales: spec.scales.clone(),
        }
    }

    fn side(&self) -> usize {
        self.scales.last().copied().unwrap_or(1)
    }

    /// Which `Φ` scale `scale` has: that whose place, the middle of its share of the way, is nearest to the scale's.
    fn smoothing_of(&self, scale: usize) -> &Conv2d {
        let place = scale as f64 / (self.scales.len() - 1).max(1) as f64;
        let edge = 1.0 / (3.0 * SMOOTHINGS as f64);
        let tick = |i: usize| edge + (1.0 - 2.0 * edge) * i as f64 / (SMOOTHINGS - 1) as f64;
        let distance = |&i: &usize| (tick(i) - place).abs();
        let nearest = (0..SMOOTHINGS).min_by(|a, b| distance(a).total_cmp(&distance(b)));
        &self.smoothing[nearest.unwrap_or(0)]
    }

    /// What the codes `tokens` of scale `scale` add to `f̂`: `[pictures, channels, side, side]`.
    pub fn addition(&self, scale: usize, tokens: &[u32], pictures: usize) -> Tensor<4> {
        let codebook = self.codebook.val();
        let (device, [_, channels]) = (codebook.device(), codebook.dims());
        let (map, side) = (self.scales[scale], self.side());
        let indices: Vec<i64> = tokens.iter().map(|&token| i64::from(token)).collect();
        let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [tokens.len()]), &device);
        let codes = codebook.select(0, indices).reshape([pictures, map * map, channels]).swap_dims(1, 2);
        let enlarged = if map == side { codes } else { codes.matmul(bicubic(map, side, &device).unsqueeze()) };
        let h = enlarged.reshape([pictures, channels, side, side]);
        let convolved = self.smoothing_of(scale).forward(h.clone());
        h * (1.0 - CONVOLVED) + convolved * CONVOLVED
    }

    /// `features` `[pictures, channels, side, side]` at the size of scale `scale`, cell by cell: `[pictures, cells, channels]`.
    pub fn at_scale(&self, features: Tensor<4>, scale: usize) -> Tensor<3> {
        let [pictures, channels, side, _] = features.dims();
        let map = self.scales[scale];
        let flat = features.reshape([pictures, channels, side * side]);
        let device = flat.device();
        let small = if map == side { flat } else { flat.matmul(area(side, map, &device).unsqueeze()) };
        small.swap_dims(1, 2)
    }

    /// The nearest code of every row of `cells` `[rows, channels]`; of equals the first.
    fn nearest(&self, cells: Tensor<2>) -> Vec<u32> {
        let codebook = self.codebook.val().detach();
        let [codes, _] = codebook.dims();
        let squares = codebook.clone().powi_scalar(2).sum_dim(1).swap_dims(0, 1);
        let distances = Host::new(host::contiguous(squares - cells.matmul(codebook.swap_dims(0, 1)) * 2.0));
        let least = |row: &[f32]| {
            let first = (0u32..).zip(row).min_by(|(_, one), (_, other)| one.total_cmp(other));
            first.map_or(0, |(code, _)| code)
        };
        distances.as_slice().chunks(codes).map(least).collect()
    }

    /// Makes codes of `features` `[pictures, channels, side, side]`.
    pub fn quantise(&self, features: Tensor<4>) -> Quantised {
        let [pictures, channels, ..] = features.dims();
        let fixed = features.clone().detach();
        let mut rest = fixed.clone();
        let mut sum = Tensor::zeros_like(&fixed);
        let mut loss = Tensor::zeros([1], &fixed.device());
        let (mut maps, mut seen) = (Vec::new(), Vec::new());
        for (scale, map) in self.scales.iter().enumerate() {
            let cells = self.at_scale(rest.clone(), scale).reshape([pictures * map * map, channels]);
            seen.extend_from_slice(Host::new(host::contiguous(cells.clone())).as_slice());
            let tokens = self.nearest(cells);
            let addition = self.addition(scale, &tokens, pictures);
            rest = rest - addition.clone().detach();
            sum = sum + addition;
            loss = loss
                + (sum.clone() - fixed.clone()).powi_scalar(2).mean()
                + (sum.clone().detach() - features.clone()).powi_scalar(2).mean() * COMMITMENT;
            maps.push(tokens);
        }
        // As if the codes were the features: their gradient passes.
        let through = features.clone() + (sum - features).detach();
        let tokens = by_picture(&maps, pictures);
        Quantised { tokens, features: through, loss: loss / self.scales.len() as f64, cells: seen }
    }

    /// What a model reads before every scale but the first, made of all `tokens` of `pictures` pictures:
    /// `[pictures, tokens - 1, channels]`; and `f̂` after the last scale.
    pub fn read(&self, tokens: &[u32], pictures: usize) -> (Tensor<3>, Tensor<4>) {
        let side = self.side();
        let codebook = self.codebook.val();
        let mut sum = Tensor::zeros([pictures, codebook.dims()[1], side, side], &codebook.device());
        let mut inputs = Vec::new();
        for (scale, map) in by_scale(tokens, pictures, &self.scales).iter().enumerate() {
            sum = sum + self.addition(scale, map, pictures);
            if scale + 1 < self.scales.len() {
                inputs.push(self.at_scale(sum.clone(), scale + 1));
            }
        }
        (Tensor::cat(inputs, 1), sum)
    }
}

/// Maps of all pictures, scale after scale, to tokens picture after picture.
pub fn by_picture(maps: &[Vec<u32>], pictures: usize) -> Vec<u32> {
    let of = |picture: usize| {
        maps.iter().flat_map(move |map| {
            let cells = map.len() / pictures.max(1);
            map[picture * cells..][..cells].iter().copied()
        })
    };
    (0..pictures).flat_map(of).collect()
}

/// Tokens picture after picture to the maps of every scale, each of all pictures.
pub fn by_scale(tokens: &[u32], pictures: usize, scales: &[usize]) -> Vec<Vec<u32>> {
    let each = tokens.len() / pictures.max(1);
    let mut first = 0;
    let map = |side: &usize| {
        let cells = first..first + side * side;
        first = cells.end;
        tokens.chunks(each.max(1)).flat_map(|picture| picture[cells.clone()].iter().copied()).collect()
    };
    scales.iter().map(map).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantiser() -> Quantiser {
        Quantiser::random(&NextScaleSpec::micro(&[1, 2, 3, 4], 3), &Device::flex())
    }

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        Host::new(host::contiguous(tensor)).as_slice().to_vec()
    }

    #[test]
    fn what_was_accumulated_is_what_all_codes_decode_to() {
        let quantiser = quantiser();
        let features = Tensor::random([3, 8, 4, 4], Distribution::Normal(0.0, 1.0), &Device::flex());
        let found = quantiser.quantise(features);
        assert_eq!(found.tokens.len(), 3 * 30);
        assert_eq!(found.cells.len(), 3 * 30 * 8);
        let (inputs, decoded) = quantiser.read(&found.tokens, 3);
        assert_eq!(inputs.dims(), [3, 29, 8]);
        for (one, other) in values(found.features).iter().zip(values(decoded)) {
            assert!((one - other).abs() < 1e-5, "{one} {other}");
        }
    }

    #[test]
    fn every_cell_takes_its_nearest_code() {
        let quantiser = quantiser();
        let features = Tensor::random([1, 8, 4, 4], Distribution::Normal(0.0, 1.0), &Device::flex());
        let found = quantiser.quantise(features);
        let codebook = values(quantiser.codebook.val());
        for (cell, &token) in found.cells.chunks(8).zip(&found.tokens) {
            let distance = |code: usize| -> f32 {
                codebook[code * 8..][..8].iter().zip(cell).map(|(code, cell)| (code - cell).powi(2)).sum()
            };
            let least = (0..64).map(distance).fold(f32::INFINITY, f32::min);
            assert!(distance(token as usize) <= least + 1e-5);
        }
    }

    #[test]
    fn tokens_change_their_order_and_come_back() {
        let scales = [1, 2];
        let tokens: Vec<u32> = (0..10).collect();
        let maps = by_scale(&tokens, 2, &scales);
        assert_eq!(maps, [vec![0, 5], vec![1, 2, 3, 4, 6, 7, 8, 9]]);
        assert_eq!(by_picture(&maps, 2), tokens);
    }

    #[test]
    fn scales_share_the_smoothings_evenly() {
        let quantiser = quantiser();
        for scale in 0..4 {
            assert!(std::ptr::eq(quantiser.smoothing_of(scale), &quantiser.smoothing[scale]));
        }
    }
}
