//! Keys of `int4`: transposed, coded in groups of channels.

use super::PAGE;
use super::grid::{GROUP, Grid, decode};
use super::packed::Packed;
use super::saved::Part;
use super::scales::Scales;
use crate::simd::{LANES, Simd};

/// `[channels, PAGE]` with a scale and a minimum for every [`GROUP`] channels of each slot.
#[derive(Clone, Debug)]
pub(super) struct ColumnGroups {
    channels: usize,
    codes: Packed,
    /// `[groups, PAGE]`.
    scales: Scales,
}

impl ColumnGroups {
    /// Zeros.
    pub fn new(bits: usize, channels: usize) -> Self {
        let scales = Scales::new(channels.div_ceil(GROUP) * PAGE);
        Self { channels, codes: Packed::new(bits, channels, PAGE), scales }
    }

    /// Codes the key of `slot`.
    pub fn write(&mut self, slot: usize, key: &[f32]) {
        for (group, values) in key[..self.channels].chunks(GROUP).enumerate() {
            let grid = Grid::fit(values, self.codes.bits());
            self.scales.set(group * PAGE + slot, &grid);
            for (index, &code) in grid.codes(values)[..values.len()].iter().enumerate() {
                self.codes.set(group * GROUP + index, slot, code);
            }
        }
    }

    /// Decodes the key of `slot`.
    pub fn read(&self, slot: usize, key: &mut [f32]) {
        for (channel, value) in key[..self.channels].iter_mut().enumerate() {
            let group = channel / GROUP * PAGE + slot;
            *value = decode(self.codes.get(channel, slot), self.scales.scales[group], self.scales.minima[group]);
        }
    }

    /// Copies `count` keys from slot `source` of `from` to `slot`, bit for bit; both have the same shape.
    pub fn copy(&mut self, slot: usize, from: &Self, source: usize, count: usize) {
        self.codes.copy_columns(slot, &from.codes, source, count);
        for group in (0..self.scales.scales.len()).step_by(PAGE) {
            self.scales.copy(group + slot, &from.scales, group + source, count);
        }
    }

    /// Decodes all keys, channel `c` to `out[c · stride..][..PAGE]`.
    #[inline(always)]
    pub fn decode<S: Simd>(&self, s: S, out: &mut [f32], stride: usize) {
        let Scales { scales, minima } = &self.scales;
        for first in (0..self.channels).step_by(GROUP) {
            let channels = first..(first + GROUP).min(self.channels);
            for slot in (0..PAGE).step_by(LANES) {
                let group = first / GROUP * PAGE + slot;
                // SAFETY: every group has `PAGE` scales and minima.
                let (scales, minima) = unsafe { (s.load_f16(scales, group), s.load_f16(minima, group)) };
                for channel in channels.clone() {
                    let out = &mut out[channel * stride + slot..][..LANES];
                    // SAFETY: every channel has `PAGE` codes, and `out` sixteen elements.
                    unsafe {
                        let codes = self.codes.load(s, channel, slot);
                        s.store(out, 0, s.add(s.mul(codes, scales), minima));
                    }
                }
            }
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
}
