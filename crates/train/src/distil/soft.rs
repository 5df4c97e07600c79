//! The divergence of a student's probabilities from its teacher's, and its gradient, some rows at a time.

use burn::tensor::activation::{log_softmax, softmax};
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::SoftTargets;
use crate::objective::{TokenOut, TokenTarget};

/// Rows whose scores are in memory at a time.
const ROWS: usize = 256;

/// `Σ w T² KL(softmax(z_t / T) ‖ softmax(z_s / T))` over the rows of `target`, `w` being their weights. `teacher` gives its scores
/// `[rows, vocabulary]` after some rows of the view.
///
/// The gradient with respect to the student's scores, `w T (softmax(z_s / T) - softmax(z_t / T))`, is known as soon as the scores are; what
/// goes back to hidden vectors and classifier is computed here, and the scores are forgotten.
pub fn divergence(
    method: &SoftTargets,
    out: &TokenOut,
    target: &TokenTarget,
    teacher: impl Fn(&[usize]) -> Tensor<2>,
) -> Tensor<1> {
    let temperature = method.temperature as f32;
    let (hidden, classifier) = (out.hidden.clone().inner(), out.classifier.clone().inner());
    let device = hidden.device();
    let mut value = Tensor::<1>::zeros([1], &device);
    let mut to_classifier = Tensor::<2>::zeros(classifier.dims(), &device);
    let mut to_hidden = Vec::new();
    for (rows, weights) in target.rows.chunks(ROWS).zip(target.weights.chunks(ROWS)) {
        let read = hidden.clone().select(0, at(rows, &device));
        let scores = headwise_ops::linear(read.clone(), classifier.clone().transpose(), None);
        let student = log_softmax(scores / temperature, 1);
        let wanted = teacher(rows) / temperature;
        let difference = log_softmax(wanted.clone(), 1) - student.clone();
        let wanted = softmax(wanted, 1);
        let weights = Tensor::<2>::from_data(TensorData::new(weights.to_vec(), [rows.len(), 1]), &device);
        let each = (wanted.clone() * difference).sum_dim(1) * weights.clone();
        value = value + each.sum() * (temperature * temperature);
        let gradient = (student.exp() - wanted) * weights * temperature;
        to_classifier = to_classifier + gradient.clone().transpose().matmul(read);
        to_hidden.push(gradient.matmul(classifier.clone()));
    }
    if to_hidden.is_empty() {
        return Tensor::from_inner(value);
    }
    // A number with these gradients, brought to the right value.
    let read = out.hidden.clone().select(0, at(&target.rows, &out.hidden.device()));
    let linear = (read * Tensor::from_inner(Tensor::cat(to_hidden, 0))).sum()
        + (out.classifier.clone() * Tensor::from_inner(to_classifier)).sum();
    linear.clone() + Tensor::from_inner(value - linear.inner())
}

/// `rows` as a tensor.
pub fn at(rows: &[usize], device: &Device) -> Tensor<1, Int> {
    let indices: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
    Tensor::from_data(TensorData::new(indices, [rows.len()]), device)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;
    use headwise_ops::host::Host;

    use super::*;

    #[test]
    fn value_and_gradients_are_those_of_the_definition() {
        // More rows than are in memory at a time.
        let (rows, width, vocabulary) = (300, 12, 40);
        let device = Device::flex().autodiff();
        device.seed(5);
        let normal = |shape: [usize; 2]| Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), &device);
        let (hidden, classifier) = (normal([rows, width]).require_grad(), normal([vocabulary, width]).require_grad());
        let wanted = normal([rows, vocabulary]).inner() * 2.0;
        let mut target = TokenTarget::default();
        (0..rows).filter(|row| row % 7 != 3).for_each(|row| target.push(row, 0, 0.5 + (row % 3) as f32));
        let method = SoftTargets { temperature: 1.7, weight: 1.0 };
        let out = || TokenOut { hidden: hidden.clone(), classifier: classifier.clone(), balance: None };
        let found = divergence(&method, &out(), &target, |rows| wanted.clone().select(0, at(rows, &wanted.device())));

        let weights = Tensor::<2>::from_data(TensorData::new(target.weights.clone(), [target.rows.len(), 1]), &device);
        let rows = at(&target.rows, &device);
        let scores = hidden.clone().select(0, rows.clone()).matmul(classifier.clone().transpose()) / 1.7;
        let wanted = Tensor::from_inner(wanted.clone()).select(0, rows) / 1.7;
        let each = softmax(wanted.clone(), 1) * (log_softmax(wanted, 1) - log_softmax(scores, 1));
        let expected = (each * weights).sum() * (1.7 * 1.7);

        let value = |tensor: &Tensor<1>| tensor.clone().into_scalar::<f32>();
        assert!((value(&found) / value(&expected) - 1.0).abs() < 1e-4, "{} for {}", value(&found), value(&expected));
        let (found, expected) = (found.backward(), expected.backward());
        for weight in [&hidden, &classifier] {
            let [found, expected] = [&found, &expected].map(|g| Host::new(weight.grad(g).unwrap()).as_slice().to_vec());
            let largest = expected.iter().fold(0.0f32, |most, value| most.max(value.abs()));
            assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-4 * largest));
        }
    }

    #[test]
    fn who_says_the_same_loses_nothing() {
        let device = Device::flex().autodiff();
        let hidden = Tensor::<2>::from_floats([[1.0, -2.0], [0.5, 3.0]], &device).require_grad();
        let classifier = Tensor::<2>::from_floats([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], &device).require_grad();
        let scores = hidden.clone().matmul(classifier.clone().transpose()).inner();
        let mut target = TokenTarget::default();
        (0..2).for_each(|row| target.push(row, 0, 1.0));
        let out = TokenOut { hidden: hidden.clone(), classifier, balance: None };
        let teacher = |rows: &[usize]| scores.clone().select(0, at(rows, &scores.device()));
        let loss = divergence(&SoftTargets::default(), &out, &target, teacher);
        assert!(loss.clone().into_scalar::<f32>().abs() < 1e-6);
        let gradient = hidden.grad(&loss.backward()).unwrap();
        assert!(Host::new(gradient).as_slice().iter().all(|value| value.abs() < 1e-6));
    }
}
