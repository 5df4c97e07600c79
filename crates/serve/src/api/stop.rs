//! Texts that end an answer, found across the pieces in which it comes.

/// Looks for stop texts; what may be the beginning of one waits.
#[derive(Clone, Debug, Default)]
pub struct StopText {
    stops: Vec<String>,
    held: String,
}

impl StopText {
    /// Looks for any of `stops`, none of which is empty.
    pub fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new() }
    }

    /// The text that can be shown once `piece` has come, and whether a stop text ends it there.
    pub fn push(&mut self, piece: &str) -> (String, bool) {
        self.held.push_str(piece);
        if let Some(start) = first(&self.stops, &self.held) {
            self.held.truncate(start);
            return (std::mem::take(&mut self.held), true);
        }
        let waits = |start: usize| self.stops.iter().any(|stop| stop.starts_with(&self.held[start..]));
        let mut starts = self.held.char_indices().map(|(start, _)| start);
        let shown = starts.find(|&start| waits(start)).unwrap_or(self.held.len());
        let rest = self.held.split_off(shown);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// What waited, when nothing follows.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Where the stop text begins that is complete first in `text`.
fn first(stops: &[String], text: &str) -> Option<usize> {
    let found = stops.iter().filter_map(|stop| text.find(stop).map(|start| (start + stop.len(), start)));
    found.min().map(|(_, start)| start)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_show_what_the_whole_text_shows(
            pieces in prop::collection::vec("[abé]{0,4}", 0..10),
            stops in prop::collection::vec("[abé]{1,4}", 0..3),
        ) {
            let text = pieces.concat();
            let end = first(&stops, &text);
            let mut filter = StopText::new(stops);
            let mut shown = String::new();
            let mut stopped = false;
            for piece in &pieces {
                let (part, stop) = filter.push(piece);
                shown.push_str(&part);
                stopped = stop;
                if stopped {
                    break;
                }
            }
            if !stopped {
                shown.push_str(&filter.finish());
            }
            prop_assert_eq!(stopped, end.is_some());
            prop_assert_eq!(shown, &text[..end.unwrap_or(text.len())]);
        }
    }
}
