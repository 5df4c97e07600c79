//! Prompts on their way to the scheduler, and what comes back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use headwise_engine::cache::CachePolicy;
use headwise_engine::schedule::{Event, Finish, Listener, Request};
use headwise_engine::{EarlyExit, Opera, Sampler, Sequence, TokenLogProbabilities};
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::answer::Answer;
use super::fields::Insight;
use super::placed::Placed;
use super::{ApiError, usage::Usage};
use crate::Served;
use crate::metrics::Times;

/// Prompts, and how to go on with them.
pub struct Job {
    /// Tokens of every prompt.
    pub prompts: Vec<Vec<u32>>,
    /// What stands apart in the prompt, if there is one.
    pub placed: Placed,
    /// One for every answer to each of them.
    pub samplers: Vec<Sampler>,
    /// The policy of the caches.
    pub policy: CachePolicy,
    /// When a token of an answer leaves the model, if not after the last layer.
    pub exit: Option<EarlyExit>,
    /// How the answer is searched for, if it is not written token by token.
    pub search: Option<Opera>,
    /// Most tokens of an answer; as many as the context holds if none.
    pub tokens: Option<usize>,
    /// How long an answer may take, if not as long as it does.
    pub time: Option<Duration>,
    /// Tokens that end answers.
    pub end: Vec<u32>,
    /// Texts that end answers.
    pub stops: Vec<String>,
    /// Whether control tokens are a part of answers.
    pub special: bool,
    /// How many of the likeliest tokens come with every token, if log-probabilities do.
    pub likeliest: Option<usize>,
    /// Whether earlier prompts may be gone on from.
    pub reuse: bool,
    /// What else to say.
    pub insight: Insight,
}

/// What happens to the answers of a job; answers to all prompts are counted through.
pub enum News {
    /// More of an answer.
    Piece {
        /// Index of the answer.
        answer: usize,
        /// The text that can be shown now.
        text: String,
        /// How likely the token was, if that was asked for.
        log_probabilities: Option<TokenLogProbabilities>,
        /// Bytes of the answer's cache, if they were asked for.
        bytes: Option<usize>,
    },
    /// An answer is complete.
    End {
        /// Index of the answer.
        answer: usize,
        /// The rest of its text.
        text: String,
        /// Why it ended.
        finish: Finish,
        /// The text with its cache, if it was asked for.
        sequence: Option<Box<Sequence>>,
    },
}

/// A job whose answers are being written.
pub struct Running<'a> {
    events: UnboundedReceiver<(usize, Event)>,
    complete: Arc<[AtomicBool]>,
    answers: Vec<Answer<'a>>,
    per_prompt: usize,
    /// Prompts that have been taken on.
    queued: usize,
    /// What happened to some while others were waited for.
    early: VecDeque<(usize, Event)>,
    left: usize,
    /// What it has cost so far.
    pub usage: Usage,
}

/// The model's thread has dropped what it was asked.
pub fn lost() -> ApiError {
    ApiError::internal("the model stopped while it answered: see the server's log")
}

/// Hands events of one prompt over to the task that waits for them.
struct Ear {
    prompt: usize,
    answers: usize,
    events: UnboundedSender<(usize, Event)>,
    complete: Arc<[AtomicBool]>,
}

impl Listener for Ear {
    fn tell(&self, event: Event) {
        // Whoever waited may have left.
        let _ = self.events.send((self.prompt, event));
    }

    fn gone(&self) -> bool {
        self.events.is_closed()
    }

    fn complete(&self, answer: usize) -> bool {
        self.complete[self.prompt * self.answers + answer].load(Ordering::Relaxed)
    }
}

impl Job {
    /// The same where `placed` stands apart in the prompt.
    pub fn with(self, placed: Placed) -> Result<Self, ApiError> {
        if self.search.is_some() && !matches!(placed, Placed::Nothing) {
            let message = "`opera` looks at a prompt as a whole, without `segment`s and `shared` texts";
            return Err(ApiError::parameter("decoding", message));
        }
        if matches!(placed, Placed::Segments(_)) {
            if self.exit.is_some() {
                return Err(ApiError::parameter("exit", "tokens leave early only where no `segment` is in the prompt"));
            }
            self.insight.check_ordinary("a prompt with segments")?;
        }
        Ok(Self { placed, ..self })
    }

    /// Lets the forms of the answers, if they have one, begin after the text `tag`.
    pub fn begin_forms_after(&mut self, tag: Option<&str>) {
        let Some(tag) = tag else { return };
        self.samplers = self.samplers.drain(..).map(|sampler| sampler.with_form_after(tag)).collect();
    }

