//! Where a JSON value ends in a text that is still being written.

/// Looks for the end of the object or array that a text holds from some byte on; every byte is looked at once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct JsonEnd {
    /// Bytes that were looked at.
    at: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl JsonEnd {
    /// For a value whose opening bracket is at byte `start`.
    pub fn from(start: usize) -> Self {
        Self { at: start, ..Self::default() }
    }

    /// The byte after the value, once `text` has it all; `text` has only grown since the last call.
    pub fn find(&mut self, text: &str) -> Option<usize> {
        for &byte in &text.as_bytes()[self.at..] {
            self.at += 1;
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(self.at);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_when_it_is_there() {
        let text = r#"x {"a": ["}", "\"]"], "b": {}} {"#;
        let mut end = JsonEnd::from(2);
        let found: Vec<usize> = (3..=text.len()).filter_map(|length| end.find(&text[..length])).collect();
        assert_eq!(found[0], 30);
        assert_eq!(&text[2..30], r#"{"a": ["}", "\"]"], "b": {}}"#);
    }
}
