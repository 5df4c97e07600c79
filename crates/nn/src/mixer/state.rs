//! What a mixer keeps of the tokens of a text besides keys and values.

use headwise_kernels::attention::AttnSpec;
use headwise_kernels::rope::Rope;

use super::{LayerCache, Projected, Segment};

/// What a mixer keeps of the tokens of one text besides keys and values; its size does not depend on how many they were.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MixerState {
    /// A matrix for each head, `[heads, key_dim, columns]`; empty in softmax attention.
    pub memory: Vec<f32>,
    /// What a convolution needs of the queries, keys and values of the last tokens, `[width - 1, channels]` each, oldest first; empty
    /// without one.
    pub tails: [Vec<f32>; 3],
}

impl MixerState {
    /// The state before the first token: a memory of `elements` numbers, and tails for a convolution of this width, if any, of so
    /// many channels of queries, keys and values.
    pub(super) fn new(elements: usize, convolution: Option<usize>, channels: [usize; 3]) -> Self {
        let kept = convolution.map_or(0, |width| width - 1);
        Self { memory: vec![0.0; elements], tails: channels.map(|channels| vec![0.0; kept * channels]) }
    }

    /// Its parts, the memory first.
    pub fn parts(&self) -> impl Iterator<Item = &[f32]> {
        std::iter::once(&self.memory).chain(&self.tails).map(Vec::as_slice)
    }

    /// Its parts, to be filled.
    pub fn parts_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        std::iter::once(&mut self.memory).chain(&mut self.tails).map(Vec::as_mut_slice)
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.parts().all(<[f32]>::is_empty)
    }

    /// Bytes of all parts.
    pub fn bytes(&self) -> usize {
        self.parts().map(size_of_val).sum()
    }
}

/// The states of the texts of a forward, with which a linear mixer runs by itself, outside of an engine.
#[derive(Debug)]
pub struct States<'a>(pub &'a mut [MixerState]);

impl LayerCache for States<'_> {
    /// # Panics
    /// Always: attention needs keys and values, which are not kept.
    fn attend(
        &mut self,
        layer: usize,
        _: Projected<'_>,
        _: Option<&Rope>,
        _: &AttnSpec,
        _: &[i32],
        _: &[Segment],
        _: &mut [f32],
    ) {
        panic!("layer {layer} attends, and no keys and values are kept");
    }

    fn states(&mut self, _: usize) -> Option<Vec<&mut MixerState>> {
        Some(self.0.iter_mut().collect())
    }
}