    /// Begins the job.
    pub fn start(self, served: &Served) -> Result<Running<'_>, ApiError> {
        let (sender, events) = unbounded_channel();
        let per_prompt = self.samplers.len();
        let left = self.prompts.len() * per_prompt;
        let complete: Arc<[AtomicBool]> = (0..left).map(|_| AtomicBool::new(false)).collect();
        let usage = Usage::new(&self.policy, self.prompts.iter().map(Vec::len).sum(), Instant::now());
        let answer = || Answer::new(&served.model.tokenizer, self.stops.clone(), self.special);
        let answers = std::iter::repeat_with(answer).take(left).collect();
        let most = served.model.engine.most_tokens();
        let (parts, segments) = match self.placed {
            Placed::Nothing => (None, None),
            Placed::Shared(parts) => (Some(parts), None),
            Placed::Segments(text) => (None, Some(text)),
        };
        for (prompt, ids) in self.prompts.into_iter().enumerate() {
            let ear = Ear { prompt, answers: per_prompt, events: sender.clone(), complete: complete.clone() };
            let request = Request {
                tokens: self.tokens.unwrap_or(most.saturating_sub(ids.len()).max(1)),
                prompt: ids,
                time: self.time,
                parts: parts.clone(),
                segments: segments.clone(),
                adapter: served.adapter.clone(),
                policy: self.policy.clone(),
                exit: self.exit.clone(),
                search: self.search.clone(),
                samplers: self.samplers.clone(),
                stop: self.end.clone(),
                likeliest: self.likeliest,
                reuse: self.reuse,
                live: self.insight.live,
                keep: self.insight.kept || self.insight.selected_text,
                listener: Arc::new(ear),
            };
            if !served.worker.submit(request) {
                return Err(ApiError::stopping());
            }
        }
        Ok(Running { events, complete, answers, per_prompt, queued: 0, early: VecDeque::new(), left, usage })
    }
}

impl Running<'_> {
    /// Waits until all prompts have been taken on, or one has been refused.
    pub async fn accepted(&mut self) -> Result<(), ApiError> {
        while self.queued * self.per_prompt < self.answers.len() {
            // Nothing else comes before a prompt is taken on, but for other prompts.
            let (prompt, event) = self.events.recv().await.ok_or_else(lost)?;
            match event {
                Event::Queued => self.queued += 1,
                Event::Failed(error) => return Err(error.into()),
                event => self.early.push_back((prompt, event)),
            }
        }
        Ok(())
    }

    /// What happens next; none once all answers are complete.
    pub async fn next(&mut self) -> Result<Option<News>, ApiError> {
        while self.left > 0 {
            let (prompt, event) = match self.early.pop_front() {
                Some(early) => early,
                None => self.events.recv().await.ok_or_else(lost)?,
            };
            match event {
                Event::Queued => self.queued += 1,
                Event::Begun { cached, estimated, because } => self.usage.begin(cached, estimated, because),
                Event::Shared { tokens } => self.usage.begin(tokens, 0, None),
                Event::Read => self.usage.read(),
                Event::Token { answer, id, log_probabilities, bytes } => {
                    let answer = prompt * self.per_prompt + answer;
                    // A token may have been on its way when a stop text was found.
                    if self.answers[answer].finish.is_some() {
                        continue;
                    }
                    self.usage.token();
                    let text = self.answers[answer].push(id);
                    if self.answers[answer].finish.is_some() {
                        self.complete[answer].store(true, Ordering::Relaxed);
                    }
                    return Ok(Some(News::Piece { answer, text, log_probabilities, bytes }));
                }
                Event::End { answer, finish, usage, layers, sequence } => {
                    let answer = prompt * self.per_prompt + answer;
                    self.usage.end(answer, usage, layers);
                    return Ok(Some(self.end(answer, finish, sequence)));
                }
                Event::Failed(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    fn end(&mut self, answer: usize, finish: Finish, sequence: Option<Box<Sequence>>) -> News {
        self.left -= 1;
        let text = self.answers[answer].end(finish);
        let finish = self.answers[answer].finish.unwrap_or(finish);
        News::End { answer, text, finish, sequence }
    }

    /// Counts what has just happened.
    pub fn observe(&mut self, times: &Times) {
        if let Some(since) = self.usage.take_first() {
            times.read(since);
        }
        if let Some(since) = self.usage.take_between() {
            times.token(since);
        }
        while let Some((methods, evicted)) = self.usage.take_answer() {
            times.answer(methods, evicted);
        }
    }

    /// Adds what the job has cost to an answer.
    pub fn tell(&self, served: &Served, answer: &mut Value) {
        answer["usage"] = self.usage.usage(&served.model.engine);
        answer["timings"] = self.usage.timings();
    }

    /// The tokens of an answer.
    pub fn ids(&self, answer: usize) -> &[u32] {
        &self.answers[answer].ids
    }
}
