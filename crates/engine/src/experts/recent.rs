//! The last tokens of a text, which say what experts its next ones pass.

/// Tokens that are remembered.
const MOST: usize = 8;

/// The last tokens of a text; a plain value, so that remembering costs a step nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    ids: [u32; MOST],
    count: usize,
}

impl Recent {
    /// Adds the next token.
    pub fn push(&mut self, id: u32) {
        if self.count == MOST {
            self.ids.rotate_left(1);
            self.count -= 1;
        }
        self.ids[self.count] = id;
        self.count += 1;
    }

    /// The same with one more token.
    pub fn with(mut self, id: u32) -> Self {
        self.push(id);
        self
    }

    /// The tokens, the last one last.
    pub fn ids(&self) -> &[u32] {
        &self.ids[..self.count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_tokens_are_remembered() {
        let mut recent = Recent::default();
        assert!(recent.ids().is_empty());
        (0..MOST as u32 + 3).for_each(|id| recent.push(id));
        assert_eq!(recent.ids(), (3..MOST as u32 + 3).collect::<Vec<_>>());
        assert_eq!(recent.with(99).ids().last(), Some(&99));
    }
}
