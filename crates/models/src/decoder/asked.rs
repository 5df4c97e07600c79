//! The tensors of a checkpoint, and which of them a model asked for.

use std::cell::RefCell;
use std::collections::HashSet;

use super::LoadError;
use crate::safetensors::{Checkpoint, TensorView};

/// The tensors of a checkpoint, and which of them were asked for.
pub(super) struct Asked<'a> {
    checkpoint: &'a Checkpoint,
    names: RefCell<HashSet<String>>,
}

impl<'a> Asked<'a> {
    pub fn new(checkpoint: &'a Checkpoint) -> Self {
        Self { checkpoint, names: RefCell::default() }
    }

    /// The tensor `name`, which must have `shape`.
    pub fn find(&self, name: &str, shape: &[usize]) -> Result<&'a TensorView, LoadError> {
        if !self.checkpoint.contains(name) {
            return Err(LoadError::missing(name));
        }
        let tensor = self.checkpoint.tensor(name)?;
        LoadError::check_shape(name, &tensor.shape, shape)?;
        self.names.borrow_mut().insert(name.to_owned());
        Ok(tensor)
    }

    /// An error if there are tensors that nobody asked for, but for those that are known to say nothing new.
    pub fn check_unused(&self, architecture: &str, known: impl Fn(&str) -> bool) -> Result<(), LoadError> {
        let names = self.names.borrow();
        let unused = self.checkpoint.names().filter(|name| !(names.contains(*name) || known(name)));
        LoadError::check_unused(architecture, unused)
    }
}
