//! Rotary position encoding: channel pairs are rotated by an angle proportional to the token's position.
//!
//! Pair `i` of `d/2` turns by `position · θ^(−2i/d)`, so a score depends on the distance of two tokens only.
//! Su et al. 2021, arXiv:2104.09864.

use headwise_kernels::rope::{Rope, Scaling, inverse_frequencies};
use serde::{Deserialize, Serialize};

/// How to build a [`Rope`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RopeSpec {
    /// Base of the angles.
    pub theta: f64,
    /// Channels that are rotated, the first ones; none rotates all.
    #[serde(default)]
    pub dims: Option<usize>,
    /// How angles are stretched for longer texts.
    #[serde(default)]
    pub scaling: Option<RopeScaling>,
}

/// How angles are stretched for texts longer than those first trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum RopeScaling {
    /// Every angle is divided by `factor`.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3: slow angles are divided by `factor`, fast ones kept, those between are blended.
    Llama3 {
        /// The divisor of slow angles.
        factor: f64,
        /// Wavelengths above `original_context / low_freq_factor` are slow.
        low_freq_factor: f64,
        /// Wavelengths below `original_context / high_freq_factor` are fast.
        high_freq_factor: f64,
        /// Longest text first trained on.
        original_context: usize,
    },
    /// A divisor for each pair, as some files carry them.
    Divisors {
        /// One divisor per channel pair.
        divisors: Vec<f32>,
    },
}

impl RopeSpec {
    /// Rotation with base `theta` of all channels.
    pub fn new(theta: f64) -> Self {
        Self { theta, dims: None, scaling: None }
    }

    /// The rotation for heads of `head_dim` channels.
    pub fn build(&self, head_dim: usize) -> Rope {
        let dims = self.dims.unwrap_or(head_dim);
        let scaling = match &self.scaling {
            None | Some(RopeScaling::Divisors { .. }) => Scaling::None,
            Some(RopeScaling::Linear { factor }) => Scaling::Linear { factor: *factor },
            Some(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context }) => {
                Scaling::Llama3 {
                    factor: *factor,
                    low_freq_factor: *low_freq_factor,
                    high_freq_factor: *high_freq_factor,
                    original_max: *original_context as f64,
                }
            }
        };
        let mut frequencies = inverse_frequencies(dims, self.theta, scaling);
        if let Some(RopeScaling::Divisors { divisors }) = &self.scaling {
            frequencies.iter_mut().zip(divisors).for_each(|(frequency, divisor)| *frequency /= divisor);
        }
        Rope::new(frequencies, 1.0, false)
    }
}
