//! Tensors of the CPU backend as the slices that kernels take.

use burn::backend::{
    DType, TensorMetadata,
    flex::{FlexTensor, Layout},
};
use burn::tensor::{Bytes, Shape};
use headwise_kernels::attention::View4;

use crate::buffers;

/// `tensor` in row-major order without gaps; a copy only if it is not so already.
pub(crate) fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() }
}

/// The elements of a [`contiguous`] tensor.
///
/// # Panics
/// If the tensor has gaps or another type than `f32`.
pub(crate) fn elements(tensor: &FlexTensor) -> &[f32] {
    let found = tensor.dtype();
    tensor.as_slice().unwrap_or_else(|| panic!("a kernel takes contiguous f32 tensors, not {found:?}"))
}

/// A tensor that takes over `values`.
pub(crate) fn own(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape.into()), DType::F32)
}

/// As [`new`], with the shape of `like`.
pub(crate) fn new_like(like: &FlexTensor, write: impl FnOnce(&mut [f32])) -> FlexTensor {
    new(like.shape(), write)
}

/// A tensor of the given shape. `write` must set every element: what they are before is unspecified.
pub(crate) fn new(shape: impl Into<Shape>, write: impl FnOnce(&mut [f32])) -> FlexTensor {
    let shape = shape.into();
    let mut values = buffers::take(shape.num_elements());
    write(&mut values);
    own(values, shape)
}

/// Changes the elements of a [`contiguous`] tensor, in place if nobody else holds them.
pub(crate) fn update(mut tensor: FlexTensor, change: impl FnOnce(&mut [f32])) -> FlexTensor {
    change(elements_mut(&mut tensor));
    tensor
}

/// The elements of a [`contiguous`] tensor, to change.
pub(crate) fn elements_mut(tensor: &mut FlexTensor) -> &mut [f32] {
    let start = tensor.layout().start_offset();
    let length = tensor.shape().num_elements();
    // A buffer that is shared is copied here.
    &mut tensor.storage_mut::<f32>()[start..][..length]
}

/// `tensor` with the elements of a row side by side and rows in ascending order, as a [`View4`] has them; mostly as it is.
pub(crate) fn rows_contiguous(tensor: FlexTensor) -> FlexTensor {
    let shape = tensor.shape();
    let strides = tensor.layout().strides();
    let row = shape[3] == 1 || strides[3] == 1;
    if row && strides.iter().all(|&stride| stride >= 0) { tensor } else { tensor.to_contiguous() }
}

/// The tensor's elements and strides; a dimension of one element repeats.
pub(crate) fn view(tensor: &FlexTensor) -> View4<'_> {
    let (shape, layout) = (tensor.shape(), tensor.layout());
    let stride = |i: usize| if shape[i] == 1 { 0 } else { layout.strides()[i].unsigned_abs() };
    View4 { data: &tensor.storage()[layout.start_offset()..], strides: [stride(0), stride(1), stride(2)] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_leaves_other_holders_alone() {
        let first = own(vec![1.0, 2.0, 3.0, 4.0], [2, 2]);
        let kept = first.clone();
        let second = update(first, |values| values.fill(0.0));
        assert_eq!((elements(&kept), elements(&second)), (&[1.0, 2.0, 3.0, 4.0][..], &[0.0; 4][..]));
    }

    #[test]
    fn an_update_of_the_only_holder_copies_nothing() {
        let first = own(vec![1.0, 2.0, 3.0, 4.0], [2, 2]);
        let address = elements(&first).as_ptr();
        let second = update(first, |values| values.reverse());
        assert_eq!((elements(&second), elements(&second).as_ptr()), (&[4.0, 3.0, 2.0, 1.0][..], address));
    }

    #[test]
    fn an_update_of_a_slice_changes_only_the_slice() {
        let slice = own(vec![1.0, 2.0, 3.0, 4.0], [2, 2]).narrow(0, 1, 1);
        let changed = update(contiguous(slice), |values| values[0] = 9.0);
        assert_eq!(elements(&changed), &[9.0, 4.0]);
    }
}
