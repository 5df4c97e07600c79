//! A generator of pictures that predicts the next scale: a minimal VAR.
//!
//! A picture is maps of codes that grow ([`Quantiser`]); a transformer predicts each map from all smaller ones
//! ([`NextScaleTransformer`]); drawing keeps keys and values of the maps so far, and a policy may make them fewer
//! ([`CompressesScales`]). Tian et al. 2024, arXiv:2404.02905.

mod autoencoder;
mod block;
mod cache;
mod choose;
mod generate;
mod quantiser;
pub mod resize;
mod spec;
#[cfg(test)]
mod tests;
mod transformer;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use headwise_ops::host;

pub use autoencoder::Autoencoder;
pub use block::{NextScaleBlock, Projected, attended};
pub use cache::{Attended, CompressesScales, KeepEverything, Kept, ScaleCacheBytes};
pub use choose::Choice;
pub use generate::{Drawing, Drawn};
pub use quantiser::{Quantised, Quantiser, by_picture, by_scale};
pub use spec::{NextScaleError, NextScaleSpec};
pub use transformer::{Condition, NextScaleTransformer};

/// The generator.
#[derive(Module, Debug)]
pub struct NextScale {
    /// Pictures to codes and back.
    pub autoencoder: Autoencoder,
    /// What predicts the codes.
    pub transformer: NextScaleTransformer,
    #[module(skip)]
    spec: NextScaleSpec,
}

impl NextScale {
    /// A generator with weights drawn at random.
    ///
    /// # Errors
    /// If there can be none of these sizes.
    pub fn random(spec: NextScaleSpec, device: &Device) -> Result<Self, NextScaleError> {
        spec.check()?;
        let (autoencoder, transformer) =
            (Autoencoder::random(&spec, device), NextScaleTransformer::random(&spec, device));
        Ok(Self { autoencoder, transformer, spec })
    }

    /// The generator of these parts.
    pub fn of(autoencoder: Autoencoder, transformer: NextScaleTransformer, spec: NextScaleSpec) -> Self {
        Self { autoencoder, transformer, spec }
    }

    /// Its sizes.
    pub fn spec(&self) -> &NextScaleSpec {
        &self.spec
    }

    /// The pictures that `tokens` of `pictures` pictures decode to, as [`Drawn::pixels`].
    pub fn decode(&self, tokens: &[u32], pictures: usize) -> Vec<f32> {
        let (_, features) = self.autoencoder.quantiser.read(tokens, pictures);
        generate::pixels_of(self.autoencoder.decode(features))
    }
}

/// Pictures, red, green and blue of every pixel, row by row, from 0 to 255, as the autoencoder reads them:
/// `[pictures, 3, size, size]` from -1 to 1.
pub fn pictures_of(pixels: &[u8], size: usize, device: &Device) -> Tensor<4> {
    let values: Vec<f32> = pixels.iter().map(|&value| f32::from(value) / 127.5 - 1.0).collect();
    let count = pixels.len() / (3 * size * size);
    host::tensor(values, [count, size, size, 3], device).permute([0, 3, 1, 2])
}
