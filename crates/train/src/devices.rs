//! The devices that one process trains on.
//!
//! The first keeps the model, its optimiser and all that is saved. For every step the others get a copy of the weights, each device
//! works on parts of its own, and the gradients of all are added: between GPUs of NVIDIA by Burn's collective, which runs on NCCL.

use std::collections::HashSet;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};

/// Devices in the order they were named, each of which tracks gradients.
#[derive(Clone, Debug)]
pub struct Devices {
    all: Vec<Device>,
    /// Whether they add tensors among each other; otherwise the first one does.
    #[cfg(feature = "cuda")]
    collective: bool,
}

/// Why a run cannot train on some devices.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DevicesError {
    /// No such device, or a GPU beside the CPU.
    #[error("devices `{text}`: write `cpu`, or GPUs of NVIDIA by their numbers, as in `cuda:0` or `cuda:0,cuda:1`")]
    Unknown {
        /// What was written.
        text: String,
    },
    /// A GPU that is named more than once.
    #[error("devices `{text}`: `{name}` is named twice")]
    Twice {
        /// What was written.
        text: String,
        /// The device.
        name: String,
    },
    /// A GPU in a program without its backend.
    #[error(
        "devices `{text}`: this program was built without CUDA: build it with `--features cuda`, or train on `cpu`"
    )]
    WithoutCuda {
        /// What was written.
        text: String,
    },
    /// A GPU that is not there.
    #[error("device `cuda:{index}`: the CUDA driver of this machine shows {count} GPUs")]
    Missing {
        /// The number written.
        index: usize,
        /// How many there are.
        count: usize,
    },
}

impl Devices {
    /// The processor.
    pub fn cpu() -> Self {
        Self::new(Device::flex(), [])
    }

    /// Devices of any of Burn's backends, the first of which adds up gradients. One that is named twice holds two copies of the model.
    pub fn new(first: Device, others: impl IntoIterator<Item = Device>) -> Self {
        Self {
            all: std::iter::once(first).chain(others).map(Device::autodiff).collect(),
            #[cfg(feature = "cuda")]
            collective: false,
        }
    }

    /// The devices of a list such as `cpu` or `cuda:0,cuda:1`.
    pub fn open(text: &str) -> Result<Self, DevicesError> {
        if text.trim() == "cpu" {
            return Ok(Self::cpu());
        }
        let index = |name: &str| name.trim().strip_prefix("cuda:")?.parse::<usize>().ok();
        let indices: Option<Vec<usize>> = text.split(',').map(index).collect();
        let indices = indices.ok_or_else(|| DevicesError::Unknown { text: text.to_owned() })?;
        let mut seen = HashSet::new();
        if let Some(twice) = indices.iter().find(|&&index| !seen.insert(index)) {
            return Err(DevicesError::Twice { text: text.to_owned(), name: format!("cuda:{twice}") });
        }
        Self::of_cuda(text, &indices)
    }

    #[cfg(feature = "cuda")]
    fn of_cuda(_: &str, indices: &[usize]) -> Result<Self, DevicesError> {
        let there = Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec();
        let device = |&index: &usize| {
            let device = there.get(index).cloned();
            device.ok_or(DevicesError::Missing { index, count: there.len() })
        };
        let all = indices.iter().map(device).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { collective: all.len() > 1, all: all.into_iter().map(Device::autodiff).collect() })
    }

    #[cfg(not(feature = "cuda"))]
    fn of_cuda(text: &str, _: &[usize]) -> Result<Self, DevicesError> {
        Err(DevicesError::WithoutCuda { text: text.to_owned() })
    }

    /// The device that keeps the model.
    pub fn first(&self) -> &Device {
        &self.all[0]
    }

    /// How many there are, at least one.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// `model`, which is on the first device, on each of them.
    pub(crate) fn copies<M: Module>(&self, model: &M) -> Vec<(Device, M)> {
        let copy = |(number, device): (usize, &Device)| {
            let copy = if number == 0 { model.clone() } else { model.clone().fork(device) };
            (device.clone(), copy)
        };
        self.all.iter().enumerate().map(copy).collect()
    }

    /// The sums of the gradients that copies of `model` have on each device, on the first one.
    pub(crate) fn sum<M: Module>(&self, model: &M, mut gradients: Vec<GradientsParams>) -> GradientsParams {
        if gradients.len() == 1 {
            return gradients.remove(0);
        }
        // As one vector: one collective instead of one for each parameter.
        let parts = vec![Vec::new(); gradients.len()];
        let mut flat = Flat { devices: self, gradients, parts, found: HashSet::new() };
        model.visit(&mut flat);
        let Flat { parts, found, .. } = flat;
        if found.is_empty() {
            return GradientsParams::new();
        }
        let sum = self.sum_of(parts.into_iter().map(|parts| Tensor::cat(parts, 0)).collect());
        let mut split = Split { sum, at: 0, found, gradients: GradientsParams::new() };
        model.visit(&mut split);
        split.gradients
    }

    /// The sum of a tensor of each device, on the first one.
    fn sum_of(&self, tensors: Vec<Tensor<1>>) -> Tensor<1> {
        #[cfg(feature = "cuda")]
        if self.collective {
            return collective_sum(tensors);
        }
        let device = self.first().clone().inner();
        let sum = tensors.into_iter().reduce(|sum, more| sum + more.to_device(&device));
        sum.expect("there is a device")
    }
}

