//! The pairs of one sequence in one layer, and the statistics that its policy asked for.
//!
//! A forward calls [`LayerStore::append`], attends over [`LayerStore::pairs`], and calls [`LayerStore::observe`]. What a
//! policy keeps per slot lives here and is permuted with the slots; a policy owns nothing that is indexed by slot.

use headwise_kernels::attention::{AttnSpec, Shape};
use headwise_kernels::kv::{Codec, KeyValues, StoreBytes};
use headwise_kernels::parallel;
use headwise_kernels::profile;
use headwise_kernels::rope::Rope;
use headwise_nn::block::BlockSpec;
use headwise_nn::mixer::{Heads, MixerState};

use super::act::Calibration;
use super::compensation::Dropped;
use super::query_moments::FIRST_QUERIES;
use super::received::{WaitingRows, log_sum_exp};
use super::statistics::LayerStatistics;
use super::{ChunkKeys, HeadStatistics, Memory, Needs, PairsRead, QueryMoments, QueryWindow, WholeShare};

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

impl StoreShape {
    /// Of `layer` in a model of `dim` channels; a layer that does not attend has no heads.
    pub fn of(layer: &BlockSpec, dim: usize) -> Self {
        let mixer = layer.mixer.softmax();
        let Heads { heads, kv_heads, head_dim } = mixer.map_or(Heads::default(), |mixer| mixer.sizes(dim));
        Self { heads, kv_heads, head_dim, window: mixer.and_then(|mixer| mixer.window) }
    }

    /// Whether every query sees the whole text. Policies leave other layers alone: what those keep is bounded already.
    pub fn sees_everything(&self) -> bool {
        self.kv_heads > 0 && self.window.is_none()
    }

    /// Query heads that share a key-value head.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// The heads as the kernels see them.
    pub(super) fn of_heads(&self) -> Shape {
        let Self { heads, kv_heads, head_dim, .. } = *self;
        Shape { heads, kv_heads, head_dim, value_dim: head_dim }
    }
}

/// Rows that enter a layer.
#[derive(Clone, Copy, Debug)]
pub struct NewPairs<'a> {
    /// Keys before rotation, `[rows, kv_heads · head_dim]`.
    pub raw_key: &'a [f32],
    /// Rotated keys, `[rows, kv_heads · head_dim]`.
    pub key: &'a [f32],
    /// Values, `[rows, kv_heads · head_dim]`.
    pub value: &'a [f32],
    /// Text positions of the rows, ascending and after the last one appended.
    pub positions: &'a [i32],
}

/// Rows that have attended.
#[derive(Clone, Copy, Debug)]
pub struct Attended<'a> {
    /// Queries before rotation, `[rows, heads · head_dim]`.
    pub raw_query: &'a [f32],
    /// Rotated queries, `[rows, heads · head_dim]`.
    pub query: &'a [f32],
    /// Log-sum-exp of their scores, `[rows, heads]`; if empty it is computed when needed.
    pub lse: &'a [f32],
}

/// One layer of one sequence: a ragged store per key-value head.
#[derive(Clone, Debug)]
pub struct LayerStore {
    layer: usize,
    shape: StoreShape,
    needs: Needs,
    pub(super) pairs: Vec<KeyValues>,
    /// What the mixer keeps of the text besides pairs.
    pub(crate) state: MixerState,
    pub(super) statistics: LayerStatistics,
    pub(super) queries: QueryWindow,
    pub(super) waiting: WaitingRows,
    /// What the policy of reading remembers.
    pub(super) memory: Memory,
    /// What the queries after the prompt have read.
    pub(crate) pairs_read: PairsRead,
    /// Unrotated keys of the first slots, from which they are moved without loss: `[kv_heads][slots][head_dim]`.
    pub(super) first_keys: Vec<Vec<Vec<f32>>>,
    /// How the layer attends, from its first forward.
    attention: Option<(AttnSpec, Option<Rope>)>,
    /// The pairs that a policy dropped and stands in for, of every key-value head.
    pub(super) dropped: Vec<Dropped>,
    /// Where attention is moved once it is there.
    pub(super) calibration: Option<Calibration>,
    /// Which heads keep everything, where a policy makes the difference.
    whole: WholeShare,
    /// Entropy of the queries of every key-value head, if the policy asked for it.
    entropies: Vec<f64>,
    /// Keys that every key-value head sees, if the policy asked and the layer has ALiBi.
    scopes: Vec<usize>,
    pub(super) tokens: usize,
    pub(super) prompt_tokens: usize,
}

/// First tokens whose unrotated keys are kept when keys are moved.
pub(super) const FIRST_KEYS: usize = 16;

/// Rows that may wait to be added to the column sums.
const WAITING_ROWS: usize = 32;

