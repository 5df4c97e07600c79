//! `headwise ask`

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use headwise::engine::cache::CachePolicy;
use headwise::engine::pine::SegmentedWords;
use headwise::engine::retrieve::{Question, Retrieved, Retriever};
use headwise::engine::{Sampler, Sequence, TextModel, generate};
use headwise::models::embedded;
use indicatif::ProgressBar;

use super::Outcome;
use super::model::Run;
use super::progress::style;
use super::segments::{self, OrderOption};

/// Answer a question about a text of any length, from the sentences that it is about, or about documents whose order does not matter.
#[derive(Debug, Args)]
pub struct Ask {
    /// A model file, or a name that `pull` knows
    #[arg(default_value = embedded::NAME)]
    model: String,
    /// The text
    #[arg(long, required_unless_present = "files")]
    text: Option<PathBuf>,
    /// One of several documents, all of which are read; name each. In what order they are named changes nothing
    #[arg(long = "document", value_name = "FILE", conflicts_with_all = ["text", "retrieve", "show"])]
    files: Vec<PathBuf>,
    #[command(flatten)]
    order: OrderOption,
    /// The question; several about one text share the reading of it
    #[arg(short, long, required = true)]
    question: Vec<String>,
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
        match &self.text {
            Some(path) => self.about_a_text(&policy, path),
            None => self.about_documents(&policy),
        }
    }

    fn about_a_text(&self, policy: &CachePolicy, path: &Path) -> Outcome {
        let retriever: Retriever = headwise::spec::from_text(&self.retrieve)?;
        let text = super::read_text(path)?;
        if text.is_empty() {
            return Err(format!("{} is empty: there is nothing to ask about", path.display()).into());
        }
        let model = self.run.open(&self.model)?;
        let found = self.find(&retriever, &model, &text)?;
        for (question, found) in self.question.iter().zip(&found) {
            if self.question.len() > 1 {
                super::show(&format!("{question}\n"))?;
            }
            if self.show {
                super::show(&format!("{}\n\n", found.text.trim_end()))?;
            }
            self.answer(&model, model.engine.sequence(policy)?, &found.prompt)?;
        }
        if let Some(found) = found.first() {
            eprintln!(
                "{} tokens in {} parts; keys and values took at most {:.2} MB",
                found.tokens,
                found.parts,
                found.peak_bytes as f64 / 1e6
            );
        }
        Ok(())
    }

    fn find(&self, retriever: &Retriever, model: &TextModel, text: &str) -> Result<Vec<Retrieved>, Box<dyn Error>> {
        let question = |question| Question { question, answer_start: &self.answer_start };
        let questions: Vec<Question<'_>> = self.question.iter().map(|text| question(text)).collect();
        let bar = ProgressBar::new(0).with_style(style("{bar:30} part {pos} of {len}, {eta} left"));
        let found = retriever.retrieve_all(model, text, &questions, |part, parts| {
            bar.set_length(parts as u64);
            bar.set_position(part as u64);
        })?;
        bar.finish_and_clear();
        Ok(found)
    }

    fn about_documents(&self, policy: &CachePolicy) -> Outcome {
        let [question] = &self.question[..] else {
            return Err("documents are read for one question: give --question once, or one text with --text".into());
        };
        let documents = segments::read_all(&self.files)?;
        let model = self.run.open(&self.model)?;
        let words =
            SegmentedWords { before: "", segments: &documents, after: question, answer_start: &self.answer_start };
        let begun = self.order.begin(&model, policy, words, false)?;
        self.answer(&model, begun.sequence, &begun.ids)
    }

    /// Prints what `model` writes after the tokens `prompt` of `sequence`.
    fn answer(&self, model: &TextModel, mut sequence: Sequence, prompt: &[u32]) -> Outcome {
        let mut out = std::io::stdout().lock();
        let generation = model.generation(self.tokens);
        let mut decoder = model.tokenizer.decoder();
        let mut written = Ok(());
        generate(&model.engine, &mut sequence, prompt, &generation, &mut Sampler::greedy(), |id| {
            written = out.write_all(decoder.push(id).as_bytes()).and_then(|()| out.flush());
            written.is_ok()
        })?;
        written?;
        writeln!(out, "{}", decoder.finish())?;
        Ok(())
    }
}
