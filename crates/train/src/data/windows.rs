//! Running text in windows: they start anywhere, are cut where a text begins, and in every epoch each comes once.

use std::borrow::Cow;
use std::fmt::Debug;
use std::ops::Range;
use std::path::Path;

use super::permutation::Permutation;
use super::{Codec, DataError, Slot, Source};
use crate::objective::Document;

/// The tokens of texts, one after the other, wherever they are kept.
pub(super) trait TokenStore: Debug + Send + Sync {
    /// How many there are.
    fn count(&self) -> usize;

    /// Those of a range.
    fn range(&self, range: Range<usize>) -> Cow<'_, [u32]>;
}

impl TokenStore for Vec<u32> {
    fn count(&self) -> usize {
        self.len()
    }

    fn range(&self, range: Range<usize>) -> Cow<'_, [u32]> {
        Cow::Borrowed(&self[range])
    }
}

/// Texts in windows.
#[derive(Debug)]
pub(super) struct Windows<T> {
    tokens: T,
    /// Where every text starts, ascending.
    starts: Vec<usize>,
}

impl<T: TokenStore> Windows<T> {
    /// The texts in `path`, which begin at `starts`.
    pub fn new(tokens: T, starts: Vec<usize>, path: &Path) -> Result<Self, DataError> {
        match tokens.count() {
            0 | 1 => Err(DataError::Empty { path: path.into() }),
            _ => Ok(Self { tokens, starts }),
        }
    }

    /// The tokens of a range, cut where texts begin.
    fn split(&self, start: usize, end: usize) -> Vec<Document> {
        let inner = self.starts.partition_point(|&cut| cut <= start)..self.starts.partition_point(|&cut| cut < end);
        let cuts: Vec<usize> = std::iter::once(start).chain(self.starts[inner].iter().copied()).chain([end]).collect();
        cuts.windows(2).map(|cut| Document::text(&self.tokens.range(cut[0]..cut[1]))).collect()
    }
}

impl<T: TokenStore> Source for Windows<T> {
    fn documents(&self, slot: &Slot, index: u64, _: &Codec) -> Result<Vec<Document>, DataError> {
        // The last token is only an answer.
        let shown = self.tokens.count() - 1;
        let length = slot.length.min(shown);
        let windows = (shown / length) as u64;
        let (epoch, place) = (index / windows, index % windows);
        let window = Permutation::new(windows, slot.seed, slot.stage, epoch).at(place);
        // Every epoch cuts elsewhere.
        let spare = shown - windows as usize * length;
        let shift = (epoch as usize * 7919) % (spare + 1);
        let start = shift + window as usize * length;
        Ok(self.split(start, start + length + 1))
    }
}
