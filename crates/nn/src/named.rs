//! The weights of a module by name, as files hold them.
//!
//! A name is the path of fields to the weight, as in `mixer.query.weight`. The weight of a [`Linear`](crate::Linear) is
//! `[outputs, inputs]`, as in the files of others. Packed weights have no names.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;
use headwise_ops::host::{Host, contiguous};

/// A weight as a file holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// The path to it.
    pub name: String,
    /// Its dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Its elements, the last dimension contiguous.
    pub values: Vec<f32>,
}

/// All weights of `module`.
pub fn read<M: Module>(module: &M) -> Vec<Named> {
    let mut reading = Reading { path: Path::default(), all: Vec::new() };
    module.visit(&mut reading);
    reading.all
}

/// Where weights come from.
pub trait Source {
    /// Why one cannot be had.
    type Error;

    /// The weight `name`, which must have `shape`.
    fn weight<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Result<Tensor<D>, Self::Error>;
}

/// `module` with the weights of `source`, which keep their way of gradients.
pub fn fill<M: Module, S: Source>(module: M, source: &mut S) -> Result<M, S::Error> {
    let mut filling = Filling { path: Path::default(), source, failed: None };
    let filled = module.map(&mut filling);
    filling.failed.map_or(Ok(filled), Err)
}

/// Where a walk through a module is.
#[derive(Default)]
struct Path {
    fields: Vec<Option<String>>,
    /// The weight here has its inputs first.
    inputs_first: bool,
}

impl Path {
    fn enter(&mut self, name: &str, container: &str) {
        // The variant of an enum says how a weight is kept, not which one it is.
        let is_field = !container.starts_with("Enum:");
        self.fields.push(is_field.then(|| name.to_owned()));
        self.inputs_first = container == "Struct:Linear" && name == "weight";
    }

    fn exit(&mut self) {
        self.fields.pop();
    }

    fn name(&self) -> String {
        let fields: Vec<&str> = self.fields.iter().filter_map(Option::as_deref).collect();
        fields.join(".")
    }

    /// From the order of a module's dimensions to that of a file's, or back.
    fn turn<const D: usize>(&self, tensor: Tensor<D>) -> Tensor<D> {
        if self.inputs_first { tensor.transpose() } else { tensor }
    }
}

struct Reading {
    path: Path,
    all: Vec<Named>,
}

impl ModuleVisitor for Reading {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = self.path.turn(param.val());
        let shape = tensor.dims().to_vec();
        let values = Host::new(contiguous(tensor)).as_slice().to_vec();
        self.all.push(Named { name: self.path.name(), shape, values });
    }
}

struct Filling<'a, S: Source> {
    path: Path,
    source: &'a mut S,
    /// The first error.
    failed: Option<S::Error>,
}

impl<S: Source> ModuleMapper for Filling<'_, S> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.failed.is_some() {
            return param;
        }
        let shape = self.path.turn(param.val()).dims();
        match self.source.weight(&self.path.name(), shape) {
            Ok(weight) => Param::initialized(param.id, self.path.turn(weight)),
            Err(error) => {
                self.failed = Some(error);
                param
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::convert::Infallible;

    use burn::tensor::Device;
    use headwise_ops::host;

    use super::*;
    use crate::mixer::{Mixer, MixerSpec};

    fn mixer(text: &str) -> Mixer {
        let spec: MixerSpec = headwise_spec::from_text(text).unwrap();
        Mixer::random(&spec, 8, 1e-6, &Device::flex())
    }

    impl Source for HashMap<String, Named> {
        type Error = String;

        fn weight<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Result<Tensor<D>, String> {
            let found = self.remove(name).ok_or_else(|| format!("no {name}"))?;
            assert_eq!(found.shape, shape, "{name}");
            Ok(host::tensor(found.values, shape, &Device::flex()))
        }
    }

    #[test]
    fn names_are_paths_and_linear_weights_have_their_outputs_first() {
        let found: Vec<(String, Vec<usize>)> =
            read(&mixer("gla(heads=2, value_dim=6)")).into_iter().map(|weight| (weight.name, weight.shape)).collect();
        let expected = [
            ("query.weight", vec![4, 8]),
            ("key.weight", vec![4, 8]),
            ("value.weight", vec![6, 8]),
            ("gate.weight", vec![6, 8]),
            ("decay_down.weight", vec![16, 8]),
            ("decay_up.weight", vec![4, 16]),
            ("decay_up.bias", vec![4]),
            ("output.weight", vec![8, 6]),
            ("norm.weight", vec![3]),
        ];
        assert_eq!(found, expected.map(|(name, shape)| (name.to_owned(), shape)));
    }

    #[test]
    fn weights_that_are_read_make_the_same_module() {
        for text in ["softmax(kv_heads=2, bias=true, qk_norm=true)", "linear_attention", "retention", "gla"] {
            let (model, other) = (mixer(text), mixer(text));
            let weights = read(&model);
            assert_ne!(read(&other), weights, "{text}");
            let mut source =
                weights.iter().map(|weight| (weight.name.clone(), weight.clone())).collect::<HashMap<_, _>>();
            assert_eq!(read(&fill(other, &mut source).unwrap()), weights, "{text}");
            assert!(source.is_empty(), "{text}");
            assert!(fill(mixer(text), &mut source).unwrap_err().starts_with("no "), "{text}");
        }
    }

    #[test]
    fn gradients_reach_the_source() {
        struct Ones(Vec<Tensor<1>>);
        impl Source for Ones {
            type Error = Infallible;
            fn weight<const D: usize>(&mut self, _: &str, shape: [usize; D]) -> Result<Tensor<D>, Infallible> {
                let one = Tensor::<1>::ones([1], &Device::flex().autodiff()).require_grad();
                self.0.push(one.clone());
                Ok(one.unsqueeze::<D>().expand(shape))
            }
        }
        let mut ones = Ones(Vec::new());
        let Mixer::LinearAttention(filled) = fill(mixer("linear_attention"), &mut ones).unwrap() else { panic!() };
        let loss = filled.value.forward(Tensor::<2>::ones([3, 8], &Device::flex().autodiff())).sum();
        let gradients = loss.backward();
        // 3 rows, 8 outputs of 8 inputs each.
        assert_eq!(ones.0[2].grad(&gradients).unwrap().into_scalar::<f32>(), 192.0);
    }
}