/// The sum of a tensor of each GPU, on the first one.
#[cfg(feature = "cuda")]
fn collective_sum(tensors: Vec<Tensor<1>>) -> Tensor<1> {
    use burn::tensor::distributed::{CollectiveTensor, ReduceOperation, all_reduce};
    let devices: Vec<Device> = tensors.iter().map(Tensor::device).collect();
    // All take part before any is waited for.
    let sums: Vec<CollectiveTensor<1>> =
        tensors.into_iter().map(|tensor| all_reduce(tensor, ReduceOperation::Sum, devices.clone())).collect();
    let sums: Vec<Tensor<1>> = sums.into_iter().map(CollectiveTensor::resolve).collect();
    sums.into_iter().next().expect("there is a GPU")
}

/// Gradients of every device as vectors, zeros where another device has one.
struct Flat<'a> {
    devices: &'a Devices,
    gradients: Vec<GradientsParams>,
    parts: Vec<Vec<Tensor<1>>>,
    /// The parameters that have a gradient somewhere.
    found: HashSet<ParamId>,
}

impl ModuleVisitor for Flat<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let of_devices: Vec<_> = self.gradients.iter_mut().map(|gradients| gradients.remove::<D>(param.id)).collect();
        let Some(dtype) = of_devices.iter().flatten().map(Tensor::dtype).next() else { return };
        self.found.insert(param.id);
        for ((gradient, device), parts) in of_devices.into_iter().zip(&self.devices.all).zip(&mut self.parts) {
            parts.push(match gradient {
                Some(gradient) => gradient.reshape([-1]),
                None => Tensor::zeros([param.val().shape().num_elements()], (&device.clone().inner(), dtype)),
            });
        }
    }
}

/// A vector as gradients.
struct Split {
    sum: Tensor<1>,
    at: usize,
    found: HashSet<ParamId>,
    gradients: GradientsParams,
}

impl ModuleVisitor for Split {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        // A parameter that is shared was counted once.
        if self.found.remove(&param.id) {
            let shape = param.val().shape();
            let count = shape.num_elements();
            self.gradients.register(param.id, self.sum.clone().narrow(0, self.at, count).reshape::<D, _>(shape));
            self.at += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Module, Debug)]
    struct Three {
        first: Param<Tensor<1>>,
        second: Param<Tensor<2>>,
        third: Param<Tensor<1>>,
    }

    #[test]
    fn gradients_of_all_devices_are_added() {
        let devices = Devices::new(Device::flex(), [Device::flex()]);
        let zeros = |sides: [usize; 1]| Param::from_tensor(Tensor::<1>::zeros(sides, devices.first()));
        let second = Param::from_tensor(Tensor::<2>::zeros([1, 2], devices.first()));
        let model = Three { first: zeros([2]), second, third: zeros([3]) };
        let copies = devices.copies(&model);
        assert_eq!(copies.len(), devices.count());
        let of = |(number, (_, copy)): (usize, &(Device, Three))| {
            let second = copy.second.val().sum() * 4.0;
            // The first device does not see the first parameter, and none sees the third.
            let loss = if number == 0 { second } else { second + copy.first.val().sum() * 3.0 };
            GradientsParams::from_grads(loss.backward(), copy)
        };
        let found = devices.sum(&model, copies.iter().enumerate().map(of).collect());
        let values = |x: Tensor<1>| x.into_data().try_into_vec::<f32>().unwrap();
        assert_eq!(values(found.get::<1>(model.first.id).unwrap()), [3.0, 3.0]);
        let second = found.get::<2>(model.second.id).unwrap();
        assert_eq!((second.dims(), values(second.reshape([-1]))), ([1, 2], vec![8.0, 8.0]));
        assert!(found.get::<1>(model.third.id).is_none());
    }

    #[test]
    fn lists_of_devices() {
        assert_eq!(Devices::open("cpu").unwrap().count(), 1);
        let refused = |text: &str| Devices::open(text).unwrap_err();
        for text in ["", "gpu", "cuda", "cuda:-1", "cpu,cpu", "cpu,cuda:0", "cuda:0,"] {
            assert_eq!(refused(text), DevicesError::Unknown { text: text.to_owned() });
        }
        assert!(matches!(refused("cuda:1, cuda:0,cuda:1"), DevicesError::Twice { name, .. } if name == "cuda:1"));
        #[cfg(not(feature = "cuda"))]
        assert_eq!(refused("cuda:0,cuda:1"), DevicesError::WithoutCuda { text: "cuda:0,cuda:1".to_owned() });
    }
}
