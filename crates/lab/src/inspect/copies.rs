//! Retrieval scores: how much of its answers a model's heads copied from needles.
//!
//! A model answers needle prompts. Of each answer that is right, [`Engine::copying_heads`] says which share of the tokens of
//! the value every head copied; the retrieval score of a head is the mean over these answers, its activation the share of
//! them in which it copied at all. Wu et al. 2024, arXiv:2404.15574, take the share of a needle that the answer repeats
//! whole; answers here are the value alone, so the share is of the value.
//!
//! [`Engine::copying_heads`]: headwise_engine::Engine::copying_heads

use std::ops::Range;

use headwise_engine::cache::CachePolicy;
use headwise_engine::heads::Answered;
use headwise_engine::{EngineError, Sampler, TextError, TextModel, generate};
use headwise_models::tokenizer::Tokenizer;
use headwise_tasks::{NeedleTask, Request, Sample, Task, TaskError};

/// Above this score a head is a retrieval head, as in the paper.
pub const RETRIEVAL_SCORE: f64 = 0.1;

/// The task that is asked.
const TASK: NeedleTask = NeedleTask::SINGLE_2;

/// How much of its answers every head copied.
#[derive(Clone, Debug, PartialEq)]
pub struct Copies {
    /// Prompts asked.
    pub asked: usize,
    /// Prompts answered right, over which the scores are means.
    pub answered: usize,
    /// Retrieval scores, `[layers][heads]`, 0–1.
    pub score: Vec<Vec<f64>>,
    /// Shares of the answers in which a head copied at all, `[layers][heads]`, 0–1.
    pub activation: Vec<Vec<f64>>,
}

/// Why a model's heads could not be seen copying.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopiesError {
    /// The model failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The prompt could not be encoded.
    #[error(transparent)]
    Text(#[from] TextError),
    /// No such prompt can be made.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A model that cannot do the task.
    #[error(
        "none of {asked} needles in {length} tokens was found: nothing was copied, so no head can be seen doing it; try a shorter length"
    )]
    NoneAnswered {
        /// Prompts asked.
        asked: usize,
        /// Tokens of a prompt.
        length: usize,
    },
}

/// Asks `model` for `prompts` needles in `length` tokens, at depths from start to end; `progress` is told how many are done.
pub fn copies(
    model: &TextModel,
    length: usize,
    prompts: usize,
    seed: u64,
    mut progress: impl FnMut(usize),
) -> Result<Copies, CopiesError> {
    let mut copies = Copies { asked: prompts, answered: 0, score: Vec::new(), activation: Vec::new() };
    for prompt in 0..prompts {
        let sample = sample(model, length, [prompt, prompts], seed)?;
        if let Some(shares) = answer(model, &sample, TASK.answer_tokens())? {
            copies.add(&shares);
        }
        progress(prompt + 1);
    }
    if copies.answered == 0 {
        return Err(CopiesError::NoneAnswered { asked: prompts, length });
    }
    let mean = |sum: &mut f64| *sum /= copies.answered as f64;
    copies.score.iter_mut().chain(&mut copies.activation).flatten().for_each(mean);
    Ok(copies)
}

impl Copies {
    /// Adds the shares `[layers][heads]` of one answer.
    fn add(&mut self, shares: &[Vec<f64>]) {
        self.answered += 1;
        let sizes = |layers: &mut Vec<Vec<f64>>| {
            layers.resize_with(shares.len(), Vec::new);
            layers.iter_mut().zip(shares).for_each(|(layer, shares)| layer.resize(shares.len(), 0.0));
        };
        sizes(&mut self.score);
        sizes(&mut self.activation);
        let sums = self.score.iter_mut().flatten().zip(self.activation.iter_mut().flatten());
        for ((score, activation), share) in sums.zip(shares.iter().flatten()) {
            *score += share;
            *activation += f64::from(u8::from(*share > 0.0));
        }
    }

    /// The query heads `[layer, head]`, the one with the highest score first.
    pub fn order(&self) -> Vec<[usize; 2]> {
        let heads =
            |(layer, heads): (usize, &Vec<f64>)| (0..heads.len()).map(move |head| [layer, head]).collect::<Vec<_>>();
        let mut order: Vec<[usize; 2]> = self.score.iter().enumerate().flat_map(heads).collect();
        order.sort_by(|&[a, i], &[b, j]| self.score[b][j].total_cmp(&self.score[a][i]).then([a, i].cmp(&[b, j])));
        order
    }

    /// How many query heads are retrieval heads.
    pub fn retrieval_heads(&self) -> usize {
        self.score.iter().flatten().filter(|score| **score >= RETRIEVAL_SCORE).count()
    }
}

