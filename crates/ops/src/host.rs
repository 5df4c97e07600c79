//! Tensors as plain slices and back, without a copy on the Flex backend.

use burn::backend::{DType, Flex, TensorMetadata, flex::{FlexTensor, Layout}};
use burn::tensor::{Bytes, Device, Shape, Tensor, TensorData};

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
        match tensor.clone().try_into_primitive::<Flex>() {
            Ok(primitive) if primitive.dtype() == DType::F32 => Self(Storage::Flex(primitive.to_contiguous())),
            _ => Self(Storage::Data(tensor.into_data().convert::<f32>().into_vec().expect("converted to f32"))),
        }
    }

    /// The elements.
    pub fn as_slice(&self) -> &[f32] {
        match &self.0 {
            Storage::Flex(tensor) => tensor.as_slice().expect("contiguous f32"),
            Storage::Data(data) => data,
        }
    }
}

/// A tensor on `device` that takes over `values`; no copy on Flex.
pub fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// A Flex tensor that takes over `values`.
pub(crate) fn flex(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape.into()), DType::F32)
}

/// `tensor` with its elements in row-major order in memory.
pub fn contiguous<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    let (shape, device) = (tensor.dims(), tensor.device());
    match Host::new(tensor).0 {
        Storage::Flex(primitive) => Tensor::from_primitive::<Flex>(primitive),
        Storage::Data(values) => self::tensor(values, shape, &device),
    }
}
