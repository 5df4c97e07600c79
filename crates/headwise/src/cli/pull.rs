//! `headwise pull`

use clap::Args;
use headwise::models::pull::{self, Options};

use super::Outcome;
use super::progress::Downloads;

/// Fetch a model by name into the cache directory.
#[derive(Debug, Args)]
pub struct Pull {
    /// A known name such as `smollm2-135m`, or a file of the hub such as `org/repo/file.gguf`
    #[arg(required_unless_present = "list")]
    name: Option<String>,
    /// Use no network
    #[arg(long)]
    offline: bool,
    /// List the known models
    #[arg(long)]
    list: bool,
}

impl Pull {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        if self.list {
            for model in pull::known() {
                println!(
                    "{:<16} {:>6} MB  {:<12} {}",
                    model.name,
                    model.bytes / 1_000_000,
                    model.licence,
                    model.description
                );
            }
            return Ok(());
        }
        let name = self.name.unwrap_or_default();
        let options = Options { offline: self.offline, cache: None };
        println!("{}", pull::pull(&name, &options, &mut Downloads::default())?.display());
        Ok(())
    }
}
