//! `headwise prune`

use clap::Args;
use headwise::models::compress::{Plan, Pruning, Target};

use super::Outcome;
use super::smaller::Smaller;

/// Make a GGUF file of a model without some of its weights, heads or layers.
#[derive(Debug, Args)]
pub struct Prune {
    /// A method, such as `wanda(share=0.5)`, `magnitude(keep_of=[2, 4])`, `heads(share=0.25)` or `layers(share=0.25)`
    #[arg(long)]
    method: String,
    /// The type of the matrices that are left, or a method of `quantize`
    #[arg(long, default_value = "f16")]
    to: String,
    #[command(flatten)]
    smaller: Smaller,
}

impl Prune {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        let method: Pruning = self.method.parse()?;
        method.check()?;
        let target: Target = self.to.parse()?;
        let needs_text = method.needs_calibration() || target.needs_calibration();
        let plan = Plan::new(target, self.smaller.embedding.as_deref())?;
        self.smaller.run(&method.to_string(), needs_text, &plan, |model, calibration, progress| {
            Ok(Some(method.run(model, calibration, progress)?))
        })
    }
}
