//! How a model knows where tokens stand: by its attention, or by vectors added to those of the tokens.

mod alibi;
mod learned;
mod rope;
mod sinusoidal;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

pub use alibi::Alibi;
pub(crate) use alibi::slopes;
pub use learned::{Learned, LearnedSpec};
pub use rope::{Divisors, Linear, Llama3, RopeScaling, RopeSpec};
pub use sinusoidal::{Sinusoidal, SinusoidalSpec};

headwise_spec::method! {
    /// Nothing: only the order in which causal attention sees tokens says where they stand.
    ///
    /// Kazemnejad et al. 2023, arXiv:2305.19466.
    pub struct Nope {}
}

headwise_spec::family! {
    /// How attention knows where tokens stand.
    pub enum PositionSpec: "position" {
        rope => RopeSpec,
        alibi => Alibi,
        nope => Nope,
    }
}

headwise_spec::family! {
    /// Vectors that say where tokens stand, added to those of the tokens before the first layer.
    pub enum InputPositionSpec: "input_position" {
        sinusoidal => SinusoidalSpec,
        learned => LearnedSpec,
    }
}

impl InputPositionSpec {
    /// Whether the numbers make sense; a message that names them if not.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::SinusoidalSpec(spec) => spec.check(),
            Self::LearnedSpec(LearnedSpec {}) => Ok(()),
        }
    }

    /// Whether there is a vector only for the positions of the context.
    pub fn ends(&self) -> bool {
        matches!(self, Self::LearnedSpec(_))
    }
}

/// Vectors that say where tokens stand.
#[derive(Module, Debug)]
pub enum InputPosition {
    /// See [`Sinusoidal`].
    Sinusoidal(Sinusoidal),
    /// See [`Learned`].
    Learned(Learned),
}

impl InputPosition {
    /// Vectors of `dim` channels for texts of `context` tokens; trainable ones at random.
    pub fn random(spec: &InputPositionSpec, context: usize, dim: usize, device: &Device) -> Self {
        match spec.clone() {
            InputPositionSpec::SinusoidalSpec(spec) => Self::Sinusoidal(Sinusoidal::new(spec, dim)),
            InputPositionSpec::LearnedSpec(LearnedSpec {}) => Self::Learned(Learned::random(context, dim, device)),
        }
    }

    /// `x` `[1, rows, dim]` and the vectors of its rows' `positions`.
    ///
    /// # Panics
    /// If a position has no vector.
    pub fn add(&self, x: Tensor<3>, positions: &[i32]) -> Tensor<3> {
        let device = x.device();
        let vectors = match self {
            Self::Sinusoidal(waves) => waves.vectors(positions, &device),
            Self::Learned(table) => table.vectors(positions, &device),
        };
        x + vectors.unsqueeze()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_families_keep_their_promises() {
        headwise_spec::check_family::<super::PositionSpec>();
        headwise_spec::check_family::<super::InputPositionSpec>();
        headwise_spec::check_family::<super::RopeScaling>();
    }
}