impl LayerStore {
    /// An empty store for layer `layer` that gathers `needs`; with `reindex` it can move keys.
    pub fn new(layer: usize, shape: StoreShape, codec: Codec, needs: Needs, reindex: bool) -> Self {
        let StoreShape { heads, kv_heads, head_dim, .. } = shape;
        Self {
            layer,
            shape,
            needs,
            pairs: vec![KeyValues::new(codec, head_dim, head_dim); kv_heads],
            state: MixerState::default(),
            statistics: LayerStatistics::new(needs, heads, kv_heads, head_dim),
            queries: QueryWindow::new(needs.query_window, heads * head_dim),
            waiting: WaitingRows::default(),
            memory: Memory::default(),
            pairs_read: PairsRead::default(),
            first_keys: if reindex { vec![Vec::new(); kv_heads] } else { Vec::new() },
            attention: None,
            dropped: vec![Dropped::default(); kv_heads],
            calibration: None,
            whole: WholeShare::default(),
            entropies: Vec::new(),
            scopes: Vec::new(),
            tokens: 0,
            prompt_tokens: 0,
        }
    }

    /// Says what the mixer keeps of a text besides pairs, before the first token.
    pub fn with_state(mut self, state: MixerState) -> Self {
        self.state = state;
        self
    }

    /// Says which heads keep everything.
    pub fn with_whole_heads(mut self, whole: WholeShare) -> Self {
        self.whole = whole;
        self
    }

    /// Says how far the queries of every key-value head spread.
    pub fn with_entropies(mut self, entropies: Vec<f64>) -> Self {
        self.entropies = entropies;
        self
    }

    /// Says how many keys every key-value head sees.
    pub(super) fn with_scopes(mut self, scopes: Vec<usize>) -> Self {
        self.scopes = scopes;
        self
    }

    /// Keys that every key-value head sees; empty without ALiBi, and unless the policy asked.
    pub fn scopes(&self) -> &[usize] {
        &self.scopes
    }

    /// Entropy of the queries of every key-value head; empty unless the policy asked for it.
    pub fn entropies(&self) -> &[f64] {
        &self.entropies
    }

    /// Says where attention is moved.
    pub(super) fn with_calibration(mut self, calibration: Option<Calibration>) -> Self {
        self.calibration = calibration;
        self
    }

    /// Which heads keep everything, where a policy makes the difference.
    pub fn whole_heads(&self) -> &WholeShare {
        &self.whole
    }

