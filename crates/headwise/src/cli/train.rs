//! `headwise train`

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use headwise::kernels::parallel;
use headwise::models::decoder::Precision;
use headwise::train::data::{Bytes, TokenizerSpec};
use headwise::train::devices::Devices;
use headwise::train::events::Events;
use headwise::train::spec::TrainSpec;
use headwise::train::trainer::{End, Evaluation, Observer, StepReport, Trainer};
use headwise::train::world::{Membership, World};
use indicatif::{ProgressBar, ProgressStyle};

use super::Outcome;

/// Whether a run goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Resume {
    /// From the last checkpoint in the folder, if there is one
    #[default]
    Auto,
    /// Only from the beginning: an error if the folder has checkpoints
    Never,
}

/// The type of the weights that are written at the end.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum ExportPrecision {
    /// 32-bit floats
    #[default]
    F32,
    /// 16-bit brain floats
    Bf16,
}

/// Train a model as a TOML file describes.
#[derive(Debug, Args)]
pub struct Train {
    /// The description of the run
    spec: PathBuf,
    /// Folder for checkpoints and the trained model; `runs/` and the name of the description if not given
    #[arg(short, long)]
    out: Option<PathBuf>,
    /// Whether to go on from a checkpoint
    #[arg(long, value_enum, default_value_t)]
    resume: Resume,
    /// Threads; 0 uses all processors
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// What to train on: `cpu`, or GPUs of NVIDIA, which share the sequences of a step, as in `cuda:0,cuda:1`
    #[arg(long, default_value = "cpu")]
    devices: String,
    /// The type of the exported weights
    #[arg(long, value_enum, default_value_t)]
    precision: ExportPrecision,
}

impl Train {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        let membership = Membership::join()?;
        let world = membership.world();
        let outcome = self.train(world);
        if let (Err(error), true) = (&outcome, world.size() > 1) {
            // What follows stops all processes, this one too.
            eprintln!("headwise: process {} of {}: {error}", world.rank(), world.size());
        }
        outcome?;
        membership.leave();
        Ok(())
    }

    /// Trains as one of the processes of `world`.
    fn train(&self, world: World) -> Outcome {
        let (spec, devices) = (TrainSpec::open(&self.spec)?, Devices::open(&self.devices)?);
        let name = self.spec.file_stem().unwrap_or_default();
        let folder = self.out.clone().unwrap_or_else(|| Path::new("runs").join(name));
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.threads).build()?;
        let mut trainer = Trainer::among(world, devices, spec.clone(), &folder)?;
        if self.resume == Resume::Never && !trainer.checkpoints()?.is_empty() {
            let text = "has checkpoints: take another folder with --out, or go on with --resume auto";
            return Err(format!("{} {text}", folder.display()).into());
        }
        let resumed = trainer.resume()?;
        stop_on_interrupt()?;
        if !world.leads() {
            pool.install(|| parallel::team(|| trainer.run(&mut Follower)))?;
            return Ok(());
        }
        if resumed {
            eprintln!("going on after step {}", trainer.state().step);
        }
        let mut reporter = Reporter::new(&spec, &folder, trainer.state().step)?;
        let end = pool.install(|| parallel::team(|| trainer.run(&mut reporter)));
        reporter.bar.finish_and_clear();
        let step = trainer.state().step;
        match end? {
            End::Done => {}
            End::Patience => eprintln!("the held-out loss became no better: back to step {step}"),
            End::Stopped => {
                eprintln!("stopped after step {step}; the same command goes on");
                return Ok(());
            }
        }
        self.export(&trainer, &spec, &folder)
    }

    /// Writes the trained model and its tokenizer.
    fn export(&self, trainer: &Trainer, spec: &TrainSpec, folder: &Path) -> Outcome {
        let precision = match self.precision {
            ExportPrecision::F32 => Precision::F32,
            ExportPrecision::Bf16 => Precision::Bf16,
        };
        let model = folder.join("model");
        trainer.result().export(&model, precision)?;
        match &spec.data.tokenizer {
            // A model of other tokens was trained on tasks.
            TokenizerSpec::Bytes(_) if trainer.result().spec().vocabulary < Bytes::COUNT => {}
            TokenizerSpec::Bytes(_) => {
                let path = model.join("tokenizer.json");
                std::fs::write(&path, Bytes::tokenizer()).map_err(|error| format!("{}: {error}", path.display()))?;
            }
            TokenizerSpec::Bpe(_) => copy_tokenizer(&folder.join("tokenizer.json"), &model)?,
            TokenizerSpec::TokenizerFile(file) => copy_tokenizer(Path::new(&file.path), &model)?,
        }
        println!("{}", model.display());
        Ok(())
    }
}

/// Puts the tokenizer beside the weights.
fn copy_tokenizer(from: &Path, to: &Path) -> Outcome {
    let folder = if from.is_dir() { from } else { from.parent().unwrap_or(Path::new(".")) };
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        let source = if name == "tokenizer.json" && !from.is_dir() { from.to_owned() } else { folder.join(name) };
        if source.exists() {
            std::fs::copy(&source, to.join(name)).map_err(|error| format!("{}: {error}", source.display()))?;
        }
    }
    Ok(())
}

/// Set by an interrupt: the run is saved and left.
static STOP: AtomicBool = AtomicBool::new(false);

