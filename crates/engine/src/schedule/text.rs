//! A text that a scheduler reads and writes.

use std::sync::Arc;
use std::time::Instant;

use headwise_kernels::kv::PAGE;

use super::memory::Growth;
use super::prefix::{Found, PrefixCache, Reader, common, left_to_read};
use super::request::{CacheUsage, Event, Finish, Request};
use super::waiting::{Begun, Waiting, tell_unbegun};
use crate::cache::{CachePolicy, LayerStore};
use crate::constrain::ConstraintError;
use crate::forward::PROMPT_CHUNK;
use crate::{Chunk, Engine, Sampler, Sequence, TokenLogProbabilities, Wanted};

/// One answer of a request: its prompt, what has been written, and how much of both has been read.
///
/// A text that had to make room is read anew, what was written included, and goes on where it was.
pub(super) struct Text {
    pub request: Arc<Request>,
    answer: usize,
    pub sequence: Sequence,
    /// What is read of the prompt: all of it, or what the policy chose.
    pub prompt: Arc<[u32]>,
    written: Vec<u32>,
    /// Tokens of prompt and written text that have been read.
    pub read: usize,
    sampler: Sampler,
    pub growth: Growth,
    /// Keeps the node of the prefix cache that holds the first pages too.
    reader: Option<Reader>,
    /// Pages of a head that are shared with it.
    shared_pages: usize,
    /// Memory of its cache after the last forward.
    pub bytes: usize,
    /// Whether it has read nothing yet but what was there.
    pub fresh: bool,
    /// Whether a part of its prompt is an estimate, which later prompts must not take for what was read.
    estimated: bool,
    /// Whether shared texts of its prompt can be learned from it.
    pub teaches: bool,
    /// Forwards of its answer that may have ended early, and the layers that they went through.
    pub passed: [usize; 2],
    /// When its request first left the queue.
    pub admitted: Instant,
}

impl Waiting {
    /// The text, to be read from the end of `sequence` on, which has been read of `prompt`.
    pub fn start(self, sequence: Sequence, prompt: Arc<[u32]>, growth: Growth, reader: Option<Reader>) -> Text {
        let Self { request, begun, admitted, .. } = self;
        let (answer, written, sampler) = match begun {
            Some(Begun { answer, written, sampler, .. }) => (answer, written, sampler),
            None => (0, Vec::new(), request.samplers[0].clone()),
        };
        let read = sequence.tokens();
        let shared_pages = read / PAGE;
        let teaches = request.parts.is_some();
        Text {
            request,
            answer,
            sequence,
            prompt,
            written,
            read,
            sampler,
            growth,
            reader,
            shared_pages,
            bytes: 0,
            fresh: true,
            estimated: false,
            teaches,
            passed: [0; 2],
            admitted: admitted.unwrap_or_else(Instant::now),
        }
    }
}

impl Text {
    /// Lets go of the cache and remembers the text.
    pub fn put_away(self) -> Waiting {
        let usage = CacheUsage::of(&self.sequence);
        let Self { request, answer, written, sampler, admitted, .. } = self;
        // Other answers to the prompt are not there before something is written.
        let begun = (!written.is_empty()).then_some(Begun { answer, written, sampler, usage });
        Waiting { begun, admitted: Some(admitted), ..Waiting::new(request) }
    }

    /// Says of how many tokens of its prompt keys and values were estimated.
    pub fn with_estimate(self, tokens: usize) -> Self {
        Self { estimated: tokens > 0, teaches: self.teaches && tokens == 0, ..self }
    }

    /// Whether its listener has enough.
    pub fn complete(&self) -> bool {
        !self.reading() && self.request.listener.complete(self.answer)
    }

    /// Whether its prompt is still being read.
    pub fn reading(&self) -> bool {
        self.read < self.prompt.len()
    }

    /// Tokens of the prompt that are left.
    pub fn unread_prompt(&self) -> usize {
        self.prompt.len().saturating_sub(self.read)
    }

    /// Memory that it may have after the next forward, without what it shares with the prefix cache.
    pub fn reserved(&self) -> usize {
        let own = match self.reading() {
            true => self.growth.of(self.prompt.len() + 1),
            false => self.bytes + self.growth.next(),
        };
        own.saturating_sub(self.shared())
    }

