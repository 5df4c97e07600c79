//! A layer's store as bytes: the pairs, and all that is gathered and remembered beside them.
//!
//! Bounds of keys are not written: they are those of the keys.

use headwise_kernels::kv::KeyValues;
use headwise_kernels::kv::saved::{put, put_list, take, take_count, take_list};

use super::store::FIRST_KEYS;
use super::{LayerStore, PairsRead};

/// Takes a list of slots of `pairs`, ascending, off the front of `bytes`.
pub(super) fn take_slots(bytes: &mut &[u8], pairs: &KeyValues) -> Option<Vec<u32>> {
    let slots: Vec<u32> = take_list(bytes, pairs.len())?;
    let among = slots.last().is_none_or(|&slot| (slot as usize) < pairs.len());
    (among && slots.is_sorted_by(|a, b| a < b)).then_some(slots)
}

impl LayerStore {
    /// Appends everything to `out`.
    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        put(out, &[self.tokens() as u64, self.prompt_tokens() as u64]);
        put(out, &[self.pairs_read.read as u64, self.pairs_read.held as u64]);
        self.state.parts().for_each(|part| put(out, part));
        for (pairs, statistics) in self.pairs().iter().zip(self.statistics()) {
            pairs.save(out);
            put_list(out, &statistics.column_sums);
            put_list(out, &statistics.key_norms);
        }
        self.query_moments().iter().for_each(|moments| moments.save(out));
        put_list(out, &self.queries.last(self.needs().query_window));
        self.waiting.save(out);
        for first in &self.first_keys {
            put(out, &[first.len() as u64]);
            first.iter().for_each(|key| put(out, key));
        }
        self.dropped.iter().for_each(|dropped| dropped.save(out));
        self.statistics.chunks.save(out);
        self.calibration.iter().for_each(|calibration| calibration.save(out));
        self.memory.save(out);
    }

    /// Takes what [`LayerStore::save`] wrote of a text of `tokens` tokens off the front of `bytes` into this store, which is empty and
    /// for the same policy. `None` if `bytes` are something else; the store is of no use then.
    pub(crate) fn load(&mut self, bytes: &mut &[u8], tokens: usize) -> Option<()> {
        let (shape, needs) = (self.shape(), self.needs());
        let width = shape.heads * shape.head_dim;
        self.tokens = take_count(bytes, tokens).filter(|&found| found == tokens)?;
        self.prompt_tokens = take_count(bytes, tokens)?;
        self.pairs_read = PairsRead { read: take_count(bytes, usize::MAX)?, held: take_count(bytes, usize::MAX)? };
        for part in self.state.parts_mut() {
            part.copy_from_slice(&take::<f32>(bytes, part.len())?);
        }
        for (pairs, statistics) in self.pairs.iter_mut().zip(&mut self.statistics.heads) {
            *pairs = pairs.load(bytes, tokens)?;
            statistics.column_sums = take_list(bytes, if needs.column_sums { pairs.len() } else { 0 })?;
            statistics.key_norms = take_list(bytes, pairs.len())?;
            if statistics.key_norms.len() != if needs.key_norms { pairs.len() } else { 0 } {
                return None;
            }
        }
        self.statistics.queries.iter_mut().try_for_each(|moments| moments.load(bytes))?;
        let queries: Vec<f32> = take_list(bytes, needs.query_window * width)?;
        let shortest = self.pairs.iter().map(KeyValues::len).min().unwrap_or(0);
        self.waiting.load(bytes, shape, shortest)?;
        for first in &mut self.first_keys {
            let count = take_count(bytes, FIRST_KEYS)?;
            *first = (0..count).map(|_| take(bytes, shape.head_dim)).collect::<Option<_>>()?;
        }
        self.dropped.iter_mut().try_for_each(|dropped| dropped.load(bytes, shape.head_dim))?;
        self.statistics.chunks.load(bytes, shape, &self.pairs, tokens)?;
        if let Some(calibration) = &mut self.calibration {
            calibration.load(bytes, &self.pairs)?;
        }
        self.memory.load(bytes, width, &self.pairs, tokens)?;
        if !queries.len().is_multiple_of(width) {
            return None;
        }
        self.queries.extend(&queries);
        self.bound_keys();
        Some(())
    }
}
