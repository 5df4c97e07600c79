//! What turns kernels into differentiable Burn operations.
//!
//! A [`KernelOp`] says how kernels compute an operation and its gradient on the CPU backend. [`outputs`] routes tensors to it:
//! on a plain device [`KernelOp::forward`] runs, on a training device [`KernelOp::forward_saving`], and one node per output is
//! recorded whose backward step is [`KernelOp::backward`]. Kernels know `f32` on that backend; for every other tensor
//! ([`kernels_serve`] says no) an operation is composed of Burn's own, which differentiate themselves.

use std::fmt::Debug;

use burn::backend::{
    Autodiff, Backend, BackendTensor, DType, Dispatch, DispatchAutodiffContext, DispatchDevice, DispatchTensor,
    DispatchTensorKind, ExtensionType, Flex,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    backend_extension,
    flex::FlexTensor,
    tensor::FloatTensor,
};
use burn::tensor::Tensor;

/// An operation on `N` tensors that kernels compute. Its own fields are what is not a tensor, such as an epsilon.
pub(crate) trait KernelOp<const N: usize>: Clone + Debug + Send + 'static {
    /// What the gradient needs of the forward pass. Tensors are shared, not copied.
    type Saved: Clone + Debug + Send + 'static;

    /// How many tensors [`forward`](Self::forward) returns.
    fn outputs(&self) -> usize {
        1
    }

    /// The outputs. An input that nobody else holds may be overwritten.
    fn forward(&self, inputs: [FlexTensor; N]) -> Vec<FlexTensor>;

    /// The outputs, and what [`backward`](Self::backward) needs.
    fn forward_saving(&self, inputs: [FlexTensor; N]) -> (Vec<FlexTensor>, Self::Saved);

    /// The gradients of the inputs; those that are not wanted may be left out.
    fn backward(&self, saved: Self::Saved, upstream: Upstream<N>) -> [Option<FlexTensor>; N];
}

/// The gradient that reaches one output.
pub(crate) struct Upstream<const N: usize> {
    /// Which output.
    pub output: usize,
    /// The gradient of the loss with respect to it, in its shape; not always contiguous.
    pub gradient: FlexTensor,
    /// Which inputs need a gradient.
    pub wanted: [bool; N],
}

/// Whether kernels compute operations on `tensor`.
pub(crate) fn kernels_serve<const D: usize>(tensor: &Tensor<D>) -> bool {
    tensor.dtype() == DType::F32 && matches!(tensor.device().inner().as_dispatch(), DispatchDevice::Flex(_))
}

/// The outputs of an operation, for tensors that [`kernels_serve`].
pub(crate) fn outputs<const N: usize>(operation: impl KernelOp<N>, inputs: [DispatchTensor; N]) -> Vec<DispatchTensor> {
    Dispatch::apply(operation, Tensors(inputs.into()))
}

/// The only output of an operation, for tensors that [`kernels_serve`].
pub(crate) fn output<const N: usize, const D: usize>(
    operation: impl KernelOp<N>,
    inputs: [DispatchTensor; N],
) -> Tensor<D> {
    let [output] = array(outputs(operation, inputs));
    Tensor::from_dispatch(output)
}

/// The elements of `values`, of which there are `N`.
fn array<T, const N: usize>(values: Vec<T>) -> [T; N] {
    let found = values.len();
    values.try_into().unwrap_or_else(|_| panic!("{N} tensors, not {found}"))
}

/// The inputs of an operation, as they pass through Burn's choice of the backend.
pub(crate) struct Tensors<B: Backend>(Vec<FloatTensor<B>>);

impl<B: Backend> ExtensionType<B> for Tensors<B> {
    type Target = Tensors<Dispatch>;

    fn map_to_dispatch<F>(self, map_kind: F, autodiff: DispatchAutodiffContext) -> Self::Target
    where
        F: Fn(BackendTensor<B>) -> DispatchTensorKind,
    {
        let wrap = |tensor| DispatchTensor { kind: map_kind(BackendTensor::Float(tensor)), autodiff };
        Tensors(self.0.into_iter().map(wrap).collect())
    }

