//! `headwise compare`

mod experts;
mod mixers;
mod scales;

use std::error::Error;
use std::fmt::Display;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use headwise::engine::TextModel;
use headwise::kernels::parallel;
use headwise::lab::compare::Moment;
use headwise::lab::compare::cache::{CacheComparison, Subject, Suite, TOY_NOTE, toy_engine};
use headwise::lab::report::ReportInput;
use headwise::lab::{self, table};
use headwise::models::embedded;

use super::Outcome;
use super::envelope::envelope;
use super::model::Run;
use super::output::{Output, Report, now};
use super::progress::Comparison;

/// Samples of the model that comes with the program: it is so small that there is time for many.
const EMBEDDED_SAMPLES: usize = 10;

/// Methods side by side: what each costs and gains.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Compare {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    cache: Cache,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Key-value cache policies on one language model (the default)
    Cache(Cache),
    /// Token mixers in small decoders of equal size, trained on a task
    Mixers(mixers::Mixers),
    /// Cache policies of a small generator of pictures that draws maps of growing size
    Scales(scales::Scales),
    /// Ways to hold the experts of a mixture in a bounded memory
    Experts(experts::Experts),
}

/// Key-value cache policies on one language model and one text.
#[derive(Debug, Args)]
struct Cache {
    /// A model file, or a name that `pull` knows; the model that comes with the program if not given
    #[arg(long)]
    model: Option<String>,
    /// A text for perplexity, speed and haystacks; a long speech if not given
    #[arg(long)]
    text: Option<PathBuf>,
    /// What to measure: quick, standard, ruler, full, or toy (a built-in model with exact answers)
    #[arg(long, default_value = "quick")]
    suite: String,
    /// A policy to compare, for example `snapkv(keep=0.25) + int8`; may be given many times
    #[arg(long)]
    cache: Vec<String>,
    /// Shares kept by policies that do not say, for example 0.25,0.1
    #[arg(long, value_delimiter = ',')]
    keep: Vec<f64>,
    /// Lengths of context in tokens, for example 2048,4096
    #[arg(long, value_delimiter = ',')]
    lengths: Vec<usize>,
    /// Samples of every task, length and depth
    #[arg(long)]
    samples: Option<usize>,
    /// Seed of everything random
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Write the rows as JSON; `-` is standard output
    #[arg(long)]
    json: Option<String>,
    /// Write the report; `-` is standard output
    #[arg(long, default_value = "headwise-report.html")]
    html: String,
    /// Write the table as a page of Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<String>,
    #[command(flatten)]
    run: Run,
}

impl Compare {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        match self.what {
            Some(What::Cache(cache)) => cache.run(),
            Some(What::Mixers(mixers)) => mixers.run(),
            Some(What::Scales(scales)) => scales.run(),
            Some(What::Experts(experts)) => experts.run(),
            None => self.cache.run(),
        }
    }
}

/// What `run` finds on so many `threads` (0: all), with its progress, after `plan` was shown; and how many threads there were.
fn measured<T, E>(
    threads: usize,
    plan: &impl Display,
    run: impl FnOnce(&mut dyn FnMut(&Moment<'_>)) -> Result<T, E> + Send,
) -> Result<(usize, T), Box<dyn Error>>
where
    T: Send,
    E: Error + Send + 'static,
{
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    eprintln!("{plan}");
    let mut progress = Comparison::default();
    let found = pool.install(|| parallel::team(|| run(&mut |moment| progress.at(moment))))?;
    progress.finish();
    Ok((pool.current_num_threads(), found))
}

impl Cache {
    fn run(self) -> Outcome {
        let suite = self.suite.parse()?;
        let embedded = self.model.is_none() && suite != Suite::Toy;
        let comparison = CacheComparison {
            suite,
            caches: self.cache.clone(),
            keep: self.keep.clone(),
            lengths: self.lengths.clone(),
            samples: self.samples.or(embedded.then_some(EMBEDDED_SAMPLES)),
            text: self.text()?,
            seed: self.seed,
        };
        if self.markdown.as_deref() == Some("-") {
            return Err("--markdown takes the name of a file".into());
        }
        let report = Report::open(&self.html, self.json.as_deref())?;
        let markdown = self.markdown.as_deref().map(Output::open).transpose()?;
        let mut notes = Vec::new();
        let model = self.model(&comparison, &mut notes)?;
        let engine = match model {
            Some(_) => None,
            None => Some(toy_engine(self.run.threads)?),
        };
        let subject = match (&model, &engine) {
            (Some(model), _) => Subject::Text(model),
            (None, Some(engine)) => Subject::Toy(engine),
            (None, None) => return Err("there is no model to compare on".into()),
        };
        let threads = subject.engine().threads();
        let plan = comparison.plan(subject)?;
        eprintln!("{plan}");
        let mut progress = Comparison::default();
        let rows = plan.run(&mut progress)?;
        progress.finish();
        let envelope = envelope(threads, rows);
        let date = now();
        let title = format!("Cache policies on {}", subject.name());
        let page = lab::report::html(&ReportInput { title: &title, envelope: &envelope, date: &date, notes: &notes });
        let summary = format!(
            "{}\n{}\n",
            table::cache(&envelope.rows, table::DEFAULT_WIDTH),
            lab::report::answer(&envelope.rows)
        );
        report.write(&summary, &envelope, &page)?;
        if let Some(markdown) = markdown {
            markdown.write(table::markdown(&title, &envelope, &date))?;
        }
        Ok(())
    }

    /// The model to compare on; none stands for the built-in one, and `notes` then says why.
    fn model(
        &self,
        comparison: &CacheComparison,
        notes: &mut Vec<String>,
    ) -> Result<Option<TextModel>, Box<dyn Error>> {
        if comparison.suite == Suite::Toy && self.model.is_none() {
            notes.push(TOY_NOTE.into());
            return Ok(None);
        }
        if self.model.is_none() {
            notes.push(embedded::NOTE.into());
            eprintln!("{}", embedded::NOTE);
        }
        Ok(Some(self.run.open(self.model.as_deref().unwrap_or(embedded::NAME))?))
    }

    fn text(&self) -> Result<Option<String>, Box<dyn Error>> {
        self.text.as_deref().map(super::read_text).transpose()
    }
}
