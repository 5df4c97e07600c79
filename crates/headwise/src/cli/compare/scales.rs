//! `headwise compare scales`

use clap::Args;
use headwise::lab::compare::scales::{PageInput, ScaleComparison, answer, html, table};

use super::super::Outcome;
use super::super::envelope::envelope;
use super::super::output::{Report, now};
use super::measured;

/// Cache policies of a small generator of pictures that draws maps of growing size; it is trained first.
#[derive(Debug, Args)]
pub(super) struct Scales {
    /// A policy to compare, for example `scalekv(keep=0.25)`; may be given many times; `scalekv` and `uniform` if not given
    #[arg(long)]
    cache: Vec<String>,
    /// Shares kept by policies that do not say, for example 0.25,0.1
    #[arg(long, value_delimiter = ',')]
    keep: Vec<f64>,
    /// Width and height of the maps, the first 1
    #[arg(long, value_delimiter = ',', default_values_t = ScaleComparison::default().scales)]
    scales: Vec<usize>,
    /// Steps of the optimiser for the transformer
    #[arg(long, default_value_t = ScaleComparison::default().steps)]
    steps: u64,
    /// Seed of everything random
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads; 0 uses all processors
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Write the rows as JSON; `-` is standard output
    #[arg(long)]
    json: Option<String>,
    /// Write the report with the pictures; `-` is standard output
    #[arg(long, alias = "out", default_value = "headwise-scales.html")]
    html: String,
}

impl Scales {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        let comparison = ScaleComparison {
            caches: self.cache,
            keep: self.keep,
            scales: self.scales,
            steps: self.steps,
            seed: self.seed,
        };
        let plan = comparison.plan()?;
        let report = Report::open(&self.html, self.json.as_deref())?;
        let (threads, compared) = measured(self.threads, &plan, |said| plan.run(said))?;
        let envelope = envelope(threads, compared.rows);
        let summary = format!("{}\n{}\n", table(&envelope.rows), answer(&envelope.rows));
        let title = "Pictures with less of the cache";
        let page = html(&PageInput { title, envelope: &envelope, strips: &compared.strips, date: &now() });
        report.write(&summary, &envelope, &page)
    }
}
