//! Keys or values of a page in a float format.

use half::{bf16, f16};

use super::Codec;
use super::grid::LARGEST;
use super::saved::Part;
use crate::simd::{Kernel, LANES, Simd, dispatch, prefetch};

/// Numbers in a float format.
#[derive(Clone, Debug)]
pub(super) enum Floats {
    F32(Box<[f32]>),
    F16(Box<[u16]>),
    Bf16(Box<[u16]>),
}

impl Floats {
    /// Zeros; in half precision unless `codec` is another float format.
    pub fn new(codec: Codec, length: usize) -> Self {
        match codec {
            Codec::F32 => Self::F32(vec![0.0; length].into()),
            Codec::Bf16 => Self::Bf16(vec![0; length].into()),
            _ => Self::F16(vec![0; length].into()),
        }
    }

    /// Everything held.
    pub fn part(&mut self) -> Part<'_> {
        match self {
            Self::F32(numbers) => Part::F32(numbers),
            Self::F16(numbers) | Self::Bf16(numbers) => Part::U16(numbers),
        }
    }

    /// Half-precision copies of `values`.
    pub fn half(values: &[f32]) -> Self {
        let mut halves = Self::F16(vec![0; values.len()].into());
        halves.write(0, 1, values);
        halves
    }

    /// Stores `values` at `start`, `start + step`, ….
    pub fn write(&mut self, start: usize, step: usize, values: &[f32]) {
        let places = (start..).step_by(step).zip(values);
        match self {
            Self::F32(data) => places.for_each(|(at, &value)| data[at] = value),
            Self::F16(data) => dispatch(WriteHalf { data, start, step, values }),
            Self::Bf16(data) => places.for_each(|(at, &value)| data[at] = bf16::from_f32(value).to_bits()),
        }
    }

    /// Reads what lies at `start`, `start + step`, ….
    pub fn read(&self, start: usize, step: usize, out: &mut [f32]) {
        for (at, value) in (start..).step_by(step).zip(out) {
            *value = self.get(at);
        }
    }

    fn get(&self, index: usize) -> f32 {
        match self {
            Self::F32(data) => data[index],
            Self::F16(data) => f16::from_bits(data[index]).to_f32(),
            Self::Bf16(data) => bf16::from_bits(data[index]).to_f32(),
        }
    }

    /// Copies `count` neighbours from `source` of `from` to `start`, as they are if both have the same format.
    pub fn copy(&mut self, start: usize, from: &Self, source: usize, count: usize) {
        match (self, from) {
            (Self::F32(to), Self::F32(from)) => {
                to[start..start + count].copy_from_slice(&from[source..source + count]);
            }
            (Self::F16(to), Self::F16(from)) | (Self::Bf16(to), Self::Bf16(from)) => {
                to[start..start + count].copy_from_slice(&from[source..source + count]);
            }
            (to, from) => (0..count).for_each(|at| to.write(start + at, 1, &[from.get(source + at)])),
        }
    }

    /// Decodes elements from `start` on into `out`.
    #[inline(always)]
    pub fn decode<S: Simd>(&self, s: S, start: usize, out: &mut [f32]) {
        let length = out.len();
        let whole = length - length % LANES;
        assert!(start + length <= self.len());
        for at in (0..whole).step_by(LANES) {
            // SAFETY: `start + at + 16` stays inside the stored elements (asserted) and `at + 16` inside `out`.
            unsafe {
                let lanes = match self {
                    Self::F32(data) => s.load(data, start + at),
                    Self::F16(data) => s.load_f16(data, start + at),
                    Self::Bf16(data) => s.load_bf16(data, start + at),
                };
                s.store(out, at, lanes);
            }
        }
        if whole < length {
            self.read(start + whole, 1, &mut out[whole..]);
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::F32(data) => data.len(),
            Self::F16(data) | Self::Bf16(data) => data.len(),
        }
    }

    /// Asks for all of it.
    pub fn prefetch(&self) {
        match self {
            Self::F32(data) => prefetch(data, 0, data.len()),
            Self::F16(data) | Self::Bf16(data) => prefetch(data, 0, data.len()),
        }
    }

    /// Memory of one number.
    pub fn element_bytes(&self) -> usize {
        match self {
            Self::F32(_) => 4,
            Self::F16(_) | Self::Bf16(_) => 2,
        }
    }
}

/// Stores the half-precision numbers nearest to `values` at `start`, `start + step`, …; none is infinite, since differences of infinite scores
/// are no numbers.
struct WriteHalf<'a> {
    data: &'a mut [u16],
    start: usize,
    step: usize,
    values: &'a [f32],
}

impl Kernel for WriteHalf<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (largest, least) = (s.splat(LARGEST), s.splat(-LARGEST));
        let mut at = self.start;
        for values in self.values.chunks(LANES) {
            let mut halves = [0; LANES];
            // SAFETY: there are sixteen halves.
            unsafe { s.store_f16(&mut halves, 0, s.max(least, s.min(largest, s.load_partial(values, 0.0)))) };
            for &half in &halves[..values.len()] {
                self.data[at] = half;
                at += self.step;
            }
        }
    }
}
