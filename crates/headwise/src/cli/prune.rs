//! `headwise prune`

use std::error::Error;

use clap::Args;
use headwise::models::compress::{CompressError, Plan, Pruning, Target};
use headwise::spec::{Family, parse_call};
use headwise::train::fuse::Fusion;

use super::Outcome;
use super::smaller::Smaller;

/// Make a GGUF file of a model without some of its weights, heads or layers.
///
/// `fuse` leaves layers out and lets their neighbours learn what those did, from the calibration text; that takes minutes to hours. It
/// reads a text of `--calibration-tokens` in sequences of `--calibration-window`; measure with `--evaluate` on another one.
#[derive(Debug, Args)]
pub struct Prune {
    /// A method, such as `wanda(share=0.5)`, `magnitude(keep_of=[2, 4])`, `heads(share=0.25)`, `layers(share=0.25)`,
    /// `evolve(share=0.5)` (of a model trained with `supernet`) or `fuse(share=0.25, order=macro, group=8, rank=128, epochs=20)`; `headwise explain fuse` has all parameters
    #[arg(long)]
    method: String,
    /// The type of the matrices that are left, or a method of `quantize`
    #[arg(long, default_value = "f16")]
    to: String,
    #[command(flatten)]
    smaller: Smaller,
}

/// What makes a model smaller.
enum Method {
    Prune(Pruning),
    Fuse(Fusion),
}

impl Method {
    fn read(text: &str) -> Result<Self, Box<dyn Error>> {
        let name = parse_call(text)?.name;
        if Fusion::NAMES.contains(&name.as_str()) {
            let method: Fusion = text.parse()?;
            let Fusion::Fuse(fuse) = &method;
            fuse.check()?;
            return Ok(Self::Fuse(method));
        }
        let unknown = !Pruning::NAMES.contains(&name.as_str());
        let method: Pruning = text.parse().map_err(|error| match unknown {
            true => <Box<dyn Error>>::from(format!("{error}; `{}` is one too", Fusion::NAMES.join("`, `"))),
            false => <Box<dyn Error>>::from(error),
        })?;
        method.check()?;
        Ok(Self::Prune(method))
    }

    fn text(&self) -> String {
        match self {
            Self::Prune(method) => method.to_string(),
            Self::Fuse(method) => method.to_string(),
        }
    }
}

impl Prune {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        let method = Method::read(&self.method)?;
        let target: Target = self.to.parse()?;
        let reads = match &method {
            Method::Prune(method) => method.needs_calibration(),
            Method::Fuse(_) => true,
        };
        let plan = Plan::new(target, self.smaller.embedding.as_deref())?;
        let needs_text = reads || plan.target.needs_calibration();
        self.smaller.run(&method.text(), needs_text, &plan, |model, calibration, progress| match &method {
            Method::Prune(method) => Ok(Some(method.run(model, calibration, progress)?)),
            Method::Fuse(Fusion::Fuse(fuse)) => {
                let text = calibration.ok_or_else(|| CompressError::NoCalibration { method: method.text() })?;
                Ok(Some(fuse.run(model, text, progress)?.to_string()))
            }
        })
    }
}
