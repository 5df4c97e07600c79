//! Attention of inference: rows of several sequences over their caches.
//!
//! A unit of work is a tile of rows of one (sequence, key/value head); a sequence with only a tile of rows, as in decoding,
//! is cut by splits of its keys instead, and whichever worker finishes the last split merges them.

use std::ops::Range;
use std::sync::atomic::Ordering;

use super::pass::{Decoding, Pass, Room, SCRATCH, Scratch, blocks_of, record_width};
use super::plan::{Job, Plan, Unit};
use super::rows::{Rows, RowsMut, Shape};
use super::softmax::{entropy, finish, log_sum_exp, merge_records, refill};
use super::source::{KeyValueBlocks, Source};
use super::spec::AttnSpec;
use super::tile::{Line, Tile, pack};
use super::visible::{Visible, position};
use super::work;
use crate::disjoint::Disjoint;
use crate::parallel;
use crate::profile;

/// The query rows of one sequence in one forward, and its keys.
///
/// The keys of the rows themselves were appended last: of `n` rows, row `i` has slot `slots - n + i` in every head.
#[derive(Clone, Debug)]
pub struct Segment<'a, B> {
    /// The sequence's rows in `query` and `out`.
    pub rows: Range<usize>,
    /// The keys and values of each key/value head; their lengths may differ.
    pub heads: &'a [B],
}

/// Statistics of [`attend`], `[rows, heads]` each; those not asked for in [`AttnSpec::want`] stay empty.
#[derive(Clone, Debug, Default)]
pub struct StatsOut {
    /// Log-sum-exp of the scores, the sink logit included; −∞ where nothing was visible.
    pub lse: Vec<f32>,
    /// Entropy of the weights, the sink logit counted as a key.
    pub entropy: Vec<f32>,
}

/// Attends: `out[r, h] = Σ_j softmax_j(score(query[r, h], key_j)) value_j` over the visible slots of the row's sequence.
///
/// `query` is `[rows, heads, head_dim]`, `out` `[rows, heads, value_dim]`. A row that sees nothing becomes zero; rows of no
/// segment are left alone. A row's result has the same bits whatever other rows, segments and threads there are.
///
/// # Panics
/// If a segment has another number of heads than `kv_heads`, segments overlap or descend, or a slice is too short.
pub fn attend<B: KeyValueBlocks>(
    spec: &AttnSpec,
    shape: Shape,
    query: Rows<'_>,
    segments: &[Segment<'_, B>],
    out: RowsMut<'_>,
    stats: &mut StatsOut,
) {
    shape.check();
    spec.check(shape.heads);
    let mut rows = 0;
    for segment in segments {
        assert_eq!(segment.heads.len(), shape.kv_heads, "a segment needs one source per key/value head");
        assert!(rows <= segment.rows.start, "segments must ascend without overlap");
        rows = segment.rows.end.max(rows);
    }
    let width = shape.heads * shape.value_dim;
    assert!(out.stride >= width, "rows of {width} at a stride of {} overlap", out.stride);
    assert!(rows == 0 || out.data.len() >= (rows - 1) * out.stride + width, "the output is too short for {rows} rows");
    refill(&mut stats.lse, if spec.want.needs_lse() { rows * shape.heads } else { 0 }, 0.0);
    refill(&mut stats.entropy, if spec.want.entropy { rows * shape.heads } else { 0 }, 0.0);

    let sequences: Vec<Sequence<'_>> = segments.iter().map(Sequence::new).collect();
    let _span = profile::span(work::name(&sequences)).work(|| work::of_rows(spec, shape, &sequences));
    let plan = Plan::new(spec, shape, &sequences);
    let mut partials = vec![0.0; plan.partials];
    let call = Call {
        spec,
        shape,
        query,
        sequences: &sequences,
        plan: &plan,
        partials: Disjoint::new(&mut partials),
        out_stride: out.stride,
        out: Disjoint::new(out.data),
        lse: Disjoint::new(&mut stats.lse),
        entropy: Disjoint::new(&mut stats.entropy),
    };
    call.run();
}

/// A [`Segment`] whose type of source does not matter any more.
pub(super) struct Sequence<'a> {
    pub rows: Range<usize>,
    pub heads: Vec<&'a dyn Source>,
}

impl<'a> Sequence<'a> {
    pub fn new<B: KeyValueBlocks>(segment: &Segment<'a, B>) -> Self {
        Self { rows: segment.rows.clone(), heads: segment.heads.iter().map(|head| head as &dyn Source).collect() }
    }
}

impl Visible {
    /// What row `row` of `rows` sees of a source that ends with the rows' own slots.
    pub(super) fn of_row(spec: &AttnSpec, source: &dyn Source, rows: usize, row: usize) -> Self {
        Self::new(spec, source.slots(), slot_of_row(source.slots(), rows, row), source.positions())
    }
}

/// The slot of row `row` of the last `rows`.
pub(super) fn slot_of_row(slots: usize, rows: usize, row: usize) -> isize {
    (slots + row) as isize - rows as isize
}

