//! What the commands that make models smaller have in common: options, progress, the file, and the table of before and after.

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Args;
use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use headwise::engine::TextModel;
use headwise::engine::cache::CachePolicy;
use headwise::kernels::parallel;
use headwise::lab::perplexity;
use headwise::models::compress::{Calibration, Original, Plan, Step};
use headwise::models::decoder::{Decoder, Weights};
use headwise::models::gguf::{Gguf, TensorType};
use headwise::models::tokenizer::Encode;
use headwise::tasks::DEFAULT_TEXT;
use headwise::train::fuse::FuseError;
use indicatif::ProgressBar;

use super::Outcome;
use super::model::locate;
use super::progress::style;

/// What is common to the commands that make models smaller.
#[derive(Debug, Args)]
pub struct Smaller {
    /// A model file or folder, or a name that `pull` knows
    model: String,
    /// The GGUF file to write
    #[arg(short, long)]
    out: PathBuf,
    /// Type of the vectors of tokens and the output head; `q8_0` beside quantised layers
    #[arg(long)]
    pub embedding: Option<String>,
    /// Text for methods that look at what layers read; the second half of the built-in speech if not given
    #[arg(long)]
    calibration: Option<PathBuf>,
    /// Use so many tokens of it
    #[arg(long, default_value_t = 8192)]
    calibration_tokens: usize,
    /// In sequences of so many tokens, at least 16
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(16..))]
    calibration_window: u32,
    /// Measure the perplexity before and after
    #[arg(long)]
    evaluate: bool,
    /// Text for that; the first half of the built-in speech if not given
    #[arg(long)]
    text: Option<PathBuf>,
    /// Use so many tokens of it
    #[arg(long, default_value_t = 4096)]
    tokens: usize,
    /// Threads; 0 uses all processors
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Use no network
    #[arg(long)]
    offline: bool,
}

/// What a command does to the model before it is written; a line about it.
type Change<'a> = &'a mut dyn FnMut(Step);

impl Smaller {
    /// Opens the model, lets `change` change it, writes it by `plan`, and prints what came of it. `name` is the method's.
    pub fn run(
        &self,
        name: &str,
        needs_text: bool,
        plan: &Plan,
        change: impl FnOnce(&mut Decoder, Option<&Calibration>, Change<'_>) -> Result<Option<String>, FuseError> + Send,
    ) -> Outcome {
        if self.out.is_dir() {
            return Err(format!("cannot write {}: it is a directory", self.out.display()).into());
        }
        let folder = self.out.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            return Err(format!("cannot write {}: there is no folder {}", self.out.display(), folder.display()).into());
        }
        let texts = [&self.calibration, &self.text].map(|path| path.as_deref().map(super::read_text).transpose());
        let [calibration, text] = texts;
        let (calibration, text) = (calibration?, text?);
        let (first, second) = halves(DEFAULT_TEXT);
        let path = locate(&self.model, self.offline)?;
        let same =
            |path: &Path| path.canonicalize().is_ok_and(|path| self.out.canonicalize().is_ok_and(|out| out == path));
        if path.as_deref().is_some_and(same) {
            return Err(format!("{} is the model itself: write to another file", self.out.display()).into());
        }
        let mut original = match &path {
            Some(path) => Original::open(path)?,
            None => Original::embedded()?,
        };
        if let Some(ty) = original.quantised {
            eprintln!("the weights are in {ty} already: what that lost stays lost, and adds to what is lost now");
        }
        let calibration = match needs_text {
            true => Some(self.read(&original, calibration.as_deref().unwrap_or(second))?),
            false => None,
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.threads).build()?;
        let bar = ProgressBar::no_length().with_style(style("{msg} {bar:30} {pos}/{len}, {eta} left"));
        let (said, file) = pool.install(|| {
            parallel::team(|| {
                let at = |doing: &'static str, step: Step| {
                    bar.set_message(doing);
                    bar.set_length(step.parts as u64);
                    bar.set_position(step.done as u64);
                };
                let said = change(&mut original.model, calibration.as_ref(), &mut |step| at("pruning", step))?;
                let file =
                    plan.run(&mut original.model, &original.about, calibration.as_ref(), |step| at("coding", step))?;
                Ok::<_, FuseError>((said, file))
            })
        })?;
        bar.set_message("writing");
        bar.set_length(size(&file));
        bar.set_position(0);
        file.write(&self.out, |bytes| bar.inc(bytes))?;
        bar.finish_and_clear();
        let mut perplexities = [None; 2];
        if self.evaluate {
            let text = text.as_deref().unwrap_or(first);
            let before = match &path {
                Some(path) => TextModel::open(path, Weights::Stored, self.threads)?,
                None => TextModel::embedded(Weights::Stored, self.threads)?,
            };
            perplexities[0] = Some(self.perplexity(&before, text)?);
            drop(before);
            perplexities[1] = Some(self.perplexity(&TextModel::open(&self.out, Weights::Stored, self.threads)?, text)?);
        }
        said.iter().for_each(|said| println!("{said}"));
        println!("{}", table(&original, name, &file, perplexities));
        println!("{}: {}", self.out.display(), types(&file));
        Ok(())
    }

    fn read(&self, original: &Original, text: &str) -> Result<Calibration, Box<dyn Error>> {
        let ids = original.tokenizer.encode(text, Encode::TEXT)?;
        let vocabulary = original.model.spec().vocabulary;
        if let Some(id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
            return Err(format!("token {id} is not in the model's vocabulary of {vocabulary}").into());
        }
        Ok(Calibration::new(
            &ids,
            self.calibration_tokens,
            (self.calibration_window as usize).min(original.model.spec().context),
        )?)
    }

    fn perplexity(&self, model: &TextModel, text: &str) -> Result<f64, Box<dyn Error>> {
        let mut ids = model.encode(text)?;
        ids.truncate(self.tokens.min(model.engine.context()));
        let bar =
            ProgressBar::new(ids.len() as u64).with_style(style("reading {bar:30} {pos}/{len} tokens, {eta} left"));
        let measured =
            perplexity::measure(&model.engine, &CachePolicy::full(), &ids, 0, |read| bar.set_position(read as u64));
        bar.finish_and_clear();
        Ok(measured?.value)
    }
}

