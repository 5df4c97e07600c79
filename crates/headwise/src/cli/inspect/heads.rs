//! `headwise inspect heads`

use clap::Args;
use headwise::lab::inspect::heads;
use headwise::models::embedded;

use super::super::Outcome;
use super::super::envelope::envelope;
use super::super::model::Run;
use super::super::output::Output;

/// Which heads copy from far back: scores on repeated random tokens.
#[derive(Debug, Args)]
pub struct Heads {
    /// A model file, or a name that `pull` knows
    #[arg(long, default_value = embedded::NAME)]
    model: String,
    /// Print so many heads, the best first; 0 prints all
    #[arg(long, default_value_t = 20)]
    top: usize,
    /// Write the rows of all heads as JSON; `-`, or no name, is standard output
    #[arg(long, num_args = 0..=1, default_missing_value = "-")]
    json: Option<String>,
    #[command(flatten)]
    run: Run,
}

impl Heads {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        let json = self.json.as_deref().map(Output::open).transpose()?;
        let model = self.run.open(&self.model)?;
        let rows = heads::rows(&model.name, model.engine.head_scores()?);
        let table = heads::table(&rows, if self.top == 0 { rows.len() } else { self.top });
        if json.as_ref().is_some_and(Output::is_stdout) {
            eprint!("{table}");
        } else {
            print!("{table}");
        }
        match json {
            Some(json) => json.write_json(&envelope(model.engine.threads(), rows)),
            None => Ok(()),
        }
    }
}
