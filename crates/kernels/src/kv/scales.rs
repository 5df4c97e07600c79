//! The scales and minima of groups of codes.

use super::grid::Grid;
use super::saved::Part;
use super::stored::Tables;
use crate::simd::prefetch;

/// A scale and a minimum for each group, as half-precision bits.
#[derive(Clone, Debug)]
pub(super) struct Scales {
    pub scales: Box<[u16]>,
    pub minima: Box<[u16]>,
}

impl Scales {
    /// Everything held.
    pub fn parts(&mut self) -> [Part<'_>; 2] {
        [Part::U16(&mut self.scales), Part::U16(&mut self.minima)]
    }

    /// Zeros for so many groups.
    pub fn new(groups: usize) -> Self {
        let zeros: Box<[u16]> = vec![0; groups].into();
        Self { scales: zeros.clone(), minima: zeros }
    }

    /// Keeps the scale and the minimum of `group`.
    pub fn set(&mut self, group: usize, grid: &Grid) {
        self.scales[group] = grid.scale_bits();
        self.minima[group] = grid.minimum_bits();
    }

    /// Copies those of `count` groups, from group `source` of `from` on, to `group` and those after it.
    pub fn copy(&mut self, group: usize, from: &Self, source: usize, count: usize) {
        self.scales[group..][..count].copy_from_slice(&from.scales[source..][..count]);
        self.minima[group..][..count].copy_from_slice(&from.minima[source..][..count]);
    }

    /// Decodes all; false if there are too many.
    pub fn fill(&self, tables: &mut Tables) -> bool {
        tables.fill(&self.scales, &self.minima)
    }

    /// Asks for all.
    #[inline(always)]
    pub fn prefetch(&self) {
        prefetch(&self.scales, 0, self.scales.len());
        prefetch(&self.minima, 0, self.minima.len());
    }

    /// Memory of all.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.scales[..]) + size_of_val(&self.minima[..])
    }
}
