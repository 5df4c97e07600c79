//! What a text task is: a request for a sample, the sample, and the [`Task`] that makes and solves it.

use std::ops::Range;

use crate::score::string_match_all;

/// Texts longer than this many tokens are refused.
pub const MAX_LENGTH: usize = 1 << 22;

/// What a caller wants from a [`Task`].
///
/// The same request gives the same sample, on every machine. Samples of one seed and different lengths ask
/// for the same keys and values, so that they can be compared in pairs.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Seed of everything random in the sample.
    pub seed: u64,
    /// Upper limit of prompt tokens plus [`Task::answer_tokens`].
    pub length: usize,
    /// Where the answer stands, 0 (start) to 1 (end) of the haystack; `None` draws the place.
    pub depth: Option<f32>,
    /// Prose for the tasks that hide something in an essay; repeated if it is too short.
    pub text: &'a str,
    /// Number of tokens of a prompt (context, question and answer prefix, joined).
    /// A caller that adds a chat template counts it here.
    pub count_tokens: &'a dyn Fn(&str) -> usize,
}

impl<'a> Request<'a> {
    /// A request with seed 0, a random depth and [`crate::DEFAULT_TEXT`] as prose.
    pub fn new(length: usize, count_tokens: &'a dyn Fn(&str) -> usize) -> Self {
        let text = crate::DEFAULT_TEXT;
        Self { seed: 0, length, depth: None, text, count_tokens }
    }

    /// The same request with another seed.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The same request with the answer at `depth`, 0 to 1.
    pub fn depth(self, depth: f32) -> Self {
        Self { depth: Some(depth), ..self }
    }

    /// The same request with other prose.
    pub fn text(self, text: &'a str) -> Self {
        Self { text, ..self }
    }

    /// Refuses lengths and depths that no task can serve.
    pub(crate) fn check(&self) -> Result<(), TaskError> {
        if self.length > MAX_LENGTH {
            return Err(TaskError::TooLong { length: self.length });
        }
        match self.depth {
            Some(depth) if !(0.0..=1.0).contains(&depth) => Err(TaskError::Depth { depth }),
            _ => Ok(()),
        }
    }

    /// Refuses a depth as well: for tasks whose answer stands in many places.
    pub(crate) fn check_without_depth(&self, task: &'static str) -> Result<(), TaskError> {
        self.check()?;
        match self.depth {
            Some(_) => Err(TaskError::DepthOfMany { task }),
            None => Ok(()),
        }
    }
}

/// One prompt and its answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The user turn up to and including the haystack: all that a question-agnostic policy may see.
    pub context: String,
    /// The rest of the user turn.
    pub question: String,
    /// How the assistant's turn starts.
    pub answer_prefix: String,
    /// The strings that a right answer contains.
    pub expected: Vec<String>,
    /// Where the sentence with the answer stands, 0 to 1 of the haystack's lines; `None` if there are several.
    pub depth: Option<f32>,
    /// Byte ranges of `context` that the answer depends on. In the order of `expected` where each
    /// expected string stands in one place.
    pub needle_spans: Vec<Range<usize>>,
}

impl Sample {
    /// The whole user turn: context, then question.
    pub fn user_turn(&self) -> String {
        [self.context.as_str(), &self.question].concat()
    }

    /// User turn and answer prefix, joined without a chat template: what [`Task::solve`] reads.
    pub fn prompt(&self) -> String {
        [self.context.as_str(), &self.question, &self.answer_prefix].concat()
    }

    /// The sample with the sentences that hold the answer cut out of the context: nothing can answer it.
    pub fn without_needles(&self) -> Self {
        let mut spans = self.needle_spans.clone();
        spans.sort_by_key(|span| span.start);
        let mut context = self.context.clone();
        for span in spans.into_iter().rev() {
            context.replace_range(span, "");
        }
        Self { context, needle_spans: Vec::new(), depth: None, ..self.clone() }
    }

