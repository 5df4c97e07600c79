//! Low-rank adapters of projections (LoRA): `y = W x + s B (A x)` for the rows of texts that have one.
//!
//! The matrices `A` `[rank, inputs]` and `B` `[outputs, rank]` stay beside the weights `W`, which may be packed and are the same for everyone, so rows
//! with different adapters and rows without one share a forward. A row's result depends on nothing but the row and its own adapter. Hu et al. 2021,
//! arXiv:2106.09685.

use std::sync::Arc;

use burn::tensor::Tensor;
use headwise_kernels::matrix::PackedMatrix;
use headwise_kernels::profile;
use headwise_ops::host::{self, Host};

use crate::Linear;

/// A projection of a layer that an adapter may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Projection {
    /// Of queries, in attention.
    Query,
    /// Of keys, in attention.
    Key,
    /// Of values, in attention.
    Value,
    /// Of what attention gives.
    Output,
    /// The gate of a gated channel mixer.
    Gate,
    /// To the inner width of a gated channel mixer.
    Up,
    /// From the inner width of a gated channel mixer.
    Down,
}

impl Projection {
    /// All of them, in the order in which a token passes them.
    pub const ALL: [Self; 7] = [Self::Query, Self::Key, Self::Value, Self::Output, Self::Gate, Self::Up, Self::Down];
}

/// What is added to a projection: `s B A`, in single precision.
#[derive(Debug)]
pub struct LowRank {
    /// `A` `[rank, inputs]`.
    narrow: PackedMatrix,
    /// `s B` `[outputs, rank]`.
    widen: PackedMatrix,
}

impl LowRank {
    /// From `a` `[rank, inputs]`, `b` `[outputs, rank]` and the factor `scale` of their product.
    ///
    /// # Panics
    /// If `a` or `b` has another length than its shape says.
    pub fn new(a: &[f32], b: &[f32], scale: f32, [outputs, rank, inputs]: [usize; 3]) -> Self {
        let b: Vec<f32> = b.iter().map(|value| scale * value).collect();
        Self { narrow: PackedMatrix::from_f32(a, rank, inputs), widen: PackedMatrix::from_f32(&b, outputs, rank) }
    }

    /// `[outputs, inputs]` of the projection that it is for.
    pub fn shape(&self) -> [usize; 2] {
        [self.widen.outputs(), self.narrow.inputs()]
    }

    /// What is added for `rows` rows of `x` `[rows, inputs]`: `[rows, outputs]`.
    fn of(&self, x: &[f32], rows: usize) -> Vec<f32> {
        let (rank, [outputs, inputs]) = (self.narrow.outputs(), self.shape());
        let mut narrowed = vec![0.0; rows * rank];
        self.narrow.product(x, rows, inputs, &mut narrowed, rank);
        let mut added = vec![0.0; rows * outputs];
        self.widen.product(&narrowed, rows, rank, &mut added, outputs);
        added
    }
}

/// What an adapter adds, in every layer.
#[derive(Debug)]
pub struct Adapter {
    layers: Vec<[Option<LowRank>; Projection::ALL.len()]>,
}

impl Adapter {
    /// One that changes none of `layers` layers yet.
    pub fn new(layers: usize) -> Self {
        Self { layers: (0..layers).map(|_| Default::default()).collect() }
    }

    /// Adds `change` to a projection of layer `layer`, in the place of what was added before.
    ///
    /// # Panics
    /// If there is no such layer.
    pub fn set(&mut self, layer: usize, projection: Projection, change: LowRank) {
        self.layers[layer][projection as usize] = Some(change);
    }

    /// What is added to a projection of layer `layer`, if anything is.
    pub fn get(&self, layer: usize, projection: Projection) -> Option<&LowRank> {
        self.layers.get(layer)?[projection as usize].as_ref()
    }

    /// The layers of the model that it is for.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Memory of its matrices.
    pub fn bytes(&self) -> usize {
        self.layers.iter().flatten().flatten().map(|change| change.narrow.bytes() + change.widen.bytes()).sum()
    }
}

/// The rows of a forward that have one adapter.
#[derive(Clone, Debug)]
pub struct AdaptedRows {
    /// The adapter.
    pub adapter: Arc<Adapter>,
    /// The rows, ascending.
    pub rows: Vec<usize>,
}

/// The adapters of a forward, as one of its layers meets them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Adapters<'a> {
    rows: &'a [AdaptedRows],
    layer: usize,
}

impl<'a> Adapters<'a> {
    /// Those of `rows`, of which none is in two places, in layer `layer`.
    pub fn new(rows: &'a [AdaptedRows], layer: usize) -> Self {
        Self { rows, layer }
    }

    /// What `linear` and the adapters make of `x` `[1, rows, inputs]`: `[1, rows, outputs]`.
    pub fn forward(self, projection: Projection, linear: &Linear, x: Tensor<3>) -> Tensor<3> {
        match self.rows {
            [] => linear.forward(x),
            _ => {
                let [y] = self.forward_each([(projection, linear)], x);
                y
            }
        }
    }