/// Needle `prompt` of `prompts` in `length` tokens, at its depth between start and end.
pub(super) fn sample(
    model: &TextModel,
    length: usize,
    [prompt, prompts]: [usize; 2],
    seed: u64,
) -> Result<Sample, CopiesError> {
    // The template's tokens come on top of those of the text.
    let frame = model.encode_turn("x", "")?.len();
    let count = |text: &str| model.encode(text).map_or(0, |ids| ids.len()) + frame;
    let depth = (prompt as f32 + 0.5) / prompts as f32;
    let request = Request::new(length, &count).seed(seed.wrapping_mul(1000).wrapping_add(prompt as u64)).depth(depth);
    Ok(TASK.sample(&request)?)
}

/// What every head of `model` copied of its answer to `sample`; none if the answer is wrong.
fn answer(model: &TextModel, sample: &Sample, tokens: usize) -> Result<Option<Vec<Vec<f64>>>, CopiesError> {
    let prompt = model.encode_turn(&sample.user_turn(), &sample.answer_prefix)?;
    let mut sequence = model.engine.sequence(&CachePolicy::full())?;
    let generation = model.generation(tokens);
    let mut written: Vec<u32> = Vec::new();
    let answered = |written: &[u32]| sample.score(&model.tokenizer.decode(written, true)) >= 100.0;
    generate(&model.engine, &mut sequence, &prompt, &generation, &mut Sampler::greedy(), |id| {
        written.push(id);
        !answered(&written)
    })?;
    if !answered(&written) {
        return Ok(None);
    }
    let ids = [&prompt[..], &written].concat();
    let needle = &sample.context[sample.needle_spans[0].clone()];
    let (Some(needle), Some(answer)) =
        (places(&model.tokenizer, &ids, 0, needle), places(&model.tokenizer, &ids, prompt.len(), &sample.expected[0]))
    else {
        return Ok(None);
    };
    Ok(Some(model.engine.copying_heads(&Answered { ids: &ids, answer, needle })?))
}

/// The places of the tokens of `ids`, from place `from` on, that spell the first `text` there.
pub(super) fn places(tokenizer: &Tokenizer, ids: &[u32], from: usize, text: &str) -> Option<Range<usize>> {
    let mut bytes = Vec::new();
    let mut ends = Vec::new();
    for &id in &ids[from..] {
        bytes.extend(tokenizer.token_bytes(id).unwrap_or_default());
        ends.push(bytes.len());
    }
    let start = bytes.windows(text.len()).position(|window| window == text.as_bytes())?;
    let first = ends.partition_point(|&end| end <= start);
    let last = ends.partition_point(|&end| end < start + text.len());
    Some(from + first..from + last + 1)
}

#[cfg(test)]
mod tests {
    use headwise_models::decoder::Weights;

    use super::*;

    #[test]
    fn places_cover_the_text_and_no_more() {
        let model = TextModel::embedded(Weights::Stored, 1).unwrap();
        let text = "Before it stands this. The number is 4729105, and more follows: 4729105.";
        let ids = model.encode(text).unwrap();
        let spelled = |places: Range<usize>| model.tokenizer.decode(&ids[places], true);
        let first = places(&model.tokenizer, &ids, 0, "4729105").unwrap();
        assert_eq!(spelled(first.clone()).trim(), "4729105");
        let second = places(&model.tokenizer, &ids, first.end, "4729105").unwrap();
        assert!(second.start >= first.end && spelled(second).contains("4729105"));
        assert_eq!(places(&model.tokenizer, &ids, 0, "1234567"), None);
        assert_eq!(places(&model.tokenizer, &ids, 0, text), Some(0..ids.len()));
    }

    #[test]
    fn the_layer_that_matches_copies() {
        let model = TextModel::embedded(Weights::Stored, 2).unwrap();
        let mut done = 0;
        let copies = copies(&model, 512, 4, 1, |prompt| done = prompt).unwrap();
        assert_eq!((done, copies.asked), (4, 4));
        let heads: Vec<usize> = copies.score.iter().map(Vec::len).collect();
        assert_eq!(heads, [6; 6]);
        let [layer, head] = copies.order()[0];
        assert!(layer >= 2 && copies.score[layer][head] >= RETRIEVAL_SCORE, "{copies:?}");
        assert!(copies.activation[layer][head] >= copies.score[layer][head]);
        assert!(matches!(super::copies(&model, 10, 1, 0, |_| {}), Err(CopiesError::Task(_))));
    }
}