    /// Index of the layer in the model.
    pub fn layer(&self) -> usize {
        self.layer
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

    /// The statistics of every key-value head, complete after [`LayerStore::gather`].
    pub fn statistics(&self) -> &[HeadStatistics] {
        &self.statistics.heads
    }

    /// Mean and covariance of the unrotated queries of every query head, if gathered.
    pub fn query_moments(&self) -> &[QueryMoments] {
        &self.statistics.queries
    }

    /// Keys that stand for chunks of pairs, if gathered.
    pub fn chunk_keys(&self) -> &ChunkKeys {
        &self.statistics.chunks
    }

    /// How the layer attends and rotates; none before its first forward.
    pub fn attention(&self) -> Option<(&AttnSpec, Option<&Rope>)> {
        self.attention.as_ref().map(|(spec, rope)| (spec, rope.as_ref()))
    }

    /// Tokens of text that have been appended: the position of the next one.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Tokens of the prompt, as far as it has been read.
    pub(super) fn prompt_tokens(&self) -> usize {
        self.prompt_tokens
    }

    /// Notes that all tokens so far belong to the prompt.
    pub(super) fn note_prompt(&mut self) {
        self.prompt_tokens = self.tokens;
    }

    /// Bytes of a pair as it is stored.
    pub(crate) fn pair_bytes(&self) -> usize {
        let head_dim = self.shape.head_dim;
        self.pairs.first().map_or(0, |pairs| pairs.codec().pair_bytes(head_dim, head_dim))
    }

    /// Pairs of the longest head.
    pub fn longest(&self) -> usize {
        self.pairs.iter().map(KeyValues::len).max().unwrap_or(0)
    }

    /// Memory held, by what it is for.
    pub fn bytes(&self) -> StoreBytes {
        let mut bytes = self.bytes_beside_pairs();
        self.pairs.iter().for_each(|pairs| bytes += pairs.bytes());
        bytes
    }

    /// Memory of `forks` of one layer together: pages that they share count once.
    pub(crate) fn bytes_together(forks: &[&Self]) -> StoreBytes {
        let mut bytes = StoreBytes::default();
        forks.iter().for_each(|fork| bytes += fork.bytes_beside_pairs());
        for head in 0..forks.first().map_or(0, |fork| fork.pairs.len()) {
            bytes += KeyValues::bytes_together(forks.iter().map(|fork| &fork.pairs[head]));
        }
        bytes
    }

    fn bytes_beside_pairs(&self) -> StoreBytes {
        let mut bytes = StoreBytes::default();
        self.dropped.iter().for_each(|dropped| bytes += dropped.bytes());
        let first: usize = self.first_keys.iter().flatten().map(|key| size_of_val(&key[..])).sum();
        bytes.statistics += self.queries.bytes() + self.waiting.bytes() + first + self.statistics.bytes();
        bytes.statistics += self.memory.bytes() + self.calibration.as_ref().map_or(0, Calibration::bytes);
        bytes.states = self.state.bytes();
        bytes
    }

    /// Takes over the pairs of `other`, and of its statistics those that this store gathers.
    pub(crate) fn adopt(&mut self, other: &Self) {
        self.pairs.clone_from(&other.pairs);
        self.state.clone_from(&other.state);
        self.dropped.clone_from(&other.dropped);
        self.queries = QueryWindow::new(self.needs.query_window, self.shape.heads * self.shape.head_dim);
        self.queries.extend(&other.queries.last(self.needs.query_window));
        self.waiting = if self.needs.column_sums { other.waiting.clone() } else { WaitingRows::default() };
        self.statistics = other.statistics.only(self.needs);
        self.memory = Memory::default();
        if !self.first_keys.is_empty() {
            self.first_keys.clone_from(&other.first_keys);
        }
        self.attention.clone_from(&other.attention);
        (self.tokens, self.prompt_tokens) = (other.tokens, other.prompt_tokens);
    }

    /// Lets go of the last queries, which rows that follow will bring again.
    pub(crate) fn forget_queries(&mut self) {
        self.queries = QueryWindow::new(self.needs.query_window, self.shape.heads * self.shape.head_dim);
    }

    /// Attends as `other`, a store of the same layer, does.
    pub(crate) fn attend_as(&mut self, other: &Self) {
        self.attention.clone_from(&other.attention);
    }

    /// Adds pairs at the end.
    pub fn append(&mut self, new: NewPairs<'_>) {
        let head_dim = self.shape.head_dim;
        let width = self.shape.kv_heads * head_dim;
        for (row, &position) in new.positions.iter().enumerate() {
            for (head, pairs) in self.pairs.iter_mut().enumerate() {
                let channels = row * width + head * head_dim..row * width + (head + 1) * head_dim;
                let key = &new.key[channels.clone()];
                pairs.push(key, &new.value[channels.clone()], position);
                if self.needs.key_norms {
                    self.statistics.heads[head].key_norms.push(super::knorm::length(key));
                }
                if let Some(first) = self.first_keys.get_mut(head)
                    && first.len() < FIRST_KEYS
                    && first.len() == position as usize
                {
                    first.push(new.raw_key[channels].to_vec());
                }
            }
        }
        // Rows may have been left out: what counts is where the last one stands.
        self.tokens = new.positions.last().map_or(self.tokens, |&last| last as usize + 1);
        self.bound_keys();
    }

    /// Brings the bounds of keys up to date with the pairs.
    pub(super) fn bound_keys(&mut self) {
        if self.needs.key_bounds {
            let heads = self.statistics.heads.iter_mut().zip(&self.pairs);
            heads.for_each(|(head, pairs)| head.key_bounds.update(pairs));
        }
    }

    /// Makes the keys of chunks that are full, with the rotated queries of the rows that were appended last.
    pub(super) fn extend_chunks(&mut self, queries: &[f32], spec: &AttnSpec) {
        let rope = self.attention.as_ref().and_then(|(_, rope)| rope.as_ref());
        self.statistics.chunks.extend(self.shape, queries, self.tokens);
        self.statistics.chunks.update(self.shape, &self.pairs, spec, rope);
    }

    /// Takes note of the rows that were appended last, which have just attended as `spec` and `rope` say.
    pub fn observe(&mut self, rows: Attended<'_>, spec: &AttnSpec, rope: Option<&Rope>) {
        if self.attention.is_none() {
            self.attention = Some((spec.clone(), rope.cloned()));
        }
        self.gather_statistics(rows, spec);
        self.pairs.iter_mut().for_each(KeyValues::settle);
        self.bound_keys();
    }

    /// Gathers what is needed of rows that have attended.
    fn gather_statistics(&mut self, rows: Attended<'_>, spec: &AttnSpec) {
        if self.needs == Needs::default() {
            return;
        }
        let _span = profile::whole("eviction, statistics");
        self.queries.extend(rows.query);
        self.gather_moments(rows.raw_query);
        self.extend_chunks(rows.query, spec);
        if self.needs.column_sums {
            let computed = match rows.lse {
                [] => log_sum_exp(self.shape, &self.pairs, rows.query, spec),
                _ => Vec::new(),
            };
            self.waiting.extend(rows.query, if rows.lse.is_empty() { &computed } else { rows.lse });
            // Keys that are about to be coded have to be seen as the rows have seen them.
            let coded = self.pairs.iter().any(|pairs| pairs.codec().full_precision_window().is_some());
            if coded || self.waiting.len() >= WAITING_ROWS * self.shape.heads {
                self.gather();
            }
        }
    }

    /// Brings the statistics up to date with all rows observed.
    pub fn gather(&mut self) {
        if let (1.., Some((spec, _))) = (self.waiting.len(), &self.attention) {
            let _span = profile::whole("eviction, statistics");
            let heads = &mut self.statistics.heads;
            let mut totals: Vec<Vec<f32>> =
                heads.iter_mut().zip(&self.pairs).map(|(head, pairs)| head.take_column_sums(pairs.len())).collect();
            self.waiting.add_to(&mut totals, self.shape, &self.pairs, spec);
            heads.iter_mut().zip(totals).for_each(|(head, totals)| head.column_sums = totals);
        }
    }

    fn gather_moments(&mut self, raw_query: &[f32]) {
        let StoreShape { heads, head_dim, .. } = self.shape;
        let width = heads * head_dim;
        let before = self.tokens - raw_query.len() / width;
        let skipped = FIRST_QUERIES.saturating_sub(before);
        parallel::pieces(&mut self.statistics.queries, 1, |head, moments| {
            for row in raw_query.chunks_exact(width).skip(skipped) {
                moments[0].add(&row[head * head_dim..][..head_dim]);
            }
        });
    }

    /// Takes note that `tokens` tokens have gone through the layer, where no pairs of them say so.
    pub(crate) fn note_tokens(&mut self, tokens: usize) {
        if self.pairs.is_empty() {
            self.tokens = tokens;
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
                let gone =
                    pairs.positions().partition_point(|&at| i64::from(at) <= i64::from(position) - window as i64);
                (gone as u32..pairs.len() as u32).collect()
            })
            .collect();
        self.compact(&keep);
    }

