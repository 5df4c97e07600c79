//! Sinusoidal positions: a fixed vector of waves for every position, added to the vector of the token.
//!
//! Channel `2i` of position `p` is `sin(p / θ^(2i/dim))`, channel `2i + 1` the cosine of the same angle, so a shift in position turns each
//! pair. Vaswani et al. 2017, arXiv:1706.03762, section 3.5.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use headwise_ops::host;

headwise_spec::method! {
    /// A fixed vector of sines and cosines for every position, added to the vectors of tokens.
    ///
    /// Vaswani et al. 2017, arXiv:1706.03762.
    pub struct SinusoidalSpec {
        /// The longest wave is `2π · theta` tokens long.
        pub theta: f64 = 10_000.0,
        /// Factor of the vectors; the vectors of new tokens are small.
        pub scale: f32 = 1.0,
    }
}

impl SinusoidalSpec {
    /// Whether the numbers make sense.
    pub fn check(&self) -> Result<(), String> {
        match () {
            () if !(self.theta.is_finite() && self.theta > 0.0) => {
                Err(format!("theta={}: it must be a finite number above 0", self.theta))
            }
            () if !self.scale.is_finite() => Err(format!("scale={}: it must be finite", self.scale)),
            () => Ok(()),
        }
    }
}

/// Sinusoidal positions.
#[derive(Module, Debug)]
pub struct Sinusoidal {
    #[module(skip)]
    spec: SinusoidalSpec,
    dim: usize,
}

impl Sinusoidal {
    /// Vectors of `dim` channels.
    pub fn new(spec: SinusoidalSpec, dim: usize) -> Self {
        Self { spec, dim }
    }

    /// The vectors of `positions`: `[positions, dim]`.
    pub fn vectors(&self, positions: &[i32], device: &Device) -> Tensor<2> {
        let SinusoidalSpec { theta, scale } = self.spec;
        // In f64: angles far into a text are large.
        let value = |position: i32, channel: usize| {
            let pair = (channel - channel % 2) as f64;
            let angle = f64::from(position) * theta.powf(-pair / self.dim as f64);
            scale * (if channel.is_multiple_of(2) { angle.sin() } else { angle.cos() }) as f32
        };
        let values = positions.iter().flat_map(|&position| (0..self.dim).map(move |channel| value(position, channel)));
        host::tensor(values.collect(), [positions.len(), self.dim], device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_the_published_formula() {
        let positions = Sinusoidal::new(SinusoidalSpec { scale: 0.5, ..SinusoidalSpec::default() }, 6);
        let found: Vec<f32> = positions.vectors(&[0, 3, 100_000], &Device::flex()).into_data().try_into_vec().unwrap();
        for (row, position) in [0.0f64, 3.0, 100_000.0].into_iter().enumerate() {
            for pair in 0..3 {
                let angle = position / 10_000f64.powf(2.0 * pair as f64 / 6.0);
                let at = row * 6 + 2 * pair;
                assert!((f64::from(found[at]) - 0.5 * angle.sin()).abs() < 1e-6, "sine {pair} of {position}");
                assert!((f64::from(found[at + 1]) - 0.5 * angle.cos()).abs() < 1e-6, "cosine {pair} of {position}");
            }
        }
    }

    #[test]
    fn an_odd_last_channel_is_a_sine() {
        let vectors = Sinusoidal::new(SinusoidalSpec::default(), 3).vectors(&[2], &Device::flex());
        let found: Vec<f32> = vectors.into_data().try_into_vec().unwrap();
        assert!((f64::from(found[2]) - (2.0 / 10_000f64.powf(2.0 / 3.0)).sin()).abs() < 1e-7);
    }
}
