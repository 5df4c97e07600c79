//! What a scheduler is asked to write, and what it tells meanwhile.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::CachePolicy;
use crate::constrain::ConstraintError;
use crate::kvcomm::{Parts, Unlike};
use crate::pine::SegmentedText;
use crate::{Adapter, EarlyExit, EngineError, Opera, Sampler, Sequence, TokenLogProbabilities};

/// A prompt and how to go on with it.
#[derive(Clone)]
pub struct Request {
    /// Tokens of the prompt.
    pub prompt: Vec<u32>,
    /// The prompt cut where texts begin and end that others share, if keys and values of those may be estimated.
    pub parts: Option<Arc<Parts>>,
    /// The prompt cut where segments begin and end whose order does not matter, if it has some; such a prompt is neither gone on from nor kept.
    pub segments: Option<Arc<SegmentedText>>,
    /// What changes the model's projections for it, if anything does.
    pub adapter: Option<Arc<Adapter>>,
    /// The policy of its cache.
    pub policy: CachePolicy,
    /// When a token of an answer leaves the model, if not after the last layer.
    pub exit: Option<EarlyExit>,
    /// How the answer is searched for, if it is not written token by token; one answer without samplers, log-probabilities or sequence.
    pub search: Option<Opera>,
    /// One for every answer; the prompt is read once for all of them.
    pub samplers: Vec<Sampler>,
    /// Most tokens of an answer.
    pub tokens: usize,
    /// How long its answers may take from when it leaves the queue, and how long it may wait there, if not as long as it takes.
    pub time: Option<Duration>,
    /// Tokens that end an answer.
    pub stop: Vec<u32>,
    /// How many of the likeliest tokens to tell with every token and its log-probability, if any.
    pub likeliest: Option<usize>,
    /// Whether to begin with what an earlier prompt has in common with this one, and to keep this one for later prompts.
    pub reuse: bool,
    /// Whether every token comes with the memory of its cache.
    pub live: bool,
    /// Whether the end of an answer comes with its sequence.
    pub keep: bool,
    /// Who is told.
    pub listener: Arc<dyn Listener>,
}

impl Request {
    /// One answer of at most `tokens` tokens under `policy`, of the likeliest token each time; begins with what an earlier prompt was.
    pub fn greedy(prompt: Vec<u32>, policy: CachePolicy, tokens: usize, listener: Arc<dyn Listener>) -> Self {
        Self {
            prompt,
            parts: None,
            segments: None,
            adapter: None,
            policy,
            exit: None,
            search: None,
            samplers: vec![Sampler::greedy()],
            tokens,
            time: None,
            stop: Vec::new(),
            likeliest: None,
            reuse: true,
            live: false,
            keep: false,
            listener,
        }
    }
}

/// Who hears how a request goes on.
pub trait Listener: Send + Sync {
    /// Takes note of `event`; must not block.
    fn tell(&self, event: Event);

    /// Whether nobody waits for any answer any more: the request is dropped.
    fn gone(&self) -> bool;

    /// Whether the answer is long enough as it is, whatever would follow.
    fn complete(&self, _answer: usize) -> bool {
        false
    }
}

/// What happens to a request.
#[derive(Debug)]
pub enum Event {
    /// It has been taken on, and waits.
    Queued,
    /// It has left the queue; so many tokens of its prompt need not be read, because an earlier prompt began with them.
    Begun {
        /// Tokens that were there already.
        cached: usize,
        /// Tokens whose keys and values are an estimate.
        estimated: usize,
        /// Why there are none, if the prompt has shared texts.
        because: Option<WhyRead>,
    },
    /// Another request has read more of what its prompt begins with meanwhile.
    Shared {
        /// Tokens more that need not be read.
        tokens: usize,
    },
    /// The whole prompt has been read.
    Read,
    /// An answer has one more token.
    Token {
        /// Index of the answer.
        answer: usize,
        /// The token.
        id: u32,
        /// How likely it was, if that was asked for.
        log_probabilities: Option<TokenLogProbabilities>,
        /// Bytes of the answer's cache, if they were asked for.
        bytes: Option<usize>,
    },
    /// An answer is complete.
    End {
        /// Index of the answer.
        answer: usize,
        /// Why it ended.
        finish: Finish,
        /// What its cache has cost.
        usage: CacheUsage,
        /// Layers that a token of it has passed, in the mean, if tokens may leave early.
        layers: Option<f64>,
        /// The text as the cache holds it, if it was asked for.
        sequence: Option<Box<Sequence>>,
    },
    /// The request cannot be answered; nothing follows.
    Failed(ScheduleError),
}