    fn map_from_dispatch<F>(target: Self::Target, unwrap_kind: F) -> Self
    where
        F: Fn(DispatchTensor) -> BackendTensor<B>,
    {
        Self(target.0.into_iter().map(|tensor| unwrap_kind(tensor).float()).collect())
    }

    fn routing_tensor(target: &Self::Target) -> Option<&DispatchTensor> {
        target.0.first()
    }

    fn routing_float_tensor(target: &Self::Target) -> Option<&DispatchTensor> {
        target.0.first()
    }

    fn autodiff_context(target: &Self::Target) -> DispatchAutodiffContext {
        target.0.iter().fold(DispatchAutodiffContext::Disabled, |context, tensor| context.merge(tensor.autodiff))
    }
}

#[backend_extension(Flex, Autodiff)]
pub(crate) trait Apply: Backend {
    fn apply<O: KernelOp<N>, const N: usize>(
        operation: O,
        #[extension_type] inputs: Tensors<Self>,
    ) -> Vec<FloatTensor<Self>>;
}

impl Apply for Flex {
    fn apply<O: KernelOp<N>, const N: usize>(operation: O, inputs: Tensors<Self>) -> Vec<FlexTensor> {
        operation.forward(array(inputs.0))
    }
}

impl<C: CheckpointStrategy> Apply for Autodiff<Flex, C> {
    fn apply<O: KernelOp<N>, const N: usize>(operation: O, inputs: Tensors<Self>) -> Vec<FloatTensor<Self>> {
        let inputs: [_; N] = array(inputs.0);
        // A node has one output, so each output has its own; all share what was saved.
        let node = |output| {
            let node = Node { operation: operation.clone(), output };
            node.prepare::<C>(inputs.each_ref().map(|input| input.node())).compute_bound().stateful()
        };
        let nodes: Vec<_> = (0..operation.outputs()).map(node).collect();
        let tracked = nodes.iter().any(|node| matches!(node, OpsKind::Tracked(_)));
        let inputs = inputs.map(|input| input.into_primitive());
        let (outputs, saved) = if tracked {
            let (outputs, saved) = operation.forward_saving(inputs);
            (outputs, Some(saved))
        } else {
            (operation.forward(inputs), None)
        };
        let record = |(node, output)| match (node, &saved) {
            (OpsKind::Tracked(node), Some(saved)) => node.finish(saved.clone(), output),
            (OpsKind::Tracked(_), None) => unreachable!("a tracked node saves"),
            (OpsKind::UnTracked(node), _) => node.finish(output),
        };
        nodes.into_iter().zip(outputs).map(record).collect()
    }
}

/// The backward step of one output.
#[derive(Debug)]
struct Node<O> {
    operation: O,
    output: usize,
}

impl<O: KernelOp<N>, const N: usize> Backward<Flex, N> for Node<O> {
    type State = O::Saved;

    fn backward(self, ops: Ops<O::Saved, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let upstream = Upstream {
            output: self.output,
            gradient: gradients.consume::<Flex>(&ops.node),
            wanted: ops.parents.each_ref().map(Option::is_some),
        };
        let found = self.operation.backward(ops.state, upstream);
        for (parent, gradient) in ops.parents.into_iter().zip(found) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                gradients.register::<Flex>(parent.id, gradient);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn kernels_serve_f32_on_the_cpu_backend() {
        for device in [Device::flex(), Device::flex().autodiff(), Device::flex().autodiff().gradient_checkpointing()] {
            let zeros = |dtype| Tensor::<1>::zeros([1], (&device, dtype));
            assert!(kernels_serve(&zeros(DType::F32)));
            for other in [DType::F64, DType::F16, DType::BF16] {
                assert!(!kernels_serve(&zeros(other)), "{other:?}");
            }
        }
    }
}
