//! Several answers: to every line of a file, or to one prompt by drawing.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use headwise::engine::cache::CachePolicy;
use headwise::engine::{Sampler, Sequence, TextModel, Writing, generate_all, generate_several};
use indicatif::ProgressBar;

use super::super::Outcome;
use super::super::progress::style;
use super::super::segments::Begun;
use super::Generate;
use super::answer::{Answer, table};

impl Generate {
    /// Continues every line of the file at `path`.
    pub(super) fn run_all(&self, policy: &CachePolicy, path: &Path) -> Outcome {
        let text = super::super::read_text(path)?;
        let prompts: Vec<&str> = text.lines().collect();
        if let Some(line) = prompts.iter().position(|prompt| prompt.is_empty()) {
            return Err(format!("line {} of {} is empty: every line must be a prompt", line + 1, path.display()).into());
        }
        if prompts.is_empty() {
            return Err(format!("{} is empty: it must have a prompt on every line", path.display()).into());
        }
        let model = self.open()?;
        let sampler = self.sampling.sampler(&self.samplers, &model, &self.ending, &self.form)?;
        let writing = |(index, prompt): (usize, &&str)| {
            Ok(self.writing(self.begin(&model, policy, prompt)?, sampler.number(index as u64)))
        };
        let mut texts = prompts.iter().enumerate().map(writing).collect::<Result<Vec<_>, Box<dyn Error>>>()?;
        let bar = tokens_bar();
        let started = Instant::now();
        generate_all(&model.engine, &mut texts, &self.ending.generation(&model, self.tokens), |tokens| {
            bar.set_position(tokens as u64)
        })?;
        bar.finish_and_clear();
        let mut out = std::io::stdout().lock();
        for (prompt, text) in prompts.iter().zip(&texts) {
            writeln!(out, "{}", self.answer(&model, prompt, text).line()?)?;
        }
        if self.stats {
            let seconds = started.elapsed().as_secs_f64();
            eprintln!("{} prompts, {} tokens written, in {seconds:.2} s", texts.len(), tokens_of(&texts));
        }
        Ok(())
    }

    /// Draws several answers to `prompt`.
    pub(super) fn run_several(&self, policy: &CachePolicy, prompt: &str) -> Outcome {
        let model = self.open()?;
        // How likely an answer is, is always said: it tells the best from the rest.
        let sampler = self.sampling.sampler(&self.samplers, &model, &self.ending, &self.form)?;
        let begun = self.begin(&model, policy, prompt)?;
        let drawing = |index: usize| {
            let mut sampler = sampler.number(index as u64);
            sampler.read(&begun.read);
            sampler
        };
        let samplers: Vec<Sampler> = (0..self.n).map(drawing).collect();
        let text = self.writing(begun, sampler.clone()).with_log_probabilities(self.logprobs.unwrap_or(0));
        let bar = tokens_bar();
        let started = Instant::now();
        let texts =
            generate_several(&model.engine, text, samplers, &self.ending.generation(&model, self.tokens), |tokens| {
                bar.set_position(tokens as u64);
            })?;
        bar.finish_and_clear();
        let mut answers: Vec<Answer<'_>> = texts.iter().map(|text| self.answer(&model, prompt, text)).collect();
        answers.sort_by(|a, b| b.score.partial_cmp(&a.score).unwrap_or(std::cmp::Ordering::Equal));
        self.print(&answers)?;
        if self.stats {
            let sequences: Vec<&Sequence> = texts.iter().map(Writing::sequence).collect();
            let alone: usize = sequences.iter().map(|sequence| sequence.bytes().total()).sum();
            eprintln!(
                "{} answers, {} tokens written, in {:.2} s; cache {policy}: {:.2} MB together, {:.2} MB if nothing were shared",
                texts.len(),
                tokens_of(&texts),
                started.elapsed().as_secs_f64(),
                Sequence::bytes_together(&sequences).total() as f64 / 1e6,
                alone as f64 / 1e6,
            );
        }
        Ok(())
    }

    /// Prints `answers`, as lines of JSON or one below the other.
    pub(super) fn print(&self, answers: &[Answer<'_>]) -> Outcome {
        let mut out = std::io::stdout().lock();
        for (index, answer) in answers.iter().enumerate() {
            if self.json {
                writeln!(out, "{}", answer.line()?)?;
                continue;
            }
            let (total, score) = (answer.log_probability.unwrap_or(0.0), answer.score.unwrap_or(0.0));
            writeln!(out, "[{}] log-probability {total:.3}, score {score:.3}\n{}\n", index + 1, answer.text)?;
            if self.logprobs.is_some() {
                writeln!(out, "{}", table(&answer.tokens))?;
            }
        }
        Ok(())
    }

    /// The answer to what has been begun.
    fn writing(&self, begun: Begun, sampler: Sampler) -> Writing {
        let writing = Writing::new(begun.sequence, begun.ids, sampler);
        match self.logprobs {
            Some(likeliest) => writing.with_log_probabilities(likeliest),
            None => writing,
        }
    }

    /// What `text` answered to `prompt`.
    fn answer<'a>(&self, model: &TextModel, prompt: &'a str, text: &Writing) -> Answer<'a> {
        let answer = Answer::new(model, prompt, text.written(), text.stopped(), self.ending.stops());
        let [sum, mean] = text.log_probability().map_or([None; 2], |log_probability| log_probability.map(Some));
        let answer = Answer { log_probability: sum, score: mean, ..answer };
        match self.logprobs {
            Some(_) => answer.with_tokens(model, text.log_probabilities()),
            None => answer,
        }
    }
}

pub(super) fn tokens_bar() -> ProgressBar {
    ProgressBar::new_spinner().with_style(style("{spinner} {pos} tokens, {per_sec}"))
}

fn tokens_of(texts: &[Writing]) -> usize {
    texts.iter().map(|text| text.written().len()).sum()
}
