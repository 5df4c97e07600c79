//! Who is let in, and what makes room for whom.

use std::sync::Arc;
use std::time::Instant;

use super::memory::Growth;
use super::prefix::Found;
use super::step::Turn;
use super::text::Text;
use super::waiting::Waiting;
use super::{Event, Scheduler};
use crate::kvcomm::Estimate;
use crate::{EngineError, Sequence};

impl Scheduler<'_> {
    /// Memory that is spoken for.
    pub(super) fn reserved(&self) -> usize {
        self.reserved_by_texts() + self.kept()
    }

    fn reserved_by_texts(&self) -> usize {
        let searches: usize = self.searches.iter().map(|searching| searching.reserved).sum();
        self.texts.iter().map(Text::reserved).sum::<usize>() + searches
    }

    /// Memory of what nobody needs now: earlier prompts and what is known of shared texts.
    fn kept(&self) -> usize {
        self.prefix.bytes() + self.sharing.pool.bytes()
    }

    /// Lets go of what nobody needs now until it has at most `limit` bytes.
    fn shrink_kept(&mut self, limit: usize) {
        self.prefix.shrink(limit.saturating_sub(self.sharing.pool.bytes()));
        self.sharing.pool.shrink(limit.saturating_sub(self.prefix.bytes()));
    }

    /// Sees to it that the texts there are can go on.
    pub(super) fn make_room(&mut self) {
        self.prefix.hold();
        while self.reserved() > self.limits.bytes {
            let over = self.reserved() - self.limits.bytes;
            let before = self.kept();
            self.shrink_kept(before.saturating_sub(over));
            if self.kept() < before {
                continue;
            }
            // Searches end by themselves, and have reserved all that they may need.
            if self.texts.len() + self.searches.len() < 2 || self.texts.is_empty() {
                self.prefix.clear();
                self.sharing.pool.clear();
                return;
            }
            if let Some(text) = self.texts.pop() {
                self.counters.preemptions += 1;
                self.waiting.push_front(text.put_away());
            }
        }
    }

    /// Begins requests in their order, as far as there is room.
    pub(super) fn admit(&mut self) {
        while self.texts.len() + self.searches.len() < self.limits.texts {
            if self.hold_back() {
                continue;
            }
            let Some(waiting) = self.waiting.front() else { return };
            let growth = Growth::of_request(self.engine.spec(), &waiting.request);
            let needed = growth.of(waiting.tokens() + 1) + growth.next();
            let room = |scheduler: &Self| scheduler.reserved() + needed <= scheduler.limits.bytes;
            if !room(self) {
                let texts = self.reserved_by_texts();
                self.shrink_kept(self.limits.bytes.saturating_sub(texts + needed));
                let others = !self.texts.is_empty() || !self.searches.is_empty();
                if !room(self) && others {
                    return;
                }
            }
            let Some(mut waiting) = self.waiting.pop_front() else { return };
            waiting.admitted.get_or_insert_with(Instant::now);
            let listener = waiting.request.listener.clone();
            if let Err(error) = self.begin(waiting, growth) {
                listener.tell(Event::Failed(error.into()));
            }
        }
    }

    fn begin(&mut self, waiting: Waiting, growth: Growth) -> Result<(), EngineError> {
        let request = waiting.request.clone();
        let (begun, adapter) = (waiting.begun(), request.adapter.as_ref());
        let found = match request.reuse && request.segments.is_none() {
            true => {
                self.counters.prefix_lookups += u64::from(!begun);
                self.keep_beginnings(&request.prompt);
                self.prefix.find(self.engine, &request.prompt, &request.policy, adapter, 0)?
            }
            false => None,
        };
        let (estimate, because) = self.estimate(&request, found.as_ref().map(|found| found.tokens))?;
        let estimated = estimate.as_ref().map_or(0, |estimate| estimate.tokens);
        let found = found.filter(|_| estimated == 0);
        if let Some(Found { tokens, .. }) = &found {
            self.counters.prefix_hits += u64::from(!begun);
            self.counters.cached_tokens += *tokens as u64;
        }
        self.counters.estimated_tokens += estimated as u64;
        if !begun {
            let cached = found.as_ref().map_or(0, |found| found.tokens);
            request.listener.tell(Event::Begun { cached, estimated, because });
        }
        let (mut sequence, reader) = match (estimate, found) {
            (Some(Estimate { sequence, .. }), _) => (sequence, None),
            (_, Some(Found { sequence, reader, .. })) => (sequence, Some(reader)),
            (None, None) => (self.engine.adapted_sequence(&request.policy, adapter)?, None),
        };
        if request.policy.reads_alone() {
            return self.read_alone(waiting, sequence, growth);
        }
        if let Some(text) = &request.segments {
            // All at once, since every segment sees the others.
            self.engine.read_segments(&mut sequence, &text.prefix, &text.segments)?;
            self.counters.prompt_tokens += sequence.tokens() as u64;
        }
        sequence.note_peak();
        self.texts
            .push(waiting.start(sequence, request.prompt.as_slice().into(), growth, reader).with_estimate(estimated));
        Ok(())
    }

    /// Reads the whole prompt of a policy that chooses which rows of it there are.
    fn read_alone(&mut self, waiting: Waiting, mut sequence: Sequence, growth: Growth) -> Result<(), EngineError> {
        let request = waiting.request.clone();
        let logits = self.engine.prefill(&mut sequence, &request.prompt, |_| {})?;
        self.counters.prompt_tokens += request.prompt.len() as u64;
        let begun = waiting.begun();
        // What counts from here on is what the cache holds of the prompt.
        let read: Arc<[u32]> = request.prompt[..sequence.tokens()].into();
        let mut text = waiting.start(sequence, read, growth, None);
        text.read_whole_prompt();
        let mut turns = Vec::new();
        Turn::push(&mut turns, text, (!begun).then_some(logits.last()));
        self.write(turns);
        Ok(())
    }

    /// Lets texts that have read nothing yet go on from what others have read meanwhile.
    pub(super) fn share(&mut self) {
        for index in 1..self.texts.len() {
            let text = &self.texts[index];
            if !(text.fresh && text.reading() && text.can_share()) {
                continue;
            }
            let (prompt, policy, adapter) = (&text.request.prompt, &text.request.policy, text.request.adapter.as_ref());
            // A prompt that was found before is found again, if not more of it.
            if let Ok(Some(found)) = self.prefix.find(self.engine, prompt, policy, adapter, text.sequence.tokens()) {
                self.counters.cached_tokens += (found.tokens - text.sequence.tokens()) as u64;
                text.request.listener.tell(Event::Shared { tokens: found.tokens - text.sequence.tokens() });
                self.texts[index].take_over(found);
            }
        }
    }
}
