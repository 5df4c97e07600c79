//! Compiled forms, by their text.

use llguidance::Matcher;

/// The forms that were used last, the latest at the end.
#[derive(Default)]
pub(super) struct Cache(Vec<(Key, Matcher)>);

/// What a form is called, and its text.
pub(super) type Key = (&'static str, String);

/// Forms that are kept.
const MOST: usize = 32;

impl Cache {
    /// A form of its own, if it is there.
    pub fn get(&mut self, key: &Key) -> Option<Matcher> {
        let at = self.0.iter().position(|(found, _)| found == key)?;
        let entry = self.0.remove(at);
        // Deep: states that one text adds to the lexer stay with it, and so does what it breaks.
        let matcher = entry.1.deep_clone();
        self.0.push(entry);
        Some(matcher)
    }

    /// Keeps a form that no text has used yet.
    pub fn put(&mut self, key: Key, matcher: Matcher) {
        self.0.retain(|(found, _)| *found != key);
        if self.0.len() == MOST {
            self.0.remove(0);
        }
        self.0.push((key, matcher));
    }
}
