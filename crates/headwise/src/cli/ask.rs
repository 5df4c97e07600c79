//! `headwise ask`

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use headwise::engine::cache::CachePolicy;
use headwise::engine::retrieve::{Question, Retriever};
use headwise::engine::{Sampler, generate};
use headwise::models::embedded;
use indicatif::ProgressBar;

use super::Outcome;
use super::model::Run;
use super::progress::style;

/// Answer a question about a text of any length: finds the sentences that it is about, then answers from those.
#[derive(Debug, Args)]
pub struct Ask {
    /// A model file, or a name that `pull` knows
    #[arg(default_value = embedded::NAME)]
    model: String,
    /// The text
    #[arg(long)]
    text: PathBuf,
    /// The question
    #[arg(short, long)]
    question: String,
    /// How the answer begins
    #[arg(long, default_value = "")]
    answer_start: String,
    /// What finds the sentences, for example `infini_retri(window=2048)`
    #[arg(long, default_value = "infini_retri")]
    retrieve: String,
    /// Cache policy of the answer
    #[arg(long, default_value = "full")]
    cache: String,
    /// Most tokens to write
    #[arg(short = 'n', long, default_value_t = 128)]
    tokens: usize,
    /// Print the sentences before the answer
    #[arg(long)]
    show: bool,
    #[command(flatten)]
    run: Run,
}

impl Ask {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        let policy = CachePolicy::parse(&self.cache)?;
        let retriever: Retriever = headwise::spec::from_text(&self.retrieve)?;
        let text = super::read_text(&self.text)?;
        if text.is_empty() {
            return Err(format!("{} is empty: there is nothing to ask about", self.text.display()).into());
        }
        let model = self.run.open(&self.model)?;
        let question = Question { question: &self.question, answer_start: &self.answer_start };
        let bar = ProgressBar::new(0).with_style(style("{bar:30} part {pos} of {len}, {eta} left"));
        let found = retriever.retrieve(&model, &text, question, |part, parts| {
            bar.set_length(parts as u64);
            bar.set_position(part as u64);
        })?;
        bar.finish_and_clear();
        let mut out = std::io::stdout().lock();
        if self.show {
            writeln!(out, "{}\n", found.text.trim_end())?;
        }
        let mut sequence = model.engine.sequence(&policy)?;
        let generation = model.generation(self.tokens);
        let mut decoder = model.tokenizer.decoder();
        let mut written = Ok(());
        generate(&model.engine, &mut sequence, &found.prompt, &generation, &mut Sampler::greedy(), |id| {
            written = out.write_all(decoder.push(id).as_bytes()).and_then(|()| out.flush());
            written.is_ok()
        })?;
        written?;
        writeln!(out, "{}", decoder.finish())?;
        eprintln!(
            "{} tokens in {} parts; keys and values took at most {:.2} MB",
            found.tokens,
            found.parts,
            found.peak_bytes as f64 / 1e6
        );
        Ok(())
    }
}