    /// Memory that it shares with the prefix cache.
    pub fn shared(&self) -> usize {
        if self.reader.is_some() { self.growth.of_pages(self.shared_pages) } else { 0 }
    }

    /// How many tokens its next chunk has if it may have `rows` rows of a prompt.
    pub fn rows(&self, rows: usize) -> usize {
        let policy = &self.request.policy;
        match self.unread_prompt() {
            // Every token leaves where it did.
            0 if self.request.exit.is_some() => 1,
            // What is written anew; a policy that lets go of pairs has to see every token alone, as it did.
            0 if policy.check_rollback().is_ok() => self.unread().min(rows.max(1)),
            0 => 1,
            // The last rows stand alone where what they leave behind cannot be shared: what came before can.
            left if self.can_share() && policy.reads_in_any_chunks() => match left_to_read(policy) {
                last if left > last && !self.can_be_taken_back() => (left - last).min(rows),
                _ => left.min(rows),
            },
            left if policy.reads_in_any_chunks() => left.min(rows),
            // As a prompt is read alone: behind segments it begins anew.
            left => left.min(PROMPT_CHUNK - (self.read - self.before_the_rest()) % PROMPT_CHUNK),
        }
    }

    /// Tokens up to the end of the segments, if it has some.
    fn before_the_rest(&self) -> usize {
        self.request.segments.as_ref().map_or(0, |text| self.request.prompt.len() - text.suffix.len())
    }

    /// Whether it may begin with what others have read, and others with what it has read.
    pub fn can_share(&self) -> bool {
        self.request.reuse && self.request.segments.is_none()
    }

    /// Whether what has been read is also there for any beginning of it.
    fn can_be_taken_back(&self) -> bool {
        let layers = self.sequence.layers();
        layers.iter().all(LayerStore::can_be_taken_back) && self.request.policy.check_rollback().is_ok()
    }

    /// Tokens that are there and have not been read.
    fn unread(&self) -> usize {
        self.prompt.len() + self.written.len() - self.read
    }

    /// The tokens `ids`, which are [the next](Text::next_ids), for a forward.
    pub fn chunk<'a>(&'a mut self, ids: &'a [u32]) -> Chunk<'a> {
        let end = self.read + ids.len();
        let whole = end == self.prompt.len() + self.written.len();
        let wanted = if whole { Wanted::Last } else { Wanted::Nothing };
        Chunk { sequence: &mut self.sequence, ids, prompt_ends: end >= self.prompt.len(), wanted }
    }

    /// The ids of the next `rows` tokens.
    pub fn next_ids(&self, rows: usize) -> Vec<u32> {
        let text = self.prompt.iter().chain(&self.written);
        text.skip(self.read).take(rows).copied().collect()
    }

    /// Takes note that `rows` tokens have been read; returns whether the next token can be chosen.
    pub fn advance(&mut self, rows: usize) -> bool {
        self.read += rows;
        self.fresh = false;
        self.bytes = self.sequence.bytes().total();
        if !self.reading() && self.request.policy.evicts() {
            // Nothing is shared with the prefix cache any more.
            self.reader = None;
        }
        self.unread() == 0
    }

    /// The whole prompt was read outside of a forward of the scheduler.
    pub fn read_whole_prompt(&mut self) {
        self.read = self.prompt.len();
        self.bytes = self.sequence.bytes().total();
    }

    /// Whether its prompt has just been read for the first time.
    pub fn begins(&self) -> bool {
        self.read == self.prompt.len() && self.written.is_empty()
    }

    /// Keeps what has been read in `prefix`, if later prompts can begin with it.
    pub fn keep_in(&mut self, prefix: &mut PrefixCache) {
        if !(self.can_share() && self.reads_as_a_prompt()) {
            return;
        }
        if let Some(reader) = prefix.keep(&self.ids_read(), &self.sequence) {
            self.reader = Some(reader);
            self.shared_pages = self.read / PAGE;
        }
    }

    /// Whether `earlier`, which is being read, will have read more of what both begin with than this text has.
    pub fn waits_for(&self, earlier: &Self) -> bool {
        let both = self.can_share() && earlier.can_share() && earlier.reading() && !earlier.estimated;
        if !both || !earlier.sequence.reads_for(&self.request.policy, self.sequence.adapter()) {
            return false;
        }
        let usable = common(&self.prompt, &earlier.prompt)
            .min(self.prompt.len().saturating_sub(left_to_read(&self.request.policy)));
        usable > self.read + PAGE && earlier.read < usable
    }

