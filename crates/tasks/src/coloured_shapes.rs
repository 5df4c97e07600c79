//! Coloured shapes: small pictures of one shape each, for models that draw, and a judge of what they drew.
//!
//! 16 × 16 pixels in red, green and blue; a class is a shape in a colour, place and size differ from picture to picture. There
//! are so few pictures that [`ColouredShapes::nearest`] compares with all of them: it is right on every one, and says of a
//! picture that a model drew which one is meant.

use std::ops::RangeInclusive;

use rand::RngExt;

use crate::classify::{ClassifyTask, LabelledSample};
use crate::random::seeded;
use crate::shapes::covers;
use crate::task::TaskError;

/// Half widths of the shapes.
const RADII: RangeInclusive<i32> = 4..=6;
/// The colour around a shape.
const BACKGROUND: [u8; 3] = [34, 34, 40];

/// The shapes: their names, and their numbers among those of [`crate::ShapeImages`].
const SHAPES: [(&str, usize); 6] =
    [("square", 2), ("frame", 3), ("disk", 4), ("triangle", 6), ("plus", 7), ("cross", 8)];
/// The colours: their names, and their red, green and blue.
const COLOURS: [(&str, [u8; 3]); 4] =
    [("red", [220, 50, 47]), ("green", [60, 180, 75]), ("blue", [50, 90, 220]), ("yellow", [240, 200, 40])];

/// Pictures of six shapes in four colours; a class is a shape in a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColouredShapes;

/// One picture: its class, and where the shape stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Drawing {
    class: usize,
    radius: i32,
    x: i32,
    y: i32,
}

impl Drawing {
    /// Every picture there is.
    fn all() -> impl Iterator<Item = Self> {
        (0..ColouredShapes::CLASSES).flat_map(|class| {
            RADII.flat_map(move |radius| {
                let side = radius..ColouredShapes::SIZE as i32 - radius;
                side.clone().flat_map(move |y| side.clone().map(move |x| Self { class, radius, x, y }))
            })
        })
    }

    /// Red, green and blue of the pixel `pixel`, counted row by row.
    fn colour(self, pixel: usize) -> [u8; 3] {
        let size = ColouredShapes::SIZE;
        let (dx, dy) = ((pixel % size) as i32 - self.x, (pixel / size) as i32 - self.y);
        let (shape, colour) = (SHAPES[self.class / COLOURS.len()].1, COLOURS[self.class % COLOURS.len()].1);
        let inside = dx.abs() <= self.radius && dy.abs() <= self.radius && covers(shape, self.radius, dx, dy);
        if inside { colour } else { BACKGROUND }
    }
}

impl ColouredShapes {
    /// Width and height of a picture in pixels.
    pub const SIZE: usize = 16;
    /// Number of classes.
    pub const CLASSES: usize = SHAPES.len() * COLOURS.len();

    /// What a class is called, such as `red disk`.
    ///
    /// # Panics
    /// If `class` is not below [`CLASSES`](Self::CLASSES).
    pub fn class_name(class: usize) -> String {
        format!("{} {}", COLOURS[class % COLOURS.len()].0, SHAPES[class / COLOURS.len()].0)
    }

    /// The picture of a seed: its class, and red, green and blue of every pixel, row by row.
    pub fn picture(seed: u64) -> (usize, Vec<u8>) {
        let mut rng = seeded(seed);
        let class = rng.random_range(0..Self::CLASSES);
        let radius = rng.random_range(RADII);
        let [x, y] = [(); 2].map(|()| rng.random_range(radius..Self::SIZE as i32 - radius));
        let drawing = Drawing { class, radius, x, y };
        (class, (0..Self::SIZE * Self::SIZE).flat_map(|pixel| drawing.colour(pixel)).collect())
    }

    /// The class of the picture that is nearest to `pixels`, by the squares of the differences; red, green and blue of every
    /// pixel, row by row, from 0 to 255. `None` if there are not [`SIZE`](Self::SIZE)² pixels.
    pub fn nearest(pixels: &[f32]) -> Option<usize> {
        if pixels.len() != 3 * Self::SIZE * Self::SIZE {
            return None;
        }
        let distance = |drawing: Drawing| -> f64 {
            let differs = |(pixel, seen): (usize, &[f32])| -> f64 {
                drawing
                    .colour(pixel)
                    .iter()
                    .zip(seen)
                    .map(|(&known, &seen)| f64::from(f32::from(known) - seen).powi(2))
                    .sum()
            };
            pixels.chunks(3).enumerate().map(differs).sum()
        };
        let distances = Drawing::all().map(|drawing| (distance(drawing), drawing.class));
        distances.min_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, class)| class)
    }
}

impl ClassifyTask for ColouredShapes {
    fn name(&self) -> &'static str {
        "coloured_shapes"
    }

    fn classes(&self) -> usize {
        Self::CLASSES
    }

    fn vocabulary(&self) -> usize {
        256
    }

    /// A token is the red, green or blue of a pixel.
    fn sample(&self, seed: u64) -> Result<LabelledSample, TaskError> {
        let (label, pixels) = Self::picture(seed);
        Ok(LabelledSample { tokens: pixels.into_iter().map(u32::from).collect(), label })
    }

    fn solve(&self, tokens: &[u32]) -> Option<usize> {
        Self::nearest(&tokens.iter().map(|&token| token as f32).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn pixels(drawing: Drawing) -> Vec<u8> {
        (0..ColouredShapes::SIZE.pow(2)).flat_map(|pixel| drawing.colour(pixel)).collect()
    }

    #[test]
    fn no_two_pictures_are_the_same_and_none_touches_two_classes() {
        let all: Vec<Vec<u8>> = Drawing::all().map(pixels).collect();
        assert_eq!(all.len(), ColouredShapes::CLASSES * (8 * 8 + 6 * 6 + 4 * 4));
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    }

    #[test]
    fn clean_pictures_are_judged_right_and_so_are_blurred_ones() {
        for seed in 0..40 {
            let (class, picture) = ColouredShapes::picture(seed);
            let clean: Vec<f32> = picture.iter().map(|&value| f32::from(value)).collect();
            assert_eq!(ColouredShapes::nearest(&clean), Some(class));
            let faint: Vec<f32> = clean.iter().enumerate().map(|(at, value)| 0.8 * value + (at % 7) as f32).collect();
            assert_eq!(ColouredShapes::nearest(&faint), Some(class), "{}", ColouredShapes::class_name(class));
        }
        assert_eq!(ColouredShapes::nearest(&[0.0; 9]), None);
    }

    #[test]
    fn classes_have_names() {
        assert_eq!(ColouredShapes::class_name(0), "red square");
        assert_eq!(ColouredShapes::class_name(23), "yellow cross");
    }
}
