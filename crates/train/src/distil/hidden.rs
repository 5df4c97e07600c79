//! How far a student's residual stream is from its teacher's, through a matrix that is learned beside the student.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use headwise_nn::Linear;

use super::soft::at;
use crate::objective::TokenTarget;

/// The matrix between the streams; thrown away after the run.
#[derive(Module, Debug)]
pub struct Projection {
    /// Channels of the student to those of the teacher.
    pub map: Linear,
}

impl Projection {
    /// Drawn at random.
    pub fn random(student: usize, teacher: usize, device: &Device) -> Self {
        Self { map: Linear::random(student, teacher, false, device) }
    }

    /// `Σ w |P h_s - h_t|² / |h_t|²` over the rows of `target`, `w` being their weights, as a mean over the layers of the student. Both have
    /// a tensor `[rows, dim]` after each layer.
    pub fn distance(&self, student: &[Tensor<2>], teacher: &[Tensor<2>], target: &TokenTarget) -> Tensor<1> {
        let device = student[0].device();
        let weights = TensorData::new(target.weights.clone(), [target.weights.len(), 1]);
        let weights = Tensor::<2>::from_data(weights, &device);
        let rows = at(&target.rows, &device);
        let mut sum = Tensor::zeros([1], &device);
        for (layer, found) in student.iter().enumerate() {
            let wanted = teacher[partner(layer, student.len(), teacher.len())].clone();
            let wanted = Tensor::from_inner(wanted).select(0, rows.clone());
            let found = self.map.forward(found.clone().select(0, rows.clone()));
            let size = wanted.clone().square().sum_dim(1).clamp_min(f32::MIN_POSITIVE);
            let each = (found - wanted).square().sum_dim(1) / size;
            sum = sum + (each * weights.clone()).sum();
        }
        sum / student.len() as f32
    }
}

/// The teacher's layer, of `teacher`, that layer `layer` of `student` is held against: the last against the last.
fn partner(layer: usize, student: usize, teacher: usize) -> usize {
    ((layer + 1) * teacher).div_ceil(student) - 1
}

#[cfg(test)]
mod tests {
    use burn::module::Param;

    use super::*;

    #[test]
    fn layers_are_held_against_those_at_even_distances() {
        let of =
            |student: usize, teacher| (0..student).map(|layer| partner(layer, student, teacher)).collect::<Vec<_>>();
        assert_eq!(of(2, 4), [1, 3]);
        assert_eq!(of(4, 4), [0, 1, 2, 3]);
        assert_eq!(of(3, 4), [1, 2, 3]);
        assert_eq!(of(4, 2), [0, 0, 1, 1]);
        assert_eq!(of(1, 5), [4]);
    }

    #[test]
    fn the_distance_is_its_definition() {
        let device = Device::flex().autodiff();
        // Inputs stand first: the student's one channel becomes twice and minus once itself.
        let weight = Param::from_tensor(Tensor::<2>::from_floats([[2.0, -1.0]], &device));
        let projection = Projection { map: Linear::Float(burn::nn::Linear { weight, bias: None }) };
        let student = [Tensor::<2>::from_floats([[1.0], [9.0], [2.0]], &device)];
        let teacher = [Tensor::<2>::from_floats([[3.0, 0.0], [0.0, 0.0], [4.0, -3.0]], &device.clone().inner())];
        let target = TokenTarget { rows: vec![0, 2], ids: vec![0, 0], weights: vec![1.0, 0.5] };
        let found = projection.distance(&student, &teacher, &target).into_scalar::<f32>();
        // (1 + 1) / 9 and half of (0 + 1) / 25.
        assert!((found - (2.0 / 9.0 + 0.5 / 25.0)).abs() < 1e-6, "{found}");
    }
}
