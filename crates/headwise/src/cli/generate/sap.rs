//! Answers of models that fill gaps.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use headwise::engine::cache::CachePolicy;
use headwise::engine::{Decoding, Example, GapFiller, Sap, SapAnswer, SapCost, SapEnd, SapTask, TextModel};
use indicatif::ProgressBar;

use super::super::Outcome;
use super::super::progress::style;
use super::Generate;
use super::answer::Answer;

/// Writing with a model that fills gaps.
#[derive(Debug, Args)]
pub struct SapOptions {
    /// Write with a model that fills gaps (objective `span_corruption`): the first words of every filling count, then the gap moves behind
    /// them; takes parameters, for example `sap(commit=2)`
    #[arg(
        long,
        value_name = "SPEC",
        num_args = 0..=1,
        default_missing_value = "sap",
        conflicts_with_all = ["prompts", "ids", "profile", "n", "beams", "opera", "logprobs", "SamplingOptions", "SamplerOptions", "Ending", "Form", "prompt_lookup"],
    )]
    pub sap: Option<String>,
    /// A file with a question, a tab and its answer on every line; --sap shows them before the prompt, which is a question too
    #[arg(long, value_name = "FILE", requires = "sap")]
    examples: Option<PathBuf>,
    /// A file with a question on every line; --sap answers them first, and shows the best answers as examples
    #[arg(long, value_name = "FILE", requires = "sap")]
    unlabelled: Option<PathBuf>,
}

impl Generate {
    /// Fills the gap behind `prompt` word after word, as `spec` says.
    pub(super) fn run_sap(&self, policy: &CachePolicy, prompt: &str, spec: &str) -> Outcome {
        let Decoding::Sap(method) = headwise::spec::from_text(spec)? else {
            return Err(format!("--sap takes `sap`, not `{spec}`: write with `opera` by --opera").into());
        };
        method.check()?;
        let SapOptions { examples, unlabelled, .. } = &self.sap;
        let examples = examples.as_deref().map(read_examples).transpose()?;
        let unlabelled = unlabelled.as_deref().map(read_questions).transpose()?;
        let model = self.run.open(&self.model)?;
        let mut filler = GapFiller::new(&model, policy, method.span)?;
        let started = Instant::now();
        let cost = match (examples, unlabelled) {
            (None, None) => self.continue_text(&method, &model, &mut filler, prompt)?,
            (examples, unlabelled) => {
                let (examples, unlabelled) = (examples.unwrap_or_default(), unlabelled.unwrap_or_default());
                let task = SapTask { examples: &examples, unlabelled: &unlabelled, question: prompt };
                self.answer_question(&method, &mut filler, &task)?
            }
        };
        if self.stats {
            let SapCost { calls, shown, read, written } = cost;
            let seconds = started.elapsed().as_secs_f64();
            eprintln!(
                "{calls} calls; {shown} tokens shown, {read} of them read; {written} tokens written; in {seconds:.2} s"
            );
        }
        Ok(())
    }

    /// Writes on after `prompt` as it is.
    fn continue_text(
        &self,
        method: &Sap,
        model: &TextModel,
        filler: &mut GapFiller<'_>,
        prompt: &str,
    ) -> Result<SapCost, Box<dyn Error>> {
        // Room for the prompt, the gap and a token of the answer.
        let gap = filler.gap();
        model.engine.check_text(0, &[&filler.encode(prompt)?[..], &gap, &gap[..1]].concat())?;
        let mut out = std::io::stdout().lock();
        let mut printed = Ok(());
        let answer = method.write(filler, prompt, method.words.unwrap_or(self.tokens), |piece| {
            if !self.json && printed.is_ok() {
                printed = out.write_all(piece.as_bytes()).and_then(|()| out.flush());
            }
        })?;
        printed?;
        match self.json {
            true => writeln!(out, "{}", answer_line(prompt, &answer, None).line()?)?,
            false => writeln!(out)?,
        }
        Ok(answer.cost)
    }

    /// Answers a question after examples, and prints the best answer; with `--json` all of them.
    fn answer_question(
        &self,
        method: &Sap,
        filler: &mut GapFiller<'_>,
        task: &SapTask<'_>,
    ) -> Result<SapCost, Box<dyn Error>> {
        let bar = ProgressBar::new_spinner().with_style(style("{spinner} {pos} pieces of answers, {per_sec}"));
        let found = method.answer(filler, task, |_| bar.inc(1))?;
        bar.finish_and_clear();
        let best = &found.candidates[0];
        if best.answer.words == 0 && best.answer.end == SapEnd::Full {
            return Err(match best.examples {
                0 => "the question fills the context: shorten it, or raise --ctx".into(),
                examples => format!(
                    "the question with {examples} examples fills the context: raise --ctx, or give `demonstrations` below {examples}"
                )
                .into(),
            });
        }
        let shown = if self.json { &found.candidates[..] } else { &found.candidates[..1] };
        let mut out = std::io::stdout().lock();
        for candidate in shown {
            match self.json {
                true => writeln!(out, "{}", answer_line(task.question, &candidate.answer, candidate.score).line()?)?,
                false => writeln!(out, "{}", candidate.answer.text.trim())?,
            }
        }
        if self.stats && !task.unlabelled.is_empty() {
            eprintln!("{} examples made of {} questions", found.made.len(), task.unlabelled.len());
        }
        Ok(found.cost)
    }
}

fn answer_line<'a>(prompt: &'a str, answer: &SapAnswer, score: Option<f64>) -> Answer<'a> {
    Answer {
        prompt,
        text: answer.text.clone(),
        finish_reason: if answer.end == SapEnd::Said { "stop" } else { "length" },
        log_probability: None,
        score,
        tokens: Vec::new(),
        confidence: None,
    }
}

/// Questions with answers, a pair on every line.
fn read_examples(path: &Path) -> Result<Vec<Example>, Box<dyn Error>> {
    let text = super::super::read_text(path)?;
    let pair = |(index, line): (usize, &str)| match line.split_once('\t') {
        Some((question, answer)) if !question.trim().is_empty() && !answer.trim().is_empty() => {
            Ok(Example { question: question.trim().into(), answer: answer.trim().into() })
        }
        _ => {
            let (line, path) = (index + 1, path.display());
            Err(format!("line {line} of {path} is no example: it must be a question, a tab and the answer").into())
        }
    };
    text.lines().enumerate().map(pair).collect()
}

/// Questions, one on every line.
fn read_questions(path: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let text = super::super::read_text(path)?;
    if let Some(line) = text.lines().position(|line| line.trim().is_empty()) {
        return Err(format!("line {} of {} is empty: every line must be a question", line + 1, path.display()).into());
    }
    Ok(text.lines().map(|line| line.trim().to_owned()).collect())
}
