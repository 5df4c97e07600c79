//! `headwise bench`

use std::error::Error;

use clap::Args;
use headwise::engine::TextModel;
use headwise::lab::bench::{self, BenchReport, Peaks, Plan, Setup};
use headwise::lab::compare::cache::toy_engine;
use headwise::models::pull;
use indicatif::ProgressBar;

use super::Outcome;
use super::envelope::envelope;
use super::model::Run;
use super::output::Output;
use super::progress::style;

/// The model of `prefill`, `decode` and `decode_batch` if none is named.
const DEFAULT_MODEL: &str = "smollm2-135m";

/// How fast the kernels and a model are, beside what this machine can do.
#[derive(Debug, Args)]
pub struct Bench {
    /// Only the benchmark of this name, or those whose names contain it
    #[arg(long)]
    filter: Option<String>,
    /// Run on this shape instead, for example 1x8x2048x64; for prefill and decode, tokens
    #[arg(long)]
    shape: Option<String>,
    /// Timed calls; as many as each benchmark needs if not given
    #[arg(long)]
    repeats: Option<usize>,
    /// Model of prefill, decode and decode_batch: a file, or a name that `pull` knows; SmolLM2-135M if it is here already
    #[arg(long)]
    model: Option<String>,
    /// Write the rows as JSON; `-`, or no name, is standard output
    #[arg(long, num_args = 0..=1, default_missing_value = "-")]
    json: Option<String>,
    /// Print where the time went, by operation
    #[arg(long)]
    profile: bool,
    #[command(flatten)]
    run: Run,
}

impl Bench {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        let mut plan = Plan::new(self.filter.as_deref(), self.shape.as_deref())?;
        if self.repeats == Some(0) {
            return Err("--repeats is 0: it must be at least 1".into());
        }
        let json = self.json.as_deref().map(Output::open).transpose()?;
        let model = if plan.benchmarks().any(|benchmark| benchmark.needs_model()) { self.model()? } else { None };
        let toy = match model {
            Some(_) => None,
            None => {
                plan = plan.without_models()?;
                Some(toy_engine(self.run.threads)?)
            }
        };
        let engine = match (&model, &toy) {
            (Some(model), _) => &model.engine,
            (None, Some(toy)) => toy,
            (None, None) => return Err("there are no threads to run on".into()),
        };
        let load = bench::load();
        let bar =
            ProgressBar::new(plan.steps() as u64).with_style(style("{bar:30} {pos}/{len}  {elapsed} so far  {msg}"));
        bar.set_message("peaks of this machine");
        let peaks = Peaks::measure(engine);
        let name = model.as_ref().map(|model| model.name.as_str());
        let setup = Setup { repeats: self.repeats, profile: self.profile, ..Setup::new(engine, name) };
        let rows = plan.run(&setup, |done, next| {
            bar.set_position(done as u64);
            bar.set_message(next.to_owned());
        })?;
        bar.set_message("peaks of this machine");
        let peaks = peaks.or_better(Peaks::measure(engine));
        bar.finish_and_clear();
        let report = BenchReport { envelope: envelope(engine.threads(), rows), peaks, load };
        if !json.as_ref().is_some_and(Output::is_stdout) {
            print!("{}{}", bench::table(&report), bench::profiles(&report));
        }
        if let Some(json) = json {
            json.write_json(&report)?;
        }
        Ok(())
    }

    /// The model of `prefill`, `decode` and `decode_batch`: the one named, otherwise the default if no download is needed.
    fn model(&self) -> Result<Option<TextModel>, Box<dyn Error>> {
        if let Some(name) = &self.model {
            return self.run.open(name).map(Some);
        }
        match pull::resolve(DEFAULT_MODEL) {
            Ok(path) => self.run.open(&path.to_string_lossy()).map(Some),
            Err(_) => {
                eprintln!(
                    "prefill, decode and decode_batch are left out: run `headwise pull {DEFAULT_MODEL}`, or name a model with --model"
                );
                Ok(None)
            }
        }
    }
}
