//! The autoencoder: pictures to features on a small grid and back, with quantisation between.
//!
//! A cell of the grid reads its block of pixels, and three convolutions of 3 × 3 mix cells, on either side.

use burn::module::Module;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{Device, Tensor};
use headwise_ops::silu;

use super::quantiser::{Quantised, Quantiser};
use super::spec::NextScaleSpec;

/// Pictures to codes and back.
#[derive(Module, Debug)]
pub struct Autoencoder {
    /// From blocks of pixels to features.
    pub encoder: Vec<Conv2d>,
    /// From features to blocks of pixels.
    pub decoder: Vec<Conv2d>,
    /// Between the two.
    pub quantiser: Quantiser,
    block: usize,
}

impl Autoencoder {
    /// An autoencoder with weights drawn at random.
    pub fn random(spec: &NextScaleSpec, device: &Device) -> Self {
        let block = spec.size / spec.side();
        let (pixels, width) = (3 * block * block, spec.width);
        let convolution = |[from, to]: [usize; 2]| {
            Conv2dConfig::new([from, to], [3, 3]).with_padding(PaddingConfig2d::Same).init(device)
        };
        Self {
            encoder: [[pixels, width], [width, width], [width, spec.channels]].map(convolution).into(),
            decoder: [[spec.channels, width], [width, width], [width, pixels]].map(convolution).into(),
            quantiser: Quantiser::random(spec, device),
            block,
        }
    }

    /// The features of `pictures` `[pictures, 3, size, size]`, from -1 to 1: `[pictures, channels, side, side]`.
    pub fn encode(&self, pictures: Tensor<4>) -> Tensor<4> {
        let ([count, colours, size, _], block) = (pictures.dims(), self.block);
        let side = size / block;
        let blocks = pictures
            .reshape([count, colours, side, block, side, block])
            .permute([0, 1, 3, 5, 2, 4])
            .reshape([count, colours * block * block, side, side]);
        through(&self.encoder, blocks)
    }

    /// The pictures of `features`, the way back of [`encode`](Self::encode).
    pub fn decode(&self, features: Tensor<4>) -> Tensor<4> {
        let ([count, _, side, _], block) = (features.dims(), self.block);
        through(&self.decoder, features)
            .reshape([count, 3, block, block, side, side])
            .permute([0, 1, 4, 2, 5, 3])
            .reshape([count, 3, side * block, side * block])
    }

    /// How far `pictures` are from what their codes decode to, and the codes from the features; and those codes.
    pub fn loss(&self, pictures: Tensor<4>) -> (Tensor<1>, Quantised) {
        let found = self.quantiser.quantise(self.encode(pictures.clone()));
        let decoded = self.decode(found.features.clone());
        let loss = (decoded - pictures).powi_scalar(2).mean() + found.loss.clone();
        (loss, found)
    }
}

fn through(layers: &[Conv2d], x: Tensor<4>) -> Tensor<4> {
    layers.iter().enumerate().fold(x, |x, (index, layer)| layer.forward(if index == 0 { x } else { silu(x) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_pixels_becomes_a_cell_and_its_gradient_comes_back() {
        let spec = NextScaleSpec::micro(&[1, 2, 4, 8], 3);
        let device = Device::flex().autodiff();
        let model = Autoencoder::random(&spec, &device);
        let pictures = Tensor::<4>::ones([2, 3, 16, 16], &device);
        assert_eq!(model.encode(pictures.clone()).dims(), [2, 8, 8, 8]);
        assert_eq!(model.decode(Tensor::ones([2, 8, 8, 8], &device)).dims(), [2, 3, 16, 16]);
        let (loss, _) = model.loss(pictures);
        let gradients = loss.backward();
        for weight in [&model.encoder[0].weight, &model.decoder[2].weight] {
            let size = weight.val().grad(&gradients).map(|gradient| gradient.abs().sum().into_scalar::<f32>());
            assert!(size.is_some_and(|size| size > 0.0));
        }
        assert!(model.quantiser.codebook.val().grad(&gradients).is_some());
    }
}
