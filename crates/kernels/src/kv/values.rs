//! The values of one page, `[PAGE, value_dim]`.

use super::floats::Floats;
use super::int8::Int8;
use super::row_groups::RowGroups;
use super::{Codec, PAGE, StoreBytes};
use crate::simd::{Kernel, Simd, dispatch};

/// Values in one of the storage formats.
#[derive(Clone, Debug)]
pub(super) enum Values {
    Floats(Floats),
    Int8(Int8),
    /// Groups of channels: `int4`, and KIVI once the page is settled.
    Groups(RowGroups),
}

impl Values {
    /// Zeros.
    pub fn new(codec: Codec, value_dim: usize) -> Self {
        match codec {
            Codec::Int8 => Self::Int8(Int8::new(value_dim)),
            Codec::Int4 => Self::Groups(RowGroups::new(4, PAGE, value_dim)),
            Codec::F32 | Codec::F16 | Codec::Bf16 | Codec::Kivi4 | Codec::Kivi2 => {
                Self::Floats(Floats::new(codec, PAGE * value_dim))
            }
        }
    }

    /// Stores the value of `slot`.
    pub fn write(&mut self, slot: usize, value: &[f32]) {
        match self {
            Self::Floats(floats) => floats.write(slot * value.len(), 1, value),
            Self::Int8(bytes) => bytes.write(slot, slot * value.len(), 1, value),
            Self::Groups(groups) => groups.write_row(slot, value),
        }
    }

    /// Reads the value of `slot`.
    pub fn read(&self, slot: usize, value: &mut [f32]) {
        match self {
            Self::Floats(floats) => floats.read(slot * value.len(), 1, value),
            Self::Int8(bytes) => bytes.read(slot, slot * value.len(), 1, value),
            Self::Groups(groups) => value.iter_mut().enumerate().for_each(|(index, x)| *x = groups.get(slot, index)),
        }
    }

    /// Copies `count` values from slot `source` of `from` to `slot`, bit for bit where both have the same format.
    pub fn copy(&mut self, slot: usize, from: &Self, source: usize, count: usize, value_dim: usize) {
        let (to_start, from_start, length) = (slot * value_dim, source * value_dim, count * value_dim);
        match (self, from) {
            (Self::Floats(to), Self::Floats(from)) => to.copy(to_start, from, from_start, length),
            (Self::Int8(to), Self::Int8(from)) => {
                to.copy_codes(to_start, from, from_start, length);
                to.copy_scales(slot, from, source, count);
            }
            (Self::Groups(to), Self::Groups(from)) if to.bits() == from.bits() => {
                to.copy_rows(slot, from, source, count);
            }
            (to, from) => {
                let mut value = vec![0.0; value_dim];
                for offset in 0..count {
                    from.read(source + offset, &mut value);
                    to.write(slot + offset, &value);
                }
            }
        }
    }

    /// Decodes the first slots into the rows of `out` `[slots, value_dim]`.
    #[inline(always)]
    pub fn decode<S: Simd>(&self, s: S, value_dim: usize, out: &mut [f32]) {
        match self {
            Self::Floats(floats) => floats.decode(s, 0, out),
            Self::Int8(bytes) => bytes.decode_rows(s, out, value_dim),
            Self::Groups(groups) => groups.decode(s, out.len() / value_dim, out, value_dim),
        }
    }

    /// All values, `[PAGE, value_dim]`.
    fn decoded(&self, value_dim: usize) -> Vec<f32> {
        struct Decode<'a>(&'a Values, usize);
        impl Kernel for Decode<'_> {
            type Output = Vec<f32>;
            #[inline(always)]
            fn run<S: Simd>(self, s: S) -> Vec<f32> {
                let mut out = vec![0.0; PAGE * self.1];
                self.0.decode(s, self.1, &mut out);
                out
            }
        }
        dispatch(Decode(self, value_dim))
    }

    /// Codes values in half precision per slot.
    pub fn settle(&mut self, bits: usize, value_dim: usize) {
        if matches!(self, Self::Floats(_)) {
            *self = Self::Groups(RowGroups::code(bits, PAGE, value_dim, &self.decoded(value_dim)));
        }
    }

    /// Turns coded values back to half precision.
    pub fn open(&mut self, value_dim: usize) {
        if matches!(self, Self::Groups(_)) {
            *self = Self::Floats(Floats::half(&self.decoded(value_dim)));
        }
    }

    /// Memory with `used` slots in use.
    pub fn bytes(&self, value_dim: usize, used: usize) -> StoreBytes {
        let (codes, scales) = match self {
            Self::Floats(floats) => (PAGE * value_dim * floats.element_bytes(), 0),
            Self::Int8(_) => (PAGE * value_dim, PAGE * size_of::<f32>()),
            Self::Groups(groups) => (groups.code_bytes(), groups.scales().bytes()),
        };
        StoreBytes::of_allocation(codes + scales, codes / PAGE * used, scales / PAGE * used)
    }
}