/// A text in two halves, cut between two lines.
fn halves(text: &str) -> (&str, &str) {
    let middle = (text.len() / 2..text.len()).find(|&at| text.as_bytes()[at] == b'\n').unwrap_or(text.len());
    text.split_at(middle)
}

fn size(file: &Gguf) -> u64 {
    file.tensors().iter().map(|tensor| tensor.blob.bytes().len() as u64).sum()
}

fn weights(file: &Gguf) -> u64 {
    file.tensors().iter().map(|tensor| tensor.elements() as u64).sum()
}

/// Before and after, a line each.
fn table(original: &Original, name: &str, file: &Gguf, perplexities: [Option<f64>; 2]) -> String {
    let mut table = Table::new();
    let header_line = TableStyle::new().header_separator(LineStyle::new('─', '─', '─', '─'));
    table.load_style(header_line).set_content_arrangement(ContentArrangement::Disabled);
    let mut header = vec!["", "weights", "bytes", "bits per weight"];
    if perplexities[0].is_some() {
        header.push("perplexity");
    }
    table.set_header(header);
    // Pruning takes weights away.
    let rows = [("before", original.weights, original.bytes), (name, weights(file), size(file))];
    for ((name, weights, bytes), perplexity) in rows.into_iter().zip(perplexities) {
        let bits = format!("{:.3}", 8.0 * bytes as f64 / weights.max(1) as f64);
        let mut cells = vec![name.to_owned(), weights.to_string(), bytes.to_string(), bits];
        cells.extend(perplexity.map(|perplexity| format!("{perplexity:.4}")));
        table.add_row(cells.into_iter().enumerate().map(|(column, cell)| {
            let side = if column == 0 { CellAlignment::Left } else { CellAlignment::Right };
            Cell::new(cell).set_alignment(side)
        }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// How many tensors are in which type.
fn types(file: &Gguf) -> String {
    let count = |ty: TensorType| file.tensors().iter().filter(|tensor| tensor.ty == ty).count();
    let counts = TensorType::all().map(|ty| (ty, count(ty))).filter(|(_, count)| *count > 0);
    counts.map(|(ty, count)| format!("{count} tensors in {}", ty.name().to_lowercase())).collect::<Vec<_>>().join(", ")
}
