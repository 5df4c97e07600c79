//! `headwise compare mixers`

use clap::Args;
use headwise::kernels::parallel;
use headwise::kernels::simd::Level;
use headwise::lab::compare::mixers::{MixerComparison, PageInput, answer, html, table};
use headwise::lab::rows::{Envelope, Machine};

use super::super::Outcome;
use super::super::output::Output;
use super::super::progress::Comparison;
use super::command;

/// Token mixers in small decoders of equal size, trained on a task and tested at longer lengths.
#[derive(Debug, Args)]
pub(super) struct Mixers {
    /// A mixer to compare, for example `gla(heads=2)`; may be given many times; softmax and the linear ones if not given
    #[arg(long)]
    mixer: Vec<String>,
    /// A task: multi_query_recall (if none is given), copying, selective_copying or induction; may be given many times
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
        let page = Output::open(&self.html)?;
        let json = self.json.as_deref().map(Output::open).transpose()?;
        let on_stdout = json.as_ref().is_some_and(Output::is_stdout);
        if page.is_stdout() && on_stdout {
            return Err("--html - and --json - cannot both be standard output".into());
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.threads).build()?;
        eprintln!("{plan}");
        let mut progress = Comparison::default();
        let rows = pool.install(|| parallel::team(|| plan.run(&mut |moment| progress.at(moment))))?;
        progress.finish();
        let envelope = Envelope {
            version: env!("CARGO_PKG_VERSION").into(),
            machine: Machine::detect(pool.current_num_threads(), Level::current().name()),
            command: command(),
            rows,
        };
        let summary = format!("{}\n{}\n", table(&envelope.rows), answer(&envelope.rows));
        if page.is_stdout() || on_stdout {
            eprint!("{summary}");
        } else {
            print!("{summary}");
        }
        if let Some(json) = json {
            json.write(&(serde_json::to_string_pretty(&envelope)? + "\n"))?;
        }
        let written = (!page.is_stdout()).then(|| format!("report: {}", self.html));
        let date = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M").to_string();
        page.write(html(&PageInput { title: "Token mixers at equal size", envelope: &envelope, date: &date }))?;
        if let Some(written) = written {
            eprintln!("{written}");
        }
        Ok(())
    }
}
