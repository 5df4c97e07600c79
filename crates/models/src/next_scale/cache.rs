//! Keys and values of the scales so far, and the place where a policy makes them fewer.
//!
//! A layer's cache is one matrix per row and head, all of the same length. The rows are the pictures, and behind them, where guidance is
//! used, the same pictures without a class; both halves keep the same slots, those that the policy chose for the first.

use burn::tensor::Tensor;
use headwise_ops::host::{self, Host};

use super::block::{Projected, attended};

/// What a layer has just done at one scale.
#[derive(Debug)]
pub struct Attended<'a> {
    /// The layer.
    pub layer: usize,
    /// How many layers there are.
    pub layers: usize,
    /// The scale.
    pub scale: usize,
    /// Width and height of the maps of all scales.
    pub scales: &'a [usize],
    /// Pictures: the first rows of the tensors, those with a class.
    pub pictures: usize,
    /// Slots of earlier scales; those of the scale's own map follow, row by row.
    pub history: usize,
    /// Queries of the map as attention took them: `[rows, heads, cells, head_dim]`.
    pub query: &'a Tensor<4>,
    /// Keys of all slots as attention took them: `[rows, heads, slots, head_dim]`.
    pub key: &'a Tensor<4>,
}

/// The slots that stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Slots of each head.
    pub per_head: usize,
    /// The slots, ascending within each head: `[pictures, heads, per_head]`.
    pub slots: Vec<u32>,
}

/// What makes the cache of a layer smaller between two scales.
pub trait CompressesScales {
    /// Called after every layer at every scale. The answer, none for all, takes effect at once, but for the last scale, after which
    /// nothing reads the cache.
    fn attended(&mut self, seen: &Attended<'_>) -> Option<Kept>;
}

/// Keeps every slot.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeepEverything;

impl CompressesScales for KeepEverything {
    fn attended(&mut self, _: &Attended<'_>) -> Option<Kept> {
        None
    }
}

/// What the caches took, in bytes of keys and values of all layers, heads and rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScaleCacheBytes {
    /// The most between two scales.
    pub held: u64,
    /// The most at any time, the map being drawn included.
    pub peak: u64,
}

/// The caches of all layers.
#[derive(Debug)]
pub(super) struct ScaleCaches {
    /// Keys and values of each layer: `[rows, heads, slots, head_dim]`.
    layers: Vec<Option<[Tensor<4>; 2]>>,
    scales: Vec<usize>,
    pictures: usize,
    pub bytes: ScaleCacheBytes,
}

impl ScaleCaches {
    pub fn new(layers: usize, scales: &[usize], pictures: usize) -> Self {
        Self { layers: vec![None; layers], scales: scales.to_vec(), pictures, bytes: ScaleCacheBytes::default() }
    }

    /// Attention of a layer's new queries to all its keys, the new ones among them; then the policy's turn.
    pub fn attend(
        &mut self,
        layer: usize,
        scale: usize,
        new: Projected,
        policy: &mut dyn CompressesScales,
    ) -> Tensor<4> {
        let Projected { query, key, value } = new;
        let (history, key, value) = match self.layers[layer].take() {
            Some([keys, values]) => {
                let history = keys.dims()[2];
                (history, Tensor::cat(vec![keys, key], 2), Tensor::cat(vec![values, value], 2))
            }
            None => (0, key, value),
        };
        let projected = Projected { query: query.clone(), key: key.clone(), value: value.clone() };
        let output = attended(projected, None);
        let seen = Attended {
            layer,
            layers: self.layers.len(),
            scale,
            scales: &self.scales,
            pictures: self.pictures,
            history,
            query: &query,
            key: &key,
        };
        let kept = policy.attended(&seen).filter(|_| scale + 1 < self.scales.len());
        self.layers[layer] = Some([key, value]);
        self.bytes.peak = self.bytes.peak.max(self.now());
        if let Some(kept) = kept {
            let pictures = self.pictures;
            self.layers[layer] =
                self.layers[layer].take().map(|pair| pair.map(|tensor| gathered(tensor, pictures, &kept)));
        }
        output
    }

    /// Called when a scale is done that is not the last.
    pub fn between(&mut self) {
        self.bytes.held = self.bytes.held.max(self.now());
    }

    fn now(&self) -> u64 {
        let elements: usize = self.layers.iter().flatten().flatten().map(|tensor| tensor.shape().num_elements()).sum();
        (elements * size_of::<f32>()) as u64
    }
}

/// The slots `kept` of `tensor` `[rows, heads, slots, head_dim]`; rows beyond the pictures keep what their pictures keep.
fn gathered(tensor: Tensor<4>, pictures: usize, kept: &Kept) -> Tensor<4> {
    let ([rows, heads, slots, width], device) = (tensor.dims(), tensor.device());
    assert_eq!(kept.slots.len(), pictures * heads * kept.per_head, "slots of every picture and head");
    let values = Host::new(host::contiguous(tensor));
    let mut found = Vec::with_capacity(rows * heads * kept.per_head * width);
    for row in 0..rows {
        for head in 0..heads {
            let chosen = &kept.slots[((row % pictures) * heads + head) * kept.per_head..][..kept.per_head];
            for &slot in chosen {
                assert!((slot as usize) < slots, "slot {slot} of {slots}");
                let first = ((row * heads + head) * slots + slot as usize) * width;
                found.extend_from_slice(&values.as_slice()[first..first + width]);
            }
        }
    }
    host::tensor(found, [rows, heads, kept.per_head, width], &device)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution};

    use super::*;

    #[test]
    fn heads_keep_their_own_slots_and_both_halves_the_same() {
        let device = Device::flex();
        let tensor = Tensor::<4>::random([4, 2, 5, 3], Distribution::Normal(0.0, 1.0), &device);
        // Two pictures with two heads, and the same two without a class.
        let slots = vec![0, 2, 1, 4, 3, 4, 0, 1];
        let kept = Kept { per_head: 2, slots: slots.clone() };
        let found = gathered(tensor.clone(), 2, &kept);
        assert_eq!(found.dims(), [4, 2, 2, 3]);
        let value = |tensor: &Tensor<4>, at: [usize; 4]| {
            let [_, heads, slots, width] = tensor.dims();
            Host::new(tensor.clone()).as_slice()[((at[0] * heads + at[1]) * slots + at[2]) * width + at[3]]
        };
        for row in 0..4 {
            for head in 0..2 {
                for place in 0..2 {
                    for channel in 0..3 {
                        let slot = slots[(row % 2) * 4 + head * 2 + place] as usize;
                        let expected = value(&tensor, [row, head, slot, channel]);
                        assert_eq!(value(&found, [row, head, place, channel]), expected);
                    }
                }
            }
        }
    }
}
