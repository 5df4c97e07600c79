//! Keys before rotation, and values, of a run of tokens in all layers.

use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;
use headwise_kernels::kv::Codec;
use headwise_kernels::parallel;
use headwise_kernels::rope::HeadLayout;

use crate::Sequence;
use crate::cache::{LayerStore, NewPairs, read};

/// Keys before rotation, and values, of `tokens` tokens.
#[derive(Debug)]
pub(super) struct RawPairs {
    pub tokens: usize,
    pub layers: Vec<RawLayer>,
}

/// Those of a layer, each `[tokens, kv_heads · head_dim]`.
#[derive(Debug, Default)]
pub(super) struct RawLayer {
    pub keys: Numbers,
    pub values: Numbers,
}

/// Numbers as precise as the cache that they come from.
#[derive(Debug)]
pub(super) enum Numbers {
    F32(Vec<f32>),
    F16(Vec<f16>),
}

impl Default for Numbers {
    fn default() -> Self {
        Self::F32(Vec::new())
    }
}

impl Numbers {
    fn of_codec(values: Vec<f32>, codec: Codec) -> Self {
        if codec == Codec::F32 { Self::F32(values) } else { Self::half(values) }
    }

    fn half(values: Vec<f32>) -> Self {
        let most = f32::from(f16::MAX);
        Self::F16(values.into_iter().map(|value| f16::from_f32(value.clamp(-most, most))).collect())
    }

    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
        }
    }

    pub fn bytes(&self) -> usize {
        match self {
            Self::F32(values) => size_of_val(&values[..]),
            Self::F16(values) => size_of_val(&values[..]),
        }
    }

    /// The first `out.len()` numbers.
    pub fn read(&self, out: &mut [f32]) {
        self.read_from(0, out);
    }

    fn read_from(&self, start: usize, out: &mut [f32]) {
        let range = start..start + out.len();
        match self {
            Self::F32(values) => out.copy_from_slice(&values[range]),
            Self::F16(values) => values[range].convert_to_f32_slice(out),
        }
    }

    /// The numbers from number `start` on less those of `base`, as precise as before.
    fn minus(&self, start: usize, base: &Self) -> Self {
        let base = base.first(base.len());
        let mut values = vec![0.0; base.len()];
        self.read_from(start, &mut values);
        values.iter_mut().zip(base).for_each(|(value, base)| *value -= base);
        match self {
            Self::F32(_) => Self::F32(values),
            Self::F16(_) => Self::half(values),
        }
    }

    /// The first `length` numbers.
    pub fn first(&self, length: usize) -> Vec<f32> {
        let mut out = vec![0.0; length];
        self.read(&mut out);
        out
    }
}

impl RawPairs {
    /// Those of the tokens `tokens` of `sequence`, which holds all tokens up to their end.
    pub fn of(sequence: &Sequence, tokens: Range<usize>) -> Self {
        let mut layers: Vec<RawLayer> = Vec::new();
        layers.resize_with(sequence.layers.len(), RawLayer::default);
        parallel::pieces(&mut layers, 1, |layer, raw| raw[0] = RawLayer::of(&sequence.layers[layer], tokens.clone()));
        Self { tokens: tokens.len(), layers }
    }

    /// What the tokens from number `start` on have more than `base`, as many as that has.
    pub fn minus(&self, start: usize, base: &Self) -> Self {
        let mut layers: Vec<RawLayer> = Vec::new();
        layers.resize_with(self.layers.len(), RawLayer::default);
        parallel::pieces(&mut layers, 1, |layer, raw| {
            let (own, base) = (&self.layers[layer], &base.layers[layer]);
            let minus = |own: &Numbers, base: &Numbers| own.minus(start * self.width(own), base);
            raw[0] = RawLayer { keys: minus(&own.keys, &base.keys), values: minus(&own.values, &base.values) };
        });
        Self { tokens: base.tokens, layers }
    }

    /// No tokens, in as many layers as `other` has.
    pub fn none(other: &Self) -> Self {
        Self { tokens: 0, layers: other.layers.iter().map(|_| RawLayer::default()).collect() }
    }

    /// Keys and values of the first `rows` tokens in layer `layer`.
    pub fn rows(&self, layer: usize, rows: usize) -> [Vec<f32>; 2] {
        let RawLayer { keys, values } = &self.layers[layer];
        [keys, values].map(|numbers| numbers.first(rows * self.width(numbers)))
    }

    /// Numbers of a token.
    pub fn width(&self, numbers: &Numbers) -> usize {
        numbers.len() / self.tokens.max(1)
    }

    pub fn bytes(&self) -> usize {
        self.layers.iter().map(|layer| layer.keys.bytes() + layer.values.bytes()).sum()
    }
}

impl RawLayer {
    fn of(store: &LayerStore, tokens: Range<usize>) -> Self {
        let layout = layout(store);
        let HeadLayout { row_stride: width, head_dim, .. } = layout;
        let codec = store.pairs().first().map_or(Codec::F32, |pairs| pairs.codec());
        let (mut keys, mut values) = (vec![0.0; tokens.len() * width], vec![0.0; tokens.len() * width]);
        for (head, pairs) in store.pairs().iter().enumerate() {
            let (head_keys, head_values) = read(pairs, head_dim);
            for (numbers, of_head) in [(&mut keys, head_keys), (&mut values, head_values)] {
                let rows = numbers.chunks_exact_mut(width).zip(of_head.chunks_exact(head_dim).skip(tokens.start));
                rows.for_each(|(row, channels)| row[head * head_dim..][..head_dim].copy_from_slice(channels));
            }
        }
        if let Some((_, Some(rope))) = store.attention() {
            let positions: Vec<i32> = tokens.map(|token| token as i32).collect();
            rope.rotate_back(&mut keys, layout, &positions);
            // Turning multiplies by the factor, back and forth.
            let factor = rope.attention_factor().powi(-2);
            if factor != 1.0 {
                keys.iter_mut().for_each(|key| *key *= factor);
            }
        }
        Self { keys: Numbers::of_codec(keys, codec), values: Numbers::of_codec(values, codec) }
    }
}

/// How the rows of a layer's keys lie.
pub(super) fn layout(store: &LayerStore) -> HeadLayout {
    let shape = store.shape();
    HeadLayout { row_stride: shape.kv_heads * shape.head_dim, heads: shape.kv_heads, head_dim: shape.head_dim }
}

/// Appends unrotated `keys` and `values` to `store`, which has attended before.
pub(super) fn append(store: &mut LayerStore, keys: &[f32], values: &[f32]) {
    let layout = layout(store);
    let first = store.tokens() as i32;
    let positions: Vec<i32> = (first..).take(keys.len() / layout.row_stride).collect();
    let mut turned = keys.to_vec();
    if let Some((_, Some(rope))) = store.attention() {
        rope.rotate(&mut turned, layout, &positions);
    }
    store.append(NewPairs { raw_key: keys, key: &turned, value: values, positions: &positions });
}
