//! What a classification task is: sequences of token ids, each with the class it belongs to.
//!
//! The form of the Long Range Arena (Tay et al. 2020, arXiv:2011.04006): a model reads the whole sequence and names
//! one class. Its six tasks are [`crate::ListOps`], [`crate::ByteSentiment`], [`crate::ByteRetrieval`],
//! [`crate::ShapeImages`] and [`crate::Pathfinder`] at two sizes; [`crate::labelled_files`] reads the published data.

use crate::task::TaskError;

/// One sequence and its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledSample {
    /// The sequence; two documents of equal length, joined, where [`ClassifyTask::documents`] is 2.
    pub tokens: Vec<u32>,
    /// The class, counted from 0.
    pub label: usize,
}

/// A seeded generator of labelled sequences, with a solver.
pub trait ClassifyTask: Sync {
    /// Name in result rows, e.g. `list_ops`.
    fn name(&self) -> &'static str;

    /// Number of classes; every label is below it.
    fn classes(&self) -> usize;

    /// Number of token ids; every token is below it.
    ///
    /// Where the length differs from sample to sample, token 0 is padding and stands in no sequence but at the end
    /// of a document.
    fn vocabulary(&self) -> usize;

    /// Number of documents of equal length that a sequence holds: 2 for tasks on pairs.
    fn documents(&self) -> usize {
        1
    }

    /// The sample of a seed; always the same.
    fn sample(&self, seed: u64) -> Result<LabelledSample, TaskError>;

    /// The class, from nothing but the tokens and the task's parameters; `None` of tokens that are no sample.
    fn solve(&self, tokens: &[u32]) -> Option<usize>;
}

/// Number of token ids of byte documents: padding and the 256 bytes.
pub(crate) const BYTE_VOCABULARY: usize = 257;

/// Token `byte + 1` for each of the first `length` bytes; 0 is left for padding.
pub(crate) fn byte_tokens(bytes: &[u8], length: usize) -> Vec<u32> {
    bytes.iter().take(length).map(|&byte| u32::from(byte) + 1).collect()
}

/// The text of byte tokens, without padding; `None` if they are no UTF-8.
pub(crate) fn byte_text(tokens: &[u32]) -> Option<String> {
    let bytes = tokens.iter().filter(|&&token| token > 0).map(|&token| u8::try_from(token - 1).ok());
    String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_from_their_tokens() {
        let tokens = byte_tokens("Größe".as_bytes(), 100);
        assert_eq!(tokens[0], u32::from(b'G') + 1);
        assert_eq!(byte_text(&[tokens, vec![0, 0]].concat()).as_deref(), Some("Größe"));
        assert_eq!(byte_tokens(&[0, 255, 7], 2), [1, 256]);
        assert_eq!(byte_text(&[300]), None);
        assert_eq!(byte_text(&[256]), None);
    }
}
