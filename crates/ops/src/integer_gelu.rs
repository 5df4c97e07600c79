//! GELU in integers: what processors without floating point give, for models that will run there.

use burn::tensor::Tensor;
use headwise_kernels::integer;

use crate::activation::gelu;
use crate::host::{Host, contiguous, tensor};

/// GELU of inputs in `bits` bits, with one scale for each row along the last dimension: see [`integer::gelu`]. Its gradient is that of
/// GELU.
pub fn integer_gelu<const D: usize>(x: Tensor<D>, bits: u32) -> Tensor<D> {
    let of = |x: Tensor<D>| {
        let (shape, device) = (x.dims(), x.device());
        let x = Host::new(contiguous(x));
        let mut y = vec![0.0; x.as_slice().len()];
        if !y.is_empty() {
            integer::gelu(x.as_slice(), shape[D - 1], bits, &mut y);
        }
        tensor(y, shape, &device)
    };
    if !x.device().is_autodiff() {
        return of(x);
    }
    let exact = gelu(x.clone());
    exact.clone() + Tensor::from_inner(of(x.inner()) - exact.inner())
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn it_is_the_kernel_row_by_row_with_the_gradient_of_gelu() {
        let device = Device::flex().autodiff();
        let x = Tensor::<2>::from_floats([[0.5, -1.0, 3.0], [8.0, 0.1, -0.2]], &device).require_grad();
        let (found, exact) = (integer_gelu(x.clone(), 8), gelu(x.clone()));
        let mut expected = [0.0; 6];
        integer::gelu(&[0.5, -1.0, 3.0, 8.0, 0.1, -0.2], 3, 8, &mut expected);
        let values = Host::new(found.clone().inner()).as_slice().to_vec();
        assert!(values.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{values:?}, not {expected:?}");
        let [found, exact] =
            [found, exact].map(|y| Host::new(x.grad(&y.sum().backward()).unwrap()).as_slice().to_vec());
        assert_eq!(found, exact);
    }
}
