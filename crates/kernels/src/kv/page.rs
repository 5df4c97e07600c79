//! One page of key-value pairs in one of the storage formats.

use super::keys::Keys;
use super::values::Values;
use super::{Codec, PAGE, StoreBytes};
use crate::simd::Simd;

/// Keys `[head_dim, PAGE]` and values `[PAGE, value_dim]`.
#[derive(Clone, Debug)]
pub struct Page {
    head_dim: usize,
    pub(super) value_dim: usize,
    pub(super) keys: Keys,
    pub(super) values: Values,
}

impl Page {
    /// An empty page.
    pub fn new(codec: Codec, head_dim: usize, value_dim: usize) -> Self {
        Self { head_dim, value_dim, keys: Keys::new(codec, head_dim), values: Values::new(codec, value_dim) }
    }

    /// Channels of a key and of a value.
    pub(super) fn widths(&self) -> [usize; 2] {
        [self.head_dim, self.value_dim]
    }

    /// Stores a pair in `slot`.
    pub fn write(&mut self, slot: usize, key: &[f32], value: &[f32]) {
        self.write_key(slot, key);
        self.values.write(slot, &value[..self.value_dim]);
    }

    /// Stores the key of `slot`, leaving its value. Keys that were settled are open afterwards.
    pub fn write_key(&mut self, slot: usize, key: &[f32]) {
        self.keys.write(slot, &key[..self.head_dim]);
    }

    /// Reads the pair of `slot`.
    pub fn read(&self, slot: usize, key: &mut [f32], value: &mut [f32]) {
        self.read_key(slot, key);
        self.values.read(slot, &mut value[..self.value_dim]);
    }

    /// Reads the key of `slot`.
    pub fn read_key(&self, slot: usize, key: &mut [f32]) {
        self.keys.read(slot, &mut key[..self.head_dim]);
    }

    /// Copies `count` pairs from slot `source` of `from` to `slot`, bit for bit where both pages have the same form.
    pub fn copy(&mut self, slot: usize, from: &Self, source: usize, count: usize) {
        self.keys.copy(slot, &from.keys, source, count, self.head_dim);
        self.values.copy(slot, &from.values, source, count, self.value_dim);
    }

    /// Asks for keys and values in a float format. Of other forms nothing is asked for ahead.
    pub(super) fn prefetch(&self) {
        if let (Keys::Floats(keys), Values::Floats(values)) = (&self.keys, &self.values) {
            keys.prefetch();
            values.prefetch();
        }
    }

    /// Decodes the keys: channel `c` to `out[c · stride ..][.. PAGE]`, zero from slot `used` on.
    #[inline(always)]
    pub fn keys<S: Simd>(&self, s: S, out: &mut [f32], stride: usize, used: usize) {
        self.keys.decode(s, self.head_dim, out, stride);
        if used < PAGE {
            for channel in 0..self.head_dim {
                out[channel * stride..][used..PAGE].fill(0.0);
            }
        }
    }

    /// Decodes the values to `out` `[PAGE, value_dim]`, zero from slot `used` on.
    #[inline(always)]
    pub fn values<S: Simd>(&self, s: S, out: &mut [f32], used: usize) {
        let (in_use, rest) = out[..PAGE * self.value_dim].split_at_mut(used * self.value_dim);
        self.values.decode(s, self.value_dim, in_use);
        rest.fill(0.0);
    }

    /// Memory of this page with `used` slots in use.
    pub fn bytes(&self, used: usize) -> StoreBytes {
        let mut bytes = self.keys.bytes(self.head_dim, used);
        bytes += self.values.bytes(self.value_dim, used);
        bytes
    }

    /// Codes what is in half precision, for a full page whose pairs have left the full-precision window.
    ///
    /// Pages of codecs without such a window stay as they are.
    pub fn settle(&mut self, codec: Codec) {
        if let Some(bits) = codec.settled_bits() {
            self.keys.settle(bits, self.head_dim);
            self.values.settle(bits, self.value_dim);
        }
    }

    /// Returns a settled page to half precision, so that its slots can be written one by one.
    ///
    /// Pages of codecs without a full-precision window stay as they are.
    pub fn open(&mut self, codec: Codec) {
        if codec.settled_bits().is_some() {
            self.keys.open(self.head_dim);
            self.values.open(self.value_dim);
        }
    }
}
