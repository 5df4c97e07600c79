//! The options that choose a model and how it runs.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use headwise::engine::TextModel;
use headwise::engine::experts::ExpertPolicy;
use headwise::models::chat::ChatTemplate;
use headwise::models::decoder::Weights;
use headwise::models::embedded;
use headwise::models::pull::{self, Options};
use headwise::tasks::DEFAULT_TEXT;

use super::progress::Downloads;

/// How weights are kept.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum WeightForm {
    /// As the file has them
    #[default]
    Stored,
    /// Dequantised to 32-bit floats: the reference
    F32,
}

/// How a model is run.
#[derive(Debug, Args)]
pub struct Run {
    /// Threads; 0 uses all processors
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
    /// Longest text in tokens; the model's own context if not given
    #[arg(long)]
    pub ctx: Option<usize>,
    /// In which form weights are kept
    #[arg(long, value_enum, default_value_t)]
    pub weights: WeightForm,
    /// Leave the experts of a mixture in the model's file and hold a share of them, for example `expertflow(capacity=0.25)`
    #[arg(long, value_name = "SPEC")]
    pub experts: Option<String>,
    /// Use no network
    #[arg(long)]
    pub offline: bool,
}

impl Run {
    /// Opens the model `name`: the one that comes with the program, a path, a known name, or a file of the hub, fetched if
    /// need be.
    pub fn open(&self, name: &str) -> Result<TextModel, Box<dyn Error>> {
        self.open_with_template(name, None)
    }

    /// The same with the chat template `source`, if there is one, in the place of the model's own.
    pub fn open_with_template(&self, name: &str, source: Option<&str>) -> Result<TextModel, Box<dyn Error>> {
        let weights = match self.weights {
            WeightForm::Stored => Weights::Stored,
            WeightForm::F32 => Weights::F32,
        };
        let mut model = match (locate(name, self.offline)?, self.experts()?) {
            (None, None) => TextModel::embedded(weights, self.threads)?,
            (Some(path), None) => TextModel::open_with_template(&path, weights, self.threads, source)?,
            (path, Some(policy)) => {
                let path = path.unwrap_or_else(|| name.into());
                TextModel::open_with_experts(&path, weights, self.threads, &policy, Duration::ZERO, DEFAULT_TEXT)?
            }
        };
        if let Some(source) = source {
            model.template = Some(ChatTemplate::for_tokenizer(source, &model.tokenizer)?);
        }
        if let Some(context) = self.ctx {
            model.engine = model.engine.with_context(context);
        }
        Ok(model)
    }
}

impl Run {
    fn experts(&self) -> Result<Option<ExpertPolicy>, Box<dyn Error>> {
        let Some(text) = &self.experts else { return Ok(None) };
        let policy: ExpertPolicy = headwise::spec::from_text(text)?;
        policy.check()?;
        Ok(Some(policy))
    }
}

/// The folder of the model `name`, which is not fetched.
pub fn folder_of(name: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(name);
    match path.is_dir() {
        true => Ok(path),
        false => Err(format!(
            "{name} is no folder of a model: experts stay in the file of a folder that `headwise train` has written"
        )),
    }
}

/// The file or folder of the model `name`: a path, a known name, or a file of the hub, fetched if need be. None for the model that comes
/// with the program.
pub fn locate(name: &str, offline: bool) -> Result<Option<PathBuf>, Box<dyn Error>> {
    let options = Options { offline, cache: None };
    match Path::new(name) {
        _ if name == embedded::NAME => Ok(None),
        path if path.exists() => Ok(Some(path.into())),
        _ => Ok(Some(pull::pull(name, &options, &mut Downloads::default())?)),
    }
}
