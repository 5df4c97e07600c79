//! What a cache weighs at the end of its prompt.

use headwise_engine::Sequence;

use crate::rows::CacheRow;

/// Bytes and pairs of a cache, summed over samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Size {
    samples: u64,
    bytes: u64,
    /// The most at any time.
    peak: u64,
    /// Pairs held, and pairs that the text had.
    held: u64,
    of: u64,
}

impl Size {
    /// The size of `sequence`.
    pub fn of(sequence: &Sequence) -> Self {
        let mut size = Self {
            samples: 1,
            bytes: sequence.bytes().total() as u64,
            peak: sequence.peak_bytes() as u64,
            ..Self::default()
        };
        // Layers with a sliding window drop pairs under every policy.
        for layer in sequence.layers().iter().filter(|layer| layer.shape().window.is_none()) {
            size.held += layer.pairs().iter().map(|pairs| pairs.len() as u64).sum::<u64>();
            size.of += (sequence.tokens() * layer.pairs().len()) as u64;
        }
        size
    }

    /// Adds another sample.
    pub fn add(&mut self, other: Self) {
        self.samples += other.samples;
        self.bytes += other.bytes;
        self.peak = self.peak.max(other.peak);
        self.held += other.held;
        self.of += other.of;
    }

    /// Fills in the size columns of `row`; `full` is the size of the full cache on the same prompts.
    pub fn describe(&self, row: &mut CacheRow, full: &Self) {
        if self.samples == 0 {
            return;
        }
        row.kv_bytes = Some(self.bytes / self.samples);
        row.peak_kv_bytes = Some(self.peak);
        row.kv_pct = (full.bytes > 0).then(|| rounded(100.0 * self.bytes as f64 / full.bytes as f64));
        row.ratio = (self.held < self.of).then(|| rounded(1.0 - self.held as f64 / self.of as f64));
    }
}

/// Four digits after the point: more would be noise of the page size.
fn rounded(x: f64) -> f64 {
    (x * 1e4).round() / 1e4
}
