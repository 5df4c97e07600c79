//! The options that choose a model and how it runs.

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use headwise::engine::TextModel;
use headwise::models::decoder::Weights;
use headwise::models::embedded;
use headwise::models::pull::{self, Options};

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
    /// Use no network
    #[arg(long)]
    pub offline: bool,
}

impl Run {
    /// Opens the model `name`: the one that comes with the program, a path, a known name, or a file of the hub, fetched if
    /// need be.
    pub fn open(&self, name: &str) -> Result<TextModel, Box<dyn Error>> {
        let weights = match self.weights {
            WeightForm::Stored => Weights::Stored,
            WeightForm::F32 => Weights::F32,
        };
        let mut model = match locate(name, self.offline)? {
            None => TextModel::embedded(weights, self.threads)?,
            Some(path) => TextModel::open(&path, weights, self.threads)?,
        };
        if let Some(context) = self.ctx {
            model.engine = model.engine.with_context(context);
        }
        Ok(model)
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
