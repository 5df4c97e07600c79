//! How snakes grow: stroke after stroke, each turned a little against the one before.

use rand::RngExt;
use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;
use rand_chacha::ChaCha8Rng;

use super::Pathfinder;
use super::canvas::Canvas;
use super::geometry::{DIRECTIONS, PIXEL, Point, Stroke, cosine};

/// Turns that are tried for a stroke.
const TRIALS: usize = 16;
/// Times that the two long snakes go back before they are given up.
const RETREATS: usize = 30;
/// Strokes that they go back.
const RETREAT: usize = 3;

/// A snake that grows.
#[derive(Clone)]
pub(super) struct Snake {
    /// From its start to its end.
    pub(super) strokes: Vec<Stroke>,
    /// Number of the last stroke on the canvas.
    last: u32,
    /// The middle of the gap after the last stroke.
    pivot: Point,
    /// Direction of the last stroke.
    direction: usize,
}

/// Draws snakes at random.
pub(super) struct Pen<'a> {
    task: &'a Pathfinder,
    /// Turns in steps around the circle.
    turns: WeightedIndex<u64>,
    pub(super) rng: ChaCha8Rng,
}

impl<'a> Pen<'a> {
    /// A pen for pictures of `task`; `None` if no turn is possible.
    pub(super) fn new(task: &'a Pathfinder, rng: ChaCha8Rng) -> Option<Self> {
        let weight = |turn: usize| {
            let angle = task.continuity * turn.min(DIRECTIONS - turn) as f64 / DIRECTIONS as f64;
            if angle < 0.25 { (cosine(angle).powi(2) * 65536.0) as u64 } else { 0 }
        };
        let turns = WeightedIndex::new((0..DIRECTIONS).map(weight)).ok()?;
        Some(Self { task, turns, rng })
    }

    /// Draws the two long snakes, stroke by stroke in turn; `None` if one gets stuck for good.
    ///
    /// The first begins in the middle, two seed distances or more from the border where the picture is large enough;
    /// the second one seed distance from there. Where one is stuck, both go back a few strokes.
    pub(super) fn two(&mut self, mut canvas: Canvas) -> Option<(Canvas, [Snake; 2])> {
        let task = self.task;
        let size = task.size as i64 * PIXEL;
        let border = (2 * task.seed_distance as i64 * PIXEL).min(7 * size / 16);
        let [x, y] = [(); 2].map(|()| self.rng.random_range(border..=size - border));
        let start = Point { x, y };
        let other = start.towards(self.rng.random_range(0..DIRECTIONS), task.seed_distance);
        let first = self.seed(&mut canvas, start, true)?;
        let second = self.seed(&mut canvas, other, true)?;
        // What there was with 1, 2, … strokes each.
        let mut stages = vec![(canvas, [first, second])];
        let mut retreats = 0;
        while stages.len() < task.strokes {
            let (mut canvas, mut snakes) = stages.last()?.clone();
            let marked = stages.len() + 1 == task.strokes;
            if snakes.iter_mut().all(|snake| self.extend(snake, &mut canvas, marked).is_some()) {
                stages.push((canvas, snakes));
            } else if retreats == RETREATS {
                return None;
            } else {
                retreats += 1;
                stages.truncate(stages.len().saturating_sub(RETREAT).max(1));
            }
        }
        stages.pop()
    }

    /// Draws a short snake anywhere; `None` if it gets stuck.
    pub(super) fn distractor(&mut self, mut canvas: Canvas) -> Option<(Canvas, Snake)> {
        let size = self.task.size as i64 * PIXEL;
        let [x, y] = [(); 2].map(|()| self.rng.random_range(0..size));
        let mut snake = self.seed(&mut canvas, Point { x, y }, false)?;
        for _ in 1..self.task.distractor_strokes {
            self.extend(&mut snake, &mut canvas, false)?;
        }
        Some((canvas, snake))
    }

    /// Draws a first stroke from `start`, with room for a marker there if `marked`.
    fn seed(&mut self, canvas: &mut Canvas, start: Point, marked: bool) -> Option<Snake> {
        let direction = self.rng.random_range(0..DIRECTIONS);
        let end = start.towards(direction, self.task.stroke_length);
        let stroke = Stroke { start, end };
        let last = canvas.draw(stroke, marked.then_some(start), None)?;
        Some(Snake { strokes: vec![stroke], last, pivot: end.towards(direction, self.task.margin), direction })
    }

    /// Draws one more stroke, with room for a marker at its end if `marked`; `None` if no turn tried has room.
    fn extend(&mut self, snake: &mut Snake, canvas: &mut Canvas, marked: bool) -> Option<()> {
        for _ in 0..TRIALS {
            let direction = (snake.direction + self.turns.sample(&mut self.rng)) % DIRECTIONS;
            let start = snake.pivot.towards(direction, self.task.margin);
            let end = start.towards(direction, self.task.stroke_length);
            if let Some(last) = canvas.draw(Stroke { start, end }, marked.then_some(end), Some(snake.last)) {
                snake.strokes.push(Stroke { start, end });
                (snake.last, snake.pivot, snake.direction) =
                    (last, end.towards(direction, self.task.margin), direction);
                return Some(());
            }
        }
        None
    }
}
