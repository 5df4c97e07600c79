//! The text before a form: a model that reasons first writes freely until a tag ends its reasoning.

use std::sync::Arc;

/// What has been written before a form begins.
#[derive(Clone)]
pub(super) struct Before {
    /// The text after which the form begins.
    tag: Arc<[u8]>,
    /// The bytes of every token.
    words: Arc<[Vec<u8>]>,
    /// The last bytes that were written, fewer than the tag has.
    last: Vec<u8>,
}

impl Before {
    /// Nothing has been written; the form begins after `tag`.
    pub fn new(tag: &str, words: Arc<[Vec<u8>]>) -> Self {
        Self { tag: tag.as_bytes().into(), words, last: Vec::new() }
    }

    /// The text goes on with token `id`; returns whether the tag has been written. What the token says after the tag does not belong to
    /// the form.
    pub fn accept(&mut self, id: u32) -> bool {
        let Self { tag, words, last } = self;
        last.extend(words.get(id as usize).into_iter().flatten());
        let found = last.windows(tag.len().max(1)).any(|bytes| *bytes == **tag);
        last.drain(..last.len() - last.len().min(tag.len().saturating_sub(1)));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_across_tokens_and_inside_one() {
        let words: Vec<Vec<u8>> = ["<", "/thi", "nk>", "</think>\n", "a", "nk", ">"].map(Into::into).into();
        let words: Arc<[Vec<u8>]> = words.into();
        let begins = |ids: &[u32]| {
            let mut before = Before::new("</think>", words.clone());
            ids.iter().position(|&id| before.accept(id))
        };
        assert_eq!(begins(&[4, 0, 1, 2, 4]), Some(3));
        assert_eq!(begins(&[0, 0, 1, 5, 6]), Some(4));
        assert_eq!(begins(&[4, 3]), Some(1));
        assert_eq!(begins(&[0, 1, 4, 2, 99, 6]), None);
    }
}
