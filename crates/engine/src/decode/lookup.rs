//! Prompt lookup: tokens that followed the same words earlier in the text are read ahead, and kept as far as the model agrees.
//!
//! The last tokens of the text, at most `longest` of them, are looked for before; what followed their latest occurrence is the draft.
//! One forward reads the newest token and the draft, and gives the scores after each. A row of a forward has the bits that it has alone,
//! so the text is the one that is written without drafts, token for token, and the time is that of fewer forwards where a text copies.
//! Saxena 2023, github.com/apoorvumang/prompt-lookup-decoding.

/// How drafts are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptLookup {
    /// Most tokens of a draft.
    pub draft: usize,
    /// Tokens at the end of the text that are looked for before; fewer if these have not occurred.
    pub longest: usize,
    /// Fewest tokens that are looked for.
    pub shortest: usize,
}

impl PromptLookup {
    /// Drafts of at most `draft` tokens, after two or three that have occurred before.
    pub fn new(draft: usize) -> Self {
        Self { draft, longest: 3, shortest: 2 }
    }

    /// What may follow `text`: at most `most` tokens, none if its end has not occurred before.
    pub fn draft<'a>(&self, text: &'a [u32], most: usize) -> &'a [u32] {
        let most = most.min(self.draft);
        let lengths = self.shortest.max(1)..=self.longest.min(text.len().saturating_sub(1));
        for length in lengths.rev() {
            let (before, end) = (&text[..text.len() - 1], &text[text.len() - length..]);
            if let Some(at) = before.windows(length).rposition(|words| words == end) {
                let follows = &text[at + length..];
                return &follows[..most.min(follows.len())];
            }
        }
        &[]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drafts_are_what_followed_the_longest_end_last() {
        let lookup = PromptLookup::new(2);
        assert_eq!(lookup.draft(&[1, 2, 3, 4, 9, 1, 2, 3], 8), [4, 9]);
        assert_eq!(lookup.draft(&[1, 2, 3, 4, 9, 1, 2, 3], 1), [4]);
        assert_eq!(lookup.draft(&[1, 2, 3, 7, 2, 3, 8, 5, 1, 2, 3], 8), [7, 2], "three tokens count before two");
        assert_eq!(lookup.draft(&[2, 3, 7, 2, 3, 8, 5, 2, 3], 8), [8, 5], "the latest counts");
        assert_eq!(lookup.draft(&[5, 5, 5], 8), [5], "an occurrence may overlap the end");
        for nothing in [&[][..], &[1], &[1, 1], &[1, 2, 3], &[3, 1, 3]] {
            assert!(lookup.draft(nothing, 8).is_empty(), "{nothing:?}");
        }
        assert!(lookup.draft(&[1, 2, 1, 2], 0).is_empty());
    }
}
