//! One forward of the model over chunks of many sequences.

use burn::tensor::Tensor;
use headwise_kernels::attention::{self as kernel, AttnSpec, Rows, RowsMut, Shape, StatsOut};
use headwise_kernels::kv::Codec;
use headwise_kernels::parallel;
use headwise_kernels::profile::{self, Work};
use headwise_kernels::rope::Rope;
use headwise_models::decoder::DecoderSpec;
use headwise_nn::block::BlockSpec;
use headwise_nn::mixer::{LayerCache, MixContext, MixerState, Projected, Segment};
use headwise_ops::host::Host;

use crate::adapter::adapted_rows;
use crate::cache::{Attended, LayerStore, Needs, NewPairs, Place, Read, Stage, StoreShape};
use crate::experts::Recent;
use crate::pine::{LayerAttention, RawQueries};
use crate::{Engine, EngineError, Sequence};

/// Which rows of a chunk to return scores for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// None: the chunk is only read.
    Nothing,
    /// The last row.
    Last,
    /// Every row.
    All,
}

/// The next tokens of one sequence.
#[derive(Debug)]
pub struct Chunk<'a> {
    /// The text they continue.
    pub sequence: &'a mut Sequence,
    /// The tokens.
    pub ids: &'a [u32],
    /// Whether the prompt ends with them: policies compress then, and hold their budget from there on.
    pub prompt_ends: bool,
    /// The scores to return.
    pub wanted: Wanted,
}

/// Scores of the next token, `[rows, vocabulary]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logits {
    /// The scores, row after row.
    pub values: Vec<f32>,
    /// Length of a row.
    pub vocabulary: usize,
}

impl Logits {
    /// Every row.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.vocabulary.max(1))
    }

    /// The last row; empty when no scores were wanted.
    pub fn last(&self) -> &[f32] {
        &self.values[self.values.len().saturating_sub(self.vocabulary)..]
    }
}

/// Tokens of a prompt that are read at a time.
pub(crate) const PROMPT_CHUNK: usize = 512;

/// Where every layer of `model` stands among those whose caches policies may cut.
pub(crate) fn places(model: &DecoderSpec) -> impl Iterator<Item = Place> {
    let evicting = |layer: &&BlockSpec| StoreShape::of(layer, model.dim).sees_everything();
    let layers = model.layers.iter().filter(evicting).count();
    let stores = model.layers.iter().map(|layer| StoreShape::of(layer, model.dim).kv_heads).sum();
    let before = move |index: usize| model.layers[..index].iter().filter(evicting).count();
    (0..model.layers.len()).map(move |index| Place { layer: before(index), layers, stores })
}

impl Engine {
    /// Reads all of `ids` as the rest of the prompt of `sequence`; returns the scores after the last token.
    ///
    /// A policy that reads only a part of prompts chooses it here. `progress` is told how many tokens have been read after every
    /// chunk.
    pub fn prefill(
        &self,
        sequence: &mut Sequence,
        ids: &[u32],
        mut progress: impl FnMut(usize),
    ) -> Result<Logits, EngineError> {
        let mut logits = Logits::default();
        self.check_text(sequence.tokens, ids)?;
        let kept = sequence.choose_tokens(self, ids)?;
        let ids = kept.as_deref().unwrap_or(ids);
        if let (0, Some(stages)) = (sequence.tokens, sequence.policy.clone().stages()) {
            return self.prefill_in_stages(sequence, ids, stages, progress);
        }
        let mut read = 0;
        for chunk in ids.chunks(PROMPT_CHUNK) {
            read += chunk.len();
            let last = read == ids.len();
            let wanted = if last { Wanted::Last } else { Wanted::Nothing };
            let chunk = Chunk { sequence: &mut *sequence, ids: chunk, prompt_ends: last, wanted };
            logits = self.forward(&mut [chunk])?.pop().unwrap_or_default();
            progress(read);
        }
        Ok(logits)
    }

