//! How a product is cut into tiles of rows and parts for threads, and where its results go.

use std::ops::Range;

use crate::disjoint::Disjoint;
use crate::parallel;
use crate::simd::{LANES, Level, Simd};

/// Rows of activations, `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub values: &'a [f32],
    pub count: usize,
    pub stride: usize,
}

impl<'a> Rows<'a> {
    /// The first `width` values of row `index`.
    #[inline(always)]
    pub fn row(&self, index: usize, width: usize) -> &'a [f32] {
        &self.values[index * self.stride..][..width]
    }
}

/// Consecutive rows that share the loads of the weights: the kernels exist for 12, 4, 2 and 1 of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    pub first: usize,
    pub height: usize,
}

/// Cuts rows into the tallest tiles whose sums fit the registers of `level`.
pub(super) fn tiles(rows: usize, level: Level) -> Vec<Tile> {
    let heights: &[usize] = if level == Level::Avx512 { &[12, 4, 2, 1] } else { &[4, 2, 1] };
    let mut tiles = Vec::with_capacity(rows.div_ceil(heights[0]) + 2);
    let mut first = 0;
    for &height in heights {
        while rows - first >= height {
            tiles.push(Tile { first, height });
            first += height;
        }
    }
    tiles
}

/// Calls a function generic over the instruction set, other types and the height of a tile.
macro_rules! with_height {
    ($height:expr, $function:ident::<$simd:ty $(, $parameter:ty)*; _ $(, $more:tt)*>($($argument:expr),*)) => {
        match $height {
            12 if matches!(<$simd as Simd>::LEVEL, Level::Avx512) => $function::<$simd, $($parameter,)* 12 $(, $more)*>($($argument),*),
            4 => $function::<$simd, $($parameter,)* 4 $(, $more)*>($($argument),*),
            2 => $function::<$simd, $($parameter,)* 2 $(, $more)*>($($argument),*),
            _ => $function::<$simd, $($parameter,)* 1 $(, $more)*>($($argument),*),
        }
    };
}
pub(super) use with_height;

/// What one panel costs, to cut the work into parts.
#[derive(Clone, Copy)]
pub(super) struct Cost {
    /// Bytes of the weights of a panel.
    pub panel_bytes: usize,
    /// Inputs.
    pub inputs: usize,
    /// Bytes of one prepared row of activations.
    pub row_bytes: usize,
}

/// Prepared activations that stay in the second-level cache while all panels pass by.
const CACHED_ROW_BYTES: usize = 1 << 20;
/// Weights that stay in the second-level cache while all tiles of a chunk pass by.
const CACHED_PANEL_BYTES: usize = 1 << 19;
/// One tile only waits for the weights: every worker reads a run of them, of at least so many bytes.
const LEAST_BYTES: usize = 1 << 13;
/// Parts of a worker's run, of which the others take the last ones if it is slow.
const RUN_PARTS: usize = 3;
/// The least work worth handing to a thread, in cycles.
const PART_CYCLES: usize = 12_000;
/// Bytes of weights that one core reads from memory per cycle.
const BYTES_PER_CYCLE: usize = 8;
/// Multiplications that one core finishes per cycle, at least.
const PRODUCTS_PER_CYCLE: usize = 32;
/// Parts have a multiple of this many panels, which a kernel may take together.
const PANELS_TOGETHER: usize = 4;
/// Many rows are cut into at least this many parts, so that no worker waits long for the last one.
const LEAST_PARTS: usize = 16;
/// Fewer tiles than this are not cut off for the sake of more parts: each chunk reads the weights again.
const LEAST_TILES: usize = 8;

/// How many panels and tiles each part of a product has.
#[derive(Clone, Copy, Debug)]
struct Cut {
    panels: usize,
    tiles: usize,
    /// Panels that pass all tiles of a part before the next ones do.
    cached_panels: usize,
}

