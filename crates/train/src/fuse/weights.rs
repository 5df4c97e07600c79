//! Weights that learn from those of a layer that goes.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Tensor};
use headwise_ops::host;
use rand::RngExt;

use crate::draws::Draws;

/// A product of two narrow matrices, zero at first.
#[derive(Module, Debug)]
pub(super) struct LowRank {
    /// `[inputs, rank]`, drawn at random.
    down: Param<Tensor<2>>,
    /// `[rank, outputs]`, zero at first.
    up: Param<Tensor<2>>,
}

impl LowRank {
    fn new([inputs, outputs]: [usize; 2], rank: usize, draws: &mut Draws, device: &Device) -> Self {
        // More would only say the same twice.
        let rank = rank.min(inputs).min(outputs);
        // He et al. 2015, arXiv:1502.01852, with the gain of PyTorch's linear layers.
        let bound = 1.0 / (inputs as f32).sqrt();
        let down = (0..inputs * rank).map(|_| draws.random_range(-bound..=bound)).collect();
        Self {
            down: leaf(host::tensor(down, [inputs, rank], device)),
            up: leaf(Tensor::zeros([rank, outputs], device)),
        }
    }

    fn product(&self) -> Tensor<2> {
        headwise_ops::linear(self.down.val(), self.up.val(), None)
    }
}

fn leaf<const D: usize>(tensor: Tensor<D>) -> Param<Tensor<D>> {
    Param::initialized(ParamId::new(), tensor.require_grad())
}

/// `W_t + A B + (C₂ C₁) ⊙ W_f`, inputs first as in Burn: `W_t` is the matrix itself, `W_f` that of the layer that goes.
#[derive(Module, Debug)]
pub(super) struct FusedMatrix {
    low_rank: LowRank,
    coefficients: Option<LowRank>,
    #[module(skip)]
    own: Tensor<2>,
    #[module(skip)]
    gone: Option<Tensor<2>>,
}

impl FusedMatrix {
    /// From constants `[inputs, outputs]` on `device`, which tracks gradients. Without `gone` only `W_t + A B` is left.
    pub fn new(own: Tensor<2>, gone: Option<Tensor<2>>, rank: usize, draws: &mut Draws, device: &Device) -> Self {
        let shape = own.dims();
        let low_rank = LowRank::new(shape, rank, draws, device);
        let coefficients = gone.is_some().then(|| LowRank::new(shape, rank, draws, device));
        Self { low_rank, coefficients, own, gone }
    }

    /// The matrix as it is now, `[inputs, outputs]`.
    pub fn weight(&self) -> Tensor<2> {
        let own = self.own.clone() + self.low_rank.product();
        match (&self.coefficients, &self.gone) {
            (Some(coefficients), Some(gone)) => own + coefficients.product() * gone.clone(),
            _ => own,
        }
    }

    pub fn coefficients(&self) -> impl Iterator<Item = ParamId> {
        self.coefficients.iter().flat_map(|LowRank { down, up }| [down.id, up.id])
    }
}

/// `b_t + c ⊙ b_f` of a bias; a vector that learns by itself, of a norm.
#[derive(Module, Debug)]
pub(super) struct FusedVector {
    own: Param<Tensor<1>>,
    coefficients: Option<Param<Tensor<1>>>,
    #[module(skip)]
    gone: Option<Tensor<1>>,
}

impl FusedVector {
    /// From constants on a device that tracks gradients.
    pub fn new(own: Tensor<1>, gone: Option<Tensor<1>>) -> Self {
        let coefficients = gone.as_ref().map(|gone| leaf(gone.zeros_like()));
        Self { own: leaf(own), coefficients, gone }
    }

    /// The vector as it is now.
    pub fn weight(&self) -> Tensor<1> {
        match (&self.coefficients, &self.gone) {
            (Some(coefficients), Some(gone)) => self.own.val() + coefficients.val() * gone.clone(),
            _ => self.own.val(),
        }
    }

    pub fn coefficients(&self) -> impl Iterator<Item = ParamId> {
        self.coefficients.iter().map(|coefficients| coefficients.id)
    }
}

#[cfg(test)]
mod tests {
    use burn::optim::GradientsParams;
    use headwise_ops::host::Host;

    use super::*;
    use crate::draws::{Purpose, draws};

