//! `headwise compare mixers`

use clap::Args;
use headwise::lab::compare::mixers::{MixerComparison, PageInput, answer, html, table};

use super::super::Outcome;
use super::super::envelope::envelope;
use super::super::output::{Report, now};
use super::measured;

/// Token mixers in small decoders of equal size, trained on a task and tested at longer lengths.
#[derive(Debug, Args)]
pub(super) struct Mixers {
    /// A mixer to compare, for example `gla(heads=2)`; may be given many times; softmax and the linear ones if not given
    #[arg(long)]
    mixer: Vec<String>,
    /// A task: multi_query_recall (if none is given), key_value_recall, induction, copying, selective_copying, phone_book, dyck,
    /// list_ops, byte_sentiment, byte_retrieval, shape_images or pathfinder; may be given many times
    #[arg(long)]
    task: Vec<String>,
    /// Tokens of a sequence in training
    #[arg(long, default_value_t = MixerComparison::default().length)]
    length: usize,
    /// Tokens of a sequence in further tests, for example 96,192; twice and four times the length if not given
    #[arg(long, value_delimiter = ',')]
    test_lengths: Vec<usize>,
    /// Sequences of a test
    #[arg(long, default_value_t = MixerComparison::default().test_sequences)]
    test_sequences: u64,
    /// Steps of the optimiser
    #[arg(long, default_value_t = MixerComparison::default().steps)]
    steps: u64,
    /// Channels of the decoders
    #[arg(long, default_value_t = MixerComparison::default().dim)]
    dim: usize,
    /// Layers of the decoders
    #[arg(long, default_value_t = MixerComparison::default().layers)]
    layers: usize,
    /// Runs of every mixer, of which the median counts
    #[arg(long, default_value_t = MixerComparison::default().seeds)]
    seeds: u64,
    /// Threads; 0 uses all processors
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Write the rows as JSON; `-` is standard output
    #[arg(long)]
    json: Option<String>,
    /// Write the report; `-` is standard output
    #[arg(long, default_value = "headwise-mixers.html")]
    html: String,
}

impl Mixers {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        let comparison = MixerComparison {
            mixers: self.mixer,
            tasks: self.task,
            length: self.length,
            test_lengths: self.test_lengths,
            steps: self.steps,
            dim: self.dim,
            layers: self.layers,
            seeds: self.seeds,
            test_sequences: self.test_sequences,
        };
        let plan = comparison.plan()?;
        let report = Report::open(&self.html, self.json.as_deref())?;
        let (threads, rows) = measured(self.threads, &plan, |said| plan.run(said))?;
        let envelope = envelope(threads, rows);
        let summary = format!("{}\n{}\n", table(&envelope.rows), answer(&envelope.rows));
        let page = html(&PageInput { title: "Token mixers at equal size", envelope: &envelope, date: &now() });
        report.write(&summary, &envelope, &page)
    }
}