    /// Goes on from `found` instead, which holds more of the prompt.
    pub fn take_over(&mut self, found: Found) {
        self.read = found.tokens;
        (self.estimated, self.teaches) = (false, self.request.parts.is_some());
        self.shared_pages = found.tokens / PAGE;
        (self.sequence, self.reader) = (found.sequence, Some(found.reader));
    }

    /// The other answers to its prompt, as forks.
    pub fn others(&self) -> Vec<Self> {
        let samplers = self.request.samplers.iter().enumerate().skip(1);
        let fork = |(answer, sampler): (usize, &Sampler)| Self {
            request: self.request.clone(),
            answer,
            sequence: self.sequence.clone(),
            prompt: self.prompt.clone(),
            written: Vec::new(),
            read: self.read,
            sampler: sampler.clone(),
            growth: self.growth,
            reader: self.reader.clone(),
            shared_pages: self.shared_pages,
            bytes: self.bytes,
            fresh: false,
            estimated: self.estimated,
            teaches: false,
            passed: [0; 2],
            admitted: self.admitted,
        };
        samplers.map(fork).collect()
    }

    /// Chooses the next token from `logits`.
    pub fn choose(&mut self, logits: &[f32]) -> Result<u32, ConstraintError> {
        self.sampler.try_choose(logits)
    }

    /// Tells of the token that was chosen from `logits`; returns whether the text goes on.
    pub fn write(&mut self, engine: &Engine, logits: &[f32], chosen: Result<u32, ConstraintError>) -> bool {
        let id = match chosen {
            Ok(id) => id,
            Err(error) => {
                self.request.listener.tell(Event::Failed(error.into()));
                return false;
            }
        };
        if self.sampler.ended_by(id) {
            self.end(Finish::Stop);
            return false;
        }
        self.written.push(id);
        let likeliest = self.request.likeliest;
        self.request.listener.tell(Event::Token {
            answer: self.answer,
            id,
            log_probabilities: likeliest.map(|most| TokenLogProbabilities::new(logits, id, most)),
            bytes: self.request.live.then_some(self.bytes),
        });
        let finished = self.sampler.finished();
        let going = self.written.len() < self.request.tokens && self.sequence.tokens() < engine.most_tokens();
        if finished || !going {
            self.end(if finished { Finish::Stop } else { Finish::Length });
        }
        going && !finished
    }

    /// Tells that there is no time for more.
    pub fn end_late(&self) {
        self.end(Finish::Time);
        // Other answers to the prompt are not there before something is written.
        if self.written.is_empty() {
            tell_unbegun(&self.request, 1, Finish::Time);
        }
    }

    /// Tells that the text is complete.
    pub fn end(&self, finish: Finish) {
        let usage = CacheUsage::of(&self.sequence);
        let sequence = self.request.keep.then(|| Box::new(self.sequence.clone()));
        let layers = self.mean_layers();
        self.request.listener.tell(Event::End { answer: self.answer, finish, usage, layers, sequence });
    }

    /// Whether nothing more will be read of its prompt that later ones could begin with.
    pub fn is_worth_keeping(&self) -> bool {
        self.unread_prompt() <= left_to_read(&self.request.policy)
    }

    /// Whether what has been read of it has whole pages in common with a prompt `ids`.
    pub fn shares_pages_with(&self, ids: &[u32]) -> bool {
        common(&self.prompt[..self.read.min(self.prompt.len())], ids) > PAGE
    }

    /// What has been read of the text.
    pub fn ids_read(&self) -> Vec<u32> {
        self.prompt.iter().chain(&self.written).take(self.read).copied().collect()
    }

    /// Whether the text so far, prompt and answer, is as any prompt is read.
    pub fn reads_as_a_prompt(&self) -> bool {
        let policy: &CachePolicy = &self.request.policy;
        let goes_on = self.reading() || (policy.check_rollback().is_ok() && !self.has_left());
        !self.estimated && policy.reads_in_any_chunks() && goes_on
    }
}