/// Why a prompt with shared texts is read, and none of it estimated.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WhyRead {
    /// Almost all of it was there, as it was read.
    #[error("an earlier prompt begins with almost all of it, which is better than an estimate")]
    Cached,
    /// Nothing is kept of shared texts.
    #[error("the server keeps nothing of shared texts (--shared-mem is 0)")]
    Off,
    /// Not enough is known.
    #[error(transparent)]
    Unlike(#[from] Unlike),
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// With a token that ends texts, because its form is complete, or because its listener has enough.
    Stop,
    /// It has as many tokens as were asked for, or as the context holds.
    Length,
    /// It has taken as long as it may.
    Time,
}

/// What the cache of an answer has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CacheUsage {
    /// Bytes at its end.
    pub bytes: usize,
    /// The most bytes there were.
    pub peak_bytes: usize,
    /// Tokens of its text that were read.
    pub tokens: usize,
    /// Tokens that the policy let go, as a mean over the layers that it may cut and their heads.
    pub evicted: f64,
}

impl CacheUsage {
    /// Of `sequence` as it is.
    pub fn of(sequence: &Sequence) -> Self {
        let whole = sequence.layers().iter().filter(|layer| layer.shape().window.is_none());
        let lengths: Vec<usize> = whole.flat_map(|layer| layer.pairs().iter().map(|pairs| pairs.len())).collect();
        let kept = lengths.iter().sum::<usize>() as f64 / lengths.len().max(1) as f64;
        let tokens = sequence.tokens();
        let kept = kept + sequence.segment_tokens() as f64;
        let evicted = if lengths.is_empty() { 0.0 } else { tokens as f64 - kept };
        Self { bytes: sequence.bytes().total(), peak_bytes: sequence.peak_bytes(), tokens, evicted }
    }
}

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// The engine cannot read or write it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Too many requests wait already.
    #[error("{waiting} requests wait already, which is the most: try again later")]
    Busy {
        /// Requests that wait.
        waiting: usize,
    },
    /// The request has been in the queue for as long as its answer may take.
    #[error(
        "the request has waited for {seconds} s, which is all the time that it may take: try again later, or give it more time"
    )]
    Waited {
        /// Seconds.
        seconds: f64,
    },
    /// More memory than there is for all requests together.
    #[error(
        "a text of {tokens} tokens needs up to {} MB of cache and the server has {} MB: ask for fewer tokens, or give the server more with --kv-mem",
        megabytes(*.bytes), megabytes(*.limit)
    )]
    Memory {
        /// Tokens of prompt and answer.
        tokens: usize,
        /// Bytes that they may need.
        bytes: usize,
        /// Bytes that there are.
        limit: usize,
    },
    /// The answer cannot be held to its form.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// A search with what belongs to writing token by token.
    #[error(
        "`opera` searches for one answer to a whole prompt: leave out several answers, segments, shared texts, `exit`, log-probabilities and what is kept"
    )]
    SearchBeside,
    /// A search behind a part of a prompt.
    #[error(
        "`opera` looks at the whole prompt, of which `{policy}` reads a part: take a policy that only stores, such as `full`"
    )]
    SearchOfParts {
        /// The policy.
        policy: String,
    },
    /// Nothing to write.
    #[error("an answer must have at least one token and a request at least one answer")]
    Nothing,
}

fn megabytes(bytes: usize) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}
