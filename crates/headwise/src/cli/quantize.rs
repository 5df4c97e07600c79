//! `headwise quantize`

use clap::Args;
use headwise::models::compress::{Plan, Target};

use super::Outcome;
use super::smaller::Smaller;

/// Make a GGUF file with weights of fewer bits, which `generate` and the other commands read (and llama.cpp, if it has the architecture).
#[derive(Debug, Args)]
pub struct Quantize {
    /// A type, such as `q8_0`, `q4_0` or `q4_k`, or a method, such as `gptq(bits=4, group=32)`
    #[arg(long)]
    to: String,
    #[command(flatten)]
    smaller: Smaller,
}

impl Quantize {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        let target: Target = self.to.parse()?;
        let needs_text = target.needs_calibration();
        let name = target.to_string();
        let plan = Plan::new(target, self.smaller.embedding.as_deref())?;
        self.smaller.run(&name, needs_text, &plan, |_, _, _| Ok(None))
    }
}
