//! Comparisons, diagnostics, experiments and reports.
