//! `headwise compare experts`

use std::time::Duration;

use clap::Args;
use headwise::lab::compare::experts::{ExpertsComparison, PageInput, TINY_NOTE, answer, html, table};

use super::super::Outcome;
use super::super::envelope::envelope;
use super::super::model::folder_of;
use super::super::output::{Report, now};
use super::measured;

/// Ways to hold the experts of a mixture in a bounded memory.
#[derive(Debug, Args)]
pub(super) struct Experts {
    /// The folder of a model with mixtures of experts; a small one is trained if not given
    #[arg(long)]
    model: Option<String>,
    /// A way to hold experts, for example `lru(capacity=0.25)`; may be given many times; all with a quarter in memory if not given
    #[arg(long)]
    experts: Vec<String>,
    /// Texts of a batch; two batches take turns
    #[arg(long, default_value_t = ExpertsComparison::default().batch)]
    batch: usize,
    /// Tokens of a prompt
    #[arg(long, default_value_t = ExpertsComparison::default().prompt)]
    prompt: usize,
    /// Tokens read after it, one at a time
    #[arg(long, default_value_t = ExpertsComparison::default().tokens)]
    tokens: usize,
    /// Milliseconds by which every load of an expert is slowed down, to stand for a slower medium
    #[arg(long, default_value_t = 0)]
    load_delay_ms: u64,
    /// Seed of the small model
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads; 0 uses all processors
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Write the rows as JSON; `-` is standard output
    #[arg(long)]
    json: Option<String>,
    /// Write the report; `-` is standard output
    #[arg(long, default_value = "headwise-experts.html")]
    html: String,
}

impl Experts {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        let comparison = ExpertsComparison {
            policies: self.experts,
            model: self.model.as_deref().map(folder_of).transpose()?,
            batch: self.batch,
            prompt: self.prompt,
            tokens: self.tokens,
            delay: Duration::from_millis(self.load_delay_ms),
            threads: self.threads,
            seed: self.seed,
            ..ExpertsComparison::default()
        };
        let plan = comparison.plan()?;
        let report = Report::open(&self.html, self.json.as_deref())?;
        let notes: Vec<String> = comparison.model.is_none().then(|| TINY_NOTE.to_owned()).into_iter().collect();
        notes.iter().for_each(|note| eprintln!("{note}"));
        let (threads, rows) = measured(self.threads, &plan, |said| plan.run(said))?;
        let envelope = envelope(threads, rows);
        let summary = format!("{}\n{}\n", table(&envelope.rows), answer(&envelope.rows));
        let title = "Experts in a bounded memory";
        let page = html(&PageInput { title, envelope: &envelope, date: &now(), notes: &notes });
        report.write(&summary, &envelope, &page)
    }
}
