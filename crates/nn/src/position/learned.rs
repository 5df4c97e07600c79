//! Learned positions: a vector for every position, a parameter like those of tokens, added to the vector of the token.
//!
//! A position beyond the table has none, so such a model has a longest text. Gehring et al. 2017, arXiv:1705.03122; Radford et al. 2019
//! (GPT-2).

use burn::module::{Module, Param};
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};

headwise_spec::method! {
    /// A learned vector for every position of the context, added to the vectors of tokens.
    ///
    /// Gehring et al. 2017, arXiv:1705.03122.
    pub struct LearnedSpec {}
}

/// Learned positions.
#[derive(Module, Debug)]
pub struct Learned {
    /// One row per position: `[context, dim]`.
    pub weight: Param<Tensor<2>>,
}

impl Learned {
    /// A trainable table for texts of `context` tokens, normal with standard deviation 0.02, as that of tokens.
    pub fn random(context: usize, dim: usize, device: &Device) -> Self {
        let weight = Tensor::random([context, dim], Distribution::Normal(0.0, 0.02), device);
        Self { weight: Param::from_tensor(weight) }
    }

    /// The vectors of `positions`: `[positions, dim]`.
    ///
    /// # Panics
    /// If a position is beyond the table.
    pub fn vectors(&self, positions: &[i32], device: &Device) -> Tensor<2> {
        let weight = self.weight.val();
        let [context, _] = weight.dims();
        let known = |&&position: &&i32| usize::try_from(position).is_ok_and(|position| position < context);
        let unknown = positions.iter().find(|position| !known(position));
        assert!(unknown.is_none(), "position {unknown:?} is not among the {context} learned ones");
        let positions: Vec<i64> = positions.iter().map(|&position| i64::from(position)).collect();
        let shape = [positions.len()];
        weight.select(0, Tensor::<1, Int>::from_data(TensorData::new(positions, shape), device))
    }
}
