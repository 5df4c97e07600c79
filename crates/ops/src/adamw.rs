//! The AdamW step of one parameter. Loshchilov and Hutter 2019, arXiv:1711.05101.

use burn::backend::Flex;
use burn::tensor::Tensor;
use headwise_kernels::adamw::{AdamW, Parameter};

use crate::buffers::recycle;
use crate::flex::{contiguous, elements, elements_mut};
use crate::kernel_op::kernels_serve;

/// The weight and the two moments after step number `step`, from 1 on; in place, where nobody else holds them.
///
/// Not differentiable. All tensors have the same shape; moments are zero before the first step.
pub fn adamw<const D: usize>(
    settings: &AdamW,
    step: u64,
    weight: Tensor<D>,
    gradient: Tensor<D>,
    moments: [Tensor<D>; 2],
) -> (Tensor<D>, [Tensor<D>; 2]) {
    let [first, second] = moments;
    if !kernels_serve(&weight) || weight.device().is_autodiff() {
        return composed(settings, step, weight, gradient, [first, second]);
    }
    let flex =
        |tensor: Tensor<D>| contiguous(tensor.try_into_primitive::<Flex>().expect("a tensor of the CPU backend"));
    let gradient = flex(gradient);
    let [mut weight, mut first, mut second] = [weight, first, second].map(flex);
    let parameter = Parameter {
        weight: elements_mut(&mut weight),
        gradient: elements(&gradient),
        first: elements_mut(&mut first),
        second: elements_mut(&mut second),
    };
    settings.step(step, vec![parameter]);
    recycle(gradient);
    let [weight, first, second] = [weight, first, second].map(Tensor::from_primitive::<Flex>);
    (weight, [first, second])
}

fn composed<const D: usize>(
    settings: &AdamW,
    step: u64,
    weight: Tensor<D>,
    gradient: Tensor<D>,
    [first, second]: [Tensor<D>; 2],
) -> (Tensor<D>, [Tensor<D>; 2]) {
    let AdamW { learning_rate, beta_1, beta_2, epsilon, weight_decay, gradient_scale } = *settings;
    let gradient = gradient * gradient_scale;
    let first = first * beta_1 + gradient.clone() * (1.0 - beta_1);
    let second = second * beta_2 + gradient.square() * (1.0 - beta_2);
    let [first_share, second_share] = [beta_1, beta_2].map(|beta| 1.0 - beta.powf(step as f64));
    let root = (second.clone() / second_share).sqrt() + epsilon;
    let weight = weight * (1.0 - learning_rate * weight_decay) - first.clone() / root * (learning_rate / first_share);
    (weight, [first, second])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{DType, Device, TensorData};

    #[test]
    fn the_kernel_and_the_composed_form_agree() {
        let settings = AdamW { learning_rate: 0.1, weight_decay: 0.3, gradient_scale: 0.5, ..AdamW::default() };
        let run = |dtype| {
            let tensor = |scale: f64| {
                let values: Vec<f64> = (0..6).map(|i| scale * (f64::from(i) - 2.5)).collect();
                // A transposed view is no obstacle.
                Tensor::<2>::from_data(TensorData::new(values, [2, 3]), (&Device::flex(), dtype)).transpose()
            };
            let (mut weight, mut moments) = (tensor(1.0), [tensor(0.0), tensor(0.0)]);
            for step in 1..=3 {
                (weight, moments) = adamw(&settings, step, weight, tensor(0.2 * step as f64), moments);
            }
            let [first, second] = moments;
            let numbers = |tensor: Tensor<2>| tensor.into_data().convert::<f64>().try_into_vec::<f64>().unwrap();
            [weight, first, second].map(numbers).concat()
        };
        for (found, expected) in run(DType::F32).into_iter().zip(run(DType::F64)) {
            assert!((found - expected).abs() < 1e-5, "{found}, not {expected}");
        }
    }
}