impl Cut {
    fn new(panels: usize, cost: Cost, tiles: &[Tile]) -> Self {
        if tiles.len() == 1 {
            let parts = (panels * cost.panel_bytes / LEAST_BYTES).clamp(1, RUN_PARTS * parallel::threads());
            let panels = panels.div_ceil(parts);
            return Self { panels, tiles: 1, cached_panels: panels };
        }
        let height = tiles[0].height;
        let cached_tiles = (CACHED_ROW_BYTES / (cost.row_bytes * height).max(1)).clamp(1, tiles.len());
        let panel_cycles = |tiles: usize| {
            (cost.panel_bytes / BYTES_PER_CYCLE).max(cost.inputs * LANES * height * tiles / PRODUCTS_PER_CYCLE).max(1)
        };
        let together = PART_CYCLES.div_ceil(panel_cycles(cached_tiles)).next_multiple_of(PANELS_TOGETHER);
        let chunks = LEAST_PARTS.div_ceil(panels.div_ceil(together));
        let balanced_tiles = tiles.len().div_ceil(chunks).max(LEAST_TILES);
        let cached_panels = (CACHED_PANEL_BYTES / cost.panel_bytes.max(1) / 2 * 2).max(2);
        Self { panels: together, tiles: cached_tiles.min(balanced_tiles), cached_panels }
    }
}

/// Calls `body(panels, tiles)` for all pairs, in parallel. Many rows go in chunks whose activations stay cached while all
/// panels pass by, so weights are read from memory once per chunk; of the panels, so many are passed to `body` at once as
/// stay cached while it goes through the tiles.
pub(super) fn run(panels: usize, cost: Cost, tiles: &[Tile], body: impl Fn(Range<usize>, &[Tile]) + Sync) {
    let cut = Cut::new(panels, cost, tiles);
    let chunks: Vec<&[Tile]> = tiles.chunks(cut.tiles).collect();
    let groups = panels.div_ceil(cut.panels);
    parallel::runs(chunks.len() * groups, |part| {
        let first = part % groups * cut.panels;
        let last = (first + cut.panels).min(panels);
        for cached in (first..last).step_by(cut.cached_panels) {
            body(cached..(cached + cut.cached_panels).min(last), chunks[part / groups]);
        }
    });
}

/// The rows of results: every element is written once, by the part that owns its panel and tile.
pub(super) struct Target<'a> {
    y: Disjoint<'a, f32>,
    stride: usize,
    outputs: usize,
    bias: Option<&'a [f32]>,
}

impl<'a> Target<'a> {
    /// Results of `outputs` numbers in rows `stride` apart, which the caller has checked to be inside `y`.
    pub fn new(y: &'a mut [f32], stride: usize, outputs: usize, bias: Option<&'a [f32]>) -> Self {
        Self { y: Disjoint::new(y), stride, outputs, bias }
    }

    /// Panels of 16 outputs.
    pub fn panels(&self) -> usize {
        self.outputs.div_ceil(LANES)
    }

    /// Writes the sums of one panel of one row, plus the bias.
    ///
    /// # Safety
    /// The row exists, and no other worker has this panel of it.
    #[inline(always)]
    pub unsafe fn write<S: Simd>(&self, s: S, row: usize, panel: usize, sums: S::F) {
        let first = panel * LANES;
        let lanes = (self.outputs - first).min(LANES);
        let sums = match self.bias {
            Some(bias) => s.add(sums, s.load_partial(&bias[first..first + lanes], 0.0)),
            None => sums,
        };
        // SAFETY: the caller owns the panel; `first + lanes` is at most `outputs`, and the rows were checked to be in `y`.
        let target = unsafe { self.y.range(row * self.stride + first, lanes) };
        if lanes == LANES {
            // SAFETY: `target` has 16 elements.
            unsafe { s.store(target, 0, sums) };
        } else {
            s.store_partial(target, sums);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn tiles_cover_the_rows_in_order() {
        for level in [Level::Scalar, Level::Avx512] {
            for rows in 1..70 {
                let mut next = 0;
                for tile in tiles(rows, level) {
                    assert_eq!(tile.first, next);
                    next += tile.height;
                }
                assert_eq!(next, rows);
            }
        }
    }

    #[test]
    fn every_panel_meets_every_tile_once() {
        for (panels, rows, inputs) in [(1, 1, 32), (7, 3, 4096), (100, 64, 64), (9, 500, 8192)] {
            let tiles = tiles(rows, Level::Avx512);
            let met: Vec<AtomicUsize> = (0..panels * rows).map(|_| AtomicUsize::new(0)).collect();
            let cost = Cost { panel_bytes: inputs * 16, inputs, row_bytes: inputs };
            run(panels, cost, &tiles, |panels, tiles| {
                for panel in panels {
                    for row in tiles.iter().flat_map(|tile| tile.first..tile.first + tile.height) {
                        met[panel * rows + row].fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            assert!(met.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        }
    }
}
