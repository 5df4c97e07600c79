//! Continuous batching: many requests share every forward, each under its own cache policy.
//!
//! Every [`Scheduler::step`] runs the model once over one token of each text that is being written and some rows of the prompts that
//! are being read: few while anyone waits for a token, many otherwise, shared evenly among the prompts. A row of a forward has the bits that it
//! has alone, so what is written does not depend on who else is there.
//!
//! Memory is reserved before a text begins. When texts that are being written grow beyond the limit, earlier prompts that nobody uses go
//! first, then the youngest text gives up its cache and is read anew later. The oldest text always goes on, so everything that was
//! let in ends. Prompts begin with what earlier ones have in common with them ([`prefix`]).

mod admit;
mod kept;
mod memory;
mod prefix;
mod request;
mod sharing;
#[cfg(test)]
mod tests;
mod text;

use std::collections::VecDeque;
use std::sync::Arc;

use headwise_kernels::parallel;

pub use self::kept::Loaded;
use self::memory::Growth;
use self::prefix::PrefixCache;
pub use self::request::{CacheUsage, Event, Finish, Listener, Request, ScheduleError, WhyRead};
use self::sharing::Sharing;
use self::text::{Text, Waiting};
use crate::constrain::ConstraintError;
use crate::{Chunk, Engine, EngineError};

/// How much a scheduler takes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScheduleLimits {
    /// Memory of all caches together, in bytes.
    pub bytes: usize,
    /// Of it, what earlier prompts may have, in bytes.
    pub prefix_bytes: usize,
    /// Of it, what is known of shared texts may have, in bytes.
    pub shared_bytes: usize,
    /// Texts that are read and written together.
    pub texts: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// Rows of prompts in a forward while a text is being written.
    pub rows_beside: usize,
    /// Rows of prompts in a forward otherwise.
    pub rows_alone: usize,
}

impl Default for ScheduleLimits {
    fn default() -> Self {
        Self {
            bytes: 2 << 30,
            prefix_bytes: 1 << 30,
            shared_bytes: 1 << 29,
            texts: 64,
            waiting: 256,
            rows_beside: 64,
            rows_alone: 512,
        }
    }
}

/// Rows of a prompt that are worth a place in a forward.
const FEWEST_ROWS: usize = 16;

/// What a scheduler has done and is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests that wait.
    pub waiting: usize,
    /// Texts whose prompt is being read.
    pub reading: usize,
    /// Texts that are being written.
    pub writing: usize,
    /// Forwards so far.
    pub steps: u64,
    /// Tokens of prompts that were read, so far.
    pub prompt_tokens: u64,
    /// Tokens of prompts that were there already, so far.
    pub cached_tokens: u64,
    /// Tokens of prompts whose keys and values were estimated, so far.
    pub estimated_tokens: u64,
    /// Requests with shared texts that have begun, so far.
    pub shared_prompts: u64,
    /// Tokens that were written, so far.
    pub written_tokens: u64,
    /// Requests whose beginning was looked for among earlier prompts, so far.
    pub prefix_lookups: u64,
    /// Those that were found, so far.
    pub prefix_hits: u64,
    /// Texts that had to make room, so far.
    pub preemptions: u64,
    /// Requests that nobody waited for any more, so far.
    pub cancelled: u64,
    /// Bytes of the caches of all texts.
    pub text_bytes: usize,
    /// Bytes of earlier prompts.
    pub prefix_bytes: usize,
    /// Earlier prompts.
    pub prefix_nodes: usize,
    /// Bytes of what is known of shared texts.
    pub shared_bytes: usize,
}

/// A text after a forward.
struct Turn<'a> {
    text: Text,
    /// The scores of its next token, if that is to be chosen.
    scores: Option<&'a [f32]>,
    chosen: Option<Result<u32, ConstraintError>>,
}

impl<'a> Turn<'a> {
    /// Adds `text` to `turns`, and the other answers to its prompt if that has just been read.
    fn push(turns: &mut Vec<Self>, text: Text, scores: Option<&'a [f32]>) {
        let mut others = Vec::new();
        if scores.is_some() && text.begins() {
            text.request.listener.tell(Event::Read);
            others = text.others();
        }
        let all = std::iter::once(text).chain(others);
        turns.extend(all.map(|text| Self { text, scores, chosen: None }));
    }

