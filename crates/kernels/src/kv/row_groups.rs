//! Matrices coded in groups along their rows: values of `int4` and KIVI, and keys of settled KIVI pages.

use super::grid::{GROUP, Grid, decode};
use super::packed::Packed;
use super::saved::Part;
use super::scales::Scales;
use crate::simd::{LANES, Simd};

/// `[rows, width]` with a scale and a minimum for every [`GROUP`] neighbours of a row.
///
/// Values are `[PAGE, value_dim]`: groups of channels. KIVI's keys are `[head_dim, PAGE]`: a group is the slots of a page.
#[derive(Clone, Debug)]
pub(super) struct RowGroups {
    rows: usize,
    width: usize,
    codes: Packed,
    /// `[rows, groups]`.
    scales: Scales,
}

impl RowGroups {
    /// Zeros.
    pub fn new(bits: usize, rows: usize, width: usize) -> Self {
        let scales = Scales::new(rows * width.div_ceil(GROUP));
        Self { rows, width, codes: Packed::new(bits, rows, width), scales }
    }

    /// A coded copy of `data` `[rows, width]`.
    pub fn code(bits: usize, rows: usize, width: usize, data: &[f32]) -> Self {
        let mut coded = Self::new(bits, rows, width);
        for (row, values) in data.chunks_exact(width).enumerate() {
            coded.write_row(row, values);
        }
        coded
    }

    /// Groups of a row.
    pub fn groups(&self) -> usize {
        self.width.div_ceil(GROUP)
    }

    /// Codes one row.
    pub fn write_row(&mut self, row: usize, values: &[f32]) {
        for (group, values) in values[..self.width].chunks(GROUP).enumerate() {
            let grid = Grid::fit(values, self.codes.bits());
            self.scales.set(row * self.groups() + group, &grid);
            self.codes.set_run(row, group * GROUP, &grid.codes(values)[..values.len()]);
        }
    }

    /// One number.
    pub fn get(&self, row: usize, index: usize) -> f32 {
        let group = row * self.groups() + index / GROUP;
        decode(self.codes.get(row, index), self.scales.scales[group], self.scales.minima[group])
    }

    /// Copies `count` rows from row `source` of `from` to row `row`, bit for bit; both have the same shape.
    pub fn copy_rows(&mut self, row: usize, from: &Self, source: usize, count: usize) {
        self.codes.copy_rows(row, &from.codes, source, count);
        let groups = self.groups();
        self.scales.copy(row * groups, &from.scales, source * groups, count * groups);
    }

    /// Decodes the first `rows` rows, row `r` to `out[r · stride..]`.
    #[inline(always)]
    pub fn decode<S: Simd>(&self, s: S, rows: usize, out: &mut [f32], stride: usize) {
        assert!(rows <= self.rows);
        let groups = self.groups();
        let total = rows * groups;
        let (mut row, mut start) = (0, 0);
        for first in (0..total).step_by(LANES) {
            let count = LANES.min(total - first);
            // Sixteen scales are converted at once, since the conversion of one costs as much.
            let scales = halves(s, &self.scales.scales, first, count);
            let minima = halves(s, &self.scales.minima, first, count);
            for index in 0..count {
                let length = GROUP.min(self.width - start);
                let out = &mut out[row * stride + start..][..length];
                self.decode_group(s, row, start, scales[index], minima[index], out);
                start += GROUP;
                if start >= self.width {
                    (row, start) = (row + 1, 0);
                }
            }
        }
    }

    /// Decodes the numbers of `row` from `start` on, all of one group.
    #[inline(always)]
    fn decode_group<S: Simd>(&self, s: S, row: usize, start: usize, scale: f32, minimum: f32, out: &mut [f32]) {
        let whole = out.len() / LANES * LANES;
        let (scales, minima) = (s.splat(scale), s.splat(minimum));
        for at in (0..whole).step_by(LANES) {
            // SAFETY: `out` is as long as the group, whose codes exist; groups start at multiples of 32.
            unsafe {
                let codes = self.codes.load(s, row, start + at);
                s.store(out, at, s.add(s.mul(codes, scales), minima));
            }
        }
        for (at, out) in out.iter_mut().enumerate().skip(whole) {
            *out = f32::from(self.codes.get(row, start + at)) * scale + minimum;
        }
    }

    /// All codes.
    #[inline(always)]
    pub fn codes(&self) -> &Packed {
        &self.codes
    }

    /// Scales and minima of all groups.
    #[inline(always)]
    pub fn scales(&self) -> &Scales {
        &self.scales
    }

    /// Everything held.
    pub fn parts(&mut self) -> [Part<'_>; 3] {
        let [scales, minima] = self.scales.parts();
        [self.codes.part(), scales, minima]
    }

    /// Memory of all codes.
    pub fn code_bytes(&self) -> usize {
        self.codes.bytes()
    }

    /// Bits of a code.
    pub fn bits(&self) -> usize {
        self.codes.bits()
    }
}

/// `count` half-precision numbers from `start` on, at most sixteen.
#[inline(always)]
fn halves<S: Simd>(s: S, source: &[u16], start: usize, count: usize) -> [f32; LANES] {
    let mut bits = [0; LANES];
    bits[..count].copy_from_slice(&source[start..start + count]);
    // SAFETY: the array holds sixteen.
    s.to_array(unsafe { s.load_f16(&bits, 0) })
}