    /// Reads `ids` in the first `layers` layers only, which gather `needs` and store pairs as `codec`.
    pub(crate) fn read_first_layers(
        &self,
        ids: &[u32],
        codec: Codec,
        needs: Needs,
        layers: usize,
    ) -> Result<Sequence, EngineError> {
        let mut sequence = Sequence::partial(self.spec(), codec, needs, layers);
        self.read_on(&mut sequence, ids)?;
        Ok(sequence)
    }

    /// Reads `ids` into `sequence`, whose prompt does not end with them.
    pub(crate) fn read_on(&self, sequence: &mut Sequence, ids: &[u32]) -> Result<(), EngineError> {
        for ids in ids.chunks(PROMPT_CHUNK) {
            self.forward(&mut [Chunk { sequence, ids, prompt_ends: false, wanted: Wanted::Nothing }])?;
        }
        Ok(())
    }

    /// Runs the layers once over the whole text `ids`, known to be one that the model can read, with `cache` in the place of
    /// stores; returns the residual stream after the last, `[1, tokens, dim]`. `progress` is told how many layers are done.
    pub fn observe<C: LayerCache + Send>(
        &self,
        ids: &[u32],
        cache: &mut C,
        mut progress: impl FnMut(usize) + Send,
    ) -> Tensor<3> {
        let positions: Vec<i32> = (0..ids.len() as i32).collect();
        let segments = [Segment { sequence: 0, rows: 0..ids.len() }];
        self.install(|| {
            let mut x = self.model.embed(ids, &positions, &self.device);
            for layer in 0..self.spec().layers.len() {
                let cache: &mut dyn LayerCache = &mut *cache;
                let mut ctx = MixContext { layer, cache: Some(cache), ..MixContext::new(&positions, &segments) };
                x = self.model.layer(layer, x, &mut ctx);
                progress(layer + 1);
            }
            x
        })
    }

    /// Continues `sequence` by one token; returns the scores after it.
    pub fn step(&self, sequence: &mut Sequence, id: u32) -> Result<Logits, EngineError> {
        let chunk = Chunk { sequence, ids: &[id], prompt_ends: true, wanted: Wanted::Last };
        Ok(self.forward(&mut [chunk])?.pop().unwrap_or_default())
    }

