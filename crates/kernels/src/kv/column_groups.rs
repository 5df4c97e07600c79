//! Keys of `int4`: transposed, coded in groups of channels.

use super::PAGE;
use super::grid::{GROUP, Grid, decode};
use super::packed::Packed;
use super::stored::Tables;
use crate::simd::{LANES, Simd, prefetch};

/// `[channels, PAGE]` with a scale and a minimum for every [`GROUP`] channels of each slot.
#[derive(Clone, Debug)]
pub(super) struct ColumnGroups {
    channels: usize,
    codes: Packed,
    /// Half-precision bits, `[groups, PAGE]`.
    scales: Box<[u16]>,
    minima: Box<[u16]>,
}

impl ColumnGroups {
    /// Zeros.
    pub fn new(bits: usize, channels: usize) -> Self {
        let groups = vec![0; channels.div_ceil(GROUP) * PAGE];
        Self {
            channels,
            codes: Packed::new(bits, channels, PAGE),
            scales: groups.clone().into(),
            minima: groups.into(),
        }
    }

    /// Codes the key of `slot`.
    pub fn write(&mut self, slot: usize, key: &[f32]) {
        for (group, values) in key[..self.channels].chunks(GROUP).enumerate() {
            let grid = Grid::fit(values, self.codes.bits());
            self.scales[group * PAGE + slot] = grid.scale_bits();
            self.minima[group * PAGE + slot] = grid.minimum_bits();
            for (index, &code) in grid.codes(values)[..values.len()].iter().enumerate() {
                self.codes.set(group * GROUP + index, slot, code);
            }
        }
    }

    /// Decodes the key of `slot`.
    pub fn read(&self, slot: usize, key: &mut [f32]) {
        for (channel, value) in key[..self.channels].iter_mut().enumerate() {
            let group = channel / GROUP * PAGE + slot;
            *value = decode(self.codes.get(channel, slot), self.scales[group], self.minima[group]);
        }
    }

    /// Copies `count` keys from slot `source` of `from` to `slot`, bit for bit; both have the same shape.
    pub fn copy(&mut self, slot: usize, from: &Self, source: usize, count: usize) {
        self.codes.copy_columns(slot, &from.codes, source, count);
        for group in (0..self.scales.len()).step_by(PAGE) {
            let tables = group + source..group + source + count;
            self.scales[group + slot..][..count].copy_from_slice(&from.scales[tables.clone()]);
            self.minima[group + slot..][..count].copy_from_slice(&from.minima[tables]);
        }
    }

    /// Decodes all keys, channel `c` to `out[c · stride..][..PAGE]`.
    #[inline(always)]
    pub fn decode<S: Simd>(&self, s: S, out: &mut [f32], stride: usize) {
        for first in (0..self.channels).step_by(GROUP) {
            let channels = first..(first + GROUP).min(self.channels);
            for slot in (0..PAGE).step_by(LANES) {
                let group = first / GROUP * PAGE + slot;
                // SAFETY: every group has `PAGE` scales and minima.
                let (scales, minima) = unsafe { (s.load_f16(&self.scales, group), s.load_f16(&self.minima, group)) };
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

    /// Decodes the scales and minima; false if there are too many.
    pub fn fill(&self, tables: &mut Tables) -> bool {
        tables.fill(&self.scales, &self.minima)
    }

    /// Asks for the scales and minima.
    #[inline(always)]
    pub fn prefetch_scales(&self) {
        prefetch(&self.scales, 0, self.scales.len());
        prefetch(&self.minima, 0, self.minima.len());
    }

    /// Memory of all codes.
    pub fn code_bytes(&self) -> usize {
        self.codes.bytes()
    }

    /// Memory of all scales and minima.
    pub fn scale_bytes(&self) -> usize {
        size_of_val(&self.scales[..]) + size_of_val(&self.minima[..])
    }
}
