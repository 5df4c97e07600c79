//! The matrices inside the layers of a model, one after the other.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use headwise_ops::host::{self, Host};

/// Where a walk through a model is.
#[derive(Default)]
struct Depth(Vec<bool>);

impl Depth {
    fn enter(&mut self, name: &str) {
        self.0.push(name == "blocks");
    }

    fn exit(&mut self) {
        self.0.pop();
    }

    /// Whether a parameter of `rank` dimensions is a matrix of a layer.
    fn is_matrix(&self, rank: usize) -> bool {
        rank == 2 && self.0.first() == Some(&true)
    }
}

/// Calls `see` with every matrix of the layers of `model`.
pub fn each<M: Module>(model: &M, see: impl FnMut(ParamId, &[f32])) {
    struct Each<F>(Depth, F);
    impl<F: FnMut(ParamId, &[f32])> ModuleVisitor for Each<F> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.0.enter(name);
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.0.exit();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.0.is_matrix(D) {
                (self.1)(param.id, Host::new(host::contiguous(param.val())).as_slice());
            }
        }
    }
    model.visit(&mut Each(Depth::default(), see));
}

/// Replaces every matrix of the layers of `model` by what `change` makes of its elements; parameters keep their identity.
pub fn replace<M: Module>(model: M, change: impl FnMut(ParamId, &mut [f32])) -> M {
    struct Replace<F>(Depth, F);
    impl<F: FnMut(ParamId, &mut [f32])> ModuleMapper for Replace<F> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.0.enter(name);
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.0.exit();
        }

        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if !self.0.is_matrix(D) {
                return param;
            }
            let (tensor, device) = (host::contiguous(param.val()), param.val().device());
            let shape = tensor.dims();
            let mut values = Host::new(tensor).as_slice().to_vec();
            (self.1)(param.id, &mut values);
            let tensor = host::tensor(values, shape, &device);
            Param::initialized(param.id, if device.is_autodiff() { tensor.require_grad() } else { tensor })
        }
    }
    model.map(&mut Replace(Depth::default(), change))
}

/// Replaces the gradient of every matrix of the layers of `model` by what `change` makes of its elements and the weights.
pub fn change<M: Module>(
    model: &M,
    gradients: GradientsParams,
    change: impl FnMut(ParamId, &[f32], &mut [f32]),
) -> GradientsParams {
    struct Change<F>(Depth, GradientsParams, F);
    impl<F: FnMut(ParamId, &[f32], &mut [f32])> ModuleVisitor for Change<F> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.0.enter(name);
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.0.exit();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if !self.0.is_matrix(D) {
                return;
            }
            let Some(gradient) = self.1.remove::<D>(param.id) else { return };
            let (shape, device) = (gradient.dims(), gradient.device());
            let mut values = Host::new(host::contiguous(gradient)).as_slice().to_vec();
            (self.2)(param.id, Host::new(host::contiguous(param.val())).as_slice(), &mut values);
            self.1.register(param.id, host::tensor::<D>(values, shape, &device));
        }
    }
    let mut changing = Change(Depth::default(), gradients, change);
    model.visit(&mut changing);
    changing.1
}

/// Which of the weights with `scores` stay when the share `zeros` of them goes: those that score most. Of equal scores the first go.
pub fn kept(scores: impl ExactSizeIterator<Item = f32>, zeros: f64) -> Vec<bool> {
    let mut order: Vec<(f32, usize)> = scores.enumerate().map(|(index, score)| (score, index)).collect();
    let dropped = ((order.len() as f64 * zeros).round() as usize).min(order.len());
    let mut kept = vec![true; order.len()];
    if dropped > 0 {
        order.select_nth_unstable_by(dropped - 1, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        order[..dropped].iter().for_each(|&(_, index)| kept[index] = false);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_scores_go_and_of_equals_the_first() {
        let of = |scores: &[f32], zeros| kept(scores.iter().copied(), zeros);
        assert_eq!(of(&[3.0, -1.0, 2.0, 0.0], 0.5), [true, false, true, false]);
        assert_eq!(of(&[1.0; 4], 0.5), [false, false, true, true]);
        assert_eq!(of(&[1.0, 2.0], 0.0), [true, true]);
        assert_eq!(of(&[1.0, 2.0], 1.0), [false, false]);
        assert_eq!(of(&[], 0.5), [false; 0]);
    }
}
