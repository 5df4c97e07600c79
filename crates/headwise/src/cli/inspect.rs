//! `headwise inspect`

mod heads;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use headwise::lab::inspect::{self, InspectReport, PageInput, inspect};
use headwise::models::embedded;
use headwise::tasks::DEFAULT_TEXT;
use indicatif::ProgressBar;

use super::Outcome;
use super::envelope::envelope;
use super::model::Run;
use super::output::{Report, now};
use super::progress::style;

/// Where the heads of a model look: attention sinks, entropy and distance, as a report.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Inspect {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    attention: Attention,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Which heads copy from far back: scores on repeated random tokens
    Heads(heads::Heads),
}

/// Where the heads of a model look.
#[derive(Debug, Args)]
struct Attention {
    /// A model file, or a name that `pull` knows
    #[arg(default_value = embedded::NAME)]
    model: String,
    /// The text to read; a long speech if not given
    #[arg(long)]
    text: Option<PathBuf>,
    /// Use so many tokens of the text
    #[arg(long, default_value_t = 1024)]
    tokens: usize,
    /// Write the rows as JSON; `-`, or no name, is standard output
    #[arg(long, num_args = 0..=1, default_missing_value = "-")]
    json: Option<String>,
    /// Write the report; `-` is standard output
    #[arg(long, default_value = "headwise-inspect.html")]
    html: String,
    #[command(flatten)]
    run: Run,
}

/// Tokens listed by the attention they draw.
const TOKENS_LISTED: usize = 12;

impl Inspect {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        match self.what {
            Some(What::Heads(heads)) => heads.run(),
            None => self.attention.run(),
        }
    }
}

impl Attention {
    fn run(self) -> Outcome {
        if self.tokens == 0 {
            return Err("--tokens is 0: it must be at least 1".into());
        }
        let read = self.text.as_deref().map(super::read_text).transpose()?;
        let text = read.as_deref().unwrap_or(DEFAULT_TEXT);
        let output = Report::open(&self.html, self.json.as_deref())?;
        let model = self.run.open(&self.model)?;
        let mut ids = model.encode(text)?;
        ids.truncate(self.tokens);
        let bar = ProgressBar::new(model.engine.spec().layers.len() as u64)
            .with_style(style("reading {bar:30} layer {pos} of {len}, {eta} left"));
        let inspection = inspect(&model.engine, &model.name, &ids, |layers| bar.set_position(layers as u64))?;
        bar.finish_and_clear();
        let tokens = inspection.tokens(&ids, TOKENS_LISTED, |id| model.tokenizer.decode(&[id], false));
        let report = InspectReport { envelope: envelope(model.engine.threads(), inspection.heads), tokens };
        let summary = inspect::table(&report.envelope.rows);
        let page = PageInput {
            title: &format!("Where the heads of {} look", model.name),
            report: &report,
            text: &self
                .text
                .as_ref()
                .map_or_else(|| "the built-in speech".to_owned(), |path| path.display().to_string()),
            date: &now(),
        };
        output.write(&summary, &report, &inspect::html(&page))
    }
}
