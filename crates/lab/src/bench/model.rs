//! A model end to end: reading a prompt, and writing after it.

use headwise_engine::cache::{CachePolicy, PolicyError};
use headwise_engine::{Chunk, Engine, EngineError, Sequence, Wanted};
use headwise_models::decoder::Decoder;
use headwise_nn::mixer::{Heads, SoftmaxSpec};
use headwise_nn::{Embedding, Linear};

use super::plan::Run;
use super::{BenchError, BenchRow, Params, Times};

/// Tokens written after a prompt in one timed run.
const STEPS: usize = 48;

/// Elements and bytes of weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Weights of the layers, each used once per token.
    pub layers: usize,
    /// Weights of the output head, used where a next token is chosen.
    pub head: usize,
    /// Bytes of both.
    pub bytes: usize,
}

/// The weight matrices that a token passes through.
pub fn weights(model: &Decoder) -> Size {
    let mut size = Size::default();
    // Weights that layers share are read by each of them.
    for block in (0..model.spec().layers.len()).map(|layer| model.block(layer)) {
        let mixer = block.mixer.softmax().map(|mixer| [&mixer.query, &mixer.key, &mixer.value, &mixer.output]);
        let channel = block.channel.iter().flat_map(|channel| channel.linears());
        for linear in mixer.into_iter().flatten().chain(channel) {
            let (elements, bytes) = matrix(linear);
            size.layers += elements;
            size.bytes += bytes;
        }
    }
    let (elements, bytes) = match (&model.head, &model.embedding) {
        (Some(head), _) => matrix(head),
        (None, Embedding::Packed(table)) => packed(table.weight()),
        (None, Embedding::Float(table)) => floats(table.weight.val().dims()),
    };
    size.head = elements;
    size.bytes += bytes;
    size
}

fn matrix(linear: &Linear) -> (usize, usize) {
    match linear {
        Linear::Float(linear) => floats(linear.weight.val().dims()),
        Linear::Packed(linear) => packed(linear.weight()),
        Linear::Watched(watched) => floats(watched.linear().weight.val().dims()),
    }
}

fn floats([rows, columns]: [usize; 2]) -> (usize, usize) {
    (rows * columns, rows * columns * size_of::<f32>())
}

fn packed(matrix: &headwise_kernels::matrix::PackedMatrix) -> (usize, usize) {
    (matrix.inputs() * matrix.outputs(), matrix.bytes())
}

/// Operations of attention in all layers when `rows` tokens follow `before` others.
fn attention_flops(model: &Decoder, before: usize, rows: usize) -> f64 {
    let pairs = |window: Option<usize>| -> f64 {
        let seen = |row: usize| window.unwrap_or(usize::MAX).min(before + row + 1) as f64;
        (0..rows).map(seen).sum()
    };
    let spec = model.spec();
    let layer = |mixer: &SoftmaxSpec| {
        let Heads { heads, head_dim, .. } = mixer.sizes(spec.dim);
        4.0 * (heads * head_dim) as f64 * pairs(mixer.window)
    };
    spec.layers.iter().filter_map(|block| block.mixer.softmax()).map(layer).sum()
}

fn ids(count: usize, vocabulary: usize) -> Vec<u32> {
    // What the tokens are does not matter to the time; that they differ keeps the embedding from one cache line.
    (0..count).map(|index| (index * 7919 % vocabulary) as u32).collect()
}

fn full() -> Result<CachePolicy, EngineError> {
    CachePolicy::parse("full").map_err(|error: PolicyError| error.into())
}

fn params(run: &Run<'_>, tokens: usize, model: &str) -> Params {
    Params {
        tokens: Some(tokens),
        model: Some(model.to_owned()),
        cache: Some("f16".to_owned()),
        threads: run.threads,
        ..Params::default()
    }
}

/// `prefill`: all tokens of a prompt, with the scores after the last.
pub(super) fn prefill(run: &Run<'_>, engine: &Engine, name: &str) -> Result<Vec<BenchRow>, BenchError> {
    let ([tokens], policy) = (run.shape.sides(), full()?);
    let ids = ids(tokens, engine.spec().vocabulary);
    let times =
        Times::measure(run.repeats(3, 1.0), || engine.prefill(&mut engine.sequence(&policy)?, &ids, |_| {}).map(drop))?;
    let size = weights(engine.model());
    let products = 2.0 * (size.layers as f64 * tokens as f64 + size.head as f64);
    let flops = products + attention_flops(engine.model(), 0, tokens);
    Ok(vec![BenchRow::new(run.name, params(run, tokens, name), times, Some(flops), None)])
}

/// `decode`: the time of one token after a prompt, a mean over [`STEPS`].
pub(super) fn decode(run: &Run<'_>, engine: &Engine, name: &str) -> Result<Vec<BenchRow>, BenchError> {
    let [tokens] = run.shape.sides();
    write(run, engine, 1, params(run, tokens, name))
}

/// `decode_batch`: one step of many texts, which each get one more token, a mean over [`STEPS`].
pub(super) fn decode_batch(run: &Run<'_>, engine: &Engine, name: &str) -> Result<Vec<BenchRow>, BenchError> {
    let [texts, tokens] = run.shape.sides();
    write(run, engine, texts, Params { texts: Some(texts), ..params(run, tokens, name) })
}

/// One token for each of `texts` texts after prompts of as many tokens as `params` says.
fn write(run: &Run<'_>, engine: &Engine, texts: usize, params: Params) -> Result<Vec<BenchRow>, BenchError> {
    let (tokens, policy) = (params.tokens.unwrap_or(1), full()?);
    let ids = ids(tokens + texts + STEPS, engine.spec().vocabulary);
    let read = |text: usize| {
        let mut sequence = engine.sequence(&policy)?;
        engine.prefill(&mut sequence, &ids[text..][..tokens], |_| {})?;
        Ok(sequence)
    };
    let prompts = (0..texts).map(read).collect::<Result<Vec<Sequence>, EngineError>>()?;
    let coded = |sequences: &[Sequence]| sequences.iter().map(|sequence| sequence.bytes().coded()).sum::<usize>();
    let mut cache_bytes = 0;
    let times = Times::measure(run.repeats(3, 1.0), || {
        let mut sequences = prompts.clone();
        for step in 0..STEPS {
            let next = |(text, sequence)| {
                let ids = &ids[text + tokens + step..][..1];
                Chunk { sequence, ids, prompt_ends: true, wanted: Wanted::Last }
            };
            engine.forward(&mut sequences.iter_mut().enumerate().map(next).collect::<Vec<_>>())?;
        }
        cache_bytes = (coded(&prompts) + coded(&sequences)) / 2;
        Ok::<(), EngineError>(())
    })?;
    let size = weights(engine.model());
    let attention = attention_flops(engine.model(), tokens, STEPS) / STEPS as f64;
    let flops = texts as f64 * (2.0 * (size.layers + size.head) as f64 + attention);
    let bytes = (size.bytes + cache_bytes) as f64;
    Ok(vec![BenchRow::new(run.name, params, times.per(STEPS), Some(flops), Some(bytes))])
}