    /// Score of a model's `output`, 0 to 100: [`string_match_all`] over the expected strings.
    pub fn score(&self, output: &str) -> f64 {
        string_match_all(output, &self.expected)
    }
}

/// A seeded generator of prompts, with a solver that proves each of them answerable.
pub trait Task: Sync {
    /// Name in result rows, e.g. `needle_single_1`.
    fn name(&self) -> &'static str;

    /// Tokens set aside for the answer: how many a model may generate.
    fn answer_tokens(&self) -> usize;

    /// Whether the answer stands in one place, so that [`Request::depth`] can be given.
    fn takes_depth(&self) -> bool;

    /// The longest sample that fits in [`Request::length`]: one more line of haystack would not.
    fn sample(&self, request: &Request) -> Result<Sample, TaskError>;

    /// Answers a prompt from nothing but its text; scores 100 on every sample.
    fn solve(&self, prompt: &str) -> String;
}

/// Checks that `value` is in `least..=most`.
pub(crate) fn within(
    task: &'static str,
    parameter: &'static str,
    value: usize,
    least: usize,
    most: usize,
) -> Result<(), TaskError> {
    match (least..=most).contains(&value) {
        true => Ok(()),
        false => Err(TaskError::Parameter { task, parameter, value, least, most }),
    }
}

/// Why there is no sample.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TaskError {
    /// Even the smallest haystack does not fit.
    #[error("{task} does not fit in {length} tokens: its shortest prompt and its answer take {needed}")]
    TooShort {
        /// The task.
        task: &'static str,
        /// The length asked for.
        length: usize,
        /// The shortest possible length.
        needed: usize,
    },
    /// The length is above [`MAX_LENGTH`].
    #[error("length {length} is too long: at most {MAX_LENGTH} tokens")]
    TooLong {
        /// The length asked for.
        length: usize,
    },
    /// The depth is no share.
    #[error("depth {depth} is not between 0 (start of the text) and 1 (its end)")]
    Depth {
        /// The depth asked for.
        depth: f32,
    },
    /// The depth of several places was given.
    #[error("{task} hides its answer in several places: leave the depth out")]
    DepthOfMany {
        /// The task.
        task: &'static str,
    },
    /// The prose holds no sentence, or not enough words.
    #[error("{task} needs a text with at least {needed} {unit}; this one has {found}")]
    Text {
        /// The task.
        task: &'static str,
        /// What is counted.
        unit: &'static str,
        /// The least number of them.
        needed: usize,
        /// The number in the text.
        found: usize,
    },
    /// A parameter of the task is outside its range.
    #[error("{task}: {parameter} = {value}, but it must be in {least}..={most}")]
    Parameter {
        /// The task.
        task: &'static str,
        /// The parameter.
        parameter: &'static str,
        /// Its value.
        value: usize,
        /// Its least value.
        least: usize,
        /// Its greatest value.
        most: usize,
    },
    /// A real-valued parameter of the task is outside its range.
    #[error("{task}: {parameter} = {value}, but it must be in {least}..={most}")]
    RealParameter {
        /// The task.
        task: &'static str,
        /// The parameter.
        parameter: &'static str,
        /// Its value.
        value: f64,
        /// Its least value.
        least: f64,
        /// Its greatest value.
        most: f64,
    },
    /// Random draws did not meet the task's conditions.
    #[error("{task}: no sample in {attempts} attempts; its parameters leave too little room")]
    Rare {
        /// The task.
        task: &'static str,
        /// The number of draws.
        attempts: usize,
    },
    /// All adjective-noun keys are in use.
    #[error("a haystack of this length needs more than the {available} different adjective-noun keys there are")]
    KeysExhausted {
        /// The number of different keys.
        available: usize,
    },
    /// No task has this name.
    #[error("unknown task `{name}`; the tasks are {valid}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names there are, separated by commas.
        valid: String,
    },
}
