//! Tensors as plain slices and back, without a copy on the Flex backend.

use burn::backend::{DType, Flex, flex::FlexTensor};
use burn::tensor::{Device, Tensor, TensorData};

use crate::flex;

/// A tensor's elements in host memory, contiguous, row-major.
#[derive(Debug)]
pub struct Host(Storage);

#[derive(Debug)]
enum Storage {
    Flex(FlexTensor),
    Data(Vec<f32>),
}

impl Host {
    /// Reads `tensor`; on Flex its buffer is shared, elsewhere (and for other float types) copied.
    pub fn new<const D: usize>(tensor: Tensor<D>) -> Self {
        match tensor.clone().without_autodiff().try_into_primitive::<Flex>() {
            Ok(primitive) if primitive.dtype() == DType::F32 => Self(Storage::Flex(flex::contiguous(primitive))),
            _ => Self(Storage::Data(tensor.into_data().convert::<f32>().try_into_vec().expect("converted to f32"))),
        }
    }

    /// The elements.
    pub fn as_slice(&self) -> &[f32] {
        match &self.0 {
            Storage::Flex(tensor) => flex::elements(tensor),
            Storage::Data(data) => data,
        }
    }
}

/// A tensor on `device` that takes over `values`; no copy on Flex.
pub fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// `tensor`, as a constant, with its elements in row-major order in memory.
pub fn contiguous<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    let (device, dtype) = (tensor.device(), tensor.dtype());
    match tensor.clone().try_into_primitive::<Flex>() {
        Ok(primitive) => Tensor::from_primitive::<Flex>(flex::contiguous(primitive)),
        Err(_) => Tensor::from_data(tensor.into_data(), (&device, dtype)),
    }
}
