//! A small mixture of experts that is trained for a comparison in under a minute.

use std::path::Path;

use headwise_models::decoder::Precision;
use headwise_tasks::DEFAULT_TEXT;
use headwise_train::data::Bytes;
use headwise_train::spec::TrainSpec;
use headwise_train::trainer::Trainer;

use super::ExpertsComparisonError;

/// What to know of a comparison on it.
pub const TINY_NOTE: &str = "No model was given: this is a mixture of experts of a million parameters that was trained on bytes for the comparison. \
     Hit rates say how such routers behave; compare your own model with --model FOLDER.";

/// A small mixture of experts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TinyMixture {
    /// Layers, all of them mixtures.
    pub layers: usize,
    /// Experts of each.
    pub experts: usize,
    /// Inner width of an expert.
    pub hidden: usize,
    /// Steps of training.
    pub steps: u64,
}

impl Default for TinyMixture {
    fn default() -> Self {
        Self { layers: 4, experts: 16, hidden: 64, steps: 150 }
    }
}

impl TinyMixture {
    /// Trains it on the first half of a speech and writes it into `folder`; `said` is told how many steps are done.
    pub fn write(&self, folder: &Path, seed: u64, mut said: impl FnMut(u64)) -> Result<(), ExpertsComparisonError> {
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(|source| ExpertsComparisonError::Io { path, source })
        };
        let (lesson, _) = halves(DEFAULT_TEXT);
        write("text.txt", lesson)?;
        let spec = TrainSpec::parse(&self.spec(&folder.join("text.txt"), seed)).expect("a run that makes sense");
        let mut trainer = Trainer::new(spec, folder)?;
        for step in 0..self.steps {
            said(step);
            trainer.step()?;
        }
        trainer.result().export(folder, Precision::F32)?;
        write("tokenizer.json", &Bytes::tokenizer())
    }

    fn spec(&self, text: &Path, seed: u64) -> String {
        let Self { layers, experts, hidden, steps } = self;
        let text = toml_text(&text.to_string_lossy());
        format!(
            r#"
            seed = {seed}
            optimiser = "muon(learning_rate=0.003)"
            schedule = "wsd(warmup=20, decay=0.3)"
            clip = 1.0
            [model]
            dim = 64
            context = 256
            tied = true
            layers = [{{ repeat = {layers}, mixer = "softmax(heads=2)", channel = "moe(experts={experts}, active=2, hidden={hidden})" }}]
            [data]
            tokenizer = "bytes"
            sources = [{{ type = "text", path = {text} }}]
            [[stages]]
            steps = {steps}
            sequences = 8
            length = 128
            "#
        )
    }
}

/// `text` as TOML has it.
fn toml_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// What is learnt from, and what is compared on.
pub(super) fn halves(text: &str) -> (&str, &str) {
    let middle = (text.len() / 2..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
    text.split_at(middle)
}