    fn tensor<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
        let mut draws = draws(seed, Purpose::Fusion, 0, 0);
        let count = shape.iter().product();
        let values = (0..count).map(|_| draws.random_range(-1.0..1.0)).collect();
        host::tensor(values, shape, &Device::flex().autodiff())
    }

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
        Host::new(host::contiguous(tensor.inner())).as_slice().iter().map(|&value| f64::from(value)).collect()
    }

    /// `[inputs, rank]` times `[rank, outputs]`.
    fn product(down: &[f64], up: &[f64], rank: usize, outputs: usize) -> Vec<f64> {
        let inputs = down.len() / rank;
        let of = |at: usize| (0..rank).map(|r| down[at / outputs * rank + r] * up[r * outputs + at % outputs]).sum();
        (0..inputs * outputs).map(of).collect()
    }

    #[test]
    fn a_fused_matrix_is_its_definition_and_so_are_its_gradients() {
        const INPUTS: usize = 5;
        const OUTPUTS: usize = 4;
        const RANK: usize = 3;
        let device = Device::flex().autodiff();
        let (own, gone) = (tensor([INPUTS, OUTPUTS], 1), tensor([INPUTS, OUTPUTS], 2));
        let draws = &mut draws(0, Purpose::Fusion, 0, 1);
        let mut fused = FusedMatrix::new(own.clone(), Some(gone.clone()), RANK, draws, &device);
        // Before anything is learned it is the matrix itself.
        assert_eq!(values(fused.weight()), values(own.clone()));
        let ups = [3, 4].map(|seed| tensor([RANK, OUTPUTS], seed));
        fused.low_rank.up = leaf(ups[0].clone());
        fused.coefficients.as_mut().unwrap().up = leaf(ups[1].clone());

        let (x, upstream) = (tensor([7, INPUTS], 5), tensor([7, OUTPUTS], 6));
        let loss = (headwise_ops::linear(x.clone(), fused.weight(), None) * upstream.clone()).sum();
        let gradients = GradientsParams::from_grads(loss.backward(), &fused);

        // The definition in f64, with `[A, B, C₂, C₁]` as parts.
        let coefficients = fused.coefficients.as_ref().unwrap();
        let parts = [&fused.low_rank.down, &fused.low_rank.up, &coefficients.down, &coefficients.up];
        let parts: Vec<Vec<f64>> = parts.into_iter().map(|part| values(part.val())).collect();
        let (own, gone, x, upstream) = (values(own), values(gone), values(x), values(upstream));
        let weight = |parts: &[Vec<f64>]| -> Vec<f64> {
            let low_rank = product(&parts[0], &parts[1], RANK, OUTPUTS);
            let coefficients = product(&parts[2], &parts[3], RANK, OUTPUTS);
            (0..INPUTS * OUTPUTS).map(|at| own[at] + low_rank[at] + coefficients[at] * gone[at]).collect()
        };
        for (found, expected) in values(fused.weight()).into_iter().zip(weight(&parts)) {
            assert!((found - expected).abs() < 1e-6, "{found}, not {expected}");
        }
        let loss = |parts: &[Vec<f64>]| -> f64 {
            let y = product(&x, &weight(parts), INPUTS, OUTPUTS);
            y.iter().zip(&upstream).map(|(y, upstream)| y * upstream).sum()
        };
        let ids = [fused.low_rank.down.id, fused.low_rank.up.id, coefficients.down.id, coefficients.up.id];
        for (part, id) in ids.into_iter().enumerate() {
            let found = values(Tensor::from_inner(gradients.get::<2>(id).unwrap()));
            for (at, found) in found.into_iter().enumerate() {
                let moved = |by: f64| {
                    let mut parts = parts.clone();
                    parts[part][at] += by;
                    loss(&parts)
                };
                let expected = (moved(1e-4) - moved(-1e-4)) / 2e-4;
                assert!((found - expected).abs() < 1e-5, "part {part}: {found}, not {expected}");
            }
        }
    }

    #[test]
    fn biases_take_a_share_of_the_other_and_norms_do_not() {
        let (own, gone) = (tensor([6], 1), tensor([6], 2));
        let mut fused = FusedVector::new(own.clone(), Some(gone.clone()));
        assert_eq!(values(fused.weight()), values(own.clone()));
        fused.coefficients = Some(leaf(gone.ones_like() * 0.5));
        assert_eq!(values(fused.weight()), values(own.clone() + gone * 0.5));
        assert_eq!(fused.coefficients().count(), 1);
        assert_eq!(FusedVector::new(own, None).coefficients().count(), 0);
    }
}
