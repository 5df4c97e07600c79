//! `headwise reproduce`

use std::path::Path;
use std::time::Instant;

use clap::Args;
use headwise::catalogue;
use headwise::kernels::parallel;
use headwise::lab::experiments::{EXPERIMENTS, Experiment, ExperimentRow, Record, Verdict, find, verdicts};
use jiff::Zoned;

use super::Outcome;
use super::envelope::envelope;
use super::output::Output;

/// Run the claims of published systems at small scale.
#[derive(Debug, Args)]
pub struct Reproduce {
    /// Ids of systems, such as `T01`
    #[arg(required_unless_present_any = ["family", "all"])]
    ids: Vec<String>,
    /// All systems of this family
    #[arg(long)]
    family: Option<String>,
    /// All systems
    #[arg(long)]
    all: bool,
    /// How many seeds are tried
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Write the results to `results/reproduce`
    #[arg(long)]
    record: bool,
    /// Write the rows as JSON to this file; `-` is standard output
    #[arg(long)]
    json: Option<String>,
    /// Threads; 0 uses all processors
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

impl Reproduce {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        let chosen = self.chosen()?;
        let output = self.json.as_deref().map(Output::open).transpose()?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.threads).build()?;
        let threads = pool.current_num_threads();
        let seconds: u64 = chosen.iter().map(|experiment| experiment.seconds * self.seeds).sum();
        eprintln!("{} experiments with {} seeds each: about {} min", chosen.len(), self.seeds, seconds.div_ceil(60));
        let mut all = Vec::new();
        for experiment in &chosen {
            let rows = pool.install(|| parallel::team(|| self.run_seeds(experiment)));
            match &output {
                Some(output) if output.is_stdout() => eprint!("{}", table(&rows)),
                _ => print!("{}", table(&rows)),
            }
            if self.record {
                let envelope = envelope(threads, rows.clone());
                let date = Zoned::now().date().to_string();
                let path = Record { date, source: experiment.hash(), envelope }
                    .write(Path::new("results/reproduce"), experiment.id)?;
                eprintln!("recorded in {}", path.display());
            }
            all.extend(rows);
        }
        if let Some(output) = output {
            output.write_json(&envelope(threads, all.clone()))?;
        }
        match all.iter().find(|row| row.verdict != Verdict::Holds) {
            Some(row) => Err(format!("{}: {} — {}", row.id, row.verdict.name(), row.claim).into()),
            None => Ok(()),
        }
    }

    fn chosen(&self) -> Result<Vec<&'static Experiment>, Box<dyn std::error::Error>> {
        let ids: Vec<&str> = EXPERIMENTS.iter().map(|experiment| experiment.id).collect();
        if self.all {
            return Ok(EXPERIMENTS.iter().collect());
        }
        let systems = catalogue::systems();
        if let Some(family) = &self.family {
            let of_family = |id: &str| systems.iter().any(|system| system.id == id && system.family == *family);
            let found: Vec<_> = EXPERIMENTS.iter().filter(|experiment| of_family(experiment.id)).collect();
            return match found.is_empty() {
                true => Err(format!("no experiment is of the family `{family}`; there are {}", ids.join(", ")).into()),
                false => Ok(found),
            };
        }
        let one = |id: &String| {
            find(id).ok_or_else(|| format!("no experiment is called `{id}`; there are {}", ids.join(", ")).into())
        };
        self.ids.iter().map(one).collect()
    }

    fn run_seeds(&self, experiment: &Experiment) -> Vec<ExperimentRow> {
        let runs: Vec<_> = (0..self.seeds)
            .map(|seed| {
                eprint!("{} seed {seed}: ", experiment.id);
                let started = Instant::now();
                let measured = (experiment.run)(seed);
                let seconds = started.elapsed();
                eprintln!("{:.1} s", seconds.as_secs_f64());
                (seed, seconds.as_secs_f64(), measured)
            })
            .collect();
        verdicts(experiment, &runs)
    }
}

/// Two lines for each claim, with the numbers of all seeds.
fn table(rows: &[ExperimentRow]) -> String {
    let mut text = String::new();
    for claim in rows.chunk_by(|a, b| a.claim == b.claim) {
        let Some(first) = claim.first() else { continue };
        let numbers: Vec<String> = claim.iter().map(|row| number(row.measured)).collect();
        let baselines: Vec<String> = claim.iter().filter_map(|row| row.baseline).map(number).collect();
        let beside = if baselines.is_empty() { String::new() } else { format!("; baseline {}", baselines.join(", ")) };
        text += &format!(
            "{:<13} {}: {}\n              {} {} {}{beside}\n",
            first.verdict.name(),
            first.id,
            first.claim,
            numbers.join(", "),
            first.direction.sign(),
            first.threshold
        );
    }
    text
}

/// Four digits, whatever the size.
fn number(value: f64) -> String {
    match value.abs() {
        size if size != 0.0 && !(1e-3..1e6).contains(&size) => format!("{value:.2e}"),
        _ => format!("{value:.4}"),
    }
}
