//! Rotary position encoding: channel pairs are rotated by an angle proportional to the token's position.
//!
//! Pair `i` of `d/2` turns by `position · θ^(−2i/d)`, so a score depends on the distance of two tokens only.
//! Su et al. 2021, arXiv:2104.09864.

use headwise_kernels::rope::{Rope, Scaling, inverse_frequencies};

headwise_spec::method! {
    /// Rotary encoding: channel pairs turn by the position.
    ///
    /// Su et al. 2021, arXiv:2104.09864.
    pub struct RopeSpec {
        /// Base of the angles.
        pub theta: f64 = 10_000.0,
        /// Channels that are rotated, the first ones; none rotates all.
        pub dims: Option<usize> = None,
        /// How angles are stretched for longer texts.
        pub scaling: Option<RopeScaling> = None,
    }
}

headwise_spec::family! {
    /// How angles are stretched for texts longer than those first trained on.
    pub enum RopeScaling: "rope_scaling" {
        linear => Linear,
        llama3 => Llama3,
        divisors => Divisors,
    }
}

headwise_spec::method! {
    /// Every angle is divided by the same number.
    pub struct Linear {
        /// The divisor.
        pub factor: f64 = 1.0,
    }
}

headwise_spec::method! {
    /// Llama 3: slow angles are divided, fast ones kept, those between are blended.
    pub struct Llama3 {
        /// The divisor of slow angles.
        pub factor: f64 = 8.0,
        /// Wavelengths above `original_context / low_freq_factor` are slow.
        pub low_freq_factor: f64 = 1.0,
        /// Wavelengths below `original_context / high_freq_factor` are fast.
        pub high_freq_factor: f64 = 4.0,
        /// Longest text first trained on.
        pub original_context: usize = 8192,
    }
}

headwise_spec::method! {
    /// A divisor for each pair, as some files carry them.
    pub struct Divisors {
        /// One divisor per channel pair.
        pub divisors: Vec<f32> = Vec::new(),
    }
}

impl RopeSpec {
    /// Rotation with base `theta` of all channels.
    pub fn new(theta: f64) -> Self {
        Self { theta, ..Self::default() }
    }

    /// The rotation for heads of `head_dim` channels.
    pub fn build(&self, head_dim: usize) -> Rope {
        let dims = self.dims.unwrap_or(head_dim);
        let scaling = match &self.scaling {
            None | Some(RopeScaling::Divisors(_)) => Scaling::None,
            Some(RopeScaling::Linear(Linear { factor })) => Scaling::Linear { factor: *factor },
            Some(RopeScaling::Llama3(Llama3 { factor, low_freq_factor, high_freq_factor, original_context })) => {
                Scaling::Llama3 {
                    factor: *factor,
                    low_freq_factor: *low_freq_factor,
                    high_freq_factor: *high_freq_factor,
                    original_max: *original_context as f64,
                }
            }
        };
        let mut frequencies = inverse_frequencies(dims, self.theta, scaling);
        if let Some(RopeScaling::Divisors(Divisors { divisors })) = &self.scaling {
            frequencies.iter_mut().zip(divisors).for_each(|(frequency, divisor)| *frequency /= divisor);
        }
        Rope::new(frequencies, 1.0, false)
    }
}
