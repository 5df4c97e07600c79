//! Drawing pictures, scale by scale.

use burn::tensor::Tensor;
use headwise_ops::host::{self, Host};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::NextScale;
use super::cache::{CompressesScales, ScaleCacheBytes, ScaleCaches};
use super::choose::Choice;
use super::quantiser::by_picture;
use super::spec::NextScaleError;

/// What is to be drawn.
#[derive(Clone, Debug)]
pub struct Drawing {
    /// The class of every picture.
    pub classes: Vec<usize>,
    /// Guidance `g`: at scale `k` of `K` scores are `(1 + t) with - t without` the class, `t = g k / (K - 1)`. With 0 nothing is drawn
    /// without a class.
    pub guidance: f64,
    /// How codes are chosen.
    pub choice: Choice,
    /// Seed of the draws.
    pub seed: u64,
}

/// What was drawn.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// The codes, picture after picture, scale after scale, row by row.
    pub tokens: Vec<u32>,
    /// Red, green and blue of every pixel, from 0 to 255, picture after picture, row by row.
    pub pixels: Vec<f32>,
    /// What the cache took.
    pub bytes: ScaleCacheBytes,
    /// The scores that the codes were chosen by, scale by scale: `[pictures, cells, codes]` of each.
    pub scores: Vec<Vec<f32>>,
}

impl NextScale {
    /// Draws pictures; `policy` sees every layer at every scale and may make its cache smaller.
    ///
    /// # Errors
    /// If a class or the choice of codes is none.
    pub fn draw(&self, drawing: &Drawing, policy: &mut dyn CompressesScales) -> Result<Drawn, NextScaleError> {
        let (spec, pictures) = (self.spec(), drawing.classes.len());
        if let Some(&class) = drawing.classes.iter().find(|&&class| class >= spec.classes) {
            return Err(NextScaleError::Class { class, classes: spec.classes });
        }
        drawing.choice.check()?;
        let mut random = ChaCha8Rng::seed_from_u64(drawing.seed);
        let guided = drawing.guidance != 0.0;
        let mut classes = drawing.classes.clone();
        if guided {
            classes.resize(2 * pictures, spec.classes);
        }
        let condition = self.transformer.condition(&classes);
        let device = self.transformer.class.val().device();
        let mut caches = ScaleCaches::new(spec.layers, &spec.scales, pictures);
        let mut sum = Tensor::zeros([pictures, spec.channels, spec.side(), spec.side()], &device);
        let (mut maps, mut all_scores) = (Vec::new(), Vec::new());
        for scale in 0..spec.scales.len() {
            let features = (scale > 0).then(|| {
                let features = self.autoencoder.quantiser.at_scale(sum.clone(), scale);
                if guided { Tensor::cat(vec![features.clone(), features], 0) } else { features }
            });
            let attend = |layer, projected| caches.attend(layer, scale, projected, policy);
            let scores = self.transformer.step(&condition, scale, features, attend);
            let strength = drawing.guidance * scale as f64 / (spec.scales.len() - 1) as f64;
            let scores = guide(scores, pictures, strength);
            let scores = Host::new(host::contiguous(scores)).as_slice().to_vec();
            let tokens: Vec<u32> =
                scores.chunks(spec.codes).map(|scores| drawing.choice.code(scores, &mut random)).collect();
            sum = sum + self.autoencoder.quantiser.addition(scale, &tokens, pictures);
            maps.push(tokens);
            all_scores.push(scores);
            if scale + 1 < spec.scales.len() {
                caches.between();
            }
        }
        let decoded = self.autoencoder.decode(sum);
        let pixels = pixels_of(decoded);
        Ok(Drawn { tokens: by_picture(&maps, pictures), pixels, bytes: caches.bytes, scores: all_scores })
    }
}

/// Scores `[rows, cells, codes]` of the pictures, away from those without a class.
fn guide(scores: Tensor<3>, pictures: usize, strength: f64) -> Tensor<3> {
    let [rows, ..] = scores.dims();
    if rows == pictures {
        return scores;
    }
    let with = scores.clone().narrow(0, 0, pictures);
    let without = scores.narrow(0, pictures, pictures);
    with * (1.0 + strength) - without * strength
}

/// Pictures `[pictures, 3, size, size]` from -1 to 1 as red, green and blue of every pixel, from 0 to 255.
pub(super) fn pixels_of(pictures: Tensor<4>) -> Vec<f32> {
    let shades = (pictures.permute([0, 2, 3, 1]).clamp(-1.0, 1.0) + 1.0) * 127.5;
    Host::new(host::contiguous(shades)).as_slice().to_vec()
}
