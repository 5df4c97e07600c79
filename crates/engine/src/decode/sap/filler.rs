//! Filling gaps with a model of the engine that learned span corruption.
//!
//! The text `a b` with a gap at its end is `a b S₀ E`, and the answer begins with `S₀`, so `S₀ E S₀` is read after the text and what is
//! written up to the next sentinel or `E` is the filling. A decoder reads from left to right: the text is kept as a sequence of its own,
//! and only what is new since the last call is read.

use headwise_models::decoder::Sentinels;
use headwise_models::tokenizer::{AddBos, Encode};

use super::{Filled, FillsGaps, Likelihood};
use crate::cache::CachePolicy;
use crate::decode::TokenLogProbabilities;
use crate::{Chunk, EngineError, Generation, Sampler, Sequence, TextError, TextModel, Wanted, generate};

/// What a model is asked for the sake of a gap at the end of a text.
#[derive(Clone, Debug)]
pub struct GapQuestion {
    /// The text and its gap.
    pub ids: Vec<u32>,
    /// How far to write on.
    pub generation: Generation,
}

/// A model that fills the gap at the end of a text.
pub struct GapFiller<'a> {
    model: &'a TextModel,
    policy: CachePolicy,
    sentinels: Sentinels,
    /// Most tokens of a filling.
    span: usize,
    sampler: Sampler,
    /// Fillings so far: each draws with numbers of its own.
    calls: u64,
    /// The beginnings of the text that were read, without gaps, the longest last; what they share is held once.
    read: Vec<(Vec<u32>, Sequence)>,
}

impl<'a> GapFiller<'a> {
    /// Fills gaps with `model`, which keeps what it reads as `policy` says, with at most `span` tokens each, the likeliest at every place.
    pub fn new(model: &'a TextModel, policy: &CachePolicy, span: usize) -> Result<Self, EngineError> {
        let sentinels = model.engine.spec().sentinels.ok_or(EngineError::NoSentinels)?;
        // A policy that does not fit the model is refused before anything is read.
        model.engine.sequence(policy)?;
        Ok(Self {
            model,
            policy: policy.clone(),
            sentinels,
            span,
            sampler: Sampler::greedy(),
            calls: 0,
            read: Vec::new(),
        })
    }

    /// Chooses tokens with `sampler`.
    pub fn with_sampler(self, sampler: Sampler) -> Self {
        Self { sampler, ..self }
    }

    /// The tokens of a text that goes on.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TextError> {
        let tokenizer = &self.model.tokenizer;
        let add_bos = if tokenizer.adds_bos() { AddBos::Always } else { AddBos::Never };
        Ok(tokenizer.encode(text, Encode { add_bos, parse_special: false })?)
    }

    /// The tokens of a gap at the end of a text, up to where its filling begins.
    pub fn gap(&self) -> [u32; 3] {
        let Sentinels { first, end, .. } = self.sentinels;
        [first, end, first]
    }

    /// What the model is asked to fill the gap at the end of `text`; none if there is no room for more.
    pub fn question(&self, text: &str) -> Result<Option<GapQuestion>, TextError> {
        let mut ids = self.encode(text)?;
        let room = self.room(ids.len());
        if room == 0 {
            return Ok(None);
        }
        ids.extend(self.gap());
        let ends = self.model.tokenizer.end_of_generation_ids().iter().copied();
        let stop = self.sentinels.ids().chain([self.sentinels.end]).chain(ends).collect();
        Ok(Some(GapQuestion { ids, generation: Generation { tokens: self.span.min(room), stop } }))
    }

    /// Whether a text under `policy` that is read anew, with or without its gap, is what it is when it is gone on with: fillings can be
    /// asked for one by one then.
    pub fn fills_one_by_one(policy: &CachePolicy) -> bool {
        policy.only_stores() && policy.reads_in_any_chunks() && policy.check_rollback().is_ok()
    }

    /// The text `ids` as a sequence, and how many of them had to be read.
    fn read(&mut self, ids: &[u32]) -> Result<(Sequence, usize), EngineError> {
        let engine = &self.model.engine;
        while self.read.last().is_some_and(|(known, _)| !ids.starts_with(known)) {
            self.read.pop();
        }
        let (known, mut sequence) = match self.read.last() {
            Some((known, sequence)) => (known.len(), sequence.clone()),
            None => (0, engine.sequence(&self.policy)?),
        };
        let new = &ids[known..];
        if !new.is_empty() {
            engine.prefill(&mut sequence, new, |_| {})?;
            self.read.push((ids.to_vec(), sequence.clone()));
        }
        Ok((sequence, new.len()))
    }

    /// Tokens that may follow `tokens` and a gap.
    fn room(&self, tokens: usize) -> usize {
        self.model.engine.most_tokens().saturating_sub(tokens + self.gap().len())
    }
}

impl FillsGaps for GapFiller<'_> {
    type Error = TextError;

    fn fill(&mut self, text: &str, enough: &mut dyn FnMut(&str) -> bool) -> Result<Option<Filled>, TextError> {
        let Some(GapQuestion { ids, generation }) = self.question(text)? else { return Ok(None) };
        let gap = self.gap();
        let text = &ids[..ids.len() - gap.len()];
        let (mut sequence, read) = self.read(text)?;
        let mut sampler = self.sampler.number(self.calls);
        self.calls += 1;
        let (mut decoder, mut said) = (self.model.tokenizer.decoder(), String::new());
        let written = generate(&self.model.engine, &mut sequence, &gap, &generation, &mut sampler, |id| {
            said.push_str(&decoder.push(id));
            !enough(&said)
        })?;
        said.push_str(&decoder.finish());
        let written = written.ids.len() + usize::from(written.stopped);
        Ok(Some(Filled { text: said, shown: ids.len(), read: read + gap.len(), written }))
    }

    fn judge(&mut self, text: &str, answer: &str) -> Result<Likelihood, TextError> {
        let (before, whole) = (self.encode(text)?, self.encode(&format!("{text}{answer}"))?);
        let shared = before.iter().zip(&whole).take_while(|(a, b)| a == b).count();
        let (shown, said) = whole.split_at(shared);
        let Some((_, asked)) = said.split_last() else { return Ok(Likelihood::default()) };
        if self.room(shown.len()) < said.len() {
            // What the model cannot read it would never say.
            return Ok(Likelihood { log_probability: f64::NEG_INFINITY, tokens: said.len() });
        }
        let (mut sequence, _) = self.read(shown)?;
        let ids = [&self.gap()[..], asked].concat();
        let chunk = Chunk { sequence: &mut sequence, ids: &ids, prompt_ends: true, wanted: Wanted::All };
        let logits = self.model.engine.forward(&mut [chunk])?.pop().unwrap_or_default();
        let rows = logits.rows().skip(self.gap().len() - 1).zip(said);
        let log_probability = rows.map(|(row, &id)| TokenLogProbabilities::new(row, id, 0).chosen.value).sum();
        Ok(Likelihood { log_probability, tokens: said.len() })
    }
}
