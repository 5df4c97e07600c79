//! How long a piece of work will take: counted in multiplications, timed by a short probe.
//!
//! Meant for a plan and a progress bar, so within a factor of two; what counts is that items weigh right against each
//! other.

use std::time::Instant;

use headwise_engine::{Engine, EngineError};
use headwise_nn::block::BlockSpec;
use headwise_nn::mixer::Heads;

/// Tokens of the probe.
const PROBE: usize = 192;

/// Reading the weights for one more forward costs as much as this many rows of arithmetic.
const WEIGHTS_READ: f64 = 8.0;

/// A multiplication of attention takes as long as this many of a matrix product.
const ATTENTION: f64 = 2.0;

/// Costs of one model on one machine, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Costs {
    /// One row through all matrices.
    row: f64,
    /// One row attending to one key, in all layers.
    key: f64,
}

impl Costs {
    /// Times a short text.
    pub fn measure(engine: &Engine) -> Result<Self, EngineError> {
        let spec = engine.spec();
        let sizes = |layer: &BlockSpec| layer.mixer.softmax().map_or(Heads::default(), |mixer| mixer.sizes(spec.dim));
        let per_row = |layer: &BlockSpec| {
            let heads = sizes(layer);
            let mixed = spec.dim * heads.head_dim * 2 * (heads.heads + heads.kv_heads);
            mixed + layer.channel.as_ref().map_or(0, |channel| channel.projections() * spec.dim * channel.hidden())
        };
        let rows: usize = spec.layers.iter().map(per_row).sum();
        let keys: usize = spec.layers.iter().map(&sizes).map(|heads| 2 * heads.heads * heads.head_dim).sum();
        let length = PROBE.min(engine.context());
        let ids: Vec<u32> = (0..length).map(|index| (index % spec.vocabulary) as u32).collect();
        let mut fastest = f64::INFINITY;
        for _ in 0..2 {
            let mut sequence = engine.sequence(&headwise_engine::cache::CachePolicy::full())?;
            let started = Instant::now();
            engine.prefill(&mut sequence, &ids, |_| {})?;
            fastest = fastest.min(started.elapsed().as_secs_f64());
        }
        let half = length as f64 / 2.0;
        let product = fastest / (length as f64 * (rows as f64 + ATTENTION * keys as f64 * half));
        Ok(Self { row: product * rows as f64, key: product * ATTENTION * keys as f64 })
    }

    /// Reading `tokens` tokens after `before` others.
    pub fn read(&self, tokens: usize, before: usize) -> f64 {
        let (tokens, before) = (tokens as f64, before as f64);
        tokens * (self.row + self.key * (before + tokens / 2.0))
    }

    /// One forward of one row each of many texts that hold `keys` pairs in all.
    pub fn step(&self, texts: usize, keys: f64) -> f64 {
        self.row * (WEIGHTS_READ + texts as f64) + self.key * keys
    }
}
