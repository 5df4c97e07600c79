//! The best answers to a prompt, by search.

use std::time::Instant;

use headwise::engine::cache::CachePolicy;
use headwise::engine::{BeamSearch, Decoding, Hypothesis, TextModel, beam_search};

use super::super::Outcome;
use super::Generate;
use super::answer::Answer;
use super::several::tokens_bar;

impl Generate {
    /// Searches for the best answers to `prompt` with `beams` beams.
    pub(super) fn run_beams(&self, policy: &CachePolicy, prompt: &str, beams: usize) -> Outcome {
        if beams == 0 {
            return Err("--beams is 0: it must be at least 1".into());
        }
        if !self.length_penalty.is_finite() {
            return Err(format!("--length-penalty {} is not a number", self.length_penalty).into());
        }
        let model = self.open()?;
        let ids = self.encode(&model, prompt)?;
        let search = BeamSearch { beams, length_penalty: self.length_penalty };
        let bar = tokens_bar();
        let started = Instant::now();
        let sequence = Self::sequence(&model, policy)?;
        let found = beam_search(&model.engine, sequence, &ids, &model.generation(self.tokens), search, |tokens| {
            bar.set_position(tokens as u64);
        })?;
        bar.finish_and_clear();
        self.print_found(&model, prompt, &found)?;
        if self.stats {
            let (read, tokens) = (ids.len(), longest(&found));
            let seconds = started.elapsed().as_secs_f64();
            eprintln!("prompt {read} tokens; {beams} beams, {tokens} tokens long, in {seconds:.2} s");
        }
        Ok(())
    }

    /// Searches for answers to `prompt` that look at it, as `spec` says.
    pub(super) fn run_opera(&self, policy: &CachePolicy, prompt: &str, spec: &str) -> Outcome {
        let Decoding::Opera(method) = headwise::spec::from_text(spec)? else {
            return Err(format!("--opera takes `opera`, not `{spec}`: write with `sap` by --sap").into());
        };
        let model = self.run.open(&self.model)?;
        let ids = self.encode(&model, prompt)?;
        let bar = tokens_bar();
        let started = Instant::now();
        let generation = model.generation(self.tokens);
        let found = method.search(&model.engine, policy, &ids, 0..ids.len(), &generation, |tokens| {
            bar.set_position(tokens as u64);
        })?;
        bar.finish_and_clear();
        self.print_found(&model, prompt, &found.answers)?;
        if self.stats {
            eprintln!(
                "prompt {} tokens; {} tokens long, {} tried, back {} times, in {:.2} s",
                ids.len(),
                longest(&found.answers),
                found.tried,
                found.rollbacks,
                started.elapsed().as_secs_f64(),
            );
        }
        Ok(())
    }

    fn print_found(&self, model: &TextModel, prompt: &str, found: &[Hypothesis]) -> Outcome {
        let answer = |found: &Hypothesis| {
            let (log_probability, score) = (Some(found.log_probability), Some(found.score));
            Answer {
                log_probability,
                score,
                ..Answer::new(model, prompt, &found.ids, found.stopped, self.ending.stops())
            }
        };
        self.print(&found.iter().map(answer).collect::<Vec<_>>())
    }
}

fn longest(found: &[Hypothesis]) -> usize {
    found.iter().map(|found| found.ids.len()).max().unwrap_or(0)
}
