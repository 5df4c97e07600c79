//! The commands, one file each.

mod apply;
mod ask;
mod bench;
mod chat;
mod compare;
mod envelope;
mod generate;
mod inspect;
mod list;
mod model;
mod output;
mod perplexity;
mod progress;
mod prune;
mod pull;
mod quantize;
mod reproduce;
mod samplers;
mod sampling;
mod segments;
mod serve;
mod smaller;
mod tokenize;
mod train;

use std::error::Error;
use std::io::Write;
use std::path::Path;

use clap::{Parser, Subcommand};

/// What every command returns: nothing, or an error that is printed on one line.
type Outcome = Result<(), Box<dyn Error>>;

/// Every way to mix tokens: compare them on your model and your data, then run the one that wins.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fetch a model by name into the cache directory
    Pull(pull::Pull),
    /// What there is: methods by family
    List(list::List),
    /// A method or a system: what it is, its parameters, its paper
    Explain(list::Explain),
    /// Methods side by side: what each costs and gains
    Compare(Box<compare::Compare>),
    /// Continue a prompt with any cache policy
    Generate(Box<generate::Generate>),
    /// Answer a question about a text of any length, or about documents whose order does not matter
    Ask(ask::Ask),
    /// Talk with a model under any cache policy
    Chat(chat::Chat),
    /// Answer requests of OpenAI's clients with any cache policy
    Serve(Box<serve::Serve>),
    /// How well a model predicts a text under a cache policy
    Perplexity(perplexity::Measure),
    /// What every attention head of a model does, as a report
    Inspect(inspect::Inspect),
    /// Train a model as a TOML file describes
    Train(train::Train),
    /// Make a GGUF file with weights of fewer bits
    Quantize(quantize::Quantize),
    /// Make a GGUF file of a model without some of its weights, heads or layers
    Prune(prune::Prune),
    /// Make a file of tokens of texts, for training
    Tokenize(tokenize::Tokenize),
    /// Run the claims of published systems at small scale
    Reproduce(reproduce::Reproduce),
    /// The inputs, parameters and outputs of one component
    Params(apply::Params),
    /// Run one component on tensors from a file
    Apply(apply::Apply),
    /// Speed of the kernels and of a model against this machine's own peaks
    Bench(bench::Bench),
}

impl Cli {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        match self.command {
            Command::Pull(command) => command.run(),
            Command::List(command) => command.run(),
            Command::Explain(command) => command.run(),
            Command::Compare(command) => command.run(),
            Command::Generate(command) => command.run(),
            Command::Ask(command) => command.run(),
            Command::Chat(command) => command.run(),
            Command::Serve(command) => command.run(),
            Command::Perplexity(command) => command.run(),
            Command::Inspect(command) => command.run(),
            Command::Train(command) => command.run(),
            Command::Quantize(command) => command.run(),
            Command::Prune(command) => command.run(),
            Command::Tokenize(command) => command.run(),
            Command::Reproduce(command) => command.run(),
            Command::Params(command) => command.run(),
            Command::Apply(command) => command.run(),
            Command::Bench(command) => command.run(),
        }
    }
}

/// Prints a page; a reader who has seen enough of it may close it.
fn show(page: &str) -> Outcome {
    match std::io::stdout().lock().write_all(page.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// The text of the file at `path`.
fn read_text(path: &Path) -> Result<String, Box<dyn Error>> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    as_text(bytes, &path.display().to_string())
}

/// `bytes` from `origin` as text.
fn as_text(bytes: Vec<u8>, origin: &str) -> Result<String, Box<dyn Error>> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        format!("{origin} is not UTF-8: byte {at} cannot be read as text").into()
    })
}
