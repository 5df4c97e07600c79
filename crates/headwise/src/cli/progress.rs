//! Progress on the terminal.

use headwise::lab::compare::{Moment, cache};
use headwise::models::pull::Progress;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

/// Draws downloads as a bar with rate and time left.
#[derive(Default)]
pub struct Downloads {
    bar: Option<ProgressBar>,
}

impl Progress for Downloads {
    fn start(&mut self, what: &str, total: Option<u64>) {
        let bar = match total {
            Some(total) => ProgressBar::new(total)
                .with_style(style("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left")),
            None => ProgressBar::new_spinner().with_style(style("{spinner} {msg} {bytes}")),
        };
        self.bar = Some(bar.with_message(what.to_owned()));
    }

    fn advance(&mut self, n: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(n);
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish();
        }
    }

    fn note(&mut self, message: &str) {
        match &self.bar {
            Some(bar) => bar.println(message),
            None => eprintln!("{message}"),
        }
    }
}

/// A bar style; templates are fixed in the program, so a wrong one only falls back to the default.
pub fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Draws a comparison as one bar with what is being done and the time left.
#[derive(Default)]
pub struct Comparison {
    bar: Option<ProgressBar>,
}

/// Steps of a bar that stands for a share.
const STEPS: u64 = 1000;

impl Comparison {
    /// Moves the bar.
    pub fn at(&mut self, moment: &Moment<'_>) {
        let bar = self.bar.get_or_insert_with(|| {
            ProgressBar::new(STEPS).with_style(style("{bar:30} {percent:>3} %  {elapsed} so far{prefix}  {msg}"))
        });
        bar.set_position((moment.done * STEPS as f64) as u64);
        if let Some(left) = moment.left {
            bar.set_prefix(format!(", {} left", HumanDuration(left)));
        }
        bar.set_message(moment.doing.to_owned());
    }

    /// Takes the bar away.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

impl cache::Progress for Comparison {
    fn moved(&mut self, moment: &Moment<'_>) {
        self.at(moment);
    }
}
