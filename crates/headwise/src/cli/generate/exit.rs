//! One answer whose tokens leave the model early.

use std::io::Write;
use std::time::Instant;

use headwise::engine::ExitRule;
use headwise::engine::cache::CachePolicy;

use super::super::Outcome;
use super::Generate;
use super::answer::Answer;

impl Generate {
    /// Continues `prompt`; a token leaves where `spec` says.
    pub(super) fn run_exit(&self, policy: &CachePolicy, prompt: &str, spec: &str) -> Outcome {
        let ExitRule::EarlyExit(exit) = headwise::spec::from_text(spec)?;
        let model = self.run.open(&self.model)?;
        let mut sequence = model.engine.sequence(policy)?;
        let ids = self.encode(&model, prompt)?;
        let mut sampler = self.sampling.sampler(&self.samplers, &model, &self.ending, &self.form)?;
        let (mut decoder, mut stops) = (model.tokenizer.decoder(), self.ending.stops());
        let mut out = std::io::stdout().lock();
        let mut written = Ok(());
        let generation = self.ending.generation(&model, self.tokens);
        let started = Instant::now();
        let text = exit.generate(&model.engine, &mut sequence, &ids, &generation, &mut sampler, |id| {
            let text = stops.push(&decoder.push(id));
            if !self.json {
                let piece = if self.ids { format!("{id} ") } else { text };
                written = out.write_all(piece.as_bytes()).and_then(|()| out.flush());
            }
            written.is_ok() && !stops.stopped()
        })?;
        written?;
        if self.json {
            let answer = Answer::new(&model, prompt, &text.ids, text.stopped, self.ending.stops());
            writeln!(out, "{}", answer.line()?)?;
        } else {
            let rest = stops.push(&decoder.finish()) + &stops.finish();
            writeln!(out, "{}", if self.ids { String::new() } else { rest })?;
        }
        if self.stats {
            eprintln!(
                "prompt {} tokens; written {}, through {:.1} of {} layers each, in {:.2} s",
                ids.len(),
                text.ids.len(),
                text.mean_layers(),
                model.engine.spec().layers.len(),
                started.elapsed().as_secs_f64(),
            );
        }
        Ok(())
    }
}
