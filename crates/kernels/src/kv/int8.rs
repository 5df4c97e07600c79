//! Keys or values of a page as signed bytes with one scale per slot.
//!
//! `code = round(x / scale)`, `x ≈ code · scale`, `scale = max|x| / 127` over the channels of one key or value.

use super::PAGE;
use super::grid::nearest;
use super::saved::Part;
use crate::simd::{LANES, Simd, prefetch};

/// Codes, `[channels, PAGE]` for keys and `[PAGE, channels]` for values, and the scale of every slot.
#[derive(Clone, Debug)]
pub(super) struct Int8 {
    codes: Box<[i8]>,
    scales: Box<[f32; PAGE]>,
}

impl Int8 {
    /// Zeros.
    pub fn new(channels: usize) -> Self {
        Self { codes: vec![0; channels * PAGE].into(), scales: Box::new([0.0; PAGE]) }
    }

    /// Everything held.
    pub fn parts(&mut self) -> [Part<'_>; 2] {
        [Part::I8(&mut self.codes), Part::F32(&mut self.scales[..])]
    }

    /// Codes the numbers of `slot` to `start`, `start + step`, ….
    pub fn write(&mut self, slot: usize, start: usize, step: usize, values: &[f32]) {
        let largest = values.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        let scale = largest.min(f32::MAX) / 127.0;
        self.scales[slot] = scale;
        for (at, &value) in (start..).step_by(step).zip(values) {
            self.codes[at] = if scale == 0.0 { 0 } else { nearest((value / scale).clamp(-127.0, 127.0)) as i8 };
        }
    }

    /// Decodes the numbers of `slot` from `start`, `start + step`, ….
    pub fn read(&self, slot: usize, start: usize, step: usize, out: &mut [f32]) {
        for (at, value) in (start..).step_by(step).zip(out) {
            *value = f32::from(self.codes[at]) * self.scales[slot];
        }
    }

    /// Copies `count` neighbouring codes from `source` of `from` to `start`.
    pub fn copy_codes(&mut self, start: usize, from: &Self, source: usize, count: usize) {
        self.codes[start..start + count].copy_from_slice(&from.codes[source..source + count]);
    }

    /// Copies the scales of `count` slots from slot `source` of `from` to `slot`.
    pub fn copy_scales(&mut self, slot: usize, from: &Self, source: usize, count: usize) {
        self.scales[slot..slot + count].copy_from_slice(&from.scales[source..source + count]);
    }

    /// All codes.
    #[inline(always)]
    pub fn codes(&self) -> &[i8] {
        &self.codes
    }

    /// The scale of every slot.
    #[inline(always)]
    pub fn scales(&self) -> &[f32] {
        &self.scales[..]
    }

    /// Asks for the scales.
    #[inline(always)]
    pub fn prefetch_scales(&self) {
        prefetch(&self.scales[..], 0, PAGE);
    }

    /// Decodes codes that lie as `[channels, PAGE]`, channel `c` to `out[c · stride..][..PAGE]`.
    #[inline(always)]
    pub fn decode_columns<S: Simd>(&self, s: S, out: &mut [f32], stride: usize) {
        for slot in (0..PAGE).step_by(LANES) {
            // SAFETY: there are `PAGE` scales, a multiple of sixteen.
            let scales = unsafe { s.load(&self.scales[..], slot) };
            for (channel, codes) in self.codes.chunks_exact(PAGE).enumerate() {
                let out = &mut out[channel * stride + slot..][..LANES];
                // SAFETY: `codes` has `PAGE` elements, `out` sixteen.
                unsafe { s.store(out, 0, s.mul(s.load_i8(codes, slot), scales)) };
            }
        }
    }

    /// Decodes codes that lie as `[PAGE, channels]` into the rows of `out` `[slots, channels]`.
    #[inline(always)]
    pub fn decode_rows<S: Simd>(&self, s: S, out: &mut [f32], channels: usize) {
        let rows = self.codes.chunks_exact(channels).zip(out.chunks_exact_mut(channels)).zip(self.scales.iter());
        for ((codes, out), &scale) in rows {
            let whole = channels / LANES * LANES;
            for at in (0..whole).step_by(LANES) {
                // SAFETY: both rows have `channels` elements.
                unsafe { s.store(out, at, s.mul(s.load_i8(codes, at), s.splat(scale))) };
            }
            for (out, &code) in out[whole..].iter_mut().zip(&codes[whole..]) {
                *out = f32::from(code) * scale;
            }
        }
    }
}
