//! The picture in the making: which snake and stroke lights which pixel.

use super::geometry::{PIXEL, Point, Stroke};
use super::{Pathfinder, WHITE};

/// Samples of a pixel in each direction.
const ANTIALIAS: i64 = 2;
/// Samples of a pixel.
const SAMPLES: u32 = (ANTIALIAS * ANTIALIAS) as u32;

/// A pixel and which of its samples something covers, one bit each.
type Lit = (usize, u8);

/// The pixels that the strokes drawn so far, and the markers there may be, take.
#[derive(Clone)]
pub(super) struct Canvas {
    size: usize,
    padding: usize,
    reach: usize,
    /// In units of [`PIXEL`].
    stroke_radius: i64,
    marker_radius: i64,
    /// Number of strokes.
    strokes: u32,
    /// Per pixel, the number of the stroke that takes it, counted from 1; 0 where there is none.
    owner: Vec<u32>,
}

impl Canvas {
    /// An empty picture.
    pub(super) fn new(task: &Pathfinder) -> Self {
        Self {
            size: task.size,
            padding: task.padding,
            reach: task.reach(),
            stroke_radius: (task.thickness / 2.0 * PIXEL as f64) as i64,
            marker_radius: (task.marker_radius * PIXEL as f64) as i64,
            strokes: 0,
            owner: vec![0; task.size * task.size],
        }
    }

    /// Draws a stroke, keeps the place of a marker at `marker` free, and returns the stroke's number; `None`, and nothing
    /// drawn, if the two leave the picture or come too near to other strokes.
    ///
    /// `previous` is the stroke before it in the same snake: the two must be within reach and not touch.
    pub(super) fn draw(&mut self, stroke: Stroke, marker: Option<Point>, previous: Option<u32>) -> Option<u32> {
        let lit = self.lit(stroke, self.stroke_radius)?;
        if !self.is_free(&lit, previous)? && previous.is_some() {
            return None;
        }
        let disk = match marker {
            Some(centre) => self.disk(centre)?,
            None => Vec::new(),
        };
        self.is_free(&disk, previous)?;
        self.strokes += 1;
        for (pixel, _) in lit.into_iter().chain(disk) {
            self.owner[pixel] = self.strokes;
        }
        Some(self.strokes)
    }

    /// Whether pixels are within reach of the stroke `previous`; `None` if they touch it or are within reach of others.
    fn is_free(&self, lit: &[Lit], previous: Option<u32>) -> Option<bool> {
        let mut joined = false;
        for &(pixel, _) in lit {
            if self.owner[pixel] != 0 {
                return None;
            }
            for near in neighbourhood(pixel, self.size, self.reach) {
                let owner = self.owner[near];
                if owner != 0 && Some(owner) != previous {
                    return None;
                }
                joined |= owner != 0;
            }
        }
        Some(joined)
    }

    /// The pixels of a marker.
    fn disk(&self, centre: Point) -> Option<Vec<Lit>> {
        self.lit(Stroke { start: centre, end: centre }, self.marker_radius)
    }

    /// The pixels that a stroke with round ends covers; `None` if one of them is in the padding or outside.
    fn lit(&self, stroke: Stroke, radius: i64) -> Option<Vec<Lit>> {
        let range = |a: i64, b: i64| {
            let (first, last) = ((a.min(b) - radius).div_euclid(PIXEL), (a.max(b) + radius).div_euclid(PIXEL));
            first..=last
        };
        let mut lit = Vec::new();
        for y in range(stroke.start.y, stroke.end.y) {
            for x in range(stroke.start.x, stroke.end.x) {
                let samples = samples(x, y, |point| stroke.covers(point, radius));
                if samples == 0 {
                    continue;
                }
                let inside = self.padding..self.size - self.padding;
                let [x, y] = [usize::try_from(x).ok()?, usize::try_from(y).ok()?];
                if !inside.contains(&x) || !inside.contains(&y) {
                    return None;
                }
                lit.push((y * self.size + x, samples));
            }
        }
        Some(lit)
    }

    /// The grey values of strokes and of a marker at each of the two points.
    ///
    /// A stroke half a pixel wide covers half of a pixel at most: that counts as all of it, as doubling the contrast
    /// and cutting it does in the published pictures.
    pub(super) fn render<'a>(
        &self,
        contrast: f64,
        strokes: impl Iterator<Item = &'a Stroke>,
        markers: [Point; 2],
    ) -> Vec<u8> {
        let mut covered = vec![0; self.owner.len()];
        for (pixel, samples) in strokes.filter_map(|&stroke| self.lit(stroke, self.stroke_radius)).flatten() {
            covered[pixel] |= samples;
        }
        let shade = |samples: u8, all: u32, white: f64| {
            (white * f64::from(samples.count_ones().min(all)) / f64::from(all)) as u8
        };
        let brightness = contrast * f64::from(WHITE);
        let mut pixels: Vec<u8> = covered.into_iter().map(|samples| shade(samples, SAMPLES / 2, brightness)).collect();
        for (pixel, samples) in markers.into_iter().filter_map(|centre| self.disk(centre)).flatten() {
            pixels[pixel] = pixels[pixel].max(shade(samples, SAMPLES, WHITE.into()));
        }
        pixels
    }
}

/// Which samples of pixel `x`, `y` a shape covers, one bit each.
fn samples(x: i64, y: i64, covers: impl Fn(Point) -> bool) -> u8 {
    let place = |pixel: i64, sample: i64| pixel * PIXEL + (2 * sample + 1) * PIXEL / (2 * ANTIALIAS);
    (0..ANTIALIAS * ANTIALIAS)
        .filter(|sample| covers(Point { x: place(x, sample % ANTIALIAS), y: place(y, sample / ANTIALIAS) }))
        .fold(0, |samples, sample| samples | 1 << sample)
}

/// The pixels at most `reach` rows and columns away, the pixel itself included.
pub(super) fn neighbourhood(pixel: usize, size: usize, reach: usize) -> impl Iterator<Item = usize> {
    let (x, y) = (pixel % size, pixel / size);
    let range = move |centre: usize| centre.saturating_sub(reach)..(centre + reach + 1).min(size);
    range(y).flat_map(move |y| range(x).map(move |x| y * size + x))
}
