//! `headwise inspect heads`

use clap::Args;
use headwise::engine::TextModel;
use headwise::lab::inspect::heads::{self, Needles};
use headwise::lab::inspect::{self, CopiesError, RETRIEVAL_SCORE};
use headwise::models::embedded;
use indicatif::ProgressBar;

use super::super::Outcome;
use super::super::envelope::envelope;
use super::super::model::Run;
use super::super::output::Output;
use super::super::progress::style;

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
    /// Also ask for so many needles, and show how much of its answers every head copied, and of needles every layer would pick
    #[arg(long, default_value_t = 0)]
    needles: usize,
    /// Tokens of the text that hides a needle
    #[arg(long, default_value_t = 1024)]
    length: usize,
    /// Seed of the needles
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    run: Run,
}

impl Heads {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        let json = self.json.as_deref().map(Output::open).transpose()?;
        let model = self.run.open(&self.model)?;
        let needles = if self.needles > 0 { Some(self.needles(&model)?) } else { None };
        if let Some(needles) = &needles {
            model.engine.keep_picks(&needles.picks);
        }
        let scores = model.engine.head_scores()?;
        let rows = heads::rows(&model.name, scores, needles.as_ref());
        let mut table = heads::table(&rows, if self.top == 0 { rows.len() } else { self.top });
        if let Some(Needles { copies, .. }) = needles {
            table += &format!(
                "{} of {} needles in {} tokens were found; {} of {} heads copied at least {RETRIEVAL_SCORE} of the answers.\n",
                copies.answered,
                copies.asked,
                self.length,
                copies.retrieval_heads(),
                rows.len()
            );
        }
        table += &format!("\n{}", heads::layers(&rows, scores, model.engine.picking_layer()?));
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

    /// What heads copied of the answers to needle prompts, and layers would pick of the needles.
    fn needles(&self, model: &TextModel) -> Result<Needles, CopiesError> {
        let count = self.needles as u64;
        let bar = ProgressBar::new(2 * count).with_style(style("needles {bar:30} {pos}/{len}  {eta} left"));
        let copies =
            inspect::copies(model, self.length, self.needles, self.seed, |done| bar.set_position(done as u64))?;
        let picks = inspect::picked_needles(model, self.length, self.needles, self.seed, |done| {
            bar.set_position(count + done as u64);
        })?;
        bar.finish_and_clear();
        Ok(Needles { copies, picks })
    }
}
