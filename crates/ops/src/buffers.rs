//! Memory that backward passes have done with, for the next tensors of the same size.
//!
//! A training step makes hundreds of large tensors and drops them all. Memory fresh from the system costs more than many
//! operations on it: every page is a fault, and is zeroed. So the backward step of an operation hands in what it was the last to hold,
//! and the outputs of operations are written over it.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use burn::backend::flex::{FlexTensor, Layout};

/// A buffer that nobody wanted while so many others were handed out is freed.
const PATIENCE: u64 = 512;
/// Buffers of fewer elements are left to the allocator, which keeps small blocks anyway.
const SMALLEST: usize = 1 << 14;

/// `length` values to be overwritten: what they are is unspecified.
pub(crate) fn take(length: usize) -> Vec<f32> {
    if length < SMALLEST {
        return vec![0.0; length];
    }
    SHELF.lock().unwrap_or_else(PoisonError::into_inner).take(length).unwrap_or_else(|| vec![0.0; length])
}

/// Keeps the memory of `tensor` if nobody else holds it.
pub(crate) fn recycle(tensor: FlexTensor) {
    let length = tensor.storage::<f32>().len();
    if tensor.is_unique() && length >= SMALLEST {
        // Whatever part of it the tensor was a view of, nobody needs the rest.
        let tensor = tensor.with_layout(Layout::contiguous([length].into()));
        // Nothing is copied: the vector that the tensor was made of comes back.
        if let Ok(values) = tensor.into_data().try_into_vec::<f32>() {
            SHELF.lock().unwrap_or_else(PoisonError::into_inner).put(values);
        }
    }
}

static SHELF: LazyLock<Mutex<Shelf>> = LazyLock::new(|| Mutex::new(Shelf::default()));

/// Buffers by length; of each length, the last one put is the first one taken.
#[derive(Default)]
struct Shelf {
    buffers: HashMap<usize, Vec<(u64, Vec<f32>)>>,
    /// How often a buffer was asked for.
    taken: u64,
}

impl Shelf {
    fn take(&mut self, length: usize) -> Option<Vec<f32>> {
        self.taken += 1;
        if self.taken.is_multiple_of(PATIENCE) {
            let now = self.taken;
            self.buffers.values_mut().for_each(|buffers| buffers.retain(|(put, _)| put + PATIENCE > now));
            self.buffers.retain(|_, buffers| !buffers.is_empty());
        }
        Some(self.buffers.get_mut(&length)?.pop()?.1)
    }

    fn put(&mut self, values: Vec<f32>) {
        self.buffers.entry(values.len()).or_default().push((self.taken, values));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_put_is_taken_first() {
        let mut shelf = Shelf::default();
        shelf.put(vec![1.0; 3]);
        shelf.put(vec![2.0; 3]);
        assert_eq!(shelf.take(4), None);
        assert_eq!([shelf.take(3), shelf.take(3), shelf.take(3)], [Some(vec![2.0; 3]), Some(vec![1.0; 3]), None]);
    }

    #[test]
    fn what_nobody_wants_is_freed() {
        let mut shelf = Shelf::default();
        shelf.put(vec![1.0; 3]);
        for _ in 0..2 * PATIENCE {
            shelf.put(vec![2.0; 5]);
            assert!(shelf.take(5).is_some());
        }
        assert!(!shelf.buffers.contains_key(&3));
    }
}
