//! Comparisons, diagnostics, experiments and reports.

pub mod perplexity;
pub mod report;
pub mod rows;
pub mod table;
