//! The pairs of one sequence in one layer, and the statistics that its policy asked for.

use headwise_kernels::attention::{AttnSpec, HeadSum, Rows, RowsMut, Segment, Shape, StatsOut, attend, column_sums};
use headwise_kernels::kv::{Codec, KeyValues, StoreBytes};
use headwise_kernels::rope::Rope;

use super::QueryWindow;

/// Statistics a policy wants gathered; the store keeps them in step with the slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The last so many rotated queries.
    pub query_window: usize,
    /// Attention that every slot has received from all rows so far.
    pub column_sums: bool,
}

impl Needs {
    /// Everything that either wants.
    pub fn union(self, other: Self) -> Self {
        Self {
            query_window: self.query_window.max(other.query_window),
            column_sums: self.column_sums || other.column_sums,
        }
    }
}

/// The sizes of a layer's attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreShape {
    /// Query heads.
    pub heads: usize,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// The layer's own sliding window.
    pub window: Option<usize>,
}

/// Per-slot statistics of one key-value head.
#[derive(Clone, Debug, Default)]
pub struct HeadStatistics {
    /// Attention received by every slot, summed over rows and the query heads of the group.
    pub column_sums: Vec<f32>,
}

impl HeadStatistics {
    /// The statistics among these that `needs` names.
    fn only(&self, needs: Needs) -> Self {
        Self { column_sums: if needs.column_sums { self.column_sums.clone() } else { Vec::new() } }
    }

    fn compact(&mut self, keep: &[u32]) {
        if !self.column_sums.is_empty() {
            self.column_sums = keep.iter().map(|&slot| self.column_sums[slot as usize]).collect();
        }
    }

    fn bytes(&self) -> usize {
        self.column_sums.len() * size_of::<f32>()
    }
}

/// One layer of one sequence: a ragged store per key-value head.
#[derive(Clone, Debug)]
pub struct LayerStore {
    shape: StoreShape,
    needs: Needs,
    pairs: Vec<KeyValues>,
    statistics: Vec<HeadStatistics>,
    queries: QueryWindow,
    /// Unrotated keys of the first slots, from which they are moved without loss: `[kv_heads][slots][head_dim]`.
    first_keys: Vec<Vec<Vec<f32>>>,
    /// How the layer attends, from its last forward.
    attention: Option<(AttnSpec, Option<Rope>)>,
}

/// First tokens whose unrotated keys are kept when keys are moved.
const FIRST_KEYS: usize = 16;

impl LayerStore {
    /// An empty store that gathers `needs`; with `reindex` it can move keys.
    pub fn new(shape: StoreShape, codec: Codec, needs: Needs, reindex: bool) -> Self {
        Self {
            shape,
            needs,
            pairs: vec![KeyValues::new(codec, shape.head_dim, shape.head_dim); shape.kv_heads],
            statistics: vec![HeadStatistics::default(); shape.kv_heads],
            queries: QueryWindow::new(needs.query_window, shape.heads * shape.head_dim),
            first_keys: if reindex { vec![Vec::new(); shape.kv_heads] } else { Vec::new() },
            attention: None,
        }
    }

    /// The sizes of the layer.
    pub fn shape(&self) -> StoreShape {
        self.shape
    }

    /// What is gathered.
    pub fn needs(&self) -> Needs {
        self.needs
    }

    /// The pairs of every key-value head.
    pub fn pairs(&self) -> &[KeyValues] {
        &self.pairs
    }

    /// The statistics of every key-value head.
    pub fn statistics(&self) -> &[HeadStatistics] {
        &self.statistics
    }

    /// Pairs of the longest head.
    pub fn longest(&self) -> usize {
        self.pairs.iter().map(KeyValues::len).max().unwrap_or(0)
    }

    /// Memory held, by what it is for.
    pub fn bytes(&self) -> StoreBytes {
        let mut bytes = StoreBytes::default();
        self.pairs.iter().for_each(|pairs| bytes += pairs.bytes());
        let first: usize = self.first_keys.iter().flatten().map(|key| size_of_val(&key[..])).sum();
        bytes.statistics += self.queries.bytes() + first + self.statistics.iter().map(HeadStatistics::bytes).sum::<usize>();
        bytes
    }

    /// Takes over the pairs of `other`, and of its statistics those that this store gathers.
    pub(crate) fn adopt(&mut self, other: &Self) {
        self.pairs.clone_from(&other.pairs);
        self.queries = QueryWindow::new(self.needs.query_window, self.shape.heads * self.shape.head_dim);
        self.queries.extend(&other.queries.last(self.needs.query_window));
        for (own, other) in self.statistics.iter_mut().zip(&other.statistics) {
            *own = other.only(self.needs);
        }
        if !self.first_keys.is_empty() {
            self.first_keys.clone_from(&other.first_keys);
        }
        self.attention.clone_from(&other.attention);
    }