    /// Runs the model once over all `chunks`; returns the wanted scores of each.
    ///
    /// Every sequence gets what it would get alone, bit for bit. On an error nothing has changed.
    pub fn forward(&self, chunks: &mut [Chunk<'_>]) -> Result<Vec<Logits>, EngineError> {
        let scores = self.scores(chunks)?;
        let logits = |chunk| Logits { values: scores.of(chunk).to_vec(), vocabulary: scores.vocabulary };
        Ok((0..chunks.len()).map(logits).collect())
    }

    /// The same without copies of the scores.
    pub(crate) fn scores(&self, chunks: &mut [Chunk<'_>]) -> Result<Scores, EngineError> {
        for chunk in chunks.iter() {
            self.check_text(chunk.sequence.tokens, chunk.ids)?;
        }
        Ok(self.install(|| self.run(chunks)))
    }

    fn run(&self, chunks: &mut [Chunk<'_>]) -> Scores {
        let batch = Batch::new(chunks);
        let x = self.run_layers(chunks, &batch);
        let values = (!batch.wanted.is_empty()).then(|| {
            let _span = profile::whole("output head");
            Host::new(self.model.head(x, &batch.wanted))
        });
        Scores { values, counts: batch.counts, vocabulary: self.spec().vocabulary }
    }

    /// Runs the layers once over all `chunks`; returns what the output head reads after every token of all, `[rows, dim]`.
    pub(crate) fn hidden(&self, chunks: &mut [Chunk<'_>]) -> Vec<f32> {
        self.install(|| {
            let batch = Batch::new(chunks);
            let x = self.run_layers(chunks, &batch);
            Host::new(self.model.normed(x.squeeze_dim(0))).as_slice().to_vec()
        })
    }

    /// The residual stream after the last layer, `[1, rows, dim]`.
    fn run_layers(&self, chunks: &mut [Chunk<'_>], batch: &Batch) -> Tensor<3> {
        if let Some(experts) = &self.experts {
            experts.begin(chunks.iter().flat_map(|chunk| {
                let next = |recent: &mut Recent, &id: &u32| {
                    *recent = recent.with(id);
                    Some(*recent)
                };
                chunk.ids.iter().scan(chunk.sequence.recent, next)
            }));
        }
        let mut x = self.model.embed(&batch.ids, &batch.positions, &self.device);
        // A sequence that is read only to choose tokens has the stores of the first layers. Of the last of these the queries and keys are
        // of interest, not what it says: there is no layer to say it to.
        let adapters = adapted_rows(chunks, &batch.segments);
        let layers = chunks.iter().map(|chunk| chunk.sequence.layers.len()).min().unwrap_or(0);
        for (index, place) in places(self.spec()).enumerate().take(layers) {
            let says_nothing = layers < self.spec().layers.len() && index + 1 == layers;
            let mut cache = Stores { says_nothing, ..Stores::new(chunks, &self.masked) };
            let mut ctx = MixContext {
                layer: index,
                cache: Some(&mut cache),
                adapters: &adapters,
                ..MixContext::new(&batch.positions, &batch.segments)
            };
            x = match says_nothing {
                true => self.model.mix(index, x, &mut ctx),
                false => self.model.layer(index, x, &mut ctx),
            };
            for chunk in chunks.iter_mut() {
                chunk.hold(index, place);
            }
        }
        parallel::pieces(chunks, APPENDED_TOGETHER, |_, chunks| chunks.iter_mut().for_each(Chunk::finish));
        x
    }
}

impl Chunk<'_> {
    fn stage(&self) -> Stage {
        match (self.sequence.prompt_ended, self.prompt_ends) {
            (true, _) => Stage::Decode,
            (false, true) => Stage::PromptEnd,
            (false, false) => Stage::Prompt,
        }
    }

    /// Lets the policy evict from layer `index`, which has just attended.
    pub(crate) fn hold(&mut self, index: usize, place: Place) {
        let stage = self.stage();
        let tokens = self.sequence.tokens + self.ids.len();
        let policy = self.sequence.policy.clone();
        let store = &mut self.sequence.layers[index];
        store.note_tokens(tokens);
        store.leave_window(tokens as i32 - 1);
        // Of what never lets go of pairs, the end of a forward is the peak.
        if stage != Stage::Decode && policy.evicts() {
            self.sequence.note_peak();
        }
        let store = &mut self.sequence.layers[index];
        policy.hold(store, place, tokens, stage);
    }

    /// The store of layer `index`.
    pub(crate) fn store(&self, index: usize) -> &LayerStore {
        &self.sequence.layers[index]
    }

    /// What the `rows` rows that were appended last to layer `index` read; `queries` are rotated, and as they were before.
    fn reads(&mut self, index: usize, rows: usize, queries: [&[f32]; 2], spec: &AttnSpec) -> Vec<Read> {
        let policy = self.sequence.policy.clone();
        let decoding = self.stage() == Stage::Decode;
        let store = &mut self.sequence.layers[index];
        // A layer with a sliding window or a mask of blocks reads little already.
        let bounded = store.shape().window.is_some() || spec.blocks.is_some();
        let reads = match policy.selector() {
            Some(selector) if decoding && !bounded => store.reads(selector, queries, spec),
            _ => vec![Read { rows: 0..rows, pairs: None }],
        };
        if decoding {
            store.count_reads(&reads);
        }
        reads
    }

    /// Moves the text on.
    pub(crate) fn finish(&mut self) {
        self.sequence.tokens += self.ids.len();
        self.ids.iter().for_each(|&id| self.sequence.recent.push(id));
        self.sequence.prompt_ended |= self.prompt_ends;
        self.sequence.note_peak();
    }
}

/// The scores that the chunks of a forward wanted.
pub(crate) struct Scores {
    values: Option<Host>,
    /// Rows of each chunk.
    counts: Vec<usize>,
    vocabulary: usize,
}

impl Scores {
    /// Those of chunk `chunk`, row after row.
    pub fn of(&self, chunk: usize) -> &[f32] {
        let before: usize = self.counts[..chunk].iter().sum();
        let rows = before..before + self.counts[chunk];
        let values = self.values.as_ref().map_or(&[][..], Host::as_slice);
        &values[rows.start * self.vocabulary..rows.end * self.vocabulary]
    }
}

/// All chunks of a forward, laid out in rows.
struct Batch {
    ids: Vec<u32>,
    positions: Vec<i32>,
    segments: Vec<Segment>,
    /// Rows whose scores are wanted.
    wanted: Vec<usize>,
    /// How many of them each chunk wants.
    counts: Vec<usize>,
}

impl Batch {
    fn new(chunks: &[Chunk<'_>]) -> Self {
        let mut batch = Self {
            ids: Vec::new(),
            positions: Vec::new(),
            segments: Vec::new(),
            wanted: Vec::new(),
            counts: Vec::new(),
        };
        for (sequence, chunk) in chunks.iter().enumerate() {
            let start = batch.ids.len();
            batch.ids.extend(chunk.ids);
            batch.positions.extend((0..chunk.ids.len()).map(|row| (chunk.sequence.tokens + row) as i32));
            let rows = start..batch.ids.len();
            let wanted = match chunk.wanted {
                Wanted::Nothing => rows.end..rows.end,
                Wanted::Last => rows.end - 1..rows.end,
                Wanted::All => rows.clone(),
            };
            batch.counts.push(wanted.len());
            batch.wanted.extend(wanted);
            batch.segments.push(Segment { sequence, rows });
        }
        batch
    }
}

/// Texts whose new pairs, and the weighing of all of them, are worth handing to a thread.
const APPENDED_TOGETHER: usize = 8;

/// The stores of the sequences in a forward, as the model sees them.
pub(crate) struct Stores<'a, 'b> {
    chunks: &'a mut [Chunk<'b>],
    /// Query heads that give nothing.
    masked: &'a [[usize; 2]],
    /// Whether pairs and queries are stored and nothing is read: attention gives zeros.
    says_nothing: bool,
}

impl<'a, 'b> Stores<'a, 'b> {
    pub fn new(chunks: &'a mut [Chunk<'b>], masked: &'a [[usize; 2]]) -> Self {
        Self { chunks, masked, says_nothing: false }
    }
}

impl LayerCache for Stores<'_, '_> {
    fn attend(
        &mut self,
        layer: usize,
        projected: Projected<'_>,
        rope: Option<&Rope>,
        spec: &AttnSpec,
        positions: &[i32],
        segments: &[Segment],
        out: &mut [f32],
    ) {
        let Projected { heads, kv_heads, head_dim, .. } = projected;
        let (width, kv_width) = (heads * head_dim, kv_heads * head_dim);
        let (query, key) = projected.rotated(rope, positions);
        let mut spec = spec.clone();
        debug_assert!(segments.iter().enumerate().all(|(chunk, segment)| segment.sequence == chunk));
        {
            let stored = |(chunk, segment): (&Chunk<'_>, &Segment)| {
                segment.rows.len() * kv_heads * chunk.store(layer).pair_bytes()
            };
            let _span = profile::span("key-value append").work(|| {
                let stored: usize = self.chunks.iter().zip(segments).map(stored).sum();
                Work::bytes(2 * size_of_val(&key[..]) + stored)
            });
            parallel::pieces(self.chunks, APPENDED_TOGETHER, |piece, chunks| {
                for (chunk, segment) in chunks.iter_mut().zip(&segments[piece * APPENDED_TOGETHER..]) {
                    let channels = segment.rows.start * kv_width..segment.rows.end * kv_width;
                    chunk.sequence.layers[layer].append(NewPairs {
                        raw_key: &projected.key[channels.clone()],
                        key: &key[channels.clone()],
                        value: &projected.value[channels],
                        positions: &positions[segment.rows.clone()],
                    });
                }
            });
        }
        if self.says_nothing {
            for segment in segments {
                let channels = segment.rows.start * width..segment.rows.end * width;
                let (raw_query, query) = (&projected.query[channels.clone()], &query[channels]);
                let store = &mut self.chunks[segment.sequence].sequence.layers[layer];
                store.observe(Attended { raw_query, query, lse: &[] }, &spec, rope);
            }
            return out.fill(0.0);
        }
        spec.want.lse |= self.chunks.iter().any(|chunk| {
            let store = chunk.store(layer);
            store.needs().column_sums || store.has_dropped() || chunk.sequence.set.is_some()
        });
        let reads: Vec<Vec<Read>> = segments
            .iter()
            .map(|segment| {
                let rows = segment.rows.start * width..segment.rows.end * width;
                self.chunks[segment.sequence].reads(
                    layer,
                    segment.rows.len(),
                    [&query[rows.clone()], &projected.query[rows]],
                    &spec,
                )
            })
            .collect();
        let mut views = Vec::with_capacity(segments.len());
        for (segment, reads) in segments.iter().zip(&reads) {
            let held = self.chunks[segment.sequence].sequence.layers[layer].pairs();
            views.extend(reads.iter().map(|read| kernel::Segment {
                rows: segment.rows.start + read.rows.start..segment.rows.start + read.rows.end,
                heads: read.pairs.as_deref().unwrap_or(held),
            }));
        }
        let shape = Shape { heads, kv_heads, head_dim, value_dim: head_dim };
        let mut stats = StatsOut::default();
        let rows = Rows { data: &query, stride: width };
        kernel::attend(&spec, shape, rows, &views, RowsMut { data: out, stride: width }, &mut stats);
        drop(views);
        for (segment, reads) in segments.iter().zip(reads) {
            let prompt = self.chunks[segment.sequence].stage() != Stage::Decode;
            let set = self.chunks[segment.sequence].sequence.set.clone();
            let store = &mut self.chunks[segment.sequence].sequence.layers[layer];
            let channels = segment.rows.start * width..segment.rows.end * width;
            let lse = stats.lse.get_mut(segment.rows.start * heads..segment.rows.end * heads).unwrap_or_default();
            let (raw_query, query) = (&projected.query[channels.clone()], &query[channels.clone()]);
            store.attend_dropped(&spec, query, lse, &mut out[channels.clone()]);
            if let Some(set) = set {
                let (rows, positions) = (raw_query, &positions[segment.rows.clone()]);
                let attention = LayerAttention { spec: &spec, rope, shape };
                set.attend(layer, attention, RawQueries { rows, positions }, lse, &mut out[channels.clone()]);
            }
            // What a row gives to every key cannot be told from a sum over some of them.
            let everything = reads.iter().all(|read| read.pairs.is_none());
            drop(reads);
            store.observe(Attended { raw_query, query, lse: if everything { lse } else { &[] } }, &spec, rope);
            if prompt {
                store.find_sinks();
            }
            store.calibrate(&spec, query, lse, &mut out[channels]);
        }
        silence(self.masked, layer, shape, out);
    }

    fn states(&mut self, layer: usize) -> Option<Vec<&mut MixerState>> {
        Some(self.chunks.iter_mut().map(|chunk| &mut chunk.sequence.layers[layer].state).collect())
    }
}

/// Clears what the query heads `masked`, each `[layer, head]`, give in `layer`: `out` is `[rows, heads · head_dim]`.
pub(crate) fn silence(masked: &[[usize; 2]], layer: usize, shape: Shape, out: &mut [f32]) {
    let Shape { heads, head_dim, .. } = shape;
    for [_, head] in masked.iter().filter(|[at, head]| *at == layer && *head < heads) {
        out.chunks_exact_mut(heads * head_dim).for_each(|row| row[head * head_dim..][..head_dim].fill(0.0));
    }
}
