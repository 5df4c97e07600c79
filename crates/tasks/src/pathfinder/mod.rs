//! Pathfinder: is there a dashed path between the two marked points of a picture?
//!
//! Two long snakes of short strokes start near each other and wind through the picture, short ones in between are
//! distractors, and two ends are marked: the ends of one snake (class 1), or the start of one and the end of the other
//! (class 0). Both classes have the same pictures but for the markers. A model reads the grey pixels row by row.
//! Linsley et al. 2018, arXiv:1805.08315; parameters of Tay et al. 2020, arXiv:2011.04006.
//!
//! The gaps of a snake are at most `2 margin - 1` dark pixels wide and two snakes are further apart, markers included:
//! the pixels alone decide the class, and [`ClassifyTask::solve`] reads it off them.

mod canvas;
mod geometry;
mod snake;

use rand::RngExt;

use crate::classify::{ClassifyTask, LabelledSample};
use crate::random::seeded;
use crate::task::{TaskError, within};
use canvas::Canvas;
pub use geometry::{Point, Stroke};
use snake::Pen;

/// Pairs of snakes that are begun before the parameters are called impossible.
const ATTEMPTS: usize = 1000;
/// Times a distractor is begun before it is left out.
const DISTRACTOR_ATTEMPTS: usize = 100;
/// Grey of a marker: no stroke is as bright.
const WHITE: u8 = 255;

/// Pictures of dashed paths. Lengths are in pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Pathfinder {
    /// Width and height of the picture.
    pub size: usize,
    /// Strokes of a long snake.
    pub strokes: usize,
    /// Length of a stroke.
    pub stroke_length: usize,
    /// Width of a stroke.
    pub thickness: f64,
    /// Half the gap between two strokes of a snake.
    pub margin: usize,
    /// Radius of the markers.
    pub marker_radius: f64,
    /// Distance between the starts of the two long snakes.
    pub seed_distance: usize,
    /// Number of distractors; those that find no room are left out.
    pub distractors: usize,
    /// Strokes of a distractor.
    pub distractor_strokes: usize,
    /// How straight snakes are: a turn by `δ` has weight `cos²(continuity δ)`, and none from a right angle on.
    pub continuity: f64,
    /// Brightness of strokes, below 1, where markers have 1.
    pub contrast: f64,
    /// Width of the border that stays dark.
    pub padding: usize,
}

impl Pathfinder {
    /// The benchmark's Path-X: 128 × 128 pixels.
    pub fn path_x() -> Self {
        Self {
            size: 128,
            stroke_length: 5,
            thickness: 1.5,
            margin: 2,
            marker_radius: 3.0,
            seed_distance: 20,
            distractors: 35 / 4,
            continuity: 1.8,
            contrast: 0.9,
            ..Self::default()
        }
    }

    /// 16 × 16 pixels and shorter snakes, which small models learn within minutes.
    pub fn short() -> Self {
        Self {
            size: 16,
            strokes: 4,
            marker_radius: 1.25,
            seed_distance: 5,
            distractors: 2,
            distractor_strokes: 2,
            padding: 0,
            ..Self::default()
        }
    }

    /// The picture of a seed with all that is known of it.
    pub fn picture(&self, seed: u64) -> Result<Picture, TaskError> {
        self.check()?;
        let rare = || TaskError::Rare { task: self.name(), attempts: ATTEMPTS };
        let mut pen = Pen::new(self, seeded(seed)).ok_or_else(rare)?;
        let long = (0..ATTEMPTS).find_map(|_| pen.two(Canvas::new(self)));
        let (mut canvas, long) = long.ok_or_else(rare)?;
        let mut snakes = Vec::from(long.map(|snake| snake.strokes));
        for _ in 0..self.distractors {
            let placed = (0..DISTRACTOR_ATTEMPTS).find_map(|_| pen.distractor(canvas.clone()));
            if let Some((drawn, snake)) = placed {
                canvas = drawn;
                snakes.push(snake.strokes);
            }
        }
        let connected: bool = pen.rng.random();
        let first = usize::from(pen.rng.random::<bool>());
        let last = if connected { first } else { 1 - first };
        let markers = [snakes[first][0].start, snakes[last][self.strokes - 1].end];
        let pixels = canvas.render(self.contrast, snakes.iter().flatten(), markers);
        Ok(Picture { pixels, snakes, markers, connected })
    }

