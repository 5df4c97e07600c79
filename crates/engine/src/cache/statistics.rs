//! What a store gathers for its policies, beside the pairs.

use headwise_kernels::kv::KeyBounds;

use super::{ChunkKeys, QueryMoments};

/// Statistics that a policy wants gathered; the store keeps them in step with the slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The last so many rotated queries.
    pub query_window: usize,
    /// Attention that every slot has received from all rows so far.
    pub column_sums: bool,
    /// Length of every key.
    pub key_norms: bool,
    /// Mean and covariance of the unrotated queries.
    pub query_moments: bool,
    /// Extremes of the keys of every full page.
    pub key_bounds: bool,
    /// Pairs of a chunk for which one key stands; none does if 0.
    pub chunk: usize,
}

impl Needs {
    /// Whether everything that `other` wants is among these.
    pub(crate) fn cover(self, other: Self) -> bool {
        self == self.union(other) && (other.chunk == 0 || self.chunk == other.chunk)
    }

    /// The same without the last queries.
    pub(crate) fn without_queries(self) -> Self {
        Self { query_window: 0, ..self }
    }

    /// Everything that either wants.
    pub fn union(self, other: Self) -> Self {
        Self {
            query_window: self.query_window.max(other.query_window),
            column_sums: self.column_sums || other.column_sums,
            key_norms: self.key_norms || other.key_norms,
            query_moments: self.query_moments || other.query_moments,
            key_bounds: self.key_bounds || other.key_bounds,
            chunk: self.chunk.max(other.chunk),
        }
    }
}

/// Statistics of the slots of one key-value head; those that nobody needs stay empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeadStatistics {
    /// Attention received by every slot, summed over rows and the query heads of the group.
    pub column_sums: Vec<f32>,
    /// Length `‖k‖₂` of every key, taken before it was stored.
    pub key_norms: Vec<f32>,
    /// Extremes of the keys of every full page.
    pub key_bounds: KeyBounds,
}

impl HeadStatistics {
    /// The statistics among these that `needs` names.
    pub(super) fn only(&self, needs: Needs) -> Self {
        let taken = |wanted: bool, statistic: &Vec<f32>| if wanted { statistic.clone() } else { Vec::new() };
        Self {
            column_sums: taken(needs.column_sums, &self.column_sums),
            key_norms: taken(needs.key_norms, &self.key_norms),
            key_bounds: if needs.key_bounds { self.key_bounds.clone() } else { KeyBounds::default() },
        }
    }

    /// Takes the column sums out, to be continued for `slots` slots; new ones start from zero.
    pub(super) fn take_column_sums(&mut self, slots: usize) -> Vec<f32> {
        let mut sums = std::mem::take(&mut self.column_sums);
        sums.resize(slots, 0.0);
        sums
    }

    /// Follows the pairs: keeps the slots `keep`.
    pub(super) fn compact(&mut self, keep: &[u32]) {
        for statistic in [&mut self.column_sums, &mut self.key_norms] {
            if !statistic.is_empty() {
                *statistic = keep.iter().map(|&slot| statistic[slot as usize]).collect();
            }
        }
        let in_place = keep.iter().enumerate().take_while(|(slot, kept)| *slot == **kept as usize).count();
        self.key_bounds.forget_from(in_place);
    }

    /// Memory held.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.column_sums[..]) + size_of_val(&self.key_norms[..]) + self.key_bounds.bytes()
    }
}

/// Statistics of a whole layer.
#[derive(Clone, Debug, Default)]
pub(super) struct LayerStatistics {
    pub heads: Vec<HeadStatistics>,
    /// Of every query head; empty unless needed.
    pub queries: Vec<QueryMoments>,
    /// Of every key-value head; empty unless needed.
    pub chunks: ChunkKeys,
}

impl LayerStatistics {
    pub fn new(needs: Needs, heads: usize, kv_heads: usize, head_dim: usize) -> Self {
        let queries = if needs.query_moments { vec![QueryMoments::new(head_dim); heads] } else { Vec::new() };
        let key_bounds = if needs.key_bounds { KeyBounds::new(head_dim) } else { KeyBounds::default() };
        Self {
            heads: vec![HeadStatistics { key_bounds, ..HeadStatistics::default() }; kv_heads],
            queries,
            chunks: ChunkKeys::new(needs.chunk, kv_heads),
        }
    }

    /// The statistics among these that `needs` names.
    pub fn only(&self, needs: Needs) -> Self {
        Self {
            heads: self.heads.iter().map(|head| head.only(needs)).collect(),
            queries: if needs.query_moments { self.queries.clone() } else { Vec::new() },
            chunks: if needs.chunk > 0 { self.chunks.clone() } else { ChunkKeys::default() },
        }
    }

    pub fn bytes(&self) -> usize {
        let slots: usize = self.heads.iter().map(HeadStatistics::bytes).sum();
        slots + self.queries.iter().map(QueryMoments::bytes).sum::<usize>() + self.chunks.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_follow_their_slots() {
        let mut head = HeadStatistics {
            key_norms: vec![1.0, 2.0, 3.0, 4.0],
            column_sums: vec![10.0, 20.0, 30.0, 40.0],
            ..HeadStatistics::default()
        };
        head.compact(&[0, 2]);
        assert_eq!((&head.column_sums[..], &head.key_norms[..]), (&[10.0, 30.0][..], &[1.0, 3.0][..]));
        assert_eq!(head.bytes(), 4 * 4);
        assert_eq!(head.take_column_sums(3), [10.0, 30.0, 0.0]);
    }

    #[test]
    fn only_what_is_needed_is_taken() {
        let head = HeadStatistics { key_norms: vec![1.0], column_sums: vec![2.0], ..HeadStatistics::default() };
        let taken = head.only(Needs { key_norms: true, ..Needs::default() });
        assert_eq!(taken, HeadStatistics { key_norms: vec![1.0], ..HeadStatistics::default() });
    }
}
