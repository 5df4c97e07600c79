//! Comparisons, diagnostics, experiments and reports.

pub mod report;
pub mod rows;
pub mod table;
