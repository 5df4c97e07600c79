//! The texts that have stood in one place of a template, and what the place did to them.

use std::sync::Arc;

use super::matching::{Distances, Weights, likeness};
use super::parts::Ids;
use super::pool::{KvCommSettings, Unlike};
use super::raw::RawPairs;

/// What has stood in a place, oldest first.
#[derive(Debug, Default)]
pub(super) struct Anchors(Vec<Anchor>);

/// A text that has stood in a place.
#[derive(Debug)]
struct Anchor {
    ids: Ids,
    base: Arc<RawPairs>,
    /// What its pairs had more than its base.
    shared: RawPairs,
    /// What the pairs after it had more than theirs.
    own: RawPairs,
    /// How often it was among the nearest.
    used: usize,
}

/// A text in a place.
#[derive(Clone, Copy)]
pub(super) struct Placed<'a> {
    /// Number of the place.
    pub slot: usize,
    /// The text.
    pub ids: &'a Ids,
    /// Its pairs when it stands alone.
    pub base: &'a Arc<RawPairs>,
}

impl Anchors {
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|anchor| anchor.shared.bytes() + anchor.own.bytes()).sum()
    }

    /// The weights of the anchors for `text`, if they say enough about it. Takes note of the nearest.
    pub fn weigh(&mut self, text: Placed<'_>, settings: &KvCommSettings) -> Result<Weights, Unlike> {
        if let Some(itself) = self.0.iter().position(|anchor| anchor.ids == *text.ids) {
            self.0[itself].used += 1;
            return Ok(Weights::of_itself(itself, text.base));
        }
        let long: Vec<usize> = (0..self.0.len()).filter(|&at| self.0[at].base.tokens >= text.base.tokens).collect();
        if long.len() < 2 {
            return Err(Unlike::FewAnchors { slot: text.slot, anchors: long.len() });
        }
        let bases: Vec<&RawPairs> = long.iter().map(|&at| &*self.0[at].base).collect();
        let distances = Distances::new(text.base, &bases);
        let (shares, entropy) = likeness(&distances.values);
        let most = settings.gamma * (long.len() as f64).log2();
        if entropy > most {
            return Err(Unlike::Undecided { slot: text.slot, entropy, most });
        }
        let mut nearest: Vec<usize> = (0..long.len()).collect();
        nearest.sort_by(|&one, &other| shares[other].total_cmp(&shares[one]));
        let mut sum = 0.0;
        for at in nearest {
            self.0[long[at]].used += 1;
            sum += shares[at];
            if sum >= settings.likely {
                break;
            }
        }
        Ok(distances.weights(long, settings.temperature))
    }

    /// Learns what its place did to `text`, which stands at token `start` of what was `read`, and to what follows, which is `own` when it
    /// stands alone.
    pub fn learn(
        &mut self,
        text: Placed<'_>,
        own: &RawPairs,
        start: usize,
        read: &RawPairs,
        settings: &KvCommSettings,
    ) {
        if self.weigh(text, settings).is_ok() {
            return;
        }
        if self.0.len() >= settings.anchors.max(1) {
            let oldest = self.0.iter().take(settings.oldest.max(1)).enumerate();
            if let Some((least, _)) = oldest.min_by_key(|(_, anchor)| anchor.used) {
                self.0.remove(least);
            }
        }
        self.0.push(Anchor {
            ids: text.ids.clone(),
            base: text.base.clone(),
            shared: read.minus(start, text.base),
            own: read.minus(start + text.base.tokens, own),
            used: 0,
        });
    }

    /// Adds to `keys` and `values`, the first tokens of a text in layer `layer`, what the place does to them.
    pub fn shift_shared(&self, weights: &Weights, layer: usize, [keys, values]: [&mut [f32]; 2]) {
        let mut deviation = Vec::new();
        for (number, &at) in weights.anchors.iter().enumerate() {
            let shared = &self.0[at].shared.layers[layer];
            for (which, (numbers, out)) in
                [(&shared.keys, &mut *keys), (&shared.values, &mut *values)].into_iter().enumerate()
            {
                let weights = &weights.tokens[which][number];
                let width = self.0[at].shared.width(numbers).max(1);
                deviation.resize(out.len(), 0.0);
                numbers.read(&mut deviation);
                let rows = out.chunks_exact_mut(width).zip(deviation.chunks_exact(width));
                for ((out, deviation), weight) in rows.zip(weights) {
                    out.iter_mut().zip(deviation).for_each(|(out, deviation)| *out += weight * deviation);
                }
            }
        }
    }

    /// Adds to `keys` and `values`, the first tokens of what follows a text in layer `layer`, what the text does to them.
    pub fn shift_own(&self, weights: &Weights, layer: usize, [keys, values]: [&mut [f32]; 2]) {
        let mut deviation = Vec::new();
        for (number, &at) in weights.anchors.iter().enumerate() {
            let own = &self.0[at].own.layers[layer];
            for (which, (numbers, out)) in
                [(&own.keys, &mut *keys), (&own.values, &mut *values)].into_iter().enumerate()
            {
                let weights = &weights.channels[which][layer][number];
                deviation.resize(out.len(), 0.0);
                numbers.read(&mut deviation);
                let rows = out.chunks_exact_mut(weights.len()).zip(deviation.chunks_exact(weights.len()));
                for (out, deviation) in rows {
                    let terms = out.iter_mut().zip(deviation).zip(weights);
                    terms.for_each(|((out, deviation), weight)| *out += weight * deviation);
                }
            }
        }
    }
}
