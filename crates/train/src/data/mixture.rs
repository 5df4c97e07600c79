//! Several sources by their weights, in a fixed pattern.

use super::{Codec, DataError, Slot, Source, SourceSpec};
use crate::objective::Document;

/// Sequences after which the pattern of sources repeats.
const PATTERN: usize = 120;

/// Sources, mixed.
#[derive(Debug)]
pub struct Mixture {
    sources: Vec<Box<dyn Source>>,
    is_text: bool,
    /// Which source every sequence of a pattern comes from.
    pattern: Vec<usize>,
}

impl Mixture {
    /// Opens all sources.
    pub fn open(specs: &[SourceSpec], codec: &Codec) -> Result<Self, DataError> {
        let weights: Vec<f64> = specs.iter().map(SourceSpec::weight).collect();
        let pattern = pattern(&weights)?;
        let is_text = specs.iter().all(|spec| spec.vocabulary().is_none());
        Ok(Self { sources: specs.iter().map(|spec| spec.open(codec)).collect::<Result<_, _>>()?, is_text, pattern })
    }

    /// Whether the tokens of every source are those of a text.
    pub fn is_text(&self) -> bool {
        self.is_text
    }

    /// The documents of a sequence, which is number `number` of its stage.
    pub fn documents(&self, slot: &Slot, number: u64, codec: &Codec) -> Result<Vec<Document>, DataError> {
        let (round, place) = (number / PATTERN as u64, (number % PATTERN as u64) as usize);
        let source = self.pattern[place];
        let of_source = |pattern: &[usize]| pattern.iter().filter(|&&other| other == source).count() as u64;
        let index = round * of_source(&self.pattern) + of_source(&self.pattern[..place]);
        self.sources[source].documents(slot, index, codec)
    }
}

/// Sources spread as evenly as their weights allow.
fn pattern(weights: &[f64]) -> Result<Vec<usize>, DataError> {
    let total: f64 = weights.iter().sum();
    if weights.is_empty() {
        return Err(DataError::Mixture("no source: name at least one under `sources`".into()));
    }
    if !(weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0) && total > 0.0) {
        return Err(DataError::Mixture(format!(
            "the weights of the sources are {weights:?}: they must be 0 or more, and one above 0"
        )));
    }
    let mut given = vec![0.0; weights.len()];
    let next = |place: usize| {
        let lag = |source: usize| weights[source] / total * (place + 1) as f64 - given[source];
        let most = (0..weights.len()).max_by(|&a, &b| lag(a).total_cmp(&lag(b)).then(b.cmp(&a)));
        let source = most.unwrap_or_default();
        given[source] += 1.0;
        source
    };
    Ok((0..PATTERN).map(next).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_come_as_often_as_they_weigh() {
        let pattern = pattern(&[3.0, 0.0, 1.0]).unwrap();
        let count = |source| pattern.iter().filter(|&&other| other == source).count();
        assert_eq!([count(0), count(1), count(2)], [90, 0, 30]);
        for part in pattern.chunks(8) {
            assert_eq!(part.iter().filter(|&&source| source == 2).count(), 2, "{pattern:?}");
        }
        assert!(
            super::pattern(&[]).is_err() && super::pattern(&[0.0]).is_err() && super::pattern(&[-1.0, 2.0]).is_err()
        );
    }
}
