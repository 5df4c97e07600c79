//! Comparisons, diagnostics, experiments and reports.

pub mod bench;
pub mod compare;
pub mod components;
pub mod continuation;
pub mod experiments;
pub mod inspect;
pub mod perplexity;
pub mod profile;
pub mod recall;
pub mod report;
pub mod rows;
pub mod softmax_form;
pub mod table;
