//! Which class each row should have, as lists of the rows that count.

/// The target of a row that does not count, as in PyTorch.
pub const IGNORED: i32 = -100;

/// The rows that have a target, and their classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targets {
    rows: usize,
    /// The rows that count, if some do not.
    listed: Option<Vec<u32>>,
    classes: Vec<u32>,
}

impl Targets {
    /// From a class for each row; negative ones, such as [`IGNORED`], do not count.
    ///
    /// # Panics
    /// If there are more than 2³² rows.
    pub fn new(classes: &[i32]) -> Self {
        let row = |row| u32::try_from(row).expect("at most 2^32 rows");
        let (listed, found): (Vec<u32>, Vec<u32>) =
            classes.iter().enumerate().filter_map(|(i, &class)| Some((row(i), u32::try_from(class).ok()?))).unzip();
        let all = found.len() == classes.len();
        Self { rows: classes.len(), listed: (!all).then_some(listed), classes: found }
    }

    /// The classes of sequences of `length` tokens whose rows each predict the token `shift` places on; the last `shift` rows of
    /// a sequence predict nothing. Negative tokens are not counted as targets.
    ///
    /// # Panics
    /// If `tokens` are not sequences of `length`.
    pub fn shifted(tokens: &[i32], length: usize, shift: usize) -> Self {
        assert!(length > 0 && tokens.len().is_multiple_of(length), "{} tokens in sequences of {length}", tokens.len());
        let ahead = |sequence: &[i32]| {
            let kept = shift.min(length);
            let mut classes = sequence[kept..].to_vec();
            classes.resize(length, IGNORED);
            classes
        };
        Self::new(&tokens.chunks_exact(length).flat_map(ahead).collect::<Vec<_>>())
    }

    /// All rows, counted or not.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The rows that count.
    pub fn count(&self) -> usize {
        self.classes.len()
    }

    /// The classes of the rows that count.
    pub fn classes(&self) -> &[u32] {
        &self.classes
    }

    /// The rows that count, in order; `None` if all do.
    pub fn listed(&self) -> Option<&[u32]> {
        self.listed.as_deref()
    }

    /// The row that is counted as number `index`.
    pub(super) fn row(&self, index: usize) -> usize {
        self.listed.as_ref().map_or(index, |rows| rows[index] as usize)
    }
}
