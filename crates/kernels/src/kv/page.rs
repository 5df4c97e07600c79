//! One page of key-value pairs in one of the storage formats.

use half::{bf16, f16};

use super::{Codec, PAGE, StoreBytes};
use crate::simd::{LANES, Simd};

/// Keys `[head_dim, PAGE]` and values `[PAGE, value_dim]`.
#[derive(Clone, Debug)]
pub struct Page {
    head_dim: usize,
    value_dim: usize,
    keys: Floats,
    values: Floats,
}

/// Numbers in a float format.
#[derive(Clone, Debug)]
enum Floats {
    F32(Box<[f32]>),
    F16(Box<[u16]>),
    Bf16(Box<[u16]>),
}

impl Floats {
    fn new(codec: Codec, length: usize) -> Self {
        match codec {
            Codec::F32 => Self::F32(vec![0.0; length].into()),
            Codec::F16 => Self::F16(vec![0; length].into()),
            Codec::Bf16 => Self::Bf16(vec![0; length].into()),
        }
    }

    fn set(&mut self, index: usize, value: f32) {
        match self {
            Self::F32(data) => data[index] = value,
            Self::F16(data) => data[index] = f16::from_f32(value).to_bits(),
            Self::Bf16(data) => data[index] = bf16::from_f32(value).to_bits(),
        }
    }

    fn get(&self, index: usize) -> f32 {
        match self {
            Self::F32(data) => data[index],
            Self::F16(data) => f16::from_bits(data[index]).to_f32(),
            Self::Bf16(data) => bf16::from_bits(data[index]).to_f32(),
        }
    }

    /// Copies one element as it is stored; both sides have the same format.
    fn copy(&mut self, index: usize, from: &Self, source: usize) {
        match (self, from) {
            (Self::F32(to), Self::F32(from)) => to[index] = from[source],
            (Self::F16(to), Self::F16(from)) | (Self::Bf16(to), Self::Bf16(from)) => to[index] = from[source],
            (to, from) => to.set(index, from.get(source)),
        }
    }

    /// Decodes `length` elements from `start` into `out`.
    #[inline(always)]
    fn decode<S: Simd>(&self, s: S, start: usize, out: &mut [f32]) {
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
        for at in whole..length {
            out[at] = self.get(start + at);
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::F32(data) => data.len(),
            Self::F16(data) | Self::Bf16(data) => data.len(),
        }
    }

    fn element_bytes(&self) -> usize {
        match self {
            Self::F32(_) => 4,
            Self::F16(_) | Self::Bf16(_) => 2,
        }
    }
}

impl Page {
    /// An empty page.
    pub fn new(codec: Codec, head_dim: usize, value_dim: usize) -> Self {
        Self {
            head_dim,
            value_dim,
            keys: Floats::new(codec, head_dim * PAGE),
            values: Floats::new(codec, PAGE * value_dim),
        }
    }

    /// Stores a pair in `slot`.
    pub fn write(&mut self, slot: usize, key: &[f32], value: &[f32]) {
        self.write_key(slot, key);
        for (channel, &x) in value[..self.value_dim].iter().enumerate() {
            self.values.set(slot * self.value_dim + channel, x);
        }
    }

    /// Stores the key of `slot`, leaving its value.
    pub fn write_key(&mut self, slot: usize, key: &[f32]) {
        for (channel, &x) in key[..self.head_dim].iter().enumerate() {
            self.keys.set(channel * PAGE + slot, x);
        }
    }

    /// Reads the pair of `slot`.
    pub fn read(&self, slot: usize, key: &mut [f32], value: &mut [f32]) {
        for (channel, x) in key[..self.head_dim].iter_mut().enumerate() {
            *x = self.keys.get(channel * PAGE + slot);
        }
        for (channel, x) in value[..self.value_dim].iter_mut().enumerate() {
            *x = self.values.get(slot * self.value_dim + channel);
        }
    }

    /// Copies the pair in `source` of `from` to `slot`, bit for bit where the format allows.
    pub fn copy_slot(&mut self, slot: usize, from: &Self, source: usize, _scratch: &mut (Vec<f32>, Vec<f32>)) {
        for channel in 0..self.head_dim {
            self.keys.copy(channel * PAGE + slot, &from.keys, channel * PAGE + source);
        }
        for channel in 0..self.value_dim {
            self.values.copy(slot * self.value_dim + channel, &from.values, source * self.value_dim + channel);
        }
    }

    /// Decodes the keys: channel `c` to `out[c · stride ..][.. PAGE]`, zero from slot `used` on.
    #[inline(always)]
    pub fn keys<S: Simd>(&self, s: S, out: &mut [f32], stride: usize, used: usize) {
        for channel in 0..self.head_dim {
            let row = &mut out[channel * stride..][..PAGE];
            self.keys.decode(s, channel * PAGE, row);
            row[used..].fill(0.0);
        }
    }

    /// Decodes the values to `out` `[PAGE, value_dim]`, zero from slot `used` on.
    #[inline(always)]
    pub fn values<S: Simd>(&self, s: S, out: &mut [f32], used: usize) {
        let (in_use, rest) = out[..PAGE * self.value_dim].split_at_mut(used * self.value_dim);
        self.values.decode(s, 0, in_use);
        rest.fill(0.0);
    }

    /// Memory of this page with `used` slots in use.
    pub fn bytes(&self, used: usize) -> StoreBytes {
        let per_slot = self.head_dim * self.keys.element_bytes() + self.value_dim * self.values.element_bytes();
        StoreBytes { pairs: used * per_slot, waste: (PAGE - used) * per_slot, ..StoreBytes::default() }
    }

    /// Whether the page is in the codec's final form.
    pub fn is_settled(&self) -> bool {
        true
    }

    /// Codes a full page whose pairs have left the full-precision window.
    pub fn settle(&mut self, _codec: Codec) {}
}