    /// Keeps the slots `keep` of every head, ascending.
    pub fn compact(&mut self, keep: &[Vec<u32>]) {
        self.gather();
        let _span = profile::whole("eviction, compaction");
        let in_place = |keep: &Vec<u32>| keep.iter().zip(0..).take_while(|(kept, slot)| *kept == slot).count();
        let in_place: Vec<usize> = keep.iter().map(in_place).collect();
        self.first_keys.iter_mut().zip(&in_place).for_each(|(first, in_place)| first.truncate(*in_place));
        self.statistics.chunks.forget_from(&in_place, self.shape.head_dim);
        for ((pairs, statistics), keep) in self.pairs.iter_mut().zip(&mut self.statistics.heads).zip(keep) {
            statistics.compact(keep);
            pairs.compact(keep);
        }
        if let Some(calibration) = &mut self.calibration {
            calibration.compact(keep);
        }
        self.memory = Memory::default();
        self.bound_keys();
    }

    /// Whether the layer can be taken back to any beginning of what it has read, as long as no policy lets go of anything.
    pub(crate) fn can_be_taken_back(&self) -> bool {
        self.shape.window.is_none() && self.state.is_empty()
    }

    /// How many more rows can be read and then forgotten.
    pub(crate) fn rows_until_leaving(&self) -> usize {
        if !self.state.is_empty() {
            return 0;
        }
        let most = self.shape.window.map_or(usize::MAX, |window| window + headwise_kernels::kv::PAGE);
        most - self.longest().min(most)
    }

    /// Forgets the text from token `tokens` on. Exact where nothing that was held then has been let go, coded anew or added to:
    /// [`CachePolicy::check_rollback`](super::CachePolicy::check_rollback) and [`LayerStore::rows_until_leaving`] say where.
    pub(crate) fn rollback(&mut self, tokens: usize) {
        for pairs in &mut self.pairs {
            pairs.truncate(pairs.positions().partition_point(|&at| (at as usize) < tokens));
        }
        self.tokens = self.tokens.min(tokens);
    }

    /// Moves every key so that positions are consecutive and end where they ended.
    ///
    /// Scores depend on distances only, so moving old keys up equals counting them from zero and the query with them.
    pub fn reindex(&mut self) {
        let Some((_, Some(rope))) = &self.attention else { return };
        let _span = profile::whole("eviction, moving keys");
        for (head, pairs) in self.pairs.iter_mut().enumerate() {
            let first = self.first_keys.get(head).map_or(&[][..], Vec::as_slice);
            pairs.make_consecutive(rope, first);
            self.statistics.heads[head].key_bounds.forget_from(0);
        }
        self.bound_keys();
    }
}
