//! One step: which rows the next forward has, and what becomes of the texts after it.

use std::time::Instant;

use headwise_kernels::parallel;

use super::text::Text;
use super::{Event, FEWEST_ROWS, Finish, Scheduler};
use crate::Chunk;
use crate::constrain::ConstraintError;

/// A text after a forward.
pub(super) struct Turn<'a> {
    text: Text,
    /// The scores of its next token, if that is to be chosen.
    scores: Option<&'a [f32]>,
    chosen: Option<Result<u32, ConstraintError>>,
}

impl<'a> Turn<'a> {
    /// Adds `text` to `turns`, and the other answers to its prompt if that has just been read.
    pub fn push(turns: &mut Vec<Self>, text: Text, scores: Option<&'a [f32]>) {
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

impl Scheduler<'_> {
    /// Runs the model once over what is to be read and written next.
    pub fn step(&mut self) {
        self.step_at(Instant::now());
    }

    /// The same, as if it were `now`.
    pub(super) fn step_at(&mut self, now: Instant) {
        self.drop_gone();
        self.end_late(now);
        self.hear_of_texts_alone();
        self.make_room();
        self.admit();
        self.refuse_late(now);
        self.share();
        let waits: Vec<bool> = (0..self.texts.len()).map(|index| self.waits(index)).collect();
        let awaited = waits.contains(&true);
        let rows = self.rows(&waits);
        let together: Vec<bool> =
            self.texts.iter().zip(&rows).map(|(text, &rows)| rows > 0 && text.exit().is_none()).collect();
        let ids: Vec<Vec<u32>> = self.texts.iter().zip(&rows).map(|(text, &rows)| text.next_ids(rows)).collect();
        let mut chunks: Vec<Chunk<'_>> = Vec::new();
        for ((text, ids), _) in self.texts.iter_mut().zip(&ids).zip(&together).filter(|(_, together)| **together) {
            chunks.push(text.chunk(ids));
        }
        let scores = match chunks.is_empty() {
            true => None,
            false => {
                self.counters.steps += 1;
                let Ok(scores) = self.engine.scores(&mut chunks) else { return self.refuse() };
                Some(scores)
            }
        };
        let alone = self.step_alone(&rows);
        self.step_searches();
        let mut turns = Vec::new();
        let mut chunk = 0;
        let texts = std::mem::take(&mut self.texts).into_iter();
        for (((mut text, rows), together), alone) in texts.zip(rows).zip(together).zip(&alone) {
            if rows == 0 {
                turns.push(Turn { text, scores: None, chosen: None });
                continue;
            }
            let was_reading = text.reading();
            let whole = text.advance(rows);
            if was_reading {
                self.counters.prompt_tokens += rows as u64;
                // In between nobody asks for it but who waits, and those who come (see `begin`).
                if awaited || text.is_worth_keeping() {
                    text.keep_in(&mut self.prefix);
                }
                self.learn(&mut text);
            }
            let next = match (alone, &scores) {
                (Some(alone), _) => alone.last(),
                (None, Some(scores)) if together => {
                    chunk += 1;
                    scores.of(chunk - 1)
                }
                // It has failed, and its listener knows.
                _ => continue,
            };
            Turn::push(&mut turns, text, whole.then_some(next));
        }
        self.write(turns);
    }

    /// Chooses the next token of every text that has scores.
    pub(super) fn write(&mut self, mut turns: Vec<Turn<'_>>) {
        // Choices need nothing of each other.
        self.engine.install(|| parallel::pieces(&mut turns, 1, |_, turn| turn[0].choose()));
        for Turn { mut text, scores, chosen } in turns {
            let (Some(scores), Some(chosen)) = (scores, chosen) else {
                self.texts.push(text);
                continue;
            };
            if text.request.search.is_some() {
                self.begin_search(text, scores);
                continue;
            }
            self.counters.written_tokens += 1;
            if text.write(self.engine, scores, chosen) {
                self.texts.push(text);
            } else {
                text.keep_in(&mut self.prefix);
            }
        }
    }

    /// Keeps what has been read of the prompts that begin like `ids`.
    pub(super) fn keep_beginnings(&mut self, ids: &[u32]) {
        for text in self.texts.iter_mut().filter(|text| text.reading() && text.shares_pages_with(ids)) {
            text.keep_in(&mut self.prefix);
        }
    }

    /// Drops what nobody waits for, and ends what is long enough.
    fn drop_gone(&mut self) {
        let count = |scheduler: &Self| {
            scheduler.waiting.len() + scheduler.sharing.held.len() + scheduler.texts.len() + scheduler.searches.len()
        };
        let before = count(self);
        self.waiting.retain(|waiting| !waiting.request.listener.gone());
        self.sharing.held.retain(|held| !held.request.listener.gone());
        let gone: Vec<Text> = self.texts.extract_if(.., |text| text.request.listener.gone()).collect();
        for mut text in gone.into_iter().filter(Text::reading) {
            // Who asks again goes on from there.
            text.keep_in(&mut self.prefix);
        }
        self.searches.retain(|searching| !searching.request.listener.gone());
        self.counters.cancelled += (before - count(self)) as u64;
        let complete = |text: &mut Text| text.complete();
        let complete: Vec<Text> = self.texts.extract_if(.., complete).collect();
        for mut text in complete {
            text.end(Finish::Stop);
            text.keep_in(&mut self.prefix);
        }
    }

    /// Whether text number `index` waits for an earlier one to read what both begin with.
    fn waits(&self, index: usize) -> bool {
        let text = &self.texts[index];
        text.fresh && text.reading() && self.texts[..index].iter().any(|earlier| text.waits_for(earlier))
    }

    /// How many rows of the next forward every text has.
    fn rows(&self, waits: &[bool]) -> Vec<usize> {
        let writing = self.texts.iter().any(|text| !text.reading());
        let mut left = if writing { self.limits.rows_beside } else { self.limits.rows_alone };
        let reads = |(text, waits): &(&Text, bool)| text.reading() && !waits;
        let mut readers = self.texts.iter().zip(waits.iter().copied()).filter(reads).count();
        self.texts
            .iter()
            .zip(waits.iter().copied())
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
