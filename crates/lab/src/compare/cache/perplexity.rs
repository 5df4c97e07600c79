//! Perplexity of known tokens after a compressed context.

use headwise_engine::EngineError;
use headwise_engine::cache::CachePolicy;

use super::answer::{Begun, read_on};
use super::bootstrap;
use super::progress::Clock;
use super::reader::{Reader, readers};
use super::size::Size;
use super::{CompareError, Subject};
use crate::perplexity::nll;
use crate::rows::CacheRow;

/// Tokens scored in every piece of text.
pub(super) const SCORED: usize = 128;

/// What is measured.
pub(super) struct Perplexity<'a> {
    pub subject: Subject<'a>,
    pub policies: &'a [CachePolicy],
    /// The tokens of the text.
    pub ids: &'a [u32],
    pub length: usize,
    /// Pieces of the text, evenly spread.
    pub segments: usize,
    pub seed: u64,
}

/// Tokens of a piece: its context, then those that are fed, then the last that is only predicted.
pub(super) fn needed(length: usize) -> usize {
    length + SCORED + 1
}

/// Tokens of context that are read: `length`, less what the model's context needs for the scored ones.
pub(super) fn readable(subject: &Subject<'_>, length: usize) -> usize {
    let around = SCORED + usize::from(subject.bos().is_some());
    length.min(subject.engine().context().saturating_sub(around))
}

impl Perplexity<'_> {
    /// One row per policy.
    pub fn run(&self, clock: &mut Clock<'_>) -> Result<Vec<CacheRow>, CompareError> {
        let mut losses = vec![Vec::new(); self.policies.len()];
        let mut sizes = vec![Size::default(); self.policies.len()];
        let mut readers = readers(self.subject.engine(), self.policies);
        let all = readers.iter().map(Reader::weight).sum::<f64>() * self.segments as f64;
        let mut done = 0.0;
        for segment in 0..self.segments {
            let (context, scored) = self.piece(segment);
            for reader in &mut readers {
                clock.at(done / all, &format!("perplexity after {} tokens", self.length));
                done += reader.weight();
                let mut texts = reader.read(&context)?;
                for (&policy, text) in reader.places().iter().zip(&texts) {
                    sizes[policy].add(Size::of(&text.sequence));
                }
                let read = self.continuation(&mut texts, scored)?;
                for (&policy, read) in reader.places().iter().zip(read) {
                    losses[policy].extend(read);
                }
            }
        }
        Ok(self.rows(&losses, &sizes))
    }

    /// The context and the scored tokens of a piece of the text.
    fn piece(&self, segment: usize) -> (Vec<u32>, &[u32]) {
        let read = readable(&self.subject, self.length);
        let spare = self.ids.len().saturating_sub(needed(read));
        let start = segment * spare / self.segments.max(1);
        let (context, rest) = self.ids[start..].split_at(read);
        let context = self.subject.bos().into_iter().chain(context.iter().copied()).collect();
        (context, &rest[..SCORED + 1])
    }

    /// Losses of every text on all of `ids` but the first, which continue it token by token.
    ///
    /// The first token is not scored: its prediction comes from the prompt, before any policy has evicted.
    fn continuation(&self, texts: &mut [Begun], ids: &[u32]) -> Result<Vec<Vec<f64>>, EngineError> {
        let mut losses = vec![Vec::with_capacity(SCORED); texts.len()];
        for pair in ids.windows(2) {
            read_on(self.subject.engine(), texts, &pair[..1])?;
            for (losses, text) in losses.iter_mut().zip(texts.iter()) {
                losses.push(nll(&text.logits, pair[1]));
            }
        }
        Ok(losses)
    }

    fn rows(&self, losses: &[Vec<f64>], sizes: &[Size]) -> Vec<CacheRow> {
        let perplexity = |losses: &[f64]| (losses.iter().sum::<f64>() / losses.len().max(1) as f64).exp();
        let full = &losses[0];
        let row = |(index, policy): (usize, &CachePolicy)| {
            let own = &losses[index];
            let interval = (index > 0).then(|| {
                let differences: Vec<f64> = own.iter().zip(full).map(|(own, full)| own - full).collect();
                bootstrap::interval(&differences, self.seed)
            });
            let row = CacheRow::new(&policy.to_string(), self.subject.name(), "perplexity", self.length, self.seed);
            let interval = interval.flatten();
            let mut row = row.with_perplexity(perplexity(own), perplexity(full), interval, own.len() as u64);
            sizes[index].describe(&mut row, &sizes[0]);
            row
        };
        self.policies.iter().enumerate().map(row).collect()
    }
}
