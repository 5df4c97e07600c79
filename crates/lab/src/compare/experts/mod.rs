//! Ways to hold experts in a bounded memory side by side: what each finds there, loads and costs on one model.
//!
//! An [`ExpertsComparison`] says what is wanted. [`ExpertsComparison::plan`] checks all of it before anything runs; [`Plan::run`] writes the
//! same tokens under every policy, two batches of texts at a time, and returns the [rows](ExpertsRow). The first row is the whole model in
//! memory, whose scores all others must give bit for bit.

mod answer;
mod error;
mod model;
mod page;
mod plan;
mod row;
mod run;
mod table;

pub use answer::answer;
pub use error::ExpertsComparisonError;
pub use model::{TINY_NOTE, TinyMixture};
pub use page::{PageInput, html};
pub use plan::{ExpertsComparison, POLICIES, Plan};
pub use row::{ExpertsRow, WHOLE};
pub use table::table;