    /// What each of `layers` and the adapters make of the same `x`, as [`Linear::forward_each`].
    pub fn forward_each<const N: usize>(self, layers: [(Projection, &Linear); N], x: Tensor<3>) -> [Tensor<3>; N] {
        let linears = layers.map(|(_, linear)| linear);
        if self.rows.is_empty() {
            return Linear::forward_each(linears, x);
        }
        let given = Host::new(x.clone());
        let mut results = Linear::forward_each(linears, x);
        for ((projection, _), y) in layers.into_iter().zip(&mut results) {
            *y = self.add(projection, given.as_slice(), y.clone());
        }
        results
    }

    /// `y` `[1, rows, outputs]` with what the adapters add for the rows of `x` `[rows, inputs]`.
    fn add(self, projection: Projection, x: &[f32], y: Tensor<3>) -> Tensor<3> {
        let changes =
            |AdaptedRows { adapter, rows }: &'a AdaptedRows| Some((adapter.get(self.layer, projection)?, rows));
        if self.rows.iter().filter_map(changes).next().is_none() {
            return y;
        }
        let _span = profile::span("adapters");
        let (shape, device) = (y.dims(), y.device());
        let mut sums = Host::new(y).as_slice().to_vec();
        for (change, rows) in self.rows.iter().filter_map(changes) {
            let [outputs, inputs] = change.shape();
            let added = match rows[..] {
                // Rows that lie together are read where they are.
                [first, .., last] if last - first + 1 == rows.len() => {
                    change.of(&x[first * inputs..(last + 1) * inputs], rows.len())
                }
                _ => {
                    let gathered: Vec<f32> =
                        rows.iter().flat_map(|row| &x[row * inputs..][..inputs]).copied().collect();
                    change.of(&gathered, rows.len())
                }
            };
            for (row, added) in rows.iter().zip(added.chunks_exact(outputs)) {
                sums[row * outputs..][..outputs].iter_mut().zip(added).for_each(|(sum, added)| *sum += added);
            }
        }
        host::tensor(sums, shape, &device)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    /// Numbers that look like nothing.
    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|index| ((index * 37 + seed * 101) % 89) as f32 / 89.0 - 0.5).collect()
    }

    const SHAPE: [usize; 3] = [19, 3, 21];

    fn adapter(seed: usize) -> Arc<Adapter> {
        let [outputs, rank, inputs] = SHAPE;
        let change = LowRank::new(&numbers(rank * inputs, seed), &numbers(outputs * rank, seed + 1), 0.7, SHAPE);
        let mut adapter = Adapter::new(2);
        adapter.set(1, Projection::Up, change);
        Arc::new(adapter)
    }

    fn forward(adapters: &[AdaptedRows], layer: usize, x: &[f32]) -> Vec<f32> {
        let [outputs, _, inputs] = SHAPE;
        let weight = PackedMatrix::from_f32(&numbers(outputs * inputs, 9), outputs, inputs);
        let linear = Linear::packed(weight, Some(numbers(outputs, 4)));
        let x = host::tensor(x.to_vec(), [1, x.len() / inputs, inputs], &Device::flex());
        Host::new(Adapters::new(adapters, layer).forward(Projection::Up, &linear, x)).as_slice().to_vec()
    }

    #[test]
    fn rows_get_what_their_adapter_adds() {
        let [outputs, rank, inputs] = SHAPE;
        let (a, b, x) = (numbers(rank * inputs, 5), numbers(outputs * rank, 6), numbers(5 * inputs, 2));
        let plain = forward(&[], 1, &x);
        for rows in [vec![1, 2, 4], vec![1, 2, 3], vec![2]] {
            let adapters = [AdaptedRows { adapter: adapter(5), rows: rows.clone() }];
            let found = forward(&adapters, 1, &x);
            for (index, (found, plain)) in found.iter().zip(&plain).enumerate() {
                let (row, output) = (index / outputs, index % outputs);
                let narrowed = |index: usize| -> f64 {
                    let pairs = a[index * inputs..][..inputs].iter().zip(&x[row * inputs..]);
                    pairs.map(|(a, x)| f64::from(*a) * f64::from(*x)).sum()
                };
                let added: f64 = (0..rank).map(|at| 0.7 * f64::from(b[output * rank + at]) * narrowed(at)).sum();
                match rows.contains(&row) {
                    true => assert!((f64::from(*found) - f64::from(*plain) - added).abs() < 1e-5, "{row}, {output}"),
                    false => assert_eq!(found.to_bits(), plain.to_bits(), "{row}, {output}"),
                }
            }
            assert_eq!(forward(&adapters, 0, &x), plain, "the other layer is not changed");
        }
    }

    #[test]
    fn a_row_is_the_same_whatever_others_have() {
        let [outputs, _, inputs] = SHAPE;
        let (x, first, second) = (numbers(9 * inputs, 3), adapter(5), adapter(8));
        let rows = |adapter: &Arc<Adapter>, rows: &[usize]| AdaptedRows { adapter: adapter.clone(), rows: rows.into() };
        let together = forward(&[rows(&first, &[0, 1, 2, 5, 8]), rows(&second, &[3, 7])], 1, &x);
        for row in 0..9 {
            let own: Vec<AdaptedRows> = match row {
                0 | 1 | 2 | 5 | 8 => vec![rows(&first, &[0])],
                3 | 7 => vec![rows(&second, &[0])],
                _ => Vec::new(),
            };
            let alone = forward(&own, 1, &x[row * inputs..][..inputs]);
            assert_eq!(together[row * outputs..][..outputs], alone[..], "row {row}");
        }
    }
}