/// The lines of some rows of a sequence, row by row and head by head, and their scaled queries.
pub(super) fn lines_of<'a>(
    spec: &'a AttnSpec,
    shape: Shape,
    query: Rows<'_>,
    sequence: &Sequence<'_>,
    kv_head: usize,
    rows: Range<usize>,
    packed: &mut Vec<f32>,
) -> Vec<Line<'a>> {
    let (source, group) = (sequence.heads[kv_head], shape.group());
    let mut lines = Vec::with_capacity(rows.len() * group);
    for row in rows.clone() {
        let slot = slot_of_row(source.slots(), sequence.rows.len(), row);
        let visible = Visible::of_row(spec, source, sequence.rows.len(), row);
        let text_position = source.positions().map_or(slot as f32, |positions| position(positions, slot) as f32);
        for head in kv_head * group..(kv_head + 1) * group {
            let (slope, sink, blocks) = (spec.slope(head), spec.sink_logit(head), spec.blocks_of(head, slot));
            lines.push(Line { visible, blocks, position: text_position, slope, sink, bias: &[] });
        }
    }
    let first = sequence.rows.start + rows.start;
    let of_line = |line: usize| query.head(first + line / group, kv_head * group + line % group, shape.head_dim);
    pack(lines.len(), of_line, shape.head_dim, spec.scale, packed);
    lines
}

/// The arguments of a call, shared by its workers.
struct Call<'a> {
    spec: &'a AttnSpec,
    shape: Shape,
    query: Rows<'a>,
    sequences: &'a [Sequence<'a>],
    plan: &'a Plan,
    /// Records of cut jobs; a unit owns those of its split, the unit that ends a job those of the whole job.
    partials: Disjoint<'a, f32>,
    out_stride: usize,
    /// Output and statistics; the unit that ends a job owns those of its rows and heads.
    out: Disjoint<'a, f32>,
    lse: Disjoint<'a, f32>,
    entropy: Disjoint<'a, f32>,
}

impl Call<'_> {
    fn run(&self) {
        let units = &self.plan.units;
        // Who works on a unit has most likely the one after it next.
        parallel::runs(units.len(), |unit| {
            SCRATCH.with_borrow_mut(|scratch| self.unit(&units[unit], units.get(unit + 1), scratch));
        });
    }

    /// Where `unit` begins to read.
    fn beginning(&self, unit: &Unit) -> Option<(&dyn Source, usize)> {
        let job = &self.plan.jobs[unit.job];
        let split = job.splits.get(unit.splits.start)?;
        Some((self.sequences[job.sequence].heads[job.kv_head], blocks_of(*split).start))
    }

    /// One unit on one worker, which goes on with `next`.
    fn unit(&self, unit: &Unit, next: Option<&Unit>, scratch: &mut Scratch) {
        let (job, shape) = (&self.plan.jobs[unit.job], self.shape);
        let sequence = &self.sequences[job.sequence];
        let source = sequence.heads[job.kv_head];
        let Scratch { query, room, .. } = scratch;
        let lines = lines_of(self.spec, shape, self.query, sequence, job.kv_head, job.rows.clone(), query);
        let pass = Pass {
            tile: Tile::new(self.spec, &lines, query, shape.head_dim, source.positions()),
            blocks: &Decoding { source, head_dim: shape.head_dim, value_dim: shape.value_dim },
            value_dim: shape.value_dim,
            entropy: self.spec.want.entropy,
            after: next.and_then(|next| self.beginning(next)),
        };
        if let Some((source, _)) = pass.after {
            source.prefetch_pages();
        }
        if !job.is_cut() {
            pass.over(job.splits.iter().copied(), room);
            self.write(job, &room.total);
        } else if self.run_splits(job, unit, &pass, room) {
            pass.start(&mut room.total);
            self.merge_splits(job, &mut room.total);
            self.write(job, &room.total);
        }
    }

    /// Keeps the states of each split of a unit of a cut job; true if this was the last unit of the job.
    fn run_splits(&self, job: &Job, unit: &Unit, pass: &Pass<'_>, room: &mut Room) -> bool {
        let records = job.records(self.shape);
        for split in unit.splits.clone() {
            let next = job.splits[..unit.splits.end].get(split + 1).copied();
            pass.over_split(job.splits[split], next, room);
            // SAFETY: this range belongs to this split, which only this unit computes.
            room.running.record(unsafe { self.partials.range(job.partials + split * records, records) });
        }
        job.remaining.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Merges the states of all splits of a job, in order, into `total`; only for the unit that was the last.
    fn merge_splits(&self, job: &Job, total: &mut [f32]) {
        let records = job.records(self.shape);
        // SAFETY: all splits of the job are done, and the counter made what they wrote visible here.
        let parts = unsafe { self.partials.range(job.partials, job.splits.len() * records) };
        for part in parts.chunks_exact(records) {
            merge_records(total, part, record_width(self.shape.value_dim));
        }
    }

    /// Writes the outputs and statistics of a job.
    fn write(&self, job: &Job, total: &[f32]) {
        let (shape, width) = (self.shape, record_width(self.shape.value_dim));
        let (group, first) = (shape.group(), self.sequences[job.sequence].rows.start + job.rows.start);
        let place = |line: usize| (first + line / group, job.kv_head * group + line % group);
        finish(total, width, |line| {
            let (row, head) = place(line);
            // SAFETY: rows of segments do not overlap, and a (row, head) belongs to one job, which ends once.
            unsafe { self.out.range(row * self.out_stride + head * shape.value_dim, shape.value_dim) }
        });
        if !self.spec.want.needs_lse() && !self.spec.want.entropy {
            return;
        }
        for (line, record) in total.chunks_exact(width).enumerate() {
            let (row, head) = place(line);
            let at = row * shape.heads + head;
            // SAFETY: as above.
            unsafe {
                if self.spec.want.needs_lse() {
                    self.lse.range(at, 1)[0] = log_sum_exp(record);
                }
                if self.spec.want.entropy {
                    self.entropy.range(at, 1)[0] = entropy(record);
                }
            }
        }
    }
}