/// The first interrupt asks the run to stop; the second ends the program.
fn stop_on_interrupt() -> Outcome {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nsaving after this step; interrupt again to leave at once");
    })?;
    Ok(())
}

/// One of several processes, which leaves the talking to the first.
struct Follower;

impl Observer for Follower {
    fn step(&mut self, _: &StepReport) {}
    fn evaluation(&mut self, _: &Evaluation) {}
    fn checkpoint(&mut self, _: &Path) {}
    fn stop(&self) -> bool {
        STOP.load(Ordering::Relaxed)
    }
}

/// Shows progress, and writes every step and evaluation as a line of JSON and as events for TensorBoard.
struct Reporter {
    bar: ProgressBar,
    log: std::io::BufWriter<std::fs::File>,
    events: Events,
    started: Instant,
    tokens: u64,
    /// The last line printed, where there is no terminal.
    printed: Instant,
    evaluation: Option<Evaluation>,
    failed: bool,
}

/// Time between lines where there is no terminal.
const LINES: Duration = Duration::from_secs(10);

impl Reporter {
    fn new(spec: &TrainSpec, folder: &Path, done: u64) -> Result<Self, Box<dyn std::error::Error>> {
        let path = folder.join("log.jsonl");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&path);
        let log = log.map_err(|error| format!("{}: {error}", path.display()))?;
        let path = folder.join("events");
        let events = Events::create(&path, done).map_err(|error| format!("{}: {error}", path.display()))?;
        let bar = match std::io::stderr().is_terminal() {
            true => ProgressBar::new(spec.steps()).with_position(done),
            false => ProgressBar::hidden(),
        };
        bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} steps, {eta} left  {msg}")?);
        bar.reset_eta();
        Ok(Self {
            bar,
            log: std::io::BufWriter::new(log),
            events,
            started: Instant::now(),
            tokens: 0,
            printed: Instant::now(),
            evaluation: None,
            failed: false,
        })
    }

    /// Writes a line of the log, and numbers for TensorBoard.
    fn write(&mut self, step: u64, line: &serde_json::Value, scalars: &[(&str, Option<f64>)]) {
        let known = scalars.iter().filter_map(|&(tag, value)| Some((tag, value?)));
        let written = writeln!(self.log, "{line}")
            .and_then(|()| self.log.flush())
            .and_then(|()| known.into_iter().try_for_each(|(tag, value)| self.events.scalar(step, tag, value)))
            .and_then(|()| self.events.flush());
        if let (Err(error), false) = (written, self.failed) {
            self.bar.suspend(|| eprintln!("the log cannot be written any more: {error}"));
            self.failed = true;
        }
    }
}

/// Memory of this process that is resident, in MiB: none where the system does not tell.
fn memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?;
    Some(kilobytes.parse::<f64>().ok()? / 1024.0)
}

impl Observer for Reporter {
    fn step(&mut self, report: &StepReport) {
        self.tokens += report.tokens;
        let rate = self.tokens as f64 / self.started.elapsed().as_secs_f64();
        let line = serde_json::json!({
            "step": report.step, "loss": report.loss, "norm": report.norm, "learning_rate": report.learning_rate,
            "tokens": report.tokens, "seconds": report.time.as_secs_f64(),
        });
        let scalars = [
            ("loss", Some(report.loss)),
            ("gradient_norm", Some(report.norm)),
            ("learning_rate", Some(report.learning_rate)),
            ("tokens_per_second", Some(report.tokens as f64 / report.time.as_secs_f64())),
            ("memory_mib", memory()),
        ];
        self.write(report.step, &line, &scalars);
        let held_out = self.evaluation.map_or(String::new(), |evaluation| format!(", held out {:.3}", evaluation.loss));
        let message = format!("loss {:.3}{held_out}, {rate:.0} tokens/s", report.loss);
        self.bar.set_position(report.step);
        self.bar.set_message(message.clone());
        if self.bar.is_hidden() && self.printed.elapsed() > LINES {
            self.printed = Instant::now();
            eprintln!("step {}: {message}", report.step);
        }
    }

    fn evaluation(&mut self, evaluation: &Evaluation) {
        self.evaluation = Some(*evaluation);
        let line = serde_json::json!({
            "step": evaluation.step, "held_out_loss": evaluation.loss, "accuracy": evaluation.accuracy,
            "bits_per_byte": evaluation.bits_per_byte,
        });
        let scalars = [
            ("held_out/loss", Some(evaluation.loss)),
            ("held_out/accuracy", Some(evaluation.accuracy)),
            ("held_out/bits_per_byte", evaluation.bits_per_byte),
        ];
        self.write(evaluation.step, &line, &scalars);
        let bits = evaluation.bits_per_byte.map_or(String::new(), |bits| format!(", {bits:.3} bits per byte"));
        let text = format!(
            "step {}: held out {:.4}, {:.1} % right{bits}",
            evaluation.step,
            evaluation.loss,
            100.0 * evaluation.accuracy
        );
        self.bar.suspend(|| eprintln!("{text}"));
    }

    fn checkpoint(&mut self, path: &Path) {
        self.bar.suspend(|| eprintln!("saved {}", path.display()));
    }

    fn stop(&self) -> bool {
        STOP.load(Ordering::Relaxed)
    }
}
