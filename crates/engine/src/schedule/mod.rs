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
mod exits;
mod kept;
mod late;
mod memory;
mod prefix;
mod request;
mod searches;
mod sharing;
mod step;
#[cfg(test)]
mod tests;
mod text;
mod waiting;

use std::collections::VecDeque;
use std::sync::Arc;

pub use self::kept::Loaded;
use self::memory::Growth;
use self::prefix::PrefixCache;
pub use self::request::{CacheUsage, Event, Finish, Listener, Request, ScheduleError, WhyRead};
use self::searches::Searching;
use self::sharing::Sharing;
use self::text::Text;
use self::waiting::Waiting;
use crate::cache::CachePolicy;
use crate::exit::LEAVES;
use crate::pine::READS_SET;
use crate::{Adapter, Engine, EngineError};

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
    /// Answers, and requests that still waited, which had had all their time, so far.
    pub timed_out: u64,
    /// Bytes that there are for everything that is kept.
    pub limit_bytes: usize,
    /// Bytes that neither texts nor what is kept for later ones have or may need for the next forward.
    pub free_bytes: usize,
    /// Bytes of the caches of all texts.
    pub text_bytes: usize,
    /// Bytes of earlier prompts.
    pub prefix_bytes: usize,
    /// Earlier prompts.
    pub prefix_nodes: usize,
    /// Bytes of what is known of shared texts.
    pub shared_bytes: usize,
}

/// Reads and writes many texts at once.
pub struct Scheduler<'e> {
    engine: &'e Engine,
    limits: ScheduleLimits,
    waiting: VecDeque<Waiting>,
    /// In the order in which they began.
    texts: Vec<Text>,
    searches: Vec<Searching>,
    prefix: PrefixCache,
    sharing: Sharing,
    counters: Counters,
}

impl<'e> Scheduler<'e> {
    /// A scheduler with nothing to do.
    pub fn new(engine: &'e Engine, limits: ScheduleLimits) -> Self {
        let prefix = PrefixCache::new(limits.prefix_bytes.min(limits.bytes));
        let sharing = Sharing::new(limits.shared_bytes.min(limits.bytes));
        let (waiting, texts, searches) = (VecDeque::new(), Vec::new(), Vec::new());
        Self { engine, limits, waiting, texts, searches, prefix, sharing, counters: Counters::default() }
    }

    /// Takes on `request`, or tells its listener why not.
    pub fn submit(&mut self, mut request: Request) {
        for sampler in &mut request.samplers {
            sampler.read(&request.prompt);
            sampler.end_with(&request.stop);
        }
        match self.prepare_search(&mut request).and_then(|()| self.check(&request)) {
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
        if let Some(adapter) = &request.adapter {
            self.check_adapted(request, adapter)?;
        }
        if let Some(text) = &request.segments {
            self.engine.check_segments(&request.policy, &text.segments).map_err(EngineError::from)?;
        }
        if let Some(exit) = &request.exit {
            exit.check(self.engine, &request.policy)?;
        }
        if request.parts.is_some() {
            self.sharing.pool.check(self.engine, &request.policy).map_err(EngineError::from)?;
        }
        if self.waiting.len() >= self.limits.waiting {
            return Err(ScheduleError::Busy { waiting: self.waiting.len() });
        }
        let tokens = (prompt + request.tokens).min(most);
        let growth = Growth::of_request(self.engine.spec(), request);
        let (bytes, limit) = (growth.of(tokens).saturating_add(growth.next()), self.limits.bytes);
        if bytes > limit {
            return Err(ScheduleError::Memory { tokens, bytes, limit });
        }
        Ok(())
    }

    /// Whether `request` can have `adapter`.
    fn check_adapted(&self, request: &Request, adapter: &Adapter) -> Result<(), EngineError> {
        self.engine.check_adapter(&request.policy, adapter)?;
        let plain = |there: bool, what| if there { Err(EngineError::Adapted { what }) } else { Ok(()) };
        plain(request.exit.is_some(), LEAVES)?;
        plain(request.segments.is_some(), READS_SET)?;
        plain(request.parts.is_some(), "shared texts cannot be estimated in")
    }

    /// Whether there is nothing to read or write.
    pub fn idle(&self) -> bool {
        self.waiting.is_empty() && self.texts.is_empty() && self.searches.is_empty() && self.sharing.held.is_empty()
    }

    /// What has been done and is being done.
    pub fn counters(&self) -> Counters {
        let reading = self.texts.iter().filter(|text| text.reading()).count();
        Counters {
            waiting: self.waiting.len() + self.sharing.held.len(),
            reading,
            writing: self.texts.len() - reading + self.searches.len(),
            limit_bytes: self.limits.bytes,
            free_bytes: self.limits.bytes.saturating_sub(self.reserved()),
            text_bytes: self.caches().map(|(_, bytes)| bytes).sum(),
            prefix_bytes: self.prefix.bytes(),
            prefix_nodes: self.prefix.len(),
            shared_bytes: self.sharing.pool.bytes(),
            ..self.counters
        }
    }

    /// The policy of every text that is being read or written, and the bytes of its cache.
    pub fn caches(&self) -> impl Iterator<Item = (&CachePolicy, usize)> {
        let texts = self.texts.iter().map(|text| (&text.request.policy, text.bytes));
        texts.chain(self.searches.iter().map(Searching::cache))
    }

    /// Drops everything: requests, texts and earlier prompts. Their listeners are told nothing.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.texts.clear();
        self.searches.clear();
        self.prefix.clear();
        self.sharing.clear();
    }
}
