//! The tokens with which a model fills gaps.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::SpecError;

/// The tokens with which a model fills gaps, as it learned to by span corruption: of `a b S₀ e f E` it says `S₀ c d E`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sentinels {
    /// The sentinel of the first gap; those of further gaps follow it.
    pub first: u32,
    /// Sentinels that there are.
    pub count: u32,
    /// The token that ends the shown text, and what is said of it.
    pub end: u32,
}

impl Sentinels {
    /// All sentinels.
    pub fn ids(&self) -> Range<u32> {
        self.first..self.first.saturating_add(self.count)
    }

    /// Whether a model of so many tokens knows them, and can tell them apart.
    pub(super) fn check(&self, vocabulary: usize) -> Result<(), SpecError> {
        let Self { first, count, end } = *self;
        let refused = |reason: String| Err(SpecError::Sentinels { reason });
        match u64::from(first) + u64::from(count) {
            _ if count == 0 => refused("count is 0: it must be at least 1".into()),
            past if past > vocabulary as u64 || end as usize >= vocabulary => refused(format!(
                "sentinels {first} to {} and end {end} are not all in the vocabulary of {vocabulary}",
                past - 1
            )),
            _ if self.ids().contains(&end) => refused(format!("end is {end}, which is a sentinel")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_a_model_does_not_have_are_refused() {
        let sentinels = Sentinels { first: 257, count: 32, end: 256 };
        assert_eq!((sentinels.check(289), sentinels.ids()), (Ok(()), 257..289));
        let error = |sentinels: Sentinels| sentinels.check(289).unwrap_err().to_string();
        assert!(sentinels.check(288).unwrap_err().to_string().contains("257 to 288"));
        assert!(error(Sentinels { first: u32::MAX, ..sentinels }).contains("vocabulary of 289"));
        assert!(error(Sentinels { end: 289, ..sentinels }).contains("end 289"));
        assert!(error(Sentinels { end: 260, ..sentinels }).contains("is a sentinel"));
        assert!(error(Sentinels { count: 0, ..sentinels }).contains("at least 1"));
    }
}
