//! A token embedding, which may also be the output head.

use burn::module::{Module, Param};
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use headwise_kernels::matrix::PackedMatrix;
use headwise_kernels::profile;
use headwise_ops::host;

use crate::linear::Packed;

/// One vector per token. With tied weights the same object is the output projection.
#[derive(Module, Debug)]
pub enum Embedding {
    /// Burn parameters, trainable.
    Float(Table),
    /// Rows in the layout of the inference kernels.
    Packed(Packed),
}

/// A trainable table `[vocabulary, dim]`.
#[derive(Module, Debug)]
pub struct Table {
    /// One row per token.
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    /// Standard deviation of the elements of a random table.
    pub const DEVIATION: f32 = 0.02;

    /// A trainable table, normal with standard deviation [`DEVIATION`](Self::DEVIATION).
    pub fn random(vocabulary: usize, dim: usize, device: &Device) -> Self {
        let normal = Distribution::Normal(0.0, Self::DEVIATION.into());
        let weight = Tensor::random([vocabulary, dim], normal, device);
        Self::Float(Table { weight: Param::from_tensor(weight) })
    }

    /// Packed rows.
    pub fn packed(weight: PackedMatrix) -> Self {
        Self::Packed(Packed::new(weight, None))
    }

    /// The vectors of `ids`: `[1, ids, dim]`. Every id must be below the vocabulary size.
    pub fn lookup(&self, ids: &[u32], device: &Device) -> Tensor<3> {
        let _span = profile::span("embedding lookup");
        match self {
            Self::Float(table) => {
                let ids: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
                let ids = Tensor::<1, Int>::from_data(TensorData::new(ids.clone(), [ids.len()]), device);
                table.weight.val().select(0, ids).unsqueeze()
            }
            Self::Packed(packed) => {
                let (weight, dim) = (packed.weight(), packed.weight().inputs());
                let mut rows = vec![0.0; ids.len() * dim];
                for (row, &id) in rows.chunks_exact_mut(dim).zip(ids) {
                    weight.row(id as usize, row);
                }
                host::tensor(rows, [1, ids.len(), dim], device)
            }
        }
    }

    /// Scores of every token: `x` `[.., dim]` to `[.., vocabulary]`.
    pub fn project<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Float(table) => x.matmul(table.weight.val().transpose().unsqueeze()),
            Self::Packed(packed) => packed.forward(x),
        }
    }
}
