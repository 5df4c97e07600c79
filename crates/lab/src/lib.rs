//! Comparisons, diagnostics, experiments and reports.

pub mod compare;
pub mod perplexity;
pub mod report;
pub mod rows;
pub mod table;
pub mod bench;
pub mod inspect;
