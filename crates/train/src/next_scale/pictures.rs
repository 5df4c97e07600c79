//! The pictures of a run.

use burn::tensor::{Device, Tensor};
use headwise_models::next_scale::pictures_of;
use headwise_tasks::ColouredShapes;

/// Pictures with their classes.
pub(super) struct Pictures {
    classes: Vec<usize>,
    pixels: Vec<Vec<u8>>,
}

impl Pictures {
    /// `count` pictures that depend on nothing but `seed`.
    pub fn draw(seed: u64, count: u64) -> Self {
        let picture =
            |number: u64| ColouredShapes::picture(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(number));
        let (classes, pixels) = (0..count).map(picture).unzip();
        Self { classes, pixels }
    }

    pub fn count(&self) -> usize {
        self.classes.len()
    }

    pub fn class(&self, picture: usize) -> usize {
        self.classes[picture]
    }

    /// Some of them: `[chosen, 3, size, size]`.
    pub fn tensor(&self, chosen: &[usize], device: &Device) -> Tensor<4> {
        let pixels: Vec<u8> = chosen.iter().flat_map(|&picture| self.pixels[picture].iter().copied()).collect();
        pictures_of(&pixels, ColouredShapes::SIZE, device)
    }
}
