//! `headwise params` and `headwise apply`: one component by itself, for comparison with other implementations

use std::path::PathBuf;

use clap::Args;
use headwise::lab::components::{Application, Component, to_safetensors};

use super::Outcome;
use super::output::Output;

/// The inputs, parameters and outputs of a component, as JSON.
#[derive(Debug, Args)]
pub struct Params {
    /// The component, for example `softmax(heads=8, kv_heads=2)`
    #[arg(long)]
    spec: String,
}

impl Params {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        let component = Component::parse(&self.spec)?;
        println!("{:#}", component.interface().json(&component.full_text()));
        Ok(())
    }
}

/// Run one component on the tensors of a safetensors file.
#[derive(Debug, Args)]
pub struct Apply {
    /// The component, for example `attention(window=16)`
    #[arg(long)]
    spec: String,
    /// Safetensors file with the inputs that `params` lists; with --grad also `grad_<output>`
    #[arg(long)]
    input: PathBuf,
    /// Safetensors file with the parameters; without it they are drawn at random and written too
    #[arg(long)]
    weights: Option<PathBuf>,
    /// Where random parameters come from
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Safetensors file to write
    #[arg(long)]
    output: String,
    /// Also write `grad_<name>` of every float input and parameter. `grad_<output>` of the first output is needed, those
    /// of others count as zero when missing
    #[arg(long)]
    grad: bool,
}

impl Apply {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        let component = Component::parse(&self.spec)?;
        let output = Output::open(&self.output)?;
        let application = Application::open(component, &self.input, self.weights.as_deref(), self.seed, self.grad)?;
        output.write(to_safetensors(&application.run()?))?;
        Ok(())
    }
}
