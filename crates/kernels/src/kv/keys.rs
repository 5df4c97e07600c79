//! The keys of one page, `[head_dim, PAGE]`.

use super::column_groups::ColumnGroups;
use super::floats::Floats;
use super::int8::Int8;
use super::row_groups::RowGroups;
use super::{Codec, PAGE, StoreBytes};
use crate::simd::{Kernel, Simd, dispatch};

/// Keys in one of the storage formats.
#[derive(Clone, Debug)]
pub(super) enum Keys {
    Floats(Floats),
    Int8(Int8),
    Int4(ColumnGroups),
    /// One group per channel: all slots have to be known, so keys are [`Keys::Floats`] first.
    Kivi(RowGroups),
}

impl Keys {
    /// Zeros.
    pub fn new(codec: Codec, head_dim: usize) -> Self {
        match codec {
            Codec::Int8 => Self::Int8(Int8::new(head_dim)),
            Codec::Int4 => Self::Int4(ColumnGroups::new(4, head_dim)),
            Codec::F32 | Codec::F16 | Codec::Bf16 | Codec::Kivi4 | Codec::Kivi2 => {
                Self::Floats(Floats::new(codec, head_dim * PAGE))
            }
        }
    }

    /// Stores the key of `slot`; keys that are coded across slots return to half precision.
    pub fn write(&mut self, slot: usize, key: &[f32]) {
        self.open(key.len());
        match self {
            Self::Floats(floats) => floats.write(slot, PAGE, key),
            Self::Int8(bytes) => bytes.write(slot, slot, PAGE, key),
            Self::Int4(groups) => groups.write(slot, key),
            Self::Kivi(_) => {}
        }
    }

    /// Reads the key of `slot`.
    pub fn read(&self, slot: usize, key: &mut [f32]) {
        match self {
            Self::Floats(floats) => floats.read(slot, PAGE, key),
            Self::Int8(bytes) => bytes.read(slot, slot, PAGE, key),
            Self::Int4(groups) => groups.read(slot, key),
            Self::Kivi(groups) => key.iter_mut().enumerate().for_each(|(row, x)| *x = groups.get(row, slot)),
        }
    }

    /// Copies `count` keys from slot `source` of `from` to `slot`, bit for bit where both have the same format.
    pub fn copy(&mut self, slot: usize, from: &Self, source: usize, count: usize, head_dim: usize) {
        let rows = (0..head_dim * PAGE).step_by(PAGE);
        match (self, from) {
            (Self::Floats(to), Self::Floats(from)) => {
                rows.for_each(|row| to.copy(row + slot, from, row + source, count));
            }
            (Self::Int8(to), Self::Int8(from)) => {
                rows.for_each(|row| to.copy_codes(row + slot, from, row + source, count));
                to.copy_scales(slot, from, source, count);
            }
            (Self::Int4(to), Self::Int4(from)) => to.copy(slot, from, source, count),
            (to, from) => {
                let mut key = vec![0.0; head_dim];
                for offset in 0..count {
                    from.read(source + offset, &mut key);
                    to.write(slot + offset, &key);
                }
            }
        }
    }

    /// Decodes all slots, channel `c` to `out[c · stride..][..PAGE]`.
    #[inline(always)]
    pub fn decode<S: Simd>(&self, s: S, head_dim: usize, out: &mut [f32], stride: usize) {
        match self {
            Self::Floats(floats) => {
                for channel in 0..head_dim {
                    floats.decode(s, channel * PAGE, &mut out[channel * stride..][..PAGE]);
                }
            }
            Self::Int8(bytes) => bytes.decode_columns(s, out, stride),
            Self::Int4(groups) => groups.decode(s, out, stride),
            Self::Kivi(groups) => groups.decode(s, head_dim, out, stride),
        }
    }

    /// All keys, `[head_dim, PAGE]`.
    fn decoded(&self, head_dim: usize) -> Vec<f32> {
        struct Decode<'a>(&'a Keys, usize);
        impl Kernel for Decode<'_> {
            type Output = Vec<f32>;
            #[inline(always)]
            fn run<S: Simd>(self, s: S) -> Vec<f32> {
                let mut out = vec![0.0; self.1 * PAGE];
                self.0.decode(s, self.1, &mut out, PAGE);
                out
            }
        }
        dispatch(Decode(self, head_dim))
    }

    /// Codes keys in half precision per channel.
    pub fn settle(&mut self, bits: usize, head_dim: usize) {
        if matches!(self, Self::Floats(_)) {
            *self = Self::Kivi(RowGroups::code(bits, head_dim, PAGE, &self.decoded(head_dim)));
        }
    }

    /// Turns keys that are coded per channel back to half precision.
    pub fn open(&mut self, head_dim: usize) {
        if matches!(self, Self::Kivi(_)) {
            *self = Self::Floats(Floats::half(&self.decoded(head_dim)));
        }
    }

    /// Memory with `used` slots in use.
    pub fn bytes(&self, head_dim: usize, used: usize) -> StoreBytes {
        let slots = head_dim * PAGE;
        let share = |bytes: usize| (bytes * used).div_ceil(PAGE);
        let (codes, scales) = match self {
            Self::Floats(floats) => (slots * floats.element_bytes(), 0),
            Self::Int8(_) => (slots, PAGE * size_of::<f32>()),
            Self::Int4(groups) => (groups.code_bytes(), groups.scales().bytes()),
            // All scales are needed however many slots are in use.
            Self::Kivi(groups) => {
                let (codes, scales) = (groups.code_bytes(), groups.scales().bytes());
                return StoreBytes::of_allocation(codes + scales, share(codes), scales);
            }
        };
        StoreBytes::of_allocation(codes + scales, share(codes), share(scales))
    }
}
