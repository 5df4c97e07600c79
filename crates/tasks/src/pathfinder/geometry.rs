//! Points, directions and strokes in whole numbers, so that every machine draws the same picture.

/// Units of a pixel.
pub(super) const PIXEL: i64 = 1024;

/// Directions of strokes, in equal steps around the circle.
pub(super) const DIRECTIONS: usize = 64;

/// A place in the picture, in 1/1024 pixels from its upper left corner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// To the right.
    pub x: i64,
    /// Down.
    pub y: i64,
}

impl Point {
    /// The point `distance` pixels away in a direction.
    pub(super) fn towards(self, direction: usize, distance: usize) -> Self {
        let angle = direction as f64 / DIRECTIONS as f64;
        let along = |turns: f64| distance as i64 * (cosine(turns) * PIXEL as f64).round() as i64;
        Self { x: self.x + along(angle), y: self.y + along(angle - 0.25) }
    }

    /// Square of the distance to another point.
    pub(super) fn distance2(self, other: Self) -> i64 {
        (self.x - other.x).pow(2) + (self.y - other.y).pow(2)
    }
}

/// A straight stroke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stroke {
    /// Where it begins.
    pub start: Point,
    /// Where it ends.
    pub end: Point,
}

impl Stroke {
    /// Whether a point is at most `radius` units away from the stroke.
    pub(super) fn covers(&self, point: Point, radius: i64) -> bool {
        let Self { start, end } = *self;
        let (dx, dy) = (end.x - start.x, end.y - start.y);
        let (px, py) = (point.x - start.x, point.y - start.y);
        let (along, across) = (px * dx + py * dy, px * dy - py * dx);
        let length2 = dx * dx + dy * dy;
        let radius2 = radius * radius;
        match along {
            _ if along <= 0 => point.distance2(start) <= radius2,
            _ if along >= length2 => point.distance2(end) <= radius2,
            // Squares of products of three lengths do not fit in 64 bits.
            _ => i128::from(across).pow(2) <= i128::from(radius2) * i128::from(length2),
        }
    }
}

/// Cosine of an angle in turns, from sums and products alone: libraries differ in the last bit of theirs.
pub(super) fn cosine(turns: f64) -> f64 {
    // Into -1/2..=1/2, then by symmetry into -1/4..=1/4.
    let turns = (turns - turns.round()).abs();
    if turns > 0.25 {
        return -cosine(0.5 - turns);
    }
    let square = (std::f64::consts::TAU * turns).powi(2);
    // 1 - x²/2! + x⁴/4! - …, innermost term first; the first one left out is below 1e-17.
    (1..=10).rev().fold(1.0, |rest, term| 1.0 - rest * square / f64::from((2 * term - 1) * (2 * term)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_is_the_cosine() {
        for step in -300..300 {
            let turns = f64::from(step) / 97.0;
            assert!((cosine(turns) - (std::f64::consts::TAU * turns).cos()).abs() < 1e-13, "{turns}");
        }
    }

    #[test]
    fn directions_go_around_the_circle() {
        let centre = Point { x: 0, y: 0 };
        let quarter = DIRECTIONS / 4;
        assert_eq!(centre.towards(0, 3), Point { x: 3 * PIXEL, y: 0 });
        assert_eq!(centre.towards(quarter, 1), Point { x: 0, y: PIXEL });
        assert_eq!(centre.towards(2 * quarter, 1), Point { x: -PIXEL, y: 0 });
        assert_eq!(centre.towards(quarter / 2, 1), Point { x: 724, y: 724 });
    }

    /// Against the distance to the nearest of many points of the stroke.
    #[test]
    fn a_stroke_covers_what_is_near_one_of_its_points() {
        let stroke = Stroke { start: Point { x: 1000, y: 2000 }, end: Point { x: 4000, y: 3500 } };
        for (x, y) in (0..60).flat_map(|x| (0..60).map(move |y| (100 * x, 100 * y))) {
            let nearest = (0..=1000).map(|step| {
                let share = f64::from(step) / 1000.0;
                (1000.0 + 3000.0 * share - x as f64).hypot(2000.0 + 1500.0 * share - y as f64)
            });
            let distance = nearest.fold(f64::INFINITY, f64::min);
            if (distance - 700.0).abs() > 3.0 {
                assert_eq!(stroke.covers(Point { x, y }, 700), distance < 700.0, "{x}, {y}");
            }
        }
    }
}
