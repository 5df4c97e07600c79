//! The weights of a layer as rows of numbers, out of the module and back.

use burn::module::Param;
use burn::tensor::{Device, Tensor};
use headwise_nn::Linear;
use headwise_ops::host::{self, Host};

/// A matrix `[outputs, inputs]`, row-major.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Matrix {
    pub values: Vec<f32>,
    pub inputs: usize,
}

impl Matrix {
    /// The weights of parameters; none if they are packed.
    pub fn of(linear: &Linear) -> Option<Self> {
        let Linear::Float(float) = linear else { return None };
        let [inputs, _] = float.weight.dims();
        let values = Host::new(host::contiguous(float.weight.val().transpose())).as_slice().to_vec();
        Some(Self { values, inputs })
    }

    /// Makes these the weights of `linear`.
    pub fn put(self, linear: &mut Linear) {
        let Linear::Float(float) = linear else { return };
        let [inputs, outputs] = float.weight.dims();
        let device = float.weight.val().device();
        let weight: Tensor<2> = host::tensor(self.values, [outputs, inputs], &device);
        float.weight = Param::initialized(float.weight.id, host::contiguous(weight.transpose()));
    }

    /// A projection with these weights.
    pub fn into_linear(self, bias: Option<Vec<f32>>) -> Linear {
        let (device, outputs) = (Device::flex(), self.values.len() / self.inputs);
        let weight: Tensor<2> = host::tensor(self.values, [outputs, self.inputs], &device);
        let weight = Param::from_tensor(host::contiguous(weight.transpose()));
        let bias = bias.map(|bias| Param::from_tensor(host::tensor(bias, [outputs], &device)));
        Linear::Float(burn::nn::Linear { weight, bias })
    }

    /// The same with column `i` times `factors[i]`.
    pub fn columns_times(&self, factors: &[f32]) -> Self {
        let rows = self.values.chunks_exact(self.inputs);
        let values = rows.flat_map(|row| row.iter().zip(factors).map(|(w, factor)| w * factor)).collect();
        Self { values, inputs: self.inputs }
    }

    /// The same with row `o` divided by `divisors[o]`.
    pub fn rows_over(&self, divisors: &[f32]) -> Self {
        let rows = self.values.chunks_exact(self.inputs).zip(divisors);
        Self { values: rows.flat_map(|(row, d)| row.iter().map(move |w| w / d)).collect(), inputs: self.inputs }
    }
}
