//! `headwise tokenize`

use std::path::{Path, PathBuf};

use clap::Args;
use headwise::train::data::{Codec, Written, write_tokens};
use indicatif::ProgressBar;

use super::Outcome;

/// Make a file of tokens of texts: the source `tokens(path=FILE)` of a training run reads it without encoding anything.
#[derive(Debug, Args)]
pub struct Tokenize {
    /// Files, and folders whose files are all read
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// `bytes`, or a tokenizer.json or the folder that holds it; that of the run
    #[arg(long, default_value = "bytes")]
    tokenizer: String,
    /// The file to write
    #[arg(short, long)]
    out: PathBuf,
}

impl Tokenize {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        let codec = match self.tokenizer.as_str() {
            "bytes" => Codec::Bytes,
            path => Codec::open(Path::new(path))?,
        };
        let bar = ProgressBar::new_spinner();
        let said = &mut |path: &Path| {
            bar.set_message(path.display().to_string());
            bar.tick();
        };
        let written = write_tokens(&self.paths, &codec, &self.out, said);
        bar.finish_and_clear();
        let Written { texts, tokens } = written?;
        println!("{}: {tokens} tokens of {texts} texts", self.out.display());
        Ok(())
    }
}
