//! Texts that end an answer: found while it is written, whatever tokens they are made of.

/// Finds the first of some texts in a text that comes in pieces, and holds back only what may begin one.
#[derive(Clone, Debug, Default)]
pub struct StopTexts {
    texts: Vec<String>,
    /// What has come and was not given on.
    held: String,
    stopped: bool,
}

impl StopTexts {
    /// Stops at any of `texts`; empty ones are passed over.
    pub fn new(texts: impl IntoIterator<Item = String>) -> Self {
        Self { texts: texts.into_iter().filter(|text| !text.is_empty()).collect(), ..Self::default() }
    }

    /// The text goes on with `piece`: returns what is certain to stand before any of the texts.
    pub fn push(&mut self, piece: &str) -> String {
        if self.stopped {
            return String::new();
        }
        self.held.push_str(piece);
        // The one that is complete first, however the text was cut into pieces.
        let ends =
            self.texts.iter().filter_map(|text| self.held.find(text.as_str()).map(|start| (start + text.len(), start)));
        let found = ends.min().map(|(_, start)| start);
        self.stopped = found.is_some();
        let certain = found.unwrap_or_else(|| self.certain());
        let rest = self.held.split_off(certain);
        std::mem::replace(&mut self.held, if self.stopped { String::new() } else { rest })
    }

    /// Bytes before the longest end that begins one of the texts.
    fn certain(&self) -> usize {
        let begins = |start: &usize| self.texts.iter().any(|text| text.starts_with(&self.held[*start..]));
        let starts = self.held.char_indices().map(|(start, _)| start);
        let longest = self.texts.iter().map(String::len).max().unwrap_or(0);
        let tail = self.held.len().saturating_sub(longest);
        starts.skip_while(|start| *start < tail).find(begins).unwrap_or(self.held.len())
    }

    /// Whether one of the texts was found.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// The text is at its end: returns what was held back.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut texts = StopTexts::new(stops.iter().map(|text| text.to_string()));
        let mut out: String = pieces.iter().map(|piece| texts.push(piece)).collect();
        out.push_str(&texts.finish());
        (out, texts.stopped())
    }

    #[test]
    fn a_stop_over_several_pieces_is_found_and_only_its_beginning_held_back() {
        assert_eq!(read(&["\n\nQ:"], &["one\n", "\n", "Q", ": two"]), ("one".into(), true));
        assert_eq!(read(&["END"], &["a E", "N", "d"]), ("a ENd".into(), false));
        assert_eq!(read(&["", "ä!"], &["nä", "h ä", "!x"]), ("näh ".into(), true));
        let mut texts = StopTexts::new(["END".to_string()]);
        assert_eq!([texts.push("abE"), texts.push("x"), texts.push("EN")], ["ab", "Ex", ""]);
        assert!(StopTexts::default().push("all") == "all");
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(text in "[ab]{0,40}", stops in prop::collection::vec("[ab]{1,5}", 1..4), cuts in prop::collection::vec(0usize..40, 0..8)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<&str> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let (found, stopped) = read(&stops, &pieces);
            // The stop that is complete first ends the text; of those complete with the same piece, the one that begins first.
            let first = stops.iter().filter_map(|stop| text.find(stop)).min();
            prop_assert_eq!(stopped, first.is_some());
            match first {
                None => prop_assert_eq!(found, text),
                Some(first) => {
                    prop_assert!(text.starts_with(&found) && found.len() >= first);
                    prop_assert!(stops.iter().any(|stop| text[found.len()..].starts_with(stop)));
                }
            }
        }
    }
}
