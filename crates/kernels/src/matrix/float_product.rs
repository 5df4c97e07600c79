//! The product with float weights `[panel][input][16]`: one fused multiply-add per input and lane, in order of the inputs.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::ops::Range;

use super::schedule::{self, Cost, Rows, Target, Tile, with_height};
use crate::aligned::{Aligned, Plain};
use crate::parallel;
use crate::simd::float::Float;
use crate::simd::{Kernel, LANES, Level, Simd, check, dispatch_at};

/// Computes all rows of `y`.
pub(super) fn run<W: Float<Stored: Plain>>(
    level: Level,
    weights: &Aligned<W::Stored>,
    inputs: usize,
    x: Rows<'_>,
    y: &Target<'_>,
) {
    let tiles = schedule::tiles(x.count, level);
    let activations = interleave(x, inputs, &tiles);
    let cost = Cost { panel_bytes: weights.bytes() / y.panels(), inputs, row_bytes: inputs * size_of::<f32>() };
    let (weights, activations) = (weights.values(), activations.as_ref());
    schedule::run(y.panels(), cost, &tiles, |panels, tiles| {
        let format = PhantomData::<W>;
        dispatch_at(level, Part { weights, inputs, activations, panels, tiles, y, format });
    });
}

/// Rows in the order the kernel reads them: tile after tile, and in a tile `[input][row]`.
fn interleave<'a>(x: Rows<'a>, inputs: usize, tiles: &[Tile]) -> Cow<'a, [f32]> {
    if x.count == 1 {
        return Cow::Borrowed(x.row(0, inputs));
    }
    let mut all = vec![0.0; x.count * inputs];
    let length = tiles[0].height * inputs;
    if length > 0 {
        parallel::pieces(&mut all, length, |piece, target| {
            let rows = piece * tiles[0].height..(piece * tiles[0].height + target.len() / inputs);
            let mut target = target;
            for tile in tiles.iter().filter(|tile| rows.contains(&tile.first)) {
                let (interleaved, rest) = target.split_at_mut(tile.height * inputs);
                for r in 0..tile.height {
                    let row = x.row(tile.first + r, inputs);
                    for (target, value) in interleaved[r..].iter_mut().step_by(tile.height).zip(row) {
                        *target = *value;
                    }
                }
                target = rest;
            }
        });
    }
    Cow::Owned(all)
}

/// Some panels of some tiles.
struct Part<'a, W: Float> {
    weights: &'a [W::Stored],
    inputs: usize,
    activations: &'a [f32],
    panels: Range<usize>,
    tiles: &'a [Tile],
    y: &'a Target<'a>,
    format: PhantomData<W>,
}

impl<W: Float> Kernel for Part<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // One row has one chain of additions per panel, so it takes more panels at once than a tall tile.
        let together = if self.tiles[0].height == 1 { 4 } else { 2 };
        let end = self.panels.end;
        let whole = self.panels.start + (end - self.panels.start) / together * together;
        for tile in self.tiles {
            for panel in (self.panels.start..whole).step_by(together) {
                if together == 4 {
                    product::<S, W, 1, 4>(s, &self, panel, tile.first);
                } else {
                    with_height!(tile.height, product::<S, W; _, 2>(s, &self, panel, tile.first));
                }
            }
            for panel in whole..end {
                with_height!(tile.height, product::<S, W; _, 1>(s, &self, panel, tile.first));
            }
        }
    }
}

/// `PANELS` panels of the `HEIGHT` rows from `first`.
#[inline(always)]
fn product<S: Simd, W: Float, const HEIGHT: usize, const PANELS: usize>(
    s: S,
    part: &Part<'_, W>,
    panel: usize,
    first: usize,
) {
    let (inputs, weights, activations) = (part.inputs, part.weights, part.activations);
    let mut sums = [[s.zero(); PANELS]; HEIGHT];
    for input in 0..inputs {
        let mut lanes = [s.zero(); PANELS];
        for (p, lanes) in lanes.iter_mut().enumerate() {
            // SAFETY: panel `panel + p` exists and has `16 · inputs` weights.
            *lanes = unsafe { W::load(s, weights, ((panel + p) * inputs + input) * LANES) };
        }
        for (r, sums) in sums.iter_mut().enumerate() {
            let at = first * inputs + input * HEIGHT + r;
            check(at, 1, activations.len());
            // SAFETY: the tile's rows exist, so its `HEIGHT · inputs` values do.
            let x = s.splat(unsafe { *activations.get_unchecked(at) });
            for (sum, lanes) in sums.iter_mut().zip(lanes) {
                *sum = s.fma(x, lanes, *sum);
            }
        }
    }
    for (r, sums) in sums.into_iter().enumerate() {
        for (p, sum) in sums.into_iter().enumerate() {
            // SAFETY: the tile's rows and the panels exist, and this part owns them.
            unsafe { part.y.write(s, first + r, panel + p, sum) };
        }
    }
}