    fn choose(&mut self) {
        self.chosen = self.scores.map(|scores| self.text.choose(scores));
    }
}

/// Reads and writes many texts at once.
pub struct Scheduler<'e> {
    engine: &'e Engine,
    limits: ScheduleLimits,
    waiting: VecDeque<Waiting>,
    /// In the order in which they began.
    texts: Vec<Text>,
    prefix: PrefixCache,
    sharing: Sharing,
    counters: Counters,
}

impl<'e> Scheduler<'e> {
    /// A scheduler with nothing to do.
    pub fn new(engine: &'e Engine, limits: ScheduleLimits) -> Self {
        let prefix = PrefixCache::new(limits.prefix_bytes.min(limits.bytes));
        let sharing = Sharing::new(limits.shared_bytes.min(limits.bytes));
        let (waiting, texts) = (VecDeque::new(), Vec::new());
        Self { engine, limits, waiting, texts, prefix, sharing, counters: Counters::default() }
    }

    /// Takes on `request`, or tells its listener why not.
    pub fn submit(&mut self, mut request: Request) {
        for sampler in &mut request.samplers {
            sampler.read(&request.prompt);
            sampler.end_with(&request.stop);
        }
        match self.check(&request) {
            Ok(()) => {
                request.listener.tell(Event::Queued);
                self.waiting.push_back(Waiting::new(Arc::new(request)));
            }
            Err(error) => request.listener.tell(Event::Failed(error)),
        }
    }

    fn check(&self, request: &Request) -> Result<(), ScheduleError> {
        let (prompt, most) = (request.prompt.len(), self.engine.most_tokens());
        if request.tokens == 0 || request.samplers.is_empty() {
            return Err(ScheduleError::Nothing);
        }
        self.engine.check_text(0, &request.prompt)?;
        if request.parts.is_some() {
            self.sharing.pool.check(self.engine, &request.policy).map_err(EngineError::from)?;
        }
        if self.waiting.len() >= self.limits.waiting {
            return Err(ScheduleError::Busy { waiting: self.waiting.len() });
        }
        let tokens = (prompt + request.tokens).min(most);
        let growth = Growth::new(self.engine.spec(), &request.policy);
        let (bytes, limit) = (growth.of(tokens) + growth.next(), self.limits.bytes);
        if bytes > limit {
            return Err(ScheduleError::Memory { tokens, bytes, limit });
        }
        Ok(())
    }

    /// Whether there is nothing to read or write.
    pub fn idle(&self) -> bool {
        self.waiting.is_empty() && self.texts.is_empty() && self.sharing.held.is_empty()
    }

    /// What has been done and is being done.
    pub fn counters(&self) -> Counters {
        let reading = self.texts.iter().filter(|text| text.reading()).count();
        Counters {
            waiting: self.waiting.len() + self.sharing.held.len(),
            reading,
            writing: self.texts.len() - reading,
            text_bytes: self.texts.iter().map(|text| text.bytes).sum(),
            prefix_bytes: self.prefix.bytes(),
            prefix_nodes: self.prefix.len(),
            shared_bytes: self.sharing.pool.bytes(),
            ..self.counters
        }
    }