    /// How many rows and columns apart two lit pixels of neighbouring strokes may be; those of different snakes are
    /// further apart.
    fn reach(&self) -> usize {
        2 * self.margin
    }

    fn check(&self) -> Result<(), TaskError> {
        let task = self.name();
        within(task, "size", self.size, 8, 1024)?;
        within(task, "strokes", self.strokes, 2, 1024)?;
        within(task, "stroke_length", self.stroke_length, 1, self.size)?;
        within(task, "margin", self.margin, 1, 16)?;
        within(task, "distractors", self.distractors, 0, 1024)?;
        within(task, "distractor_strokes", self.distractor_strokes, 1, 1024)?;
        within(task, "padding", self.padding, 0, self.size / 4)?;
        within(task, "seed_distance", self.seed_distance, 1, self.size / 2)?;
        for (parameter, value, least, most) in [
            ("thickness", self.thickness, 0.5, 16.0),
            ("marker_radius", self.marker_radius, 1.25, 64.0),
            ("continuity", self.continuity, 0.0, 16.0),
            ("contrast", self.contrast, 0.1, 0.95),
        ] {
            if !(least..=most).contains(&value) {
                return Err(TaskError::RealParameter { task, parameter, value, least, most });
            }
        }
        Ok(())
    }
}

/// A picture, what is drawn in it, and its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Grey values, row by row.
    pub pixels: Vec<u8>,
    /// The strokes of each snake, from its start to its end: the two long ones, then the distractors.
    pub snakes: Vec<Vec<Stroke>>,
    /// Centres of the two markers.
    pub markers: [Point; 2],
    /// Whether the markers are the ends of one snake.
    pub connected: bool,
}

impl Default for Pathfinder {
    /// The benchmark's Pathfinder: 32 × 32 pixels, snakes of 14 strokes, five distractors.
    fn default() -> Self {
        Self {
            size: 32,
            strokes: 14,
            stroke_length: 2,
            thickness: 0.5,
            margin: 1,
            marker_radius: 1.5,
            seed_distance: 7,
            distractors: 20 / 4,
            distractor_strokes: 14 / 3,
            continuity: 1.0,
            contrast: 0.75,
            padding: 1,
        }
    }
}

impl ClassifyTask for Pathfinder {
    fn name(&self) -> &'static str {
        "pathfinder"
    }

    fn classes(&self) -> usize {
        2
    }

    fn vocabulary(&self) -> usize {
        256
    }

    fn sample(&self, seed: u64) -> Result<LabelledSample, TaskError> {
        let picture = self.picture(seed)?;
        let tokens = picture.pixels.into_iter().map(u32::from).collect();
        Ok(LabelledSample { tokens, label: picture.connected.into() })
    }

    /// Floods the lit pixels from a white one, over gaps as wide as those of a snake, and sees whether it reaches all
    /// that are white.
    fn solve(&self, tokens: &[u32]) -> Option<usize> {
        let size = self.size;
        if tokens.len() != size.checked_mul(size)? || tokens.iter().any(|&token| token > WHITE.into()) {
            return None;
        }
        let white = |token: u32| token == WHITE.into();
        let start = tokens.iter().position(|&token| white(token))?;
        let mut reached = vec![false; tokens.len()];
        reached[start] = true;
        let mut frontier = vec![start];
        while let Some(pixel) = frontier.pop() {
            for near in canvas::neighbourhood(pixel, size, self.reach()) {
                if tokens[near] > 0 && !std::mem::replace(&mut reached[near], true) {
                    frontier.push(near);
                }
            }
        }
        let all = tokens.iter().zip(&reached).all(|(&token, &reached)| reached || !white(token));
        Some(all.into())
    }
}

#[cfg(test)]
mod tests;
