//! The codes of all pictures, made once when the autoencoder has learned.

use burn::tensor::{Device, Tensor};
use headwise_models::next_scale::Autoencoder;
use headwise_ops::host::{self, Host};

use super::pictures::Pictures;

/// Codes, and what is read before them.
pub(super) struct Codes {
    /// `[pictures, tokens]`.
    tokens: Vec<u32>,
    /// `[pictures, tokens - 1, channels]`.
    features: Vec<f32>,
    /// Of a picture.
    each: [usize; 2],
    pictures: usize,
}

impl Codes {
    /// Those of `pool`, so many pictures at once.
    pub fn of(autoencoder: &Autoencoder, pool: &Pictures, at_once: usize) -> Self {
        let device = autoencoder.quantiser.codebook.val().device();
        let mut codes = Self { tokens: Vec::new(), features: Vec::new(), each: [1; 2], pictures: pool.count() };
        let all: Vec<usize> = (0..pool.count()).collect();
        for chosen in all.chunks(at_once) {
            let tokens = autoencoder.quantiser.quantise(autoencoder.encode(pool.tensor(chosen, &device))).tokens;
            let (features, _) = autoencoder.quantiser.read(&tokens, chosen.len());
            let [_, read, channels] = features.dims();
            codes.each = [read, channels];
            codes.features.extend_from_slice(Host::new(host::contiguous(features)).as_slice());
            codes.tokens.extend(tokens);
        }
        codes
    }

    /// What is read before the codes of `chosen`, `[chosen, tokens - 1, channels]`, and the codes.
    pub fn batch(&self, chosen: &[usize], device: &Device) -> (Tensor<3>, Vec<u32>) {
        let [read, channels] = self.each;
        let (of_features, of_tokens) = (read * channels, self.tokens.len() / self.pictures);
        let mut features = Vec::with_capacity(chosen.len() * of_features);
        let mut tokens = Vec::with_capacity(chosen.len() * of_tokens);
        for &picture in chosen {
            features.extend_from_slice(&self.features[picture * of_features..][..of_features]);
            tokens.extend_from_slice(&self.tokens[picture * of_tokens..][..of_tokens]);
        }
        (host::tensor(features, [chosen.len(), read, channels], device), tokens)
    }
}