    /// Adds rows of pairs. `raw`, `key` and `value` are `[rows, kv_heads · head_dim]`, `key` rotated, `raw` not.
    pub(crate) fn append(&mut self, raw: &[f32], key: &[f32], value: &[f32], positions: &[i32]) {
        let head_dim = self.shape.head_dim;
        let width = self.shape.kv_heads * head_dim;
        for (row, &position) in positions.iter().enumerate() {
            for (head, pairs) in self.pairs.iter_mut().enumerate() {
                let channels = row * width + head * head_dim..row * width + (head + 1) * head_dim;
                pairs.append(&key[channels.clone()], &value[channels.clone()], position);
                if let Some(first) = self.first_keys.get_mut(head)
                    && first.len() < FIRST_KEYS
                    && first.len() == position as usize
                {
                    first.push(raw[channels].to_vec());
                }
            }
        }
    }

    /// Takes note of the rows that have just attended: `query` `[rows, heads · head_dim]`, rotated.
    pub(crate) fn observe(&mut self, query: &[f32], lse: &[f32], spec: &AttnSpec, rope: Option<&Rope>) {
        if self.needs.query_window > 0 {
            self.queries.extend(query);
        }
        if self.needs.column_sums {
            let sums = self.column_sums(query, lse, spec);
            for (statistics, sums) in self.statistics.iter_mut().zip(sums) {
                statistics.column_sums.resize(sums.len(), 0.0);
                statistics.column_sums.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
            }
        }
        if self.attention.is_none() {
            self.attention = Some((spec.clone(), rope.cloned()));
        }
    }

    /// Drops pairs that the layer's own sliding window will never see again; exact.
    pub(crate) fn leave_window(&mut self, position: i32) {
        let Some(window) = self.shape.window else { return };
        if self.longest() <= window + headwise_kernels::kv::PAGE {
            return;
        }
        let keep: Vec<Vec<u32>> = self
            .pairs
            .iter()
            .map(|pairs| {
                let gone = pairs.positions().partition_point(|&at| i64::from(at) <= i64::from(position) - window as i64);
                (gone as u32..pairs.len() as u32).collect()
            })
            .collect();
        self.compact(&keep);
    }

    /// Attention that every slot receives from the last `rows` queries: `[kv_heads][slots]`, summed over rows and the
    /// query heads of a group.
    pub fn window_attention(&self, rows: usize) -> Vec<Vec<f32>> {
        let shortest = self.pairs.iter().map(KeyValues::len).min().unwrap_or(0);
        let query = self.queries.last(rows.min(shortest));
        match &self.attention {
            Some((spec, _)) => self.column_sums(&query, &[], spec),
            None => self.pairs.iter().map(|pairs| vec![0.0; pairs.len()]).collect(),
        }
    }

    /// Sums of attention columns for the last rows of the text; `lse` of the rows, or empty to compute it.
    fn column_sums(&self, query: &[f32], lse: &[f32], spec: &AttnSpec) -> Vec<Vec<f32>> {
        let StoreShape { heads, kv_heads, head_dim, .. } = self.shape;
        let width = heads * head_dim;
        let shape = Shape { heads, kv_heads, head_dim, value_dim: head_dim };
        let rows = Rows { data: query, stride: width };
        let segment = Segment { rows: 0..query.len() / width, heads: &self.pairs };
        let mut stats = StatsOut::default();
        let lse = if lse.is_empty() {
            let mut spec = spec.clone();
            spec.want.lse = true;
            let mut out = vec![0.0; query.len()];
            let out = RowsMut { data: &mut out, stride: width };
            attend(&spec, shape, rows, std::slice::from_ref(&segment), out, &mut stats);
            &stats.lse
        } else {
            lse
        };
        let mut sums: Vec<Vec<f32>> = self.pairs.iter().map(|pairs| vec![0.0; pairs.len()]).collect();
        column_sums(spec, shape, rows, &segment, lse, HeadSum::Group, &mut sums);
        sums
    }

    /// Keeps the slots `keep` of every head, ascending.
    pub(crate) fn compact(&mut self, keep: &[Vec<u32>]) {
        for (first, keep) in self.first_keys.iter_mut().zip(keep) {
            let in_place = keep.iter().enumerate().take_while(|(slot, kept)| *slot == **kept as usize).count();
            first.truncate(in_place);
        }
        for ((pairs, statistics), keep) in self.pairs.iter_mut().zip(&mut self.statistics).zip(keep) {
            statistics.compact(keep);
            pairs.compact(keep);
        }
    }

    /// Moves every key so that positions are consecutive and end where they ended.
    ///
    /// Scores depend on distances only, so moving old keys up equals counting them from zero and the query with them.
    pub(crate) fn reindex(&mut self) {
        let Some((_, Some(rope))) = &self.attention else { return };
        for (head, pairs) in self.pairs.iter_mut().enumerate() {
            let first = self.first_keys.get(head).map_or(&[][..], Vec::as_slice);
            pairs.make_consecutive(rope, first);
        }
    }
}
