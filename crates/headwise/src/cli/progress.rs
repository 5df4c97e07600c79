//! Progress on the terminal.

use headwise::models::pull::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// Draws downloads as a bar with rate and time left.
#[derive(Default)]
pub struct Downloads {
    bar: Option<ProgressBar>,
}

impl Progress for Downloads {
    fn start(&mut self, what: &str, total: Option<u64>) {
        let bar = match total {
            Some(total) => ProgressBar::new(total).with_style(style("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left")),
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
