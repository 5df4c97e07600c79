//! Shape images: which of ten shapes is drawn in a noisy grey picture, read pixel by pixel?
//!
//! A stand-in for the Long Range Arena's image task (Tay et al. 2020, arXiv:2011.04006) that needs no data: 32 × 32
//! pixels, one token each, as the grey CIFAR-10 that [`crate::labelled_files::read_cifar10`] reads. Place, size and both
//! grey values differ from picture to picture; the noise is less than half of their contrast.

use std::ops::RangeInclusive;

use rand::RngExt;

use crate::classify::{ClassifyTask, LabelledSample};
use crate::random::seeded;
use crate::task::TaskError;

/// Width and height of a picture.
const SIZE: i32 = 32;
/// Half widths of the shapes.
const RADII: RangeInclusive<i32> = 5..=10;
/// Greatest change of a pixel by noise.
const NOISE: i32 = 30;
/// Least difference of the two grey values: between the extremes of the picture, the middle then still divides them.
const CONTRAST: i32 = 4 * NOISE + 2;

/// Ten shapes: horizontal bar, vertical bar, square, frame, disk, ring, triangle, plus, cross, diamond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShapeImages;

/// Whether the shape of a class and a radius covers the place `x`, `y` from its centre; both are within the radius.
pub(crate) fn covers(class: usize, radius: i32, x: i32, y: i32) -> bool {
    let (width, height) = (x.abs(), y.abs());
    let thin = radius / 4;
    let distance2 = x * x + y * y;
    match class {
        0 => height <= radius / 3,
        1 => width <= radius / 3,
        2 => true,
        3 => width.max(height) >= radius - thin,
        4 => distance2 <= radius * radius,
        5 => distance2 <= radius * radius && distance2 > (radius - thin - 1).pow(2),
        6 => 2 * width <= y + radius,
        7 => width <= thin || height <= thin,
        8 => (width - height).abs() <= thin,
        _ => width + height <= radius,
    }
}

/// The pixels of a shape, row by row, without the empty rows and columns around it.
fn outline(class: usize, radius: i32) -> Vec<Vec<bool>> {
    let side = -radius..=radius;
    crop(side.clone().map(|y| side.clone().map(|x| covers(class, radius, x, y)).collect()).collect())
}

/// The smallest rectangle with all pixels that are set.
fn crop(rows: Vec<Vec<bool>>) -> Vec<Vec<bool>> {
    let filled: Vec<Vec<bool>> = rows.into_iter().filter(|row| row.contains(&true)).collect();
    let first = filled.iter().filter_map(|row| row.iter().position(|&set| set)).min();
    let last = filled.iter().filter_map(|row| row.iter().rposition(|&set| set)).max();
    let (Some(first), Some(last)) = (first, last) else { return Vec::new() };
    filled.into_iter().map(|row| row[first..=last].to_vec()).collect()
}

impl ClassifyTask for ShapeImages {
    fn name(&self) -> &'static str {
        "shape_images"
    }

    fn classes(&self) -> usize {
        10
    }

    fn vocabulary(&self) -> usize {
        256
    }

    fn sample(&self, seed: u64) -> Result<LabelledSample, TaskError> {
        let mut rng = seeded(seed);
        let label = rng.random_range(0..self.classes());
        let radius = rng.random_range(RADII);
        let [x, y] = [(); 2].map(|()| rng.random_range(radius..SIZE - radius));
        let dark = rng.random_range(NOISE..=255 - NOISE - CONTRAST);
        let bright = rng.random_range(dark + CONTRAST..=255 - NOISE);
        let pixels = (0..SIZE * SIZE).map(|pixel| {
            let (dx, dy) = (pixel % SIZE - x, pixel / SIZE - y);
            let inside = dx.abs() <= radius && dy.abs() <= radius && covers(label, radius, dx, dy);
            let grey = if inside { bright } else { dark };
            (grey + rng.random_range(-NOISE..=NOISE)) as u32
        });
        Ok(LabelledSample { tokens: pixels.collect(), label })
    }

    /// Divides the pixels at the middle of their extremes and looks for the shape that is exactly the bright ones.
    fn solve(&self, tokens: &[u32]) -> Option<usize> {
        let (least, most) = (*tokens.iter().min()?, *tokens.iter().max()?);
        let middle = least.midpoint(most);
        let rows = tokens.chunks(SIZE as usize);
        let seen = crop(rows.map(|row| row.iter().map(|&grey| grey > middle).collect()).collect());
        (0..self.classes()).find(|&class| RADII.into_iter().any(|radius| outline(class, radius) == seen))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_shapes_look_the_same() {
        let outlines: HashSet<_> =
            (0..10).flat_map(|class| RADII.map(move |radius| (class, outline(class, radius)))).collect();
        let looks: HashSet<_> = outlines.iter().map(|(_, look)| look).collect();
        // Bars of two radii may be equally thick, but no shape of one class is one of another.
        assert_eq!(outlines.len(), looks.len());
        assert!(outlines.len() >= 50, "{}", outlines.len());
    }

    /// The triangle of radius 5, drawn by hand.
    #[test]
    fn a_triangle_has_its_point_above() {
        let rows: Vec<String> = outline(6, 5)
            .into_iter()
            .map(|row| row.into_iter().map(|set| if set { '#' } else { '.' }).collect())
            .collect();
        assert_eq!(
            rows,
            [
                ".....#.....",
                ".....#.....",
                "....###....",
                "....###....",
                "...#####...",
                "...#####...",
                "..#######..",
                "..#######..",
                ".#########.",
                ".#########.",
                "###########",
            ]
        );
    }

    #[test]
    fn pictures_use_the_range_of_greys_and_stay_in_it() {
        let mut seen = HashSet::new();
        for seed in 0..200 {
            let tokens = ShapeImages.sample(seed).unwrap().tokens;
            assert_eq!(tokens.len(), 1024);
            seen.extend(tokens);
        }
        assert!(seen.iter().all(|&grey| grey < 256));
        assert!(seen.len() > 250, "{}", seen.len());
    }
}
