//! What is done to gradients between the backward pass and the optimiser: accumulation, the norm over all of them, scaling.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use headwise_ops::host::{self, Host};

use crate::world::World;

/// Adds the gradients of another part of the batch.
pub fn accumulate<M: Module>(model: &M, sum: Option<GradientsParams>, more: GradientsParams) -> GradientsParams {
    let Some(sum) = sum else { return more };
    let mut adding = Adding { sum, more };
    model.visit(&mut adding);
    adding.sum
}

struct Adding {
    sum: GradientsParams,
    more: GradientsParams,
}

impl ModuleVisitor for Adding {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(more) = self.more.remove::<D>(param.id) else { return };
        let sum = match self.sum.remove::<D>(param.id) {
            Some(sum) => sum + more,
            None => more,
        };
        self.sum.register(param.id, sum);
    }
}

/// The sums of the gradients of all processes, which are then the same everywhere.
pub fn sum_over<M: Module>(world: World, model: &M, gradients: GradientsParams) -> GradientsParams {
    if world.size() == 1 {
        return gradients;
    }
    // As one vector: one conversation instead of one for each parameter.
    let mut flat = Flat { gradients, values: Vec::new() };
    model.visit(&mut flat);
    let mut values = flat.values;
    world.sum(&mut values);
    let mut split = Split { rest: &values, gradients: GradientsParams::new() };
    model.visit(&mut split);
    split.gradients
}

struct Flat {
    gradients: GradientsParams,
    values: Vec<f32>,
}

impl ModuleVisitor for Flat {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        match self.gradients.remove::<D>(param.id) {
            Some(gradient) => self.values.extend_from_slice(Host::new(gradient).as_slice()),
            None => self.values.extend(std::iter::repeat_n(0.0, param.val().shape().num_elements())),
        }
    }
}

struct Split<'a> {
    rest: &'a [f32],
    gradients: GradientsParams,
}

impl ModuleVisitor for Split<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let weight = param.val().inner();
        let (values, rest) = self.rest.split_at(weight.shape().num_elements());
        self.rest = rest;
        self.gradients.register(param.id, host::tensor(values.to_vec(), weight.dims(), &weight.device()));
    }
}

/// The Euclidean norm of all gradients of `model` as one vector.
pub fn global_norm<M: Module>(model: &M, gradients: &GradientsParams) -> f64 {
    let mut squares = Squares { gradients, sum: 0.0 };
    model.visit(&mut squares);
    squares.sum.sqrt()
}

struct Squares<'a> {
    gradients: &'a GradientsParams,
    sum: f64,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            self.sum += sum_of_squares(gradient);
        }
    }
}

/// The sum of the squares of all elements; not finite if an element is not, or is too large for its square.
fn sum_of_squares<const D: usize>(tensor: Tensor<D>) -> f64 {
    const LANES: usize = 16;
    let host = Host::new(tensor);
    let block = |block: &[f32]| {
        let mut sums = [0.0f32; LANES];
        let (vectors, rest) = block.as_chunks::<LANES>();
        for vector in vectors {
            sums.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value * value);
        }
        let rest = rest.iter().map(|value| value * value);
        sums.into_iter().chain(rest).map(f64::from).sum::<f64>()
    };
    host.as_slice().chunks(1 << 12).map(block).sum()
}

/// The gradients of `model`, whose norm is `norm`, made shorter where they are longer than `most`.
pub fn clip<M: Module>(model: &M, gradients: GradientsParams, norm: f64, most: f64) -> GradientsParams {
    if norm > most { scale(model, gradients, most / norm) } else { gradients }
}

/// Multiplies every gradient of `model` by `factor`.
pub fn scale<M: Module>(model: &M, gradients: GradientsParams, factor: f64) -> GradientsParams {
    let mut scaling = Scaling { gradients, factor };
    model.visit(&mut scaling);
    scaling.gradients
}

struct Scaling {
    gradients: GradientsParams,
    factor: f64,
}

impl ModuleVisitor for Scaling {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            self.gradients.register(param.id, gradient * self.factor);
        }
    }
}

/// The path of the first parameter of `model` whose gradient, or value, has an element that is no finite number.
pub fn first_not_finite<M: Module>(model: &M, gradients: &GradientsParams) -> Option<String> {
    let mut search = Search { gradients, path: Vec::new(), found: None };
    model.visit(&mut search);
    search.found
}

struct Search<'a> {
    gradients: &'a GradientsParams,
    path: Vec<String>,
    found: Option<String>,
}

impl ModuleVisitor for Search<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let finite = |tensor: Tensor<D>| sum_of_squares(tensor).is_finite();
        if self.found.is_none() {
            let gradient = self.gradients.get::<D>(param.id);
            if !gradient.is_none_or(finite) || !finite(param.val().inner()) {
                self.found = Some(self.path.join("."));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[derive(Module, Debug)]
    struct Two {
        first: Param<Tensor<1>>,
        second: Param<Tensor<2>>,
    }

    /// A model whose gradients are `[3, 0]` and `[[4]]`.
    fn two() -> (Two, GradientsParams) {
        let device = Device::flex().autodiff();
        let of = |values: [f32; 2]| Tensor::<1>::from_floats(values, &device);
        let model =
            Two { first: Param::from_tensor(of([0.0; 2])), second: Param::from_tensor(Tensor::zeros([1, 1], &device)) };
        let loss = (model.first.val() * of([3.0, 0.0])).sum() + model.second.val().sum() * 4.0;
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        (model, gradients)
    }

    #[test]
    fn clipping_keeps_the_direction_of_all_gradients_together() {
        let (model, gradients) = two();
        let norm = global_norm(&model, &gradients);
        assert!((norm - 5.0).abs() < 1e-9, "{norm}");
        let clipped = clip(&model, gradients, norm, 1.0);
        assert!(global_norm(&model, &clipped) <= 1.0 + 1e-6);
        let first: Vec<f32> = clipped.get::<1>(model.first.id).unwrap().into_data().try_into_vec().unwrap();
        let second: f32 = clipped.get::<2>(model.second.id).unwrap().into_scalar();
        // Each tensor brought to 1 by itself would give 1 and 1.
        assert!((first[0] - 0.6).abs() < 1e-6 && first[1] == 0.0 && (second - 0.8).abs() < 1e-6, "{first:?}, {second}");
        let (model, gradients) = two();
        let left = clip(&model, gradients, 5.0, 6.0);
        assert_eq!(global_norm(&model, &left), 5.0);
    }

    #[test]
    fn parts_add_up_and_what_is_not_finite_is_named() {
        let (model, gradients) = two();
        let sum = accumulate(&model, None, gradients);
        let sum = accumulate(&model, Some(sum), scale(&model, two_like(&model), 2.0));
        assert!((global_norm(&model, &sum) - 15.0).abs() < 1e-6);
        assert_eq!(first_not_finite(&model, &sum), None);
        let broken = scale(&model, sum, f64::INFINITY);
        assert_eq!(first_not_finite(&model, &broken).as_deref(), Some("first"));
    }

    /// The same gradients again, for the parameters of `model`.
    fn two_like(model: &Two) -> GradientsParams {
        let device = Device::flex();
        let mut gradients = GradientsParams::new();
        gradients.register(model.first.id, Tensor::<1>::from_floats([3.0, 0.0], &device));
        gradients.register(model.second.id, Tensor::<2>::from_floats([[4.0]], &device));
        gradients
    }
}