    /// Drops everything: requests, texts and earlier prompts. Their listeners are told nothing.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.texts.clear();
        self.prefix.clear();
        self.sharing.clear();
    }

    /// Runs the model once over what is to be read and written next.
    pub fn step(&mut self) {
        self.drop_gone();
        self.hear_of_texts_alone();
        self.make_room();
        self.admit();
        self.share();
        let rows = self.rows();
        let ids: Vec<Vec<u32>> = self.texts.iter().zip(&rows).map(|(text, &rows)| text.next_ids(rows)).collect();
        let mut chunks: Vec<Chunk<'_>> = Vec::new();
        for (text, ids) in self.texts.iter_mut().zip(&ids).filter(|(_, ids)| !ids.is_empty()) {
            chunks.push(text.chunk(ids));
        }
        if chunks.is_empty() {
            return;
        }
        self.counters.steps += 1;
        let Ok(scores) = self.engine.scores(&mut chunks) else { return self.refuse() };
        let mut turns = Vec::new();
        let mut chunk = 0;
        for (mut text, rows) in std::mem::take(&mut self.texts).into_iter().zip(rows) {
            if rows == 0 {
                turns.push(Turn { text, scores: None, chosen: None });
                continue;
            }
            let was_reading = text.reading();
            let whole = text.advance(rows);
            if was_reading {
                self.counters.prompt_tokens += rows as u64;
                self.keep(&mut text);
                self.learn(&mut text);
            }
            Turn::push(&mut turns, text, whole.then_some(scores.of(chunk)));
            chunk += 1;
        }
        self.write(turns);
    }

    /// Chooses the next token of every text that has scores.
    fn write(&mut self, mut turns: Vec<Turn<'_>>) {
        // Choices need nothing of each other.
        self.engine.install(|| parallel::pieces(&mut turns, 1, |_, turn| turn[0].choose()));
        for Turn { mut text, scores, chosen } in turns {
            let (Some(scores), Some(chosen)) = (scores, chosen) else {
                self.texts.push(text);
                continue;
            };
            self.counters.written_tokens += 1;
            if text.write(self.engine, scores, chosen) {
                self.texts.push(text);
            } else {
                self.keep(&mut text);
            }
        }
    }

    /// Keeps what has been read of `text`, if later prompts can begin with it.
    fn keep(&mut self, text: &mut Text) {
        if text.request.reuse && text.reads_as_a_prompt() {
            text.share(self.prefix.keep(&text.ids_read(), &text.sequence));
        }
    }

    /// Drops what nobody waits for, and ends what is long enough.
    fn drop_gone(&mut self) {
        let before = self.waiting.len() + self.sharing.held.len() + self.texts.len();
        self.waiting.retain(|waiting| !waiting.request.listener.gone());
        self.sharing.held.retain(|held| !held.request.listener.gone());
        self.texts.retain(|text| !text.request.listener.gone());
        let after = self.waiting.len() + self.sharing.held.len() + self.texts.len();
        self.counters.cancelled += (before - after) as u64;
        let complete = |text: &mut Text| text.complete();
        let complete: Vec<Text> = self.texts.extract_if(.., complete).collect();
        for mut text in complete {
            text.end(Finish::Stop);
            self.keep(&mut text);
        }
    }

    /// Whether text number `index` waits for an earlier one to read what both begin with.
    fn waits(&self, index: usize) -> bool {
        let text = &self.texts[index];
        text.fresh && text.reading() && self.texts[..index].iter().any(|earlier| text.waits_for(earlier))
    }

    /// How many rows of the next forward every text has.
    fn rows(&self) -> Vec<usize> {
        let writing = self.texts.iter().any(|text| !text.reading());
        let mut left = if writing { self.limits.rows_beside } else { self.limits.rows_alone };
        let waits: Vec<bool> = (0..self.texts.len()).map(|index| self.waits(index)).collect();
        let reads = |(text, waits): &(&Text, bool)| text.reading() && !waits;
        let mut readers = self.texts.iter().zip(waits.iter().copied()).filter(reads).count();
        self.texts
            .iter()
            .zip(waits)
            .map(|(text, waits)| {
                if waits {
                    return 0;
                }
                if !text.reading() {
                    return text.rows(self.limits.rows_beside);
                }
                let share = (left / readers.max(1)).max(FEWEST_ROWS).min(left);
                readers -= 1;
                let rows = if share == 0 { 0 } else { text.rows(share) };
                left = left.saturating_sub(rows);
                rows
            })
            .collect()
    }

    /// Ends the texts that the engine cannot go on with, because of which it has done nothing.
    fn refuse(&mut self) {
        self.texts.retain(|text| match self.engine.check_text(text.sequence.tokens(), &text.next_ids(1)) {
            Ok(()) => true,
            Err(error) => {
                text.request.listener.tell(Event::Failed(error.into()));
                false
            }
        });
    }
}
