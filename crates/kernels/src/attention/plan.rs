//! How a call of inference is cut into units of work.

use std::ops::Range;
use std::sync::atomic::AtomicUsize;

use super::attend::Sequence;
use super::pass::{SPLIT, record_width, splits_of};
use super::rows::Shape;
use super::spec::AttnSpec;
use super::tile::LINES;
use super::visible::Visible;
use crate::parallel;

/// A tile of rows of one (sequence, key/value head).
pub(super) struct Job {
    pub sequence: usize,
    pub kv_head: usize,
    /// Rows of the sequence.
    pub rows: Range<usize>,
    /// The splits that the rows see something of.
    pub splits: Vec<usize>,
    /// Where the records of its splits start, if it is cut.
    pub partials: usize,
    /// How many units it has, and how many of them are not done.
    units: usize,
    pub remaining: AtomicUsize,
}

impl Job {
    /// Elements of the records of its lines.
    pub fn records(&self, shape: Shape) -> usize {
        self.rows.len() * shape.group() * record_width(shape.value_dim)
    }

    /// Whether several units share its splits.
    pub fn is_cut(&self) -> bool {
        self.units > 1
    }
}

/// Some of the splits of a job.
pub(super) struct Unit {
    pub job: usize,
    /// Which of the job's `splits`.
    pub splits: Range<usize>,
}

/// Units that a worker should get of what can be cut: fewer, and one would wait for the other; more, and keys and values
/// come from memory in shorter runs.
const UNITS: usize = 6;

/// All jobs of a call and their units.
#[derive(Default)]
pub(super) struct Plan {
    pub jobs: Vec<Job>,
    pub units: Vec<Unit>,
    /// Elements of the records of all cut jobs.
    pub partials: usize,
}

impl Plan {
    pub fn new(spec: &AttnSpec, shape: Shape, sequences: &[Sequence<'_>]) -> Self {
        let mut plan = Self::default();
        let tile = (LINES / shape.group()).max(1);
        let is_short = |sequence: &&Sequence<'_>| sequence.rows.len() <= tile;
        let slots = |sequence: &Sequence<'_>| sequence.heads.iter().map(|head| head.slots()).sum::<usize>();
        let cut: usize = sequences.iter().filter(is_short).map(slots).sum();
        let together = (cut / SPLIT / (UNITS * parallel::threads())).max(1);
        for (sequence, Sequence { rows, heads }) in sequences.iter().enumerate() {
            for (kv_head, &source) in heads.iter().enumerate() {
                // Later tiles see more keys: they go first, so that no worker is left with a long one at the end.
                for start in (0..rows.len()).step_by(tile).rev() {
                    let tile_rows = start..(start + tile).min(rows.len());
                    let seen = tile_rows.clone().map(|row| Visible::of_row(spec, source, rows.len(), row));
                    let splits = seen
                        .reduce(Visible::union)
                        .map(|seen| splits_of(seen.end, |block| seen.touches(block)).collect());
                    let together = (rows.len() <= tile).then_some(together);
                    plan.push(shape, sequence, kv_head, tile_rows, splits.unwrap_or_default(), together);
                }
            }
        }
        plan
    }

    /// Adds a job, as one unit or as one for every `together` splits.
    fn push(
        &mut self,
        shape: Shape,
        sequence: usize,
        kv_head: usize,
        rows: Range<usize>,
        splits: Vec<usize>,
        together: Option<usize>,
    ) {
        let (job, count) = (self.jobs.len(), splits.len());
        let together = together.unwrap_or(count).max(1);
        let units = count.div_ceil(together).max(1);
        let remaining = AtomicUsize::new(units);
        self.jobs.push(Job { sequence, kv_head, rows, splits, partials: self.partials, units, remaining });
        if units > 1 {
            self.partials += count * self.jobs[job].records(shape);
        }
        let starts = (0..units).map(|unit| unit * together);
        self.units.extend(starts.map(|start| Unit { job, splits: start..(start + together).min(count) }));
    }
}
